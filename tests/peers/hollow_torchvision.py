"""open_clip where torchvision is not installed: it imports that for transforms of pictures, which models do not need.

torchvision itself is no way out: the one that pip finds brings another torch along.
"""

import importlib.machinery
import importlib.util
import sys
import types


class _Anything(type):
    """A class whose every attribute is that attribute's name."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _Hollow(types.ModuleType):
    """A module in which every name is an empty class."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return _Anything(name, (), {})


def open_clip():
    """The package."""
    import transformers  # noqa: F401  it asks whether torchvision is there, and must see that it is not

    install()
    import open_clip

    return open_clip


def install():
    """Puts hollow modules where torchvision's would be; does nothing where it is installed."""
    if "torchvision" in sys.modules or importlib.util.find_spec("torchvision") is not None:
        return
    for name in ("", ".ops", ".ops.misc", ".transforms", ".transforms.functional"):
        full = "torchvision" + name
        module = sys.modules[full] = _Hollow(full)
        module.__spec__ = importlib.machinery.ModuleSpec(full, None, is_package=True)
        module.__version__ = "0.0.0"
        if name:
            parent, _, child = full.rpartition(".")
            setattr(sys.modules[parent], child, module)
