"""Who may attend to whom. A mask is a boolean array (..., queries, keys), True = may attend; combine with & and |.

Everything that tells CoCa, MaMMUT, M6 or BEiT-3 apart inside an attention layer is in here; the layer itself never
changes. In the drawings a row is a query, a column a key, `x` may attend and `.` may not; tests compare each with its
function.
"""

import numpy as np

from . import array


def bidirectional(T, keys=None):
    """Every query sees every key (ViT, BERT, MaMMUT's contrastive pass); `keys` of them, T if not given.

    bidirectional(3)   x x x
                       x x x
                       x x x
    """
    return np.ones((T, T if keys is None else keys), dtype=bool)


def causal(T, past=0):
    """A token sees itself and what came before, `past` earlier tokens included (captioning; past: a cache of keys).

    causal(3)      x . .
                   x x .
                   x x x

    causal(2, 3)   x x x x .
                   x x x x x
    """
    # minivl:exercise ex07.a points=1 "causal"
    # minivl:hint query t stands at place past + t among the keys
    return np.tri(T, past + T, past, dtype=bool)
    # minivl:end


def padding(lengths, T):
    """The first `lengths[b]` keys of sentence b are words, the others pads that nobody sees: (B, 1, 1, T).

    padding([2, 3], 3)   x x .

                         x x x
    """
    lengths = array.to_device(lengths, "cpu")
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
        raise TypeError(f"padding: lengths must be integers (B,), got {lengths.dtype} {lengths.shape}")
    if lengths.size and (lengths.min() < 0 or lengths.max() > T):
        raise ValueError(f"padding: lengths from {lengths.min()} to {lengths.max()}, must be in 0 to T = {T}")
    # minivl:exercise ex07.b points=1 "padding"
    # minivl:hint the result is (B, 1, 1, T): one row for each sentence, for all heads and queries
    return np.arange(T) < lengths[:, None, None, None]
    # minivl:end


def prefix(N, T):
    """N tokens that all see each other, then T that see them and their own past (SimVLM, M6, BEiT-3 captioning).

    prefix(2, 3)   x x . . .
                   x x . . .
                   x x x . .
                   x x x x .
                   x x x x x
    """
    # minivl:exercise ex07.c points=1 "a prefix"
    # minivl:hint causal, but for one block of the table
    mask = causal(N + T)
    mask[:N, :N] = True
    return mask
    # minivl:end


def block(*sizes):
    """Groups of tokens that see their own group only (several pictures or sentences in one row).

    block(2, 1, 2)   x x . . .
                     x x . . .
                     . . x . .
                     . . . x x
                     . . . x x
    """
    # minivl:exercise ex07.d points=1 "blocks"
    # minivl:hint give every token the number of its group, and compare
    group = np.repeat(np.arange(len(sizes)), sizes)
    return group[:, None] == group[None, :]
    # minivl:end


def same_place(F, N):
    """F frames of N patches, one frame behind the other: a patch sees its own place in every frame (OmniVL, in time).

    same_place(2, 3)   x . . x . .
                       . x . . x .
                       . . x . . x
                       x . . x . .
                       . x . . x .
                       . . x . . x
    """
    return np.tile(np.eye(N, dtype=bool), (F, F))


def class_token_last(lengths, T):
    """Causal over T words and a class token behind them, which sees the words of its sentence but no pads: CoCa.

    No word sees the class token, so that it can be cut off without a trace; pads see words, and are seen by nobody.
    (B, 1, T + 1, T + 1).

    class_token_last([2, 3], 3)   x . . .
                                  x x . .
                                  x x . .
                                  x x . x

                                  x . . .
                                  x x . .
                                  x x x .
                                  x x x x
    """
    # minivl:exercise ex07.e points=2 "CoCa's class token"
    # minivl:hint causal over T + 1 tokens; then which keys anybody sees: words, and the class token
    seen = np.concatenate([padding(lengths, T), np.ones((len(lengths), 1, 1, 1), dtype=bool)], axis=-1)
    return causal(T + 1) & seen
    # minivl:end


def draw(mask):
    """A mask as the docstrings draw it; masks of a batch one after another, with a line between."""
    mask = np.asarray(mask)
    flat = mask.reshape(-1, *mask.shape[-2:])
    return "\n\n".join("\n".join(" ".join("x" if seen else "." for seen in row) for row in one) for one in flat)
