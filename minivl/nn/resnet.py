"""CLIP's ResNet: convolutions all the way, and one look of attention at the end.   arXiv 2103.00020, sec. 2.4.

He et al. 2015 (arXiv 1512.03385) with three changes: a stem of three convolutions (ResNet-D, He et al. 2018, arXiv
1812.01187), strides that take means first, so that no fine pattern folds into a coarse one (Zhang 2019, arXiv
1904.11486), and an attentional pooler, whose question is the mean of what it looks at.

      (B, 3, S, S) --stem--> S/4 --stage 1--> S/4 --stage 2--> S/8 --...--> tokens --pool--> (B, E)

Maps are (B, H, W, C) throughout, see ops/conv.py.
"""

from .. import ops
from .attention import MultiHeadAttention
from .layers import BatchNorm, Conv2d
from .module import Module, parameter

EXPANSION = 4  # a bottleneck gives four times as many features as it has inside


class ResNet(Module):
    """images (B, 3, S, S) -> (B, E).

    blocks   how many bottlenecks each stage has; (3, 4, 6, 3) is a ResNet-50
    C        features of the first stage, inside its bottlenecks; every later stage has twice as many
    H        heads of the pooler
    """

    def __init__(self, image_size, blocks, C, H, E, random):
        shrink = 2 ** (1 + len(blocks))
        if not blocks or min(blocks) < 1:
            raise ValueError(f"ResNet: blocks {tuple(blocks)}, must be at least one in each stage")
        if image_size % shrink:
            raise ValueError(f"ResNet: image_size {image_size} is not divisible by {shrink}, for {len(blocks)} stages")
        self.image_size = image_size
        self.conv1 = Conv2d(3, C // 2, 3, random, stride=2, padding=1, bias=False)
        self.conv2 = Conv2d(C // 2, C // 2, 3, random, padding=1, bias=False)
        self.conv3 = Conv2d(C // 2, C, 3, random, padding=1, bias=False)
        self.norm1, self.norm2, self.norm3 = BatchNorm(C // 2), BatchNorm(C // 2), BatchNorm(C)
        self.stages, inputs = [], C
        for i, n in enumerate(blocks):
            self.stages.append(Stage(n, inputs, C * 2**i, random, stride=1 if i == 0 else 2))
            inputs = C * 2**i * EXPANSION
        self.pool = AttentionPool((image_size // shrink) ** 2, inputs, H, E, random)

    def forward(self, images):
        B, S = len(images), self.image_size
        if images.shape != (B, 3, S, S):
            raise ValueError(f"ResNet: images {images.shape}, must be (B, 3, {S}, {S})")
        return self.pool(self.map(images))

    def map(self, images):
        """images (B, 3, S, S) -> the last map, as tokens (B, N, C)"""
        x = ops.transpose(images, axes=(0, 2, 3, 1))
        #: The stem: three convolutions, then means of 2 x 2 | x = \mathrm{pool}(f_3(f_2(f_1(x))))
        for conv, norm in ((self.conv1, self.norm1), (self.conv2, self.norm2), (self.conv3, self.norm3)):
            x = ops.relu(norm(conv(x)))
        x = ops.avg_pool2d(x, size=2)
        #: Stages: but for the first, maps half as high and wide, and twice the features | x = s_4(s_3(s_2(s_1(x))))
        for stage in self.stages:
            x = stage(x)
        return x.reshape(len(x), -1, x.shape[3])


class Stage(Module):
    """n Bottlenecks, of which the first has the stride."""

    def __init__(self, n, inputs, C, random, stride):
        first = Bottleneck(inputs, C, random, stride)
        self.blocks = [first] + [Bottleneck(EXPANSION * C, C, random) for _ in range(n - 1)]

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x


class Bottleneck(Module):
    """1x1 to C features, 3x3, 1x1 to 4C, added to the input.   x (B, H, W, inputs) -> (B, H / stride, W / stride, 4C)

    Where the sizes differ, the input too is averaged over stride x stride and mapped to 4C.
    """

    def __init__(self, inputs, C, random, stride=1):
        self.conv1, self.norm1 = Conv2d(inputs, C, 1, random, bias=False), BatchNorm(C)
        self.conv2, self.norm2 = Conv2d(C, C, 3, random, padding=1, bias=False), BatchNorm(C)
        self.conv3, self.norm3 = Conv2d(C, EXPANSION * C, 1, random, bias=False), BatchNorm(EXPANSION * C)
        self.stride, self.changes = stride, stride > 1 or inputs != EXPANSION * C
        if self.changes:
            self.shortcut = Conv2d(inputs, EXPANSION * C, 1, random, bias=False)
            self.shortcut_norm = BatchNorm(EXPANSION * C)

    def forward(self, x):
        y = ops.relu(self.norm1(self.conv1(x)))
        y = ops.relu(self.norm2(self.conv2(y)))
        y = self.norm3(self.conv3(self.shrink(y)))
        if self.changes:
            x = self.shortcut_norm(self.shortcut(self.shrink(x)))
        return ops.relu(x + y)

    def shrink(self, x):
        return ops.avg_pool2d(x, size=self.stride) if self.stride > 1 else x


class AttentionPool(Module):
    """The mean of N tokens looks at all of them, and at itself.   x (B, N, C) -> (B, E)"""

    def __init__(self, N, C, H, E, random):
        self.position = parameter(random, N + 1, C, std=C**-0.5)
        self.attend = MultiHeadAttention(C, H, random, out_width=E)

    def forward(self, x):
        x = ops.cat([x.mean(axis=1, keepdims=True), x], axis=1) + self.position
        return self.attend(x[:, :1], memory=x)[:, 0]
