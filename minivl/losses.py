"""What the models minimise. A loss is a mean over what it counts, and its docstring says what that is."""

import numpy as np

from . import ops
from .array import array_module, device_of, to_device


def contrastive_loss(image, text, log_scale, same=None):
    """InfoNCE in both directions: each picture finds its text among the batch's, each text its picture.

    L = 1/2 (L_i2t + L_t2i),   L_i2t = -1/B sum_i log( exp(v_i w_i / sigma) / sum_j exp(v_i w_j / sigma) )
    van den Oord et al. 2018, arXiv 1807.03748, eq. 4; symmetric as in CLIP, arXiv 2103.00020, fig. 3.

    image, text   (B, C), of length 1: row b of one belongs to row b of the other
    log_scale     one number, log(1 / sigma), learned
    same          boolean (B, B) or None: pairs (i, j) that also belong together (two captions of one thing) and so are
                  left out of the sums over j; the diagonal always counts
    ->            loss, logits (B, B) = image text^T / sigma
    """
    B = image.shape[0]
    logits = image @ (text * log_scale.exp()).T
    scores = logits
    if same is not None:
        twins = same & ~np.eye(B, dtype=bool)
        scores = ops.where(to_device(~twins, device_of(image.data)), logits, np.finfo(image.dtype).min / 2)
    diagonal = array_module(image.data).arange(B)
    loss = (ops.cross_entropy(scores, diagonal) + ops.cross_entropy(scores.T, diagonal)) * 0.5
    return loss, logits


def sigmoid_loss(image, text, log_scale, bias, same=None):
    """Each of the B x B pairs by itself: do the two belong together?   Zhai et al. 2023, arXiv 2303.15343, sec. 3.2.

    L = -1/B sum_ij log( 1 / (1 + exp(-z_ij s_ij)) ),   s_ij = v_i w_j / sigma + bias,   z_ij = 1 if i = j, else -1

    image, text, log_scale, same   as in contrastive_loss
    bias    one number, learned: at first nearly all pairs are none, and it says so
    ->      loss, a sum over pairs divided by the number of pictures as in the paper; logits s (B, B)
    """
    B = image.shape[0]
    logits = image @ (text * log_scale.exp()).T + bias
    pairs = np.eye(B, dtype=bool)
    losses = ops.softplus(logits * to_device(np.where(pairs, -1, 1).astype(image.dtype), device_of(image.data)))
    if same is not None:
        losses = ops.where(to_device(same & ~pairs, device_of(image.data)), 0.0, losses)
    return losses.sum() * (1 / B), logits


def next_tokens(text, lengths, ignore_index=-100):
    """What each token of `text` (B, T) has to predict: its successor, or ignore_index at the end and on pads."""
    T = text.shape[1]
    xp = array_module(text)
    follows = xp.concatenate([text[:, 1:], xp.full_like(text[:, :1], ignore_index)], axis=1)
    return xp.where(xp.arange(T) < xp.asarray(lengths)[:, None] - 1, follows, ignore_index)


def captioning_loss(decoded, next_token, text, lengths, label_smoothing=0.0):
    """Every word predicts the next: L = -1/n sum_t log P(y_t | y_<t, x).   CoCa, arXiv 2205.01917, eq. 3.

    The mean is over the n tokens of the batch that are no pads and not the first of their text; 0 if there are none.

    decoded       (B, T, C), what the decoder made of every token
    next_token    (n, C) -> (n, V); only those that predict a word are mapped, for V is the widest axis of all
    text          (B, T)   lengths (B,), start and end token included
    ->            loss, logits (n, V), row by row of text
    """
    follows = next_tokens(text, lengths, ignore_index=-1)
    counted = follows >= 0
    logits = next_token(decoded[counted])
    return ops.cross_entropy(logits, follows[counted], label_smoothing=label_smoothing), logits
