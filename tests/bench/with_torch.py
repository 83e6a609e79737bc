"""The cases, computed by PyTorch. prepare(case) gives a function that does the work once, see with_minivl.py."""

import cases
import numpy as np
import torch
import torch.nn.functional as F
import torch_models

from minivl.array import cores

torch.set_num_threads(cores())
# The first optimiser imports 80 MB of compiler. That is no part of a step, so not of its memory either.
torch.optim.AdamW([torch.zeros(1, requires_grad=True)])


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
    "add_layernorm": lambda x, branch, weight, bias: F.layer_norm(x + branch, bias.shape, weight, bias),
    "rmsnorm": lambda x, weight: F.rms_norm(x, weight.shape, weight, eps=1e-6),
    "normalize": lambda x: F.normalize(x, dim=-1, eps=1e-12),
    "batch_norm": lambda x, weight, bias: F.batch_norm(x, None, None, weight, bias, training=True),
    "gelu": F.gelu,
    "quick_gelu": torch_models.quick_gelu,
    "contrastive": torch_models.contrastive_loss,
    "conv2d": lambda x, w, bias: F.conv2d(x, w, bias, padding=1),
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
    of_maps = name in ("batch_norm", "conv2d")
    if of_maps:
        arrays[0] = features_second(arrays[0])
    if name == "conv2d":
        arrays[1] = np.ascontiguousarray(arrays[1].transpose(3, 2, 0, 1))
    inputs = [torch.from_numpy(a).requires_grad_(wanted) for a, wanted in zip(arrays, learn, strict=True)]
    tensors = [x for x in inputs if x.requires_grad]
    shape = OPS[name](*inputs).shape
    dy = features_second(cases.upstream([shape[i] for i in (0, 2, 3, 1)])) if of_maps else cases.upstream(shape)
    dy = torch.from_numpy(np.asarray(dy))

    def step():
        for tensor in tensors:
            tensor.grad = None
        y = OPS[name](*inputs)
        y.backward(dy)
        return [y.detach().numpy(), *(tensor.grad.numpy() for tensor in tensors)]

    return step


def features_second(maps):
    """(B, H, W, C) -> (B, C, H, W), as PyTorch has it"""
    return np.ascontiguousarray(maps.transpose(0, 3, 1, 2))


def adamw(arrays):
    params = [torch.from_numpy(a).requires_grad_() for a in arrays]
    for p in params:
        p.grad = torch.from_numpy(cases.upstream(tuple(p.shape)))
    optimizer = torch.optim.AdamW(params, lr=1e-3)

    def step():
        optimizer.step()
        return [p.detach().numpy() for p in params]

    return step
