"""Multi-head attention, and the cache of keys and values that makes generation fast."""

import numpy as np

from .. import ops
from ..array import array_module
from ..tensor import Tensor
from .layers import Linear
from .module import Module


class MultiHeadAttention(Module):
    """H heads, each attending with D = C / H numbers of every vector.   Vaswani et al. 2017, arXiv 1706.03762, 3.2.2.

    x        (B, T, C), who asks
    memory   (B, M, memory_width), who is asked; x itself if not given
    mask     boolean, broadcastable to (B, H, T, M), True = may attend
    cache    a Cache: the keys and values of earlier calls come before those of x; those of a memory are kept
    ->       (B, T, C), or (B, T, out_width) if that is given
    """

    def __init__(self, C, H, random, memory_width=None, scale=1.0, out_width=None):
        if C % H:
            raise ValueError(f"MultiHeadAttention: width {C} is not divisible by {H} heads")
        self.H, M = H, C if memory_width is None else memory_width
        self.query, self.key, self.value = Linear(C, C, random), Linear(M, C, random), Linear(M, C, random)
        self.out = Linear(C, C if out_width is None else out_width, random, scale=scale)

    def forward(self, x, memory=None, mask=None, cache=None):
        B, T, C = x.shape
        #: Every token asks a question, and offers a key and a value | Q = X W_Q,\ K = M W_K,\ V = M W_V
        q = self.heads(self.query(x))
        if memory is not None and cache is not None:
            k, v = cache.once(self, lambda: (self.heads(self.key(memory)), self.heads(self.value(memory))))
        else:
            source = x if memory is None else memory
            k, v = self.heads(self.key(source)), self.heads(self.value(source))
            if cache is not None:
                k, v = cache.extend(self, k, v)

        o = ops.attention(q, k, v, mask=mask)
        #: What the heads found, side by side, and mixed | Y = [O_1 \ldots O_H]\, W_O
        return self.out(o.transpose(0, 2, 1, 3).reshape(B, T, C))

    def weights(self, x, memory=None, mask=None):
        """How much each token of x looks at each of the memory: (B, H, T, M); rows add up to 1. To be looked at."""
        q, k = self.heads(self.query(x)), self.heads(self.key(x if memory is None else memory))
        scores = (q @ k.swapaxes(-1, -2)) * q.shape[-1] ** -0.5
        return ops.softmax(scores, mask)

    def heads(self, x):
        """(B, T, C) -> (B, H, T, D)"""
        B, T, C = x.shape
        return x.reshape(B, T, self.H, C // self.H).transpose(0, 2, 1, 3)


class Cache:
    """The keys and values that attention layers have worked out already, while a text is generated token by token.

    Only for use under no_grad: what is kept has no history.
    """

    def __init__(self):
        self.memories = {}  # layer -> (keys, values) of its memory, each (B, H, M, D)
        self.rooms = {}  # layer -> keys and values of its own tokens (2, B, H, room, D)
        self.used = {}  # layer -> how many of them there are

    @property
    def length(self):
        """How many tokens self-attention has read."""
        return max(self.used.values(), default=0)

    def extend(self, layer, k, v):
        """Appends the keys and values (B, H, T, D) of new tokens; returns those of all tokens.

        Room is taken for twice as many as there are, so that a token is copied twice and not once for every later one.
        """
        xp, (B, H, T, D) = array_module(k.data), k.shape
        before = self.used.get(layer, 0)
        now = before + T
        if before == 0 or now > self.rooms[layer].shape[3]:
            larger = xp.empty((2, B, H, 2 * now, D), k.dtype)
            if before:
                larger[..., :before, :] = self.rooms[layer][..., :before, :]
            self.rooms[layer] = larger
        room, self.used[layer] = self.rooms[layer], now
        room[0, :, :, before:now], room[1, :, :, before:now] = k.data, v.data
        return Tensor(room[0, :, :, :now]), Tensor(room[1, :, :, :now])

    def once(self, layer, compute):
        """The keys and values of a memory that does not change: computed at the first call."""
        if layer not in self.memories:
            self.memories[layer] = compute()
        return self.memories[layer]

    def has_memory(self, layer):
        """Whether `layer` has worked out the keys and values of its memory, and needs it no more."""
        return layer in self.memories

    def select(self, rows):
        """Keeps the examples `rows` (integers), in that order: beam search goes on from some of its beams, not all."""
        rows = np.asarray(rows)
        self.memories = {layer: (Tensor(k.data[rows]), Tensor(v.data[rows])) for layer, (k, v) in self.memories.items()}
        self.rooms = {layer: room[:, rows] for layer, room in self.rooms.items()}
