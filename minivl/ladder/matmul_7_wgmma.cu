// RUNG: Four warps ask for one product of 64 x 128 numbers, straight from shared memory, and bring tiles meanwhile.
// dtypes: bfloat16
// archs: sm_90a
//
// For a GPU of the Hopper generation alone. Block of 256 threads, two warpgroups of 64 rows each: a 128 x 128 tile of
// C, 64 numbers of K at a time. Tiles come by asynchronous copies as in matmul_6_tensor_cores.cu, each 16 bytes to
// where wgmma wants them (wgmma.cuh); no thread reads them. The products of step s are still under way while step s + 1
// begins, so a tile is overwritten two steps after its use. Needs K and N to be multiples of 8.
#include "numbers.cuh"
#include "mma.cuh"
#include "wgmma.cuh"

constexpr int TILE = 128, DEEP = 64, STAGES = 4;
constexpr int A_BYTES = TILE * 128, B_HALF = DEEP * 128, STAGE = A_BYTES + 2 * B_HALF;  // B: two halves of 64 columns

__device__ void bring(char* stage, const T* a, const T* b, int row, int column, int first, int M, int N, int K) {
    for (int i = threadIdx.x; i < TILE * 8; i += 256) {
        const int r = i / 8, k = first + i % 8 * 8;
        const bool inside = row + r < M && k < K;
        cp_async16(stage + swizzled(r, i % 8), inside ? a + (size_t)(row + r) * K + k : a, inside);
    }
    for (int i = threadIdx.x; i < DEEP * 16; i += 256) {
        const int r = i / 16, unit = i % 16, n = column + unit * 8;
        const bool inside = first + r < K && n < N;
        char* half = stage + A_BYTES + unit / 8 * B_HALF;
        cp_async16(half + swizzled(r, unit % 8), inside ? b + (size_t)(first + r) * N + n : b, inside);
    }
}

extern "C" __global__ void __launch_bounds__(256)
    matmul(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ c, int M, int N, int K) {
    extern __shared__ __align__(1024) char shared[];
    const int group = threadIdx.x / 128, t = threadIdx.x % 128;
    const int row = blockIdx.y * TILE, column = blockIdx.x * TILE, steps = divide_up(K, DEEP);

    for (int s = 0; s < STAGES - 2; s++) {
        if (s < steps) bring(shared + s * STAGE, a, b, row, column, s * DEEP, M, N, K);
        cp_async_commit();
    }
    float sum[64] = {};
    for (int s = 0; s < steps; s++) {
        cp_async_wait<STAGES - 3>();
        wgmma_sees_shared();
        __syncthreads();  // tile s is there, and the products of step s - 2 are done
        const int ahead = s + STAGES - 2;
        if (ahead < steps) bring(shared + ahead % STAGES * STAGE, a, b, row, column, ahead * DEEP, M, N, K);
        cp_async_commit();

        const char *as = shared + s % STAGES * STAGE + group * 64 * 128, *bs = shared + s % STAGES * STAGE + A_BYTES;
        wgmma_fence();
#pragma unroll
        for (int k = 0; k < DEEP; k += 16)  // 16 numbers of K: 32 bytes along a row of A, 16 rows of B
            wgmma_bf16(sum, wgmma_tile(as + k * 2, 0, 1024), wgmma_tile(bs + k * 128, B_HALF, 1024));
        wgmma_commit();
        wgmma_wait<1>();
    }
    wgmma_wait<0>();

#pragma unroll
    for (int j = 0; j < 16; j++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int m = row + group * 64 + t / 32 * 16 + t % 32 / 4 + 8 * half, n = column + 8 * j + t % 4 * 2;
            if (m < M && n < N)
                *(unsigned*)(c + (size_t)m * N + n) = pack_bf16(sum[4 * j + 2 * half], sum[4 * j + 2 * half + 1]);
        }
}
