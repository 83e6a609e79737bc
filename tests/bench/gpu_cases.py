"""What is measured on a GPU: every kernel that minivl ships, through its op, on the same arrays for every engine.

`CASES` is the table; gpu_torch.py has PyTorch's way of doing each, under the same name.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from minivl import Tensor, no_grad, ops, optim
from minivl.array import device_of, to_device


@dataclass(frozen=True)
class Case:
    """One op, and the kernels of minivl/ops that it runs.

    make        make(random, **size) -> arrays. Floating point ones get the dtype that is measured, others stay
    function    function(*Tensors) -> Tensor; without derivative -> arrays
    gpu, cpu    sizes: large enough to fill a GPU and leave its cache, and small enough for the CPU runner in check mode
    moved       moved(b, **size) -> bytes (forward, backward) that must be moved at least, a number having b bytes
    flops       flops(**size) -> (forward, backward), where arithmetic is the bound
    constant    positions of floating point arrays that get no gradient
    """

    kernels: tuple
    make: Callable
    function: Callable
    gpu: dict
    cpu: dict
    moved: Callable
    flops: Callable | None = None
    constant: tuple = ()
    derivative: bool = True
    dtypes: tuple = ("bfloat16", "float32")


def prepare(case, arrays):
    """(forward, both): functions that do the work once and return arrays; both is None without a derivative."""
    inputs = [
        Tensor(a, requires_grad=i not in case.constant and case.derivative) if floating(a) else a
        for i, a in enumerate(arrays)
    ]
    learned = [t for t in inputs if isinstance(t, Tensor) and t.requires_grad]

    def forward():
        with no_grad():
            y = case.function(*inputs)
        return [y.data] if isinstance(y, Tensor) else list(y)

    if not case.derivative:
        return forward, None
    dy = like(forward()[0])

    def both():
        for t in learned:
            t.grad = None
        y = case.function(*inputs)
        y.backward(dy)
        return [y.data, *(t.grad for t in learned)]

    return forward, both


def floating(a):
    return a.dtype.kind == "f" or a.dtype.name == "bfloat16"


def like(y):
    """d(loss)/d(y), on y's device."""
    return to_device(direction(y.shape), device_of(y)).astype(y.dtype)


def direction(shape):
    """The same numbers for every engine; for a loss 1, with which every training begins."""
    return np.ones((), np.float32) if shape == () else np.random.default_rng(2).standard_normal(shape, dtype=np.float32)


def normal(random, *shape):
    return random.standard_normal(shape, dtype=np.float32)


# ---- rows ------------------------------------------------------------------------------------------------------------


def rows_of(passes):
    """moved(...) of an op that reads and writes rows (R, C): so many arrays forward, so many backward."""
    forward, backward = passes
    return lambda b, rows, C: (forward * rows * C * b, backward * rows * C * b)


ROWS = dict(gpu=dict(rows=65536, C=4096), cpu=dict(rows=24, C=96))

CASES = {
    "layernorm": Case(
        ("layernorm",),
        lambda random, rows, C: [normal(random, rows, C), normal(random, C), normal(random, C)],
        ops.layernorm,
        moved=rows_of((2, 3)),
        **ROWS,
    ),
    "add and layernorm": Case(
        ("layernorm",),
        lambda random, rows, C: [*(normal(random, rows, C) for _ in range(2)), normal(random, C), normal(random, C)],
        ops.add_layernorm,
        moved=rows_of((4, 3)),
        **ROWS,
    ),
    "rmsnorm": Case(
        ("rmsnorm",),
        lambda random, rows, C: [normal(random, rows, C), normal(random, C)],
        ops.rmsnorm,
        moved=rows_of((2, 3)),
        **ROWS,
    ),
    "softmax": Case(
        ("softmax",),
        lambda random, rows, C: [normal(random, rows, C)],
        ops.softmax,
        moved=rows_of((2, 3)),
        **ROWS,
    ),
    "masked softmax": Case(
        ("softmax",),
        lambda random, rows, C: [normal(random, rows, C), random.random((rows, C)) < 0.5],
        ops.softmax,
        moved=lambda b, rows, C: (rows * C * (2 * b + 1), rows * C * 3 * b),
        **ROWS,
    ),
    "bias and gelu": Case(
        ("gelu",),
        lambda random, rows, C: [normal(random, rows, C), normal(random, C)],
        ops.gelu,
        moved=rows_of((2, 3)),
        **ROWS,
    ),
    "cross-entropy": Case(
        ("cross_entropy",),
        lambda random, rows, V: [normal(random, rows, V), random.integers(0, V, rows)],
        ops.cross_entropy,
        dict(rows=8192, V=64000),
        dict(rows=24, V=200),
        lambda b, rows, V: (rows * V * b, rows * V * b),
    ),
    "embedding": Case(
        ("embedding",),
        lambda random, V, C, n: [normal(random, V, C), random.integers(0, V, n)],
        ops.embedding,
        dict(V=64000, C=1024, n=1 << 18),
        dict(V=50, C=40, n=70),
        lambda b, V, C, n: (2 * n * C * b, (n + V) * C * b),
    ),
}


# ---- contrast --------------------------------------------------------------------------------------------------------


def pairs(random, B, C):
    """Pictures and texts of length 1, and the logarithm of the scale."""
    both = [normal(random, B, C) for _ in range(2)]
    return [*(x / np.linalg.norm(x, axis=1, keepdims=True) for x in both), np.asarray(2.0, np.float32)]


CASES["contrastive"] = Case(
    ("contrastive", "contrastive_bf16"),
    pairs,
    ops.contrastive,
    dict(B=32768, C=512),
    dict(B=40, C=32),
    lambda b, B, C: (2 * B * C * b, 4 * B * C * b),
    lambda B, C: (2 * B * B * C, 4 * B * B * C),  # the similarities once, and two products with what comes back
    constant=(2,),
)


# ---- patches, experts, codes -----------------------------------------------------------------------------------------


def patches(random, B, size, patch, C):
    return [normal(random, B, 3, *size), normal(random, 3, *patch, C), normal(random, C)]


def patch_flops(B, size, patch, C):
    N, numbers = math.prod(n // p for n, p in zip(size, patch, strict=True)), 3 * math.prod(patch)
    return 2 * B * N * numbers * C, 2 * B * N * numbers * C


def patch_moved(b, B, size, patch, C):
    """Pixels in, tokens out; backward the weights' gradient from both. The patches themselves need not be anywhere."""
    N, pixels = math.prod(n // p for n, p in zip(size, patch, strict=True)), 3 * B * math.prod(size)
    return (pixels + B * N * C) * b, (pixels + B * N * C) * b


def experts(x, logits, K, S):
    """A layer of E experts that hand back what they got: what routing, sending and fetching cost by themselves."""
    chosen = ops.top_k(logits, K)
    routing = ops.expert_slots(chosen, logits.shape[-1], S)
    return ops.combine(ops.dispatch(x, routing=routing), ops.gates(logits, chosen), routing=routing)


CASES |= {
    "patch embedding": Case(
        ("patch_embed",), patches, ops.patch_embed, dict(B=256, size=(224, 224), patch=(16, 16), C=1024),
        dict(B=2, size=(16, 24), patch=(8, 8), C=8), patch_moved, patch_flops, constant=(0,),
    ),
    "patch embedding, derivative to pixels": Case(
        ("patch_embed",), patches, ops.patch_embed, dict(B=256, size=(224, 224), patch=(16, 16), C=1024),
        dict(B=2, size=(16, 24), patch=(8, 8), C=8),
        lambda b, **size: (patch_moved(b, **size)[0], 2 * patch_moved(b, **size)[1]),
        lambda **size: (patch_flops(**size)[0], 2 * patch_flops(**size)[1]),
    ),
    "tubes": Case(
        ("patch_embed",), patches, ops.patch_embed, dict(B=16, size=(32, 224, 224), patch=(4, 16, 16), C=1024),
        dict(B=1, size=(4, 8, 16), patch=(2, 4, 8), C=8), patch_moved, patch_flops, constant=(0,),
    ),
    "mixture of experts": Case(
        ("moe",),
        lambda random, T, C, E: [normal(random, 1, T, C), normal(random, 1, T, E)],
        lambda x, logits: experts(x, logits, 2, capacity(*logits.shape[1:])),
        dict(T=65536, C=2048, E=64),
        dict(T=70, C=48, E=8),
        lambda b, T, C, E: (6 * T * C * b, 8 * T * C * b),  # K = 2: each token twice there, twice back
    ),
    "nearest code": Case(
        ("nearest_code", "nearest_code_bf16"),
        lambda random, N, K, C: [normal(random, N, C), normal(random, K, C)],
        ops.nearest_code,
        dict(N=32768, K=16384, C=256),
        dict(N=40, K=70, C=24),
        lambda b, N, K, C: ((N + K) * C * b, 0),
        lambda N, K, C: (2 * N * K * C, 0),
        derivative=False,
    ),
}  # fmt: skip


def capacity(tokens, E):
    """Of an expert: a quarter more than its share of two choices a token."""
    return int(1.25 * 2 * tokens / E)


# ---- attention -------------------------------------------------------------------------------------------------------


def attention(D, T, causal):
    """Of 2048 numbers a token, 32k tokens in all."""
    return Case(
        ("attention", "attention_bf16"),
        lambda random, B, H, T, D: [normal(random, B, H, T, D) for _ in range(3)],
        lambda q, k, v: ops.attention(q, k, v, causal=causal),
        dict(B=32768 // T, H=2048 // D, T=T, D=D),
        dict(B=1, H=2, T=40, D=D),
        lambda b, B, H, T, D: (4 * B * H * T * D * b, 8 * B * H * T * D * b),
        lambda **size: attention_flops(causal, **size),
        dtypes=("bfloat16",),
    )


def attention_flops(causal, B, H, T, D):
    """Two products forward, five backward; half of each where only the past is looked at."""
    product = 2 * B * H * T * T * D // (2 if causal else 1)
    return 2 * product, 5 * product


ATTENTION = {
    f"attention, head width {D}, {T // 1024}k tokens{', causal' if causal else ''}": attention(D, T, causal)
    for D in (64, 128)
    for T in (4096, 16384)
    for causal in (False, True)
}
CASES |= ATTENTION


# ---- AdamW, which is no op -------------------------------------------------------------------------------------------


def prepare_adamw(arrays):
    """A step that updates all of `arrays`, of which the second half are the gradients."""
    parameters = [Tensor(a.copy(), requires_grad=True) for a in arrays[: len(arrays) // 2]]
    for p, g in zip(parameters, arrays[len(arrays) // 2 :], strict=True):
        p.grad = g
    optimizer = optim.AdamW(parameters, lr=1e-3)

    def step():
        optimizer.step()
        return [p.data for p in parameters]

    return step, None


def parameters_of(random, layers, C):
    shapes = [(C, 3 * C), (3 * C,), (C, C), (C,), (C, 4 * C), (4 * C,), (4 * C, C), (C,), (C,), (C,)] * layers
    return [normal(random, *shape) for shape in shapes * 2]


CASES["AdamW"] = Case(
    ("adamw",),
    parameters_of,
    None,
    dict(layers=12, C=1024),
    dict(layers=1, C=12),
    lambda b, layers, C: (layers * (12 * C * C + 11 * C) * (3 * b + 16), 0),  # p and g in, p out; both moments float32
    derivative=False,
)


def prepared(name, arrays):
    return prepare_adamw(arrays) if name == "AdamW" else prepare(CASES[name], arrays)
