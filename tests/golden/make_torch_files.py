"""Makes torch_save.pt, torch_script.pt and what must be read from them. Needs the peers extra.

    python tests/golden/make_torch_files.py

tests/weights/test_torch_file.py reads them, without PyTorch. The numbers are those of torch.manual_seed(0).
"""

import zipfile
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent


def net():
    """Convolution, batch norm with statistics, and attention, as in the published models."""
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 2), torch.nn.BatchNorm2d(4), torch.nn.Flatten())
    body(torch.randn(2, 3, 5, 5))
    return body


def checkpoint():
    """A trainer's checkpoint with views, a shared storage and several dtypes."""
    base = torch.randn(4, 6)
    tensors = {"base": base, "transposed": base.T, "strided": base[1::2, ::3], "stretched": base[0].expand(3, 6)}
    tensors |= {"half": base.half(), "bfloat16": base.bfloat16(), "integers": torch.arange(5), "bool": base > 0}
    tensors |= {"scalar": torch.tensor(2.5), "empty": base[:0], "parameter": torch.nn.Parameter(base[2])}
    attention = torch.nn.MultiheadAttention(4, 2).state_dict()
    return {"epoch": 3, "state_dict": {**tensors, **attention}, "lr": [0.1, None], "net": net().state_dict()}


def flat(value, name=""):
    if isinstance(value, torch.Tensor):
        yield name, value.detach().float().numpy() if value.dtype == torch.bfloat16 else value.detach().numpy()
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from flat(part, f"{name}.{key}" if name else key)


def forget_where(path):
    """Leaves out of an archive which files of which machine its code came from."""
    with zipfile.ZipFile(path) as file:
        kept = [(info, file.read(info)) for info in file.infolist() if not info.filename.endswith(".debug_pkl")]
    with zipfile.ZipFile(path, "w") as file:
        for info, data in kept:
            file.writestr(info.filename, data, info.compress_type)


if __name__ == "__main__":
    saved = checkpoint()
    torch.save(saved, HERE / "torch_save.pt")
    torch.jit.save(torch.jit.script(net().half().eval()), HERE / "torch_script.pt")
    forget_where(HERE / "torch_script.pt")
    np.savez_compressed(HERE / "torch_save.npz", **dict(flat(saved)))
    np.savez_compressed(HERE / "torch_script.npz", **dict(flat(net().half().state_dict())))
