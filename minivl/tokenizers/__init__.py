"""Text to ids and back."""

from .bpe import ByteLevelBPE

__all__ = ["ByteLevelBPE"]
