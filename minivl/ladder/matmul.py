"""Matrix product, C = A B: a (M, K), b (K, N), c (M, N). Arithmetic is the bound, if memory can be kept from being it.

The rungs 1 to 5 compute in float32 on the ordinary cores, 6 and 7 in bfloat16 on tensor cores. The product that minivl
itself uses is the library's, cuBLAS: it is the peer here, and what a rung is worth is told by how near it comes.
"""

import numpy as np

from . import Ladder, Rung


def make(random, cast, M, N, K):
    a, b = (cast(random.standard_normal(shape)) for shape in ((M, K), (K, N)))
    return {"a": a, "b": b, "c": np.empty((M, N), a.dtype)}


def tiles(height, width, block, shared_mem=0, turned=False):
    """A launch with a block for each tile of C; `turned`: the grid counts rows first."""

    def launch(k, a, b, c):
        (M, K), N = a.shape, b.shape[1]
        rows, columns = -(-M // height), -(-N // width)
        k.matmul((rows, columns) if turned else (columns, rows), block, (a, b, c, M, N, K), shared_mem=shared_mem)

    return launch


LADDER = Ladder(
    make=make,
    reference=lambda a, b, c: {"c": a @ b},
    rungs=[
        Rung("ladder/matmul_1_naive", tiles(32, 8, (32, 8), turned=True)),
        Rung("ladder/matmul_2_coalesced", tiles(8, 32, (32, 8))),
        Rung("ladder/matmul_3_shared", tiles(32, 32, (32, 32))),
        Rung("ladder/matmul_4_registers", tiles(128, 128, 256)),
        Rung("ladder/matmul_5_vectors", tiles(128, 128, 256)),
        Rung("ladder/matmul_6_tensor_cores", tiles(128, 128, 256, 3 * (128 * 40 + 32 * 136) * 2), dtype="bfloat16"),
        Rung("ladder/matmul_7_wgmma", tiles(128, 128, 256, 4 * (128 + 128) * 64 * 2), dtype="bfloat16"),
    ],
    cpu={"M": 72, "N": 136, "K": 40},
    gpu={"M": 8192, "N": 8192, "K": 8192},
    bytes=lambda M, N, K, itemsize: (M * K + K * N + M * N) * itemsize,
    flops=lambda M, N, K: 2 * M * N * K,
    peers={
        "CuPy": lambda xp, a, b, c: xp.matmul(a, b, out=c),
        "PyTorch": lambda xp, a, b, c: xp.matmul(a, b, out=c),
    },
)
