"""Weights on disk: our own files, and those that others have published.

safetensors.py is the format that we write. torch_file.py reads what torch.save and TorchScript wrote, without PyTorch.
clip_names.py and coca_names.py say what the published tensors are called here.
"""

from .fit import WeightsError, match
from .safetensors import DTYPES, load_safetensors, read_header, save_safetensors
from .torch_file import load_torch

__all__ = ["DTYPES", "WeightsError", "load_safetensors", "load_torch", "match", "read_header", "save_safetensors"]
