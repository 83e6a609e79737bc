// RUNG: Tensor cores: a warp multiplies 16 x 16 by 16 x 8 bfloat16 at once; tiles come by asynchronous copies.
// dtypes: bfloat16
//
// Block of 256 threads, a 128 x 128 tile of C, 32 numbers of K at a time. Its 8 warps stand 2 down and 4 across: 64 x
// 32 numbers each, 4 x 4 products of 16 x 8. Rows of tiles are 16 bytes longer than their numbers, so that the 8 rows
// that ldmatrix reads at once lie in different banks. Needs K and N to be multiples of 8.
#include "numbers.cuh"
#include "mma.cuh"

constexpr int TILE = 128, DEEP = 32, STAGES = 3, A_ROW = DEEP + 8, B_ROW = TILE + 8;
constexpr int A_TILE = TILE * A_ROW, B_TILE = DEEP * B_ROW;  // numbers; shared memory: STAGES (A_TILE + B_TILE) 2 bytes

__device__ void bring(T* as, T* bs, const T* a, const T* b, int row, int column, int first, int M, int N, int K) {
    for (int i = threadIdx.x; i < TILE * DEEP / 8; i += 256) {
        const int r = i / (DEEP / 8), k = i % (DEEP / 8) * 8;
        const bool inside = row + r < M && first + k < K;
        cp_async16(as + r * A_ROW + k, inside ? a + (size_t)(row + r) * K + first + k : a, inside);
    }
    for (int i = threadIdx.x; i < DEEP * TILE / 8; i += 256) {
        const int k = i / (TILE / 8), n = i % (TILE / 8) * 8;
        const bool inside = first + k < K && column + n < N;
        cp_async16(bs + k * B_ROW + n, inside ? b + (size_t)(first + k) * N + column + n : b, inside);
    }
}

extern "C" __global__ void __launch_bounds__(256)
    matmul(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ c, int M, int N, int K) {
    extern __shared__ __align__(16) T shared[];
    T *as = shared, *bs = shared + STAGES * A_TILE;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, down = warp / 4 * 64, across = warp % 4 * 32;
    const int row = blockIdx.y * TILE, column = blockIdx.x * TILE, steps = divide_up(K, DEEP);

    // A group of copies is closed at every step, empty or not, so that the group of step s is always number s.
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) bring(as + s * A_TILE, bs + s * B_TILE, a, b, row, column, s * DEEP, M, N, K);
        cp_async_commit();
    }
    float sum[4][4][4] = {};
    for (int s = 0; s < steps; s++) {
        cp_async_wait<STAGES - 2>();  // this thread's share of tile s is there
        __syncthreads();              // everybody's is, and tile s - 1 has been used
        const int ahead = s + STAGES - 1, slot = ahead % STAGES;
        if (ahead < steps) bring(as + slot * A_TILE, bs + slot * B_TILE, a, b, row, column, ahead * DEEP, M, N, K);
        cp_async_commit();

        const T *at = as + s % STAGES * A_TILE, *bt = bs + s % STAGES * B_TILE;
#pragma unroll
        for (int k = 0; k < DEEP; k += 16) {
            unsigned x[4][4], y[4][2];
#pragma unroll
            for (int i = 0; i < 4; i++) ldmatrix_x4(x[i], at + (down + 16 * i + lane % 16) * A_ROW + k + lane / 16 * 8);
#pragma unroll
            for (int j = 0; j < 4; j += 2) {  // B lies row by row, the instruction wants its columns: transposed
                unsigned two[4];
                ldmatrix_x4_trans(two, bt + (k + lane % 16) * B_ROW + across + 8 * j + lane / 16 * 8);
                y[j][0] = two[0], y[j][1] = two[1], y[j + 1][0] = two[2], y[j + 1][1] = two[3];
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) mma_bf16(sum[i][j], x[i], y[j]);
        }
    }

    // Where an instruction's results lie: mma.cuh. Two neighbours are one register, one write.
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int m = row + down + 16 * i + lane / 4 + 8 * half, n = column + across + 8 * j + lane % 4 * 2;
                if (m < M && n < N)
                    *(unsigned*)(c + (size_t)m * N + n) = pack_bf16(sum[i][j][2 * half], sum[i][j][2 * half + 1]);
            }
}
