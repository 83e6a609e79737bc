// Tiles of bfloat16 in shared memory, and the two products on tensor cores that attention is made of. Whoever includes
// this has said before how wide a row of a tile is: D numbers, 32, 64 or 128.
#pragma once
#include "numbers.cuh"
#include "mma.cuh"

constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr float LOG2_E = 1.44269504f, LN_2 = 0.69314718f;  // exp(x) = 2^(x log2 e): the hardware knows powers of 2
constexpr float LOWEST = -1e30f;                          // below any score, yet finite

// Where number (row, column) of a tile stands. ldmatrix reads one piece of 16 bytes from each of eight rows; shifted by
// the row (exclusive or), these pieces lie in eight different groups of banks. Since the shift repeats every 8 rows,
// at(row + 16 m, column + d) = (at(row, column) ^ d) + 16 m D for multiples d of 16 and columns below 16.
__device__ __forceinline__ int at(int row, int column) {
    const int turn = D == 32 ? row >> 1 & 3 : row & 7;
    return row * D + ((column >> 3 ^ turn) << 3 | column & 7);
}

// Starts copying rows `first` ... of a matrix into a tile; rows from `count` on become zeros, and so do columns from
// `columns` on. The matrix has `stride` numbers from row to row. A thread copies the same column of every so many rows.
template <int ROWS, int THREADS>
__device__ __forceinline__ void fetch(T* tile, const T* matrix, int first, int count, int stride, int columns = D) {
    constexpr int STEP = THREADS / (D / 8);
    const int row = threadIdx.x / (D / 8), column = threadIdx.x % (D / 8) * 8;
#pragma unroll
    for (int r = 0; r < ROWS; r += STEP) {
        const int i = first + row + r;
        cp_async16(tile + at(row + r, column), matrix + (unsigned)(min(i, count - 1) * stride + column),
                   i < count && column < columns);
    }
}

// product += a b^T: 16 M rows of tile a, from row 0 of `a`, against the first 8 N rows of tile b, over their D columns.
// A lane holds, of each 16 x 8 numbers, (lane / 4, lane % 4 * 2), the one to its right, and those eight rows below.
// UNROLLED steps of 16 columns are written out: fewer take fewer registers, and leave the compiler less to overlap.
template <int UNROLLED = D / 16, int M, int N>
__device__ __forceinline__ void multiply_by_rows(float (&product)[M][N][4], const T* a, const T* b) {
    const int lane = threadIdx.x % 32;
    const int left_place = at(lane % 16, lane / 16 * 8), right_place = at(lane / 16 * 8 + lane % 8, lane / 8 % 2 * 8);
#pragma unroll UNROLLED
    for (int d = 0; d < D; d += 16) {
        unsigned left[M][4];
#pragma unroll
        for (int m = 0; m < M; m++) ldmatrix_x4(left[m], a + (left_place ^ d) + m * 16 * D);
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            unsigned right[4];
            ldmatrix_x4(right, b + (right_place ^ d) + n * 8 * D);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_bf16(product[m][n], left[m], {right[0], right[1]});
                mma_bf16(product[m][n + 1], left[m], {right[2], right[3]});
            }
        }
    }
}

// product += p b: p (16 M, 8 N) in registers, as a product left it; b the first 8 N rows of a tile, all D columns.
template <int M, int N>
__device__ __forceinline__ void multiply_by_columns(float (&product)[M][D / 8][4], const float (&p)[M][N][4],
                                                    const T* b) {
    const int lane = threadIdx.x % 32, place = at(lane % 16, lane / 16 * 8);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
        unsigned left[M][4];
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                left[m][i] = pack_bf16(p[m][n + i / 2][i % 2 * 2], p[m][n + i / 2][i % 2 * 2 + 1]);
#pragma unroll
        for (int d = 0; d < D; d += 16) {
            unsigned right[4];
            ldmatrix_x4_trans(right, b + (place ^ d) + n * 8 * D);
#pragma unroll
            for (int m = 0; m < M; m++) {
                mma_bf16(product[m][d / 8], left[m], {right[0], right[1]});
                mma_bf16(product[m][d / 8 + 1], left[m], {right[2], right[3]});
            }
        }
    }
}
