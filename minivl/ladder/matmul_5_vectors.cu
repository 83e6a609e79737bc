// RUNG: Numbers travel in fours, 16 bytes an instruction, and the next tile is on its way while one is multiplied.
// dtypes: float32
//
// As matmul_4_registers.cu, but a thread's 8 rows and 8 columns are two groups of 4 neighbours, so that it reads 4
// numbers of shared memory at once; a tile comes from memory as one pack of 4 a thread for A and one for B; and there
// are two tiles of each, so that one __syncthreads a step is enough: the reads of the next tile wait in registers
// meanwhile. Needs K and N to be multiples of 4, else the packs of a row would not begin at 16 bytes: the launch falls
// back to rung 4.
#include "numbers.cuh"

constexpr int TILE = 128, DEEP = 8, R = 8;

// Four of `rows` (n of them, `width` numbers each) from (row, column) on; zeros beyond the edges.
__device__ Pack<float> four(const float* rows, int row, int n, int column, int width) {
    return row < n && column < width ? load16(rows + (size_t)row * width + column) : Pack<float>{};
}

__device__ int place(int i, int thread) { return i / 4 * 64 + thread * 4 + i % 4; }  // of number i of 8 in the tile

extern "C" __global__ void __launch_bounds__(256, 2)
    matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int M, int N, int K) {
    // 4 more a row of A: fewer bank conflicts when it is turned over.
    __shared__ __align__(16) float as[2][DEEP][TILE + 4], bs[2][DEEP][TILE];
    const int t = threadIdx.x, across = t % 16, down = t / 16, row = blockIdx.y * TILE, column = blockIdx.x * TILE;
    const int ar = t / 2, ak = t % 2 * 4, bk = t / 32, bn = t % 32 * 4;  // the packs that this thread brings

    Pack<float> next_a = four(a, row + ar, M, ak, K), next_b = four(b, bk, K, column + bn, N);
    float sum[R][R] = {};
    for (int first = 0, tile = 0; first < K; first += DEEP, tile ^= 1) {
#pragma unroll
        for (int i = 0; i < 4; i++) as[tile][ak + i][ar] = next_a.x[i];
        store16(&bs[tile][bk][bn], next_b);
        __syncthreads();
        if (first + DEEP < K) {
            next_a = four(a, row + ar, M, first + DEEP + ak, K);
            next_b = four(b, first + DEEP + bk, K, column + bn, N);
        }
#pragma unroll
        for (int k = 0; k < DEEP; k++) {
            float x[R], y[R];
#pragma unroll
            for (int i = 0; i < R; i += 4) {
                const Pack<float> xs = load16(&as[tile][k][place(i, down)]),
                                  ys = load16(&bs[tile][k][place(i, across)]);
#pragma unroll
                for (int j = 0; j < 4; j++) x[i + j] = xs.x[j], y[i + j] = ys.x[j];
            }
#pragma unroll
            for (int i = 0; i < R; i++)
#pragma unroll
                for (int j = 0; j < R; j++) sum[i][j] += x[i] * y[j];
        }
    }
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < R; j += 4) {
            const int m = row + place(i, down), n = column + place(j, across);
            if (m < M && n < N)
                store16(c + (size_t)m * N + n, Pack<float>{{sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]}});
        }
}
