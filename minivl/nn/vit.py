"""The Vision Transformer: a picture becomes a sequence of patches.   Dosovitskiy et al. 2021, arXiv 2010.11929."""

from .. import ops
from .layers import LayerNorm
from .module import Module, constant_parameter, parameter
from .transformer import Transformer


class ViT(Module):
    """images (B, 3, S, S) -> tokens (B, N, C), N = (S / patch)^2, or (B, 1 + N, C) with a class token in front.

    Without class token, whoever wants one vector pools the patches.

    bias         of the patches' linear map
    class_token  a learned token that looks at all patches, sec. 3.1
    pre_norm     a layer normalisation before the first block as well (CLIP's)
    activation   of the MLPs
    """

    def __init__(
        self, image_size, patch, layers, C, H, hidden, random, dropout=0.0, checkpointed=False,
        bias=True, class_token=False, pre_norm=False, activation=ops.gelu,
    ):  # fmt: skip
        if image_size % patch:
            raise ValueError(f"ViT: image_size {image_size} is not divisible by patch {patch}")
        self.image_size = image_size
        self.patch = parameter(random, 3, patch, patch, C, std=(3 * patch * patch) ** -0.5)
        self.patch_bias = constant_parameter(0, C) if bias else None
        self.cls = parameter(random, 1, 1, C, std=0.5) if class_token else None
        # As large as the patches: with 0.02, usual in large models, a small one learns last where things are.
        self.position = parameter(random, class_token + (image_size // patch) ** 2, C, std=0.5)
        self.pre_norm = LayerNorm(C) if pre_norm else None
        options = dict(dropout=dropout, checkpointed=checkpointed, activation=activation)
        self.transformer = Transformer(layers, C, H, hidden, random, **options)

    def forward(self, images, random=None):
        if images.shape[1:] != (3, self.image_size, self.image_size):
            raise ValueError(f"ViT: images {images.shape}, must be (B, 3, {self.image_size}, {self.image_size})")
        #: A picture becomes patches, each patch a token | x_i = W p_i + e_i
        x = ops.patch_embed(images, self.patch, self.patch_bias)
        if self.cls is not None:
            x = ops.cat([ops.expand(self.cls, shape=(len(x), 1, x.shape[2])), x], axis=1)
        x = x + self.position
        if self.pre_norm is not None:
            x = self.pre_norm(x)
        #: Every patch looks at every other | X = \mathrm{Transformer}(X)
        return self.transformer(x, random=random)
