"""One paper, one file; none imports another. Each has a `Config` and a model that takes (config, random)."""

import importlib

NAMES = {"clip": "CLIP", "coca": "CoCa", "mammut": "MaMMUT", "open_clip_coca": "OpenCLIPCoCa"}


def find(name):
    """(Config, model class) of a model by its name; ValueError lists the names there are."""
    if name not in NAMES:
        raise ValueError(f"model {name!r} is unknown, must be one of: {', '.join(sorted(NAMES))}")
    module = importlib.import_module(f".{name}", __package__)
    return module.Config, getattr(module, NAMES[name])
