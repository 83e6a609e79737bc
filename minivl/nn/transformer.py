"""The transformer block, a stack of them, and the attentional pooler."""

from .. import ops
from ..array import to_device
from ..tensor import checkpoint
from .attention import MultiHeadAttention
from .layers import MLP, LayerNorm
from .module import Module, parameter


class Block(Module):
    """Pre-norm transformer layer: self-attention, cross-attention if `cross`, MLP; each added to its input.

    x        (B, T, C)
    mask     who of x may attend to whom in x, boolean, broadcastable to (B, H, T, T)
    memory   (B, M, C), what cross-attention looks at, all of it
    cache    see MultiHeadAttention
    random   a numpy.random.Generator: dropout is on, at the rate given; None: off
    """

    def __init__(self, C, H, hidden, random, cross=False, scale=1.0, dropout=0.0, activation=ops.gelu):
        self.norm1, self.attend = LayerNorm(C), MultiHeadAttention(C, H, random, scale=scale)
        if cross:
            self.norm_cross, self.attend_memory = LayerNorm(C), MultiHeadAttention(C, H, random, scale=scale)
        self.norm2, self.mlp = LayerNorm(C), MLP(C, hidden, random, scale, activation)
        self.cross, self.dropout = cross, dropout

    def forward(self, x, mask=None, memory=None, cache=None, random=None):
        #: Tokens look at each other, and add what they find to themselves | x = x + \mathrm{Attend}(\mathrm{LN}(x))
        x = x + self.drop(self.attend(self.norm1(x), mask=mask, cache=cache), random)
        if self.cross:
            #: ... and at the memory, likewise | x = x + \mathrm{Attend}(\mathrm{LN}(x), M)
            x = x + self.drop(self.attend_memory(self.norm_cross(x), memory=memory, cache=cache), random)
        #: Then each token by itself: a wide layer and back | x = x + W_2\, \mathrm{GELU}(W_1\, \mathrm{LN}(x))
        return x + self.drop(self.mlp(self.norm2(x)), random)

    def drop(self, x, random):
        return x if random is None else ops.dropout(x, p=self.dropout, random=random)


class Transformer(Module):
    """`layers` Blocks and a last layer normalisation.   x (B, T, C) -> (B, T, C)

    checkpointed   keep only each block's input for backward, and compute the rest again there: memory for time
    """

    def __init__(self, layers, C, H, hidden, random, cross=False, dropout=0.0, checkpointed=False, activation=ops.gelu):
        # Every block adds two or three branches to the stream; their last matrices start smaller, so that the stream
        # does not grow with depth (GPT-2, sec. 2.3).
        scale = ((3 if cross else 2) * max(1, layers)) ** -0.5
        self.blocks = [Block(C, H, hidden, random, cross, scale, dropout, activation) for _ in range(layers)]
        self.norm = LayerNorm(C)
        self.checkpointed = checkpointed

    def forward(self, x, mask=None, memory=None, cache=None, random=None):
        return self.norm(self.stream(x, mask, memory, cache, random))

    def stream(self, x, mask=None, memory=None, cache=None, random=None):
        """The residual stream as the last block leaves it, not yet normalised: for whoever adds to it."""
        mask = None if mask is None else to_device(mask, x.device)  # once, not in every block
        for block in self.blocks:
            if self.checkpointed:
                x = checkpoint(lambda x, block=block: block(x, mask, memory, cache, random), x, random=random)
            else:
                x = block(x, mask, memory, cache, random)
        return x


class AttentionalPooler(Module):
    """Q learned queries, put to a memory: one layer of attention.   memory (B, M, C) -> (B, Q, C)

    mask   which of the memory may be looked at, boolean, broadcastable to (B, H, Q, M)

    Lee et al. 2019, arXiv 1810.00825 (Set Transformer), sec. 3.2; CoCa, arXiv 2205.01917, sec. 3.2.
    """

    def __init__(self, queries, C, H, random):
        self.queries = parameter(random, queries, C, std=0.02)
        self.norm_queries, self.norm_memory = LayerNorm(C), LayerNorm(C)
        self.attend, self.norm = MultiHeadAttention(C, H, random), LayerNorm(C)

    def forward(self, memory, mask=None):
        return self.norm(self.attend(self.questions(memory), memory=self.norm_memory(memory), mask=mask))

    def questions(self, memory):
        """The queries, the same for every example: (B, Q, C)"""
        return ops.expand(self.norm_queries(self.queries), shape=(len(memory), *self.queries.shape))

    def weights(self, memory):
        """How much each query looks at each of the memory: (B, H, Q, M). To be looked at."""
        return self.attend.weights(self.questions(memory), memory=self.norm_memory(memory))
