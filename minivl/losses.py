"""What the models minimise. A loss is a mean over what it counts, and its docstring says what that is."""

import numpy as np

from . import ops
from .array import array_module, device_of, to_device

LOOKED_AT = 1024  # pictures of a batch up to which the table of all their similarities is given too


def contrastive_loss(image, text, log_scale, same=None):
    """InfoNCE in both directions: each picture finds its text among the batch's, each text its picture.

    L = 1/2 (L_i2t + L_t2i),   L_i2t = -1/B sum_i log( exp(v_i w_i / sigma) / sum_j exp(v_i w_j / sigma) )
    van den Oord et al. 2018, arXiv 1807.03748, eq. 4; symmetric as in CLIP, arXiv 2103.00020, fig. 3.

    image, text   (B, C), of length 1: row b of one belongs to row b of the other
    log_scale     one number, log(1 / sigma), learned
    same          boolean (B, B) or None: pairs (i, j) that also belong together (two captions of one thing) and so are
                  left out of the sums over j; the diagonal always counts
    ->            loss, logits (B, B) = image text^T / sigma to be looked at; None if B is above LOOKED_AT, for then the
                  loss itself does not keep them all
    """
    loss = ops.contrastive(image, text, log_scale, same)
    return loss, image @ (text * log_scale.exp()).T if len(image) <= LOOKED_AT else None


def sigmoid_loss(image, text, log_scale, bias, same=None):
    """Each of the B x B pairs by itself: do the two belong together?   Zhai et al. 2023, arXiv 2303.15343, sec. 3.2.

    L = -1/B sum_ij log( 1 / (1 + exp(-z_ij s_ij)) ),   s_ij = v_i w_j / sigma + bias,   z_ij = 1 if i = j, else -1

    image, text, log_scale, same   as in contrastive_loss
    bias    one number, learned: at first nearly all pairs are none, and it says so
    ->      loss, a sum over pairs divided by the number of pictures as in the paper; logits s (B, B)
    """
    B = image.shape[0]
    #: Similarities | s_{ij} = \langle v_i, w_j \rangle / \sigma + b
    logits = image @ (text * log_scale.exp()).T + bias

    pairs = np.eye(B, dtype=bool)
    #: How much each pair surprises: is it one, or none | l_{ij} = -\log \frac{1}{1 + e^{-z_{ij} s_{ij}}}
    losses = ops.softplus(logits * to_device(np.where(pairs, -1, 1).astype(image.dtype), device_of(image.data)))
    if same is not None:
        losses = ops.where(to_device(same & ~pairs, device_of(image.data)), 0.0, losses)

    return losses.sum() * (1 / B), logits


def focal_loss(image, text, log_scale, same=None, gamma=1.0):
    """Each of the B x B pairs by itself, those that are told well already least: MaMMUT, arXiv 2303.16839.

    L = L_i2t + L_t2i,   L_i2t = -1/B sum_ij (1 - p_ij)^gamma log p_ij,   p_ij = the probability given to what is true
    of i and j: s = 1 / (1 + exp(-v_i w_j / tau)) where i = j, else 1 - s.   Lin et al. 2017, arXiv 1708.02002.

    Nothing is normalised over rows or columns, and so L_t2i is the same sum: L = 2 L_i2t. No class is weighed (alpha).

    image, text, log_scale, same   as in contrastive_loss; log_scale is log(1 / tau)
    ->      loss, logits (B, B) = image text^T / tau
    """
    B = image.shape[0]
    #: Similarities | s_{ij} = \langle v_i, w_j \rangle / \tau
    logits = image @ (text * log_scale.exp()).T

    pairs = np.eye(B, dtype=bool)
    #: How much each pair surprises, weighed by how much it is in doubt | l_{ij} = -(1 - p_{ij})^\gamma \log p_{ij}
    # minivl:exercise ex10.a points=3 "the focal loss"
    # minivl:hint -log p is softplus(-z), log(1 - p) is -softplus(z); z = logits if i = j, else -logits
    # minivl:hint `losses` (B, B): what each pair adds to the sum, before twins are left out
    true = logits * to_device(np.where(pairs, 1, -1).astype(image.dtype), device_of(image.data))
    surprise, doubt = ops.softplus(-true), ops.softplus(true) * -gamma  # -log p, gamma log(1 - p)
    losses = surprise * doubt.exp()
    # minivl:end
    if same is not None:
        losses = ops.where(to_device(same & ~pairs, device_of(image.data)), 0.0, losses)

    return losses.sum() * (2 / B), logits


def next_tokens(text, lengths, ignore_index=-100, given=None):
    """What each token of `text` (B, T) has to predict: its successor, or ignore_index at the end and on pads.

    given (B,)   so many tokens at the beginning are told, a question for instance, and need not be predicted
    """
    T = text.shape[1]
    xp = array_module(text)
    # minivl:exercise ex09.a points=3 "what each word has to predict"
    # minivl:hint a sentence of n tokens has n - 1 to predict: its last token predicts nothing, nor do pads
    # minivl:hint of `given` tokens at the beginning only the last predicts: the first one behind them
    follows = xp.concatenate([text[:, 1:], xp.full_like(text[:, :1], ignore_index)], axis=1)
    predicted = xp.arange(T) < xp.asarray(lengths)[:, None] - 1
    if given is not None:
        predicted &= xp.arange(T) >= xp.asarray(given)[:, None] - 1
    return xp.where(predicted, follows, ignore_index)
    # minivl:end


def captioning_loss(decoded, next_token, text, lengths, label_smoothing=0.0, given=None):
    """Every word predicts the next: L = -1/n sum_t log P(y_t | y_<t, x).   CoCa, arXiv 2205.01917, eq. 3.

    The mean is over the n tokens of the batch that are no pads and not the first of their text; 0 if there are none.

    decoded       (B, T, C), what the decoder made of every token
    next_token    (n, C) -> (n, V); only those that predict a word are mapped, for V is the widest axis of all
    text          (B, T)   lengths (B,), start and end token included   given (B,) or None: see next_tokens
    ->            loss, logits (n, V), row by row of text
    """
    follows = next_tokens(text, lengths, -1, given)
    counted = follows >= 0
    #: Every piece of the vocabulary gets a score: could it follow? | z_t = W d_t
    logits = next_token(decoded[counted])

    #: How much each true word surprises, and the mean | l_t = -\log P(y_t) = \log \sum_v e^{z_{tv}} - z_{t y_t}
    return ops.cross_entropy(logits, follows[counted], label_smoothing=label_smoothing), logits
