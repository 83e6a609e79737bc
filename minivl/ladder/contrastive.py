"""The sums of InfoNCE: log sum_j exp z_ij of every row and column of z = exp(log_scale) image text^T; its diagonal.

The loss is their mean, less the diagonal's. Arithmetic is the bound, if the B x B similarities stay out of memory.
"""

import numpy as np

from ..array import array_module
from . import Ladder, Rung


def make(random, cast, B, C):
    image, text = (cast(random.standard_normal((B, C)) / C**0.5) for _ in range(2))
    sums = {"log_sums": np.empty((2, B), "float32"), "diagonal": np.empty(B, "float32")}
    return {"image": image, "text": text, "log_scale": np.array([1.5], "float32"), **sums}


def reference(image, text, log_scale, log_sums, diagonal):
    z = np.exp(log_scale[0]) * image @ text.T
    return {"log_sums": np.log([np.exp(z).sum(1), np.exp(z).sum(0)]), "diagonal": z.diagonal()}


def naive(run, image, text, log_scale, log_sums, diagonal):
    B, C = image.shape
    z = array_module(image).empty((B, B), image.dtype)
    run.contrastive_similarities((-(-B // 128), B), 128, (image, text, log_scale, z, B, C))
    run.contrastive_log_sums((-(-B // 128), 2), 128, (z, log_sums, diagonal, B))


def tiled(run, image, text, log_scale, log_sums, diagonal):
    B, C = image.shape
    run.contrastive_log_sums((-(-B // 16), 2), 256, (image, text, log_scale, log_sums, diagonal, B, C))


def shipped(rows, shared_mem):
    def launch(run, image, text, log_scale, log_sums, diagonal):
        B, C = image.shape
        made = image, text, None, log_scale, log_sums, diagonal, B, C
        run.contrastive_log_sums((-(-B // rows), 2), 256, made, shared_mem=shared_mem)

    return launch


LADDER = Ladder(
    make=make,
    reference=reference,
    rungs=[
        Rung("ladder/contrastive_1_naive", naive),
        Rung("ladder/contrastive_2_tiled", tiled),
        Rung("contrastive", shipped(64, 0)),
        Rung("contrastive_bf16", shipped(128, 2 * (128 + 64) * 64 * 2), dtype="bfloat16"),
    ],
    cpu={"B": 70, "C": 40},
    gpu={"B": 16384, "C": 512},
    bytes=lambda B, C, itemsize: 2 * B * C * itemsize,
    flops=lambda B, C: 4 * B * B * C,  # both directions, each with its own similarities
    peers={
        "CuPy": lambda xp, image, text, log_scale, **sums: _log_sums(xp, xp.exp(log_scale) * image @ text.T),
        "PyTorch": lambda xp, image, text, log_scale, **sums: _of_torch(
            log_scale.exp() * image.float() @ text.float().T
        ),
    },
)


def _log_sums(xp, z):
    rows, columns = z.max(1, keepdims=True), z.max(0, keepdims=True)
    return xp.log(xp.exp(z - rows).sum(1)) + rows[:, 0], xp.log(xp.exp(z - columns).sum(0)) + columns[0]


def _of_torch(z):
    return z.logsumexp(1), z.logsumexp(0)
