"""The cases, computed by PyTorch. prepare(case) gives a function that does the work once, see with_minivl.py."""

import cases
import numpy as np
import torch
import torch.nn.functional as F
import torch_models

from minivl.array import cores

torch.set_num_threads(cores())


def about():
    return f"PyTorch {torch.__version__}"


def threads():
    return torch.get_num_threads()


def prepare(case):
    return {"train": train, "infer": infer, "generate": generate, "encoder": encoder, "op": op}[case["kind"]](case)


# ---- the cases -------------------------------------------------------------------------------------------------------


def model_of(case):
    ours, batch = cases.model_of(case)
    model = getattr(torch_models, case["model"])(ours.config)
    return torch_models.take_weights(model, ours.state_dict()), {k: torch.from_numpy(a) for k, a in batch.items()}


def train(case):
    model, batch = model_of(case)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        loss = model(batch)
        loss.backward()
        optimizer.step()
        return [loss.detach().numpy()]

    return step


def infer(case):
    model, batch = model_of(case)

    def step():
        with torch.inference_mode():
            return [model(batch).numpy()]

    return step


def generate(case):
    model, batch = model_of(case)

    def step():
        with torch.inference_mode():
            return [torch_models.greedy(model, batch["image"]).numpy()]

    return step


def encoder(case):
    ours, x = cases.encoder(**case["sizes"])
    s = case["sizes"]
    model = torch_models.Transformer(s["layers"], s["width"], s["heads"], 4 * s["width"])
    torch_models.take_weights(model, ours.state_dict())
    x = torch.from_numpy(x)

    def step():
        model.zero_grad()
        y = model(x)
        loss = (y * y).mean()
        loss.backward()
        return [loss.detach().numpy(), model.blocks[0].attend.query.weight.grad.numpy()]

    return step


OPS = {
    "attention": F.scaled_dot_product_attention,
    "attention, causal": F.scaled_dot_product_attention,
    "layernorm": lambda x, weight, bias: F.layer_norm(x, bias.shape, weight, bias),
    "gelu": F.gelu,
    "cross_entropy": F.cross_entropy,
    "linear": F.linear,
    "softmax": lambda x: x.softmax(-1),
    "embedding": lambda table, ids: F.embedding(ids, table),
    "patch_embed": lambda x, w, bias: F.conv2d(x, w, bias, stride=w.shape[2:]).flatten(2).transpose(1, 2),
}


def op(case):
    name, arrays = case["name"], cases.op_inputs(case["name"], **case["sizes"])
    learn = cases.learned(name, arrays)
    if name == "AdamW":
        return adamw(arrays)
    if name == "linear":
        arrays[1] = np.ascontiguousarray(arrays[1].T)
    if name == "patch_embed":
        arrays[1] = np.ascontiguousarray(arrays[1].transpose(3, 0, 1, 2))
    inputs = [torch.from_numpy(a).requires_grad_(wanted) for a, wanted in zip(arrays, learn, strict=True)]
    tensors = [x for x in inputs if x.requires_grad]
    dy = torch.from_numpy(np.asarray(cases.upstream(OPS[name](*inputs).shape)))

    def step():
        for tensor in tensors:
            tensor.grad = None
        y = OPS[name](*inputs)
        y.backward(dy)
        return [y.detach().numpy(), *(tensor.grad.numpy() for tensor in tensors)]

    return step


def adamw(arrays):
    params = [torch.from_numpy(a).requires_grad_() for a in arrays]
    for p in params:
        p.grad = torch.from_numpy(cases.upstream(tuple(p.shape)))
    optimizer = torch.optim.AdamW(params, lr=1e-3)

    def step():
        optimizer.step()
        return [p.detach().numpy() for p in params]

    return step
