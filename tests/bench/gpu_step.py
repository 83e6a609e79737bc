"""A training step of CoCa base on a GPU: forward, backward and AdamW, all numbers in bfloat16, beside PyTorch's."""

import numpy as np
from cpu import number, table
from engines import installed

from minivl import optim
from minivl.array import to_device
from minivl.models.coca import CoCa, Config

LARGE = (128, Config.base(end_token=-1))  # batch size, sizes
SMALL = (4, Config.tiny(width=32, heads=1, image_layers=1, unimodal_layers=1, multimodal_layers=1, end_token=-1))
PYTORCH = {  # how it is asked for a step
    "PyTorch eager": {},
    "PyTorch eager, fused AdamW": dict(fused=True),
    "torch.compile, fused AdamW": dict(fused=True, compiled=True),
}


def section(clock, options, notes):
    """The table of all engines, which take turns; each begins with the same weights and must have the same loss."""
    (B, config), dtype = SMALL if options.quick else LARGE, options.dtype or "bfloat16"
    model = CoCa(config, np.random.default_rng(1))
    weights, batch = {name: a.copy() for name, a in model.state_dict().items()}, batch_of(B, config)
    steps, memory = {"minivl": ours(model, batch, dtype)}, {}
    loss = float(steps["minivl"]()[0])
    memory["minivl"] = clock.cupy.get_default_memory_pool().total_bytes()
    for name, how in PYTORCH.items() if installed("PyTorch") else ():
        if options.eager and "compiled" in how:
            continue
        try:
            steps[name], memory[name], theirs = in_pytorch(config, weights, batch, dtype, **how)
            if abs(theirs - loss) > 0.02 * abs(loss):
                raise RuntimeError(f"its loss is {theirs:.4f}, minivl's {loss:.4f}")
        except Exception as error:
            notes.setdefault((name, " ".join(str(error).split())[:160]), []).append("step")
            steps.pop(name, None)
    times = clock.times(steps)
    rows = []
    for name, (milliseconds, spread) in times.items():
        speed, ratio = B / milliseconds * 1e3, times["minivl"][0] / milliseconds
        rows.append([name, number(milliseconds), number(speed), f"{ratio:.2f}", number(memory[name] / 1e9),
                     f"{spread:.0%}"])  # fmt: skip
    c = config
    sizes = (
        f"{model.num_parameters() / 1e6:.0f}M parameters, width {c.width}, {c.image_layers} + {c.unimodal_layers} + "
    )
    sizes += f"{c.multimodal_layers} layers, pictures of {c.image_size}, texts of {c.context}, batch {B}, {dtype}"
    head = ["engine", "ms a step", "pictures a second", "minivl's time over it", "peak memory, GB", "spread"]
    return f"{sizes}; loss of the first step {loss:.3f}.\n\n" + table(head, rows)


def batch_of(B, config):
    random, T, S = np.random.default_rng(0), config.context, config.image_size
    return {
        "image": random.standard_normal((B, 3, S, S), dtype=np.float32),
        "text": random.integers(0, config.vocabulary, (B, T)),
        "lengths": random.integers(T // 2, T + 1, B),
    }


def ours(model, batch, dtype):
    model.to("cuda")
    batch = batch | {name: to_device(batch[name], "cuda") for name in ("image", "text")}
    if dtype == "bfloat16":
        import ml_dtypes  # what NumPy and CuPy know bfloat16 by

        model.to(np.dtype(ml_dtypes.bfloat16))
        batch["image"] = batch["image"].astype(ml_dtypes.bfloat16)
    optimizer = optim.AdamW(model.parameters(), lr=1e-4)

    def step():
        optimizer.zero_grad()
        loss = model(batch)["loss"]
        loss.backward()
        optimizer.step()
        return [loss.data]

    return step


def in_pytorch(config, weights, batch, dtype, fused=False, compiled=False):
    """(step, bytes of memory at the peak of one, its loss) of the same model, as torch_models.py writes it."""
    import gpu_torch
    import torch
    import torch_models

    device, like = gpu_torch.DEVICE, getattr(torch, dtype)
    with torch.device(device):
        model = torch_models.take_weights(torch_models.CoCa(config), weights).to(like)
    batch = {name: torch.from_numpy(a).to(device) for name, a in batch.items()}
    batch["image"] = batch["image"].to(like)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused or None)
    forward = torch.compile(model) if compiled else model

    def step():
        with torch.device(device):  # where the model makes its masks
            optimizer.zero_grad()
            loss = forward(batch)
            loss.backward()
            optimizer.step()
        return [loss.detach()]

    cuda = device == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    loss = float(step()[0])
    return step, torch.cuda.max_memory_allocated() if cuda else 0, loss
