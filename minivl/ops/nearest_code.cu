// The nearest of K codes to each of N vectors of C numbers, without the N x K scores in memory. The definition:
// nearest_code.py. |x - c|^2 is least where |c|^2 / 2 - x.c is.
//
// nearest_code_norms    one warp squares one code
// nearest_code_search   one block compares 16 R vectors with its share of the codes, 16 R of them at a time: a matrix
//                       product in tiles, whose results are looked at and forgotten. A thread scores R vectors with R
//                       codes; of the 16 threads that share vectors, thread i keeps the best so far of vector i.
//                       Bytes: 2 T for 16 R multiplications (each tile of vectors meets each tile of codes), so that
//                       arithmetic decides.
// nearest_code_finish   one warp takes the best of all shares for one vector, and its distance. Bytes: 2 T a number
#include "numbers.cuh"
#include "reduce.cuh"

constexpr int R = sizeof(A) == 8 ? 4 : 8;  // of vectors, and of codes, in the registers of a thread
constexpr int P = Pack<A>::N;              // numbers that a thread reads at once
constexpr int TILE = 16 * R, DEEP = 16;    // vectors or codes in shared memory at a time, and numbers of each

struct Best {
    A score;
    int code;
};

// Of equal scores the lower code, so that it does not matter how the codes were shared out.
__device__ Best better(Best a, Best b) { return b.score < a.score || (b.score == a.score && b.code < a.code) ? b : a; }

extern "C" __global__ void __launch_bounds__(256)
    nearest_code_norms(const T* __restrict__ codes, A* __restrict__ half, int K, int C) {
    const int k = blockIdx.x * (blockDim.x / 32) + warp();
    if (k >= K) return;
    A sum = 0;
    for (int c = lane(); c < C; c += 32) sum += (A)codes[(size_t)k * C + c] * (A)codes[(size_t)k * C + c];
    sum = warp_sum(sum);
    if (lane() == 0) half[k] = sum / 2;
}

// DEEP numbers of TILE rows, from (row, c) on, transposed so that a thread's R rows lie side by side; 0 beyond the
// edges.
__device__ void load_tile(A (*tile)[TILE + 4], const T* rows, int row, int n, int c, int C) {
    for (int i = threadIdx.x; i < TILE * DEEP; i += 256) {
        const int r = i / DEEP, d = i % DEEP;
        tile[d][r] = row + r < n && c + d < C ? (A)rows[(size_t)(row + r) * C + c + d] : (A)0;
    }
}

// Of 16 R rows in a tile, number i of thread t. By fours, so that 16 threads read 64 numbers side by side.
__device__ int row_of(int i, int t) { return i / 4 * 64 + t * 4 + i % 4; }

extern "C" __global__ void __launch_bounds__(256, 2)
    nearest_code_search(const T* __restrict__ x, const T* __restrict__ codes, const A* __restrict__ half,
                        A* __restrict__ scores, int* __restrict__ best, int N, int K, int C, int share) {
    __shared__ __align__(16) A xs[DEEP][TILE + 4], cs[DEEP][TILE + 4];
    const int across = threadIdx.x % 16, down = threadIdx.x / 16, first = blockIdx.x * TILE;
    const int end = min(K, ((int)blockIdx.y + 1) * share);

    Best nearest = {INFINITY, K};

    for (int code = blockIdx.y * share; code < end; code += TILE) {
        A dot[R][R] = {};
        for (int c = 0; c < C; c += DEEP) {
            __syncthreads();  // the tiles before have been used
            load_tile(xs, x, first, N, c, C);
            load_tile(cs, codes, code, end, c, C);
            __syncthreads();
#pragma unroll
            for (int d = 0; d < DEEP; d++) {
                A a[R], b[R];
#pragma unroll
                for (int i = 0; i < R; i += P) {
                    const Pack<A> u = load16(&xs[d][row_of(i, down)]), v = load16(&cs[d][row_of(i, across)]);
#pragma unroll
                    for (int e = 0; e < P; e++) a[i + e] = u.x[e], b[i + e] = v.x[e];
                }
#pragma unroll
                for (int i = 0; i < R; i++)
#pragma unroll
                    for (int j = 0; j < R; j++) dot[i][j] += a[i] * b[j];
            }
        }
#pragma unroll
        for (int i = 0; i < R; i++) {
            Best here = {INFINITY, K};
#pragma unroll
            for (int j = 0; j < R; j++) {
                const int k = code + row_of(j, across);
                if (k < end) here = better(here, {half[k] - dot[i][j], k});
            }
#pragma unroll
            for (int step = 8; step > 0; step /= 2)
                here = better(here, {__shfl_xor_sync(0xffffffffu, here.score, step),
                                     __shfl_xor_sync(0xffffffffu, here.code, step)});
            if (across == i) nearest = better(nearest, here);
        }
    }

    const int n = first + row_of(across % R, down);
    if (across < R && n < N) {
        scores[(size_t)blockIdx.y * N + n] = nearest.score;
        best[(size_t)blockIdx.y * N + n] = nearest.code;
    }
}

extern "C" __global__ void __launch_bounds__(256)
    nearest_code_finish(const T* __restrict__ x, const T* __restrict__ codes, const A* __restrict__ scores,
                        const int* __restrict__ best, int64_t* __restrict__ indices, T* __restrict__ distances, int N,
                        int K, int C, int shares) {
    const int n = blockIdx.x * (blockDim.x / 32) + warp();
    if (n >= N) return;
    Best nearest = {INFINITY, K - 1};
    for (int s = 0; s < shares; s++) nearest = better(nearest, {scores[(size_t)s * N + n], best[(size_t)s * N + n]});
    const int k = min(nearest.code, K - 1);  // nothing is nearest where the scores are no numbers: any code, inside
    A sum = 0;
    for (int c = lane(); c < C; c += 32) {
        const A d = (A)x[(size_t)n * C + c] - (A)codes[(size_t)k * C + c];
        sum += d * d;
    }
    sum = warp_sum(sum);
    if (lane() == 0) {
        indices[n] = k;
        distances[n] = (T)sum;
    }
}
