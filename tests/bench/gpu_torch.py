"""The cases of gpu_cases.py, done by PyTorch on a GPU: eager, compiled, and attention by each of its backends."""

import contextlib

import gpu_cases
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

DEVICE = "cuda"
BACKENDS = {  # of scaled_dot_product_attention
    "FlashAttention-2": SDPBackend.FLASH_ATTENTION,
    "cuDNN": SDPBackend.CUDNN_ATTENTION,
    "memory-efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}


def about():
    return f"PyTorch {torch.__version__}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}"


def patch_embedding(x, weight, bias):
    convolve = F.conv2d if x.ndim == 4 else F.conv3d
    weight = weight.movedim(-1, 0)  # (C, 3, ...), what PyTorch keeps
    return convolve(x, weight, bias, stride=weight.shape[2:]).flatten(2).transpose(1, 2)


def experts(x, logits, K=2):
    """As gpu_cases.experts: places by a cumulative sum, rows moved by indices."""
    (_, T, C), E = x.shape, logits.shape[-1]
    S = int(1.25 * K * T / E)
    scores, chosen = logits[0].topk(K, dim=-1)
    gates = scores.softmax(-1)
    queue = chosen.T.reshape(-1)  # all first choices, then all second ones
    mine = F.one_hot(queue, E)
    place = ((mine.cumsum(0) - mine) * mine).sum(-1)
    slot = torch.where(place < S, queue * S + place, E * S).view(K, T)  # what is dropped goes to a row of its own
    tokens = torch.arange(T, device=x.device).expand(K, T)
    sent = x.new_zeros(E * S + 1, C).index_copy(0, slot.reshape(-1), x[0][tokens.reshape(-1)])
    sent = sent * (torch.arange(E * S + 1, device=x.device) < E * S)[:, None]
    return (sent[slot] * gates.T[..., None]).sum(0)[None].to(x.dtype)


def nearest_code(x, codes):
    indices = ((codes * codes).sum(-1) / 2 - x @ codes.T).argmin(-1)
    difference = x - codes[indices]
    return indices, (difference * difference).sum(-1)


def contrastive(image, text, log_scale):
    scores, diagonal = image @ text.T * log_scale.exp(), torch.arange(len(image), device=image.device)
    return (F.cross_entropy(scores, diagonal) + F.cross_entropy(scores.T, diagonal)) / 2


FUNCTIONS = {
    "layernorm": lambda x, weight, bias: F.layer_norm(x, bias.shape, weight, bias),
    "add and layernorm": lambda x, branch, weight, bias: F.layer_norm(x + branch, bias.shape, weight, bias),
    "contrastive": contrastive,
    "rmsnorm": lambda x, weight: F.rms_norm(x, weight.shape, weight, eps=1e-6),
    "softmax": lambda x: x.softmax(-1),
    "masked softmax": lambda x, mask: x.masked_fill(~mask, -torch.inf).softmax(-1),
    "bias and gelu": lambda x, bias: F.gelu(x + bias),
    "cross-entropy": F.cross_entropy,
    "embedding": lambda table, ids: F.embedding(ids, table),
    "patch embedding": patch_embedding,
    "tubes": patch_embedding,
    "mixture of experts": experts,
    "nearest code": nearest_code,
}


def function(name):
    if name.startswith("attention"):
        return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal="causal" in name)
    return FUNCTIONS[name.partition(",")[0]]


def prepare(name, case, arrays, dtype, compiled=False, backend=None):
    """(forward, both), as gpu_cases.prepare gives them, of NumPy arrays that are moved to the GPU first."""
    tensors = [moved(a, dtype) for a in arrays]
    if name == "AdamW":
        return adamw(tensors, compiled)
    learned = [
        t.requires_grad_()
        for i, t in enumerate(tensors)
        if t.is_floating_point() and case.derivative and i not in case.constant
    ]
    f = torch.compile(function(name), dynamic=False) if compiled else function(name)

    def chosen():
        return sdpa_kernel(BACKENDS[backend]) if backend else contextlib.nullcontext()

    def forward():
        with torch.no_grad(), chosen():
            y = f(*tensors)
        return [y] if isinstance(y, torch.Tensor) else list(y)

    if not case.derivative:
        return forward, None
    dy = []

    def both():
        for t in learned:
            t.grad = None
        with chosen():
            y = f(*tensors)
            if not dy:
                dy.append(upstream(y))
            y.backward(dy[0])
        return [y.detach(), *(t.grad for t in learned)]

    return forward, both


def moved(a, dtype):
    t = torch.from_numpy(a).to(DEVICE)
    return t.to(getattr(torch, dtype)) if t.is_floating_point() else t


def upstream(y):
    return torch.from_numpy(gpu_cases.direction(tuple(y.shape))).to(y.device, y.dtype)


def adamw(tensors, compiled):
    half = len(tensors) // 2
    parameters = [t.clone().requires_grad_() for t in tensors[:half]]
    for p, g in zip(parameters, tensors[half:], strict=True):
        p.grad = g
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, fused=compiled or None)  # compiled: its own fused kernel

    def step():
        optimizer.step()
        return [p.detach() for p in parameters]

    return step, None


def results(prepared):
    """What the longer of the two functions gives, as NumPy arrays."""
    forward, both = prepared
    return [(t.float() if t.is_floating_point() else t).cpu().numpy() for t in (both or forward)()]
