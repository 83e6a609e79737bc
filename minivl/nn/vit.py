"""The Vision Transformer: a picture becomes a sequence of patches.   Dosovitskiy et al. 2021, arXiv 2010.11929."""

from .. import ops
from .module import Module, constant_parameter, parameter
from .transformer import Transformer


class ViT(Module):
    """images (B, 3, S, S) -> tokens (B, N, C), N = (S / patch)^2.

    There is no class token: whoever wants one vector pools the patches.
    """

    def __init__(self, image_size, patch, layers, C, H, hidden, random, dropout=0.0, checkpointed=False):
        if image_size % patch:
            raise ValueError(f"ViT: image_size {image_size} is not divisible by patch {patch}")
        self.image_size = image_size
        self.patch = parameter(random, 3, patch, patch, C, std=(3 * patch * patch) ** -0.5)
        self.patch_bias = constant_parameter(0, C)
        # As large as the patches: with 0.02, usual in large models, a small one learns last where things are.
        self.position = parameter(random, (image_size // patch) ** 2, C, std=0.5)
        self.transformer = Transformer(layers, C, H, hidden, random, dropout=dropout, checkpointed=checkpointed)

    def forward(self, images, random=None):
        if images.shape[1:] != (3, self.image_size, self.image_size):
            raise ValueError(f"ViT: images {images.shape}, must be (B, 3, {self.image_size}, {self.image_size})")
        #: A picture becomes patches, each patch a token | x_i = W p_i + e_i
        x = ops.patch_embed(images, self.patch, self.patch_bias) + self.position
        #: Every patch looks at every other | X = \mathrm{Transformer}(X)
        return self.transformer(x, random=random)
