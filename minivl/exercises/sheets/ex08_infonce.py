"""InfoNCE: which text belongs to which picture?

B pictures and B texts form B x B pairs, and B of them belong together. Every row of the table of similarities is a
classification, and so is every column. For large batches the table does not fit into memory: a few rows at a time must
do, also for the columns, whose sums then grow from piece to piece.

    L = 1/2B sum_i (log sum_j exp z_ij - z_ii) + (log sum_j exp z_ji - z_ii)
    dL/dz_ij = (p_ij + q_ij - 2 [i = j]) / 2B                   p, q: softmax along rows, along columns

You will need: exercise 3. About 90 minutes. Read losses.py and tutorial 11 first.
"""

import numpy as np

from ..sheet import check, close, holds, scenario

FILES = ("minivl/ops/contrastive.py",)
LEFT_OUT = ("minivl/ops/contrastive*.cu", "minivl/ladder/contrastive*.cu")


@scenario
def infonce(image, text, log_scale, same, held):
    """L and its derivatives, `held` similarities in memory at a time."""
    import importlib

    from minivl import Tensor

    contrastive = importlib.import_module("minivl.ops.contrastive")
    before = contrastive._HELD, contrastive._KEPT
    contrastive._HELD, contrastive._KEPT = int(held), 0 if held < image.shape[0] ** 2 else before[1]
    try:
        tensors = [Tensor(a, requires_grad=True) for a in (image, text, log_scale)]
        loss = contrastive.contrastive(*tensors, same if same.size else None)
        loss.backward(np.array(2.5))
    finally:
        contrastive._HELD, contrastive._KEPT = before
    return loss.numpy(), *(t.grad for t in tensors)


def _pairs(random, B, C=5):
    image, text = random.standard_normal((2, B, C))
    return image, text, np.array(0.4)


def _by_hand(image, text, log_scale, same):
    """Loss and dL/dz with the whole table, in plain sums."""
    B = len(image)
    z = np.exp(log_scale) * image @ text.T
    if same is not None:
        z = np.where(same & ~np.eye(B, dtype=bool), -np.inf, z)
    p = np.stack([np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in z])
    q = np.stack([np.exp(c - c.max()) / np.exp(c - c.max()).sum() for c in z.T]).T
    rows, columns = ([c.max() + np.log(np.exp(c - c.max()).sum()) for c in table] for table in (z, z.T))
    return np.mean(np.add(rows, columns) - 2 * np.diag(z)) / 2, (p + q - 2 * np.eye(B)) / (2 * B)


_NONE = np.zeros(0, bool)


@check("ex08.a", "log sum_j exp z_j = max z + log sum_j exp(z_j - max z)")
def rows_and_columns(run, random):
    """A sum for the logarithm of a sum; one direction for two."""
    for B in (1, 2, 7):
        image, text, log_scale = _pairs(random, B)
        close(
            "L",
            run(infonce, image, text, log_scale, _NONE, held=999)[0],
            _by_hand(image, text, log_scale, None)[0],
            1e-11,
        )


@check("ex08.a", "nothing overflows")
def large_similarities(run, random):
    image, text, _ = _pairs(random, 6)
    loss = run(infonce, 10 * image, 10 * text, np.array(3.0), _NONE, held=999)[0]
    holds(bool(np.isfinite(loss)), "L is not finite")
    close("L", loss, _by_hand(10 * image, 10 * text, 3.0, None)[0], 1e-9)


@check("ex08.b", "a few rows at a time: the same as all at once")
def columns_grow_from_piece_to_piece(run, random):
    """Sums that are not scaled where the largest of a column grows; pieces that forget those before."""
    for B, held in ((7, 7), (7, 14), (12, 30), (9, 1)):
        image, text, log_scale = _pairs(random, B)
        image *= np.linspace(0.1, 6, B)[:, None]  # the largest of a column comes late
        wanted = _by_hand(image, text, log_scale, None)[0]
        close(f"L of {B} pairs", run(infonce, image, text, log_scale, _NONE, held=held)[0], wanted, 1e-11)
        image = image[::-1].copy()
        wanted = _by_hand(image, text, log_scale, None)[0]
        close(f"L of {B} pairs", run(infonce, image, text, log_scale, _NONE, held=held)[0], wanted, 1e-11)


@check("ex08.c", "dL/dz = (p + q - 2 [i = j]) / 2B")
def derivatives(run, random):
    """The truth taken out once; columns forgotten; B for 2B; d left out."""
    for B, held in ((1, 999), (6, 999), (7, 14), (9, 9)):
        image, text, log_scale = _pairs(random, B)
        twins = random.random((B, B)) < 0.2
        twins |= twins.T
        for same in (_NONE, twins):
            _, dz = _by_hand(image, text, log_scale, same if same.size else None)
            dz, scale = 2.5 * dz, np.exp(log_scale)
            _, dimage, dtext, dlog = run(infonce, image, text, log_scale, same, held=held)
            close("dimage", dimage, scale * dz @ text, 1e-11)
            close("dtext", dtext, scale * dz.T @ image, 1e-11)
            close("dlog_scale", dlog, (dz * (scale * image @ text.T)).sum(), 1e-9)
