"""InfoNCE in both directions, and of large batches never all B x B similarities in memory at once.

On a GPU the kernels of contrastive.cu and contrastive_bf16.cu do the work; they hold none of them.
"""

from .. import array, kernels
from ..array import array_module, rowwise, slices
from ..tensor import op

_HELD = 1 << 22  # similarities at a time
_KEPT = 1 << 20  # up to so many in all are kept for backward; of larger batches they are worked out again


@op
def contrastive(image, text, log_scale, same=None):
    """L = 1/2B sum_i (log sum_j exp z_ij - z_ii) + (log sum_j exp z_ji - z_ii),   z = exp(log_scale) image text^T.

    van den Oord et al. 2018, arXiv 1807.03748, eq. 4, once for the rows and once for the columns of z.

    image, text   (B, C): row b of one belongs to row b of the other
    log_scale     one number
    same          boolean (B, B) or None: pairs that also belong together and are left out of the sums over j;
                  the diagonal always counts
    ->            one number; 0 for an empty batch

    dL/dz_ij = (p_ij + q_ij - 2 [i = j]) / 2B, where p is the softmax of z along its rows and q along its columns. Both
    come back from z and the B logarithms of each direction, so that nothing else needs to be kept.
    """
    xp, B = array_module(image), len(image)
    if image.ndim != 2 or text.shape != image.shape or log_scale.size != 1:
        raise ValueError(
            f"contrastive: image {image.shape}, text {text.shape}, log_scale {log_scale.shape}: want (B, C) twice and "
            "one number"
        )
    if same is not None and (same.dtype != bool or same.shape != (B, B)):
        raise ValueError(f"contrastive: same is {same.dtype} {same.shape}, must be boolean {(B, B)}")
    if kernels.wanted(image, text) and _has_kernel(image):
        return _by_kernels(image, text, log_scale, same)
    scale, lowest = xp.exp(log_scale), xp.finfo(image.dtype).min
    scaled, place = text * scale, xp.arange(B)
    steps, kept = slices(B, max(1, _HELD // max(1, B))), {}

    def similarities(rows):
        #: Similarities | z_{ij} = \langle v_i, w_j \rangle / \sigma
        z = array.matmul(image[rows], scaled.T)
        if same is not None:
            z[same[rows] & (place[rows, None] != place)] = lowest / 2
        return z

    def log_sum(z):
        # minivl:exercise ex08.a points=2 "log sum exp of every row"
        # minivl:hint take the largest of each row out, and add it again outside of the logarithm
        # minivl:hint keep the last axis: (rows, 1)
        top = z.max(-1, keepdims=True)
        return top + xp.log(xp.exp(z - top).sum(-1, keepdims=True))
        # minivl:end

    by_row, diagonal = xp.empty((2, B), image.dtype)
    top, total = xp.full(B, lowest), xp.zeros(B, image.dtype)  # of the columns, over the rows so far
    for rows in steps:
        z = similarities(rows)
        if B * B <= _KEPT:
            kept[rows.start] = z
        diagonal[rows], by_row[rows] = z[place[: len(z)], place[rows]], rowwise(log_sum, z)[:, 0]
        # minivl:exercise ex08.b points=4 "log sum exp of the columns, a few rows at a time"
        # minivl:hint `top` (B,) and `total` (B,): largest of each column so far, and the sum of exp(z - top)
        # minivl:hint where the largest grows, the sum so far is scaled down by exp(before - top)
        before, top = top, xp.maximum(top, z.max(0))
        total *= xp.exp(before - top)
        total += rowwise(lambda z, top=top: xp.exp(z - top).sum(0), z, sums=1)
        # minivl:end
    by_column = top + xp.log(total)
    loss = (by_row + by_column - 2 * diagonal).sum() / (2 * max(1, B))

    def derivative(d):
        dimage, dscaled = xp.empty_like(image), xp.zeros_like(text)
        for rows in steps:
            z = kept.pop(rows.start) if kept else similarities(rows)
            # minivl:exercise ex08.c points=4 "the derivative by the similarities"
            # minivl:hint p_ij + q_ij - 2 [i = j], over 2B: softmax along rows and along columns, less the truth
            # minivl:hint z - by_row is log p, z - by_column is log q; these rows stand at place[rows] of the columns
            # minivl:hint rows of p are by_row[rows, None]; do not forget d
            p = rowwise(lambda z, log: xp.exp(z - log) + xp.exp(z - by_column), z, by_row[rows, None])
            p[place[: len(p)], place[rows]] -= 2
            p *= d / (2 * B)
            # minivl:end
            dimage[rows] = array.matmul(p, scaled)
            dscaled += array.matmul(p.T, image[rows])
        return dimage, dscaled * scale, (dscaled * scaled).sum().reshape(log_scale.shape), None

    return loss, derivative


# ---- by kernels ------------------------------------------------------------------------------------------------------


def _has_kernel(image):
    B, C = image.shape
    whole = C % 8 == 0 or image.dtype.itemsize > 2  # tensor cores are fed in pieces of 16 bytes
    return B > 0 and C > 0 and whole


def _by_kernels(image, text, log_scale, same):
    xp, (B, C), size = array_module(image), image.shape, image.dtype.itemsize
    sums = xp.float64 if size == 8 else xp.float32
    run = kernels.load("contrastive_bf16" if size == 2 else "contrastive", like=image)
    rows, chunk = (128, 256) if size == 2 else (64, 1024 // size)
    shared = 2 * (128 + 64) * 64 * size if size == 2 else 0
    image, text = xp.ascontiguousarray(image), xp.ascontiguousarray(text)
    same = None if same is None else xp.ascontiguousarray(same)
    scale = xp.ascontiguousarray(log_scale, sums)
    log_sums, diagonal = xp.empty((2, B), sums), xp.empty(B, sums)
    made = image, text, same, scale, log_sums, diagonal, B, C
    run.contrastive_log_sums((-(-B // rows), 2), 256, made, shared_mem=shared)
    loss = (log_sums.sum() - 2 * diagonal.sum()) / (2 * B)

    def derivative(d):
        chunks = -(-C // chunk)
        dimage, dtext, dots = xp.empty_like(image), xp.empty_like(text), xp.empty((chunks, B), sums)
        made = image, text, same, scale, log_sums, xp.ascontiguousarray(d, sums), dimage, dtext, dots, B, C
        shared = 2 * (128 + 64) * 64 * size if size == 2 else (2 * 64 * 33 + 64 * 65) * size
        run.contrastive_backward((-(-B // rows), chunks, 2), 256, made, shared_mem=shared)
        return dimage, dtext, dots.sum().reshape(log_scale.shape), None

    return loss, derivative
