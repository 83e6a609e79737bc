"""The cases, computed by minivl. prepare(case) gives a function that does the work once and returns what to compare."""

import cases
import numpy as np

import minivl
from minivl import Tensor, blas, no_grad, ops, optim
from minivl.array import cores, keep_freed_memory

keep_freed_memory()  # as every training run does


def about():
    kernels = f"OpenBLAS with kernels for {blas.kernels()}" if blas.kernels() else "another BLAS than OpenBLAS"
    return f"minivl {minivl.__version__} on NumPy {np.__version__}, {kernels}"


def threads():
    return cores()


def prepare(case):
    return {"train": train, "infer": infer, "generate": generate, "encoder": encoder, "op": op}[case["kind"]](case)


def train(case):
    model, batch = cases.model_of(case)
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        loss = model(batch)["loss"]
        loss.backward()
        optimizer.step()
        return [loss.data]

    return step


def infer(case):
    model, batch = cases.model_of(case)

    def step():
        with no_grad():
            return [model(batch)["loss"].data]

    return step


def generate(case):
    model, batch = cases.model_of(case)
    return lambda: [np.array(model.generate(batch["image"]))]


def encoder(case):
    model, x = cases.encoder(**case["sizes"])

    def step():
        model.zero_grad()
        y = model(Tensor(x))
        loss = (y * y).mean()
        loss.backward()
        return [loss.data, model.blocks[0].attend.query.weight.grad]

    return step


OPS = {  # those whose name and arrays do not say all
    "batch_norm": lambda x, w, bias: ops.batch_norm(x, w, bias, *ops.batch_moments(x), training=True),
    "conv2d": lambda x, w, bias: ops.conv2d(x, w, bias, padding=1),
}


def op(case):
    name, sizes = case["name"], case["sizes"]
    arrays = cases.op_inputs(name, **sizes)
    if name == "AdamW":
        return adamw(arrays)
    inputs = [
        Tensor(a, requires_grad=True) if learn else a
        for a, learn in zip(arrays, cases.learned(name, arrays), strict=True)
    ]
    tensors = [x for x in inputs if isinstance(x, Tensor)]
    function = OPS.get(name) or getattr(ops, name.partition(",")[0])
    dy = cases.upstream(function(*inputs).shape)

    def step():
        for tensor in tensors:
            tensor.grad = None
        y = function(*inputs)
        y.backward(dy)
        return [y.data, *(tensor.grad for tensor in tensors)]

    return step


def adamw(arrays):
    params = [Tensor(a, requires_grad=True) for a in arrays]
    for p in params:
        p.grad = cases.upstream(p.shape)
    optimizer = optim.AdamW(params, lr=1e-3)

    def step():
        optimizer.step()
        return [p.data for p in params]

    return step
