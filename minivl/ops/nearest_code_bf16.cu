// The search of nearest_code.cu in bfloat16, on tensor cores. What it is asked and what it tells is the same, and so is
// the idea: a matrix product in tiles, whose results are looked at and forgotten. Products are exact, sums in float32.
// dtypes: bfloat16
//
// One block compares 128 vectors with its share of the codes, 128 at a time. Its 8 warps stand 2 down and 4 across, 64
// vectors by 32 codes each: 4 x 4 products of mma.cuh. 32 numbers of each row are multiplied at a time; they come by
// asynchronous copies, three groups of them under way, on from one tile of codes to the next without a pause. Of the
// four lanes that hold scores of one vector, lane i keeps the best so far of its vectors in product i. Needs C to be a
// multiple of 8, and rows that begin at multiples of 16 bytes.
#include "mma.cuh"
#include "numbers.cuh"
#include "reduce.cuh"

constexpr int TILE = 128, DEEP = 32, STAGES = 3;
constexpr int ROW = DEEP + 8;  // numbers from row to row: ldmatrix then reads 8 rows from different banks
constexpr int CHUNK = TILE * ROW;

struct Best {
    float score;
    int code;
};

// Of equal scores the lower code, so that it does not matter how the codes were shared out.
__device__ Best better(Best a, Best b) { return b.score < a.score || (b.score == a.score && b.code < a.code) ? b : a; }

// Numbers c to c + DEEP of TILE rows from `row` on; zeros beyond the n rows and the C numbers.
__device__ void bring(T* to, const T* rows, int row, int n, int c, int C) {
    for (int i = threadIdx.x; i < TILE * DEEP / 8; i += 256) {
        const int r = i / (DEEP / 8), d = c + i % (DEEP / 8) * 8;
        const bool inside = row + r < n && d < C;
        cp_async16(to + r * ROW + d - c, inside ? rows + (size_t)(row + r) * C + d : rows, inside);
    }
}

extern "C" __global__ void __launch_bounds__(256)
    nearest_code_search(const T* __restrict__ x, const T* __restrict__ codes, const A* __restrict__ half,
                        A* __restrict__ scores, int* __restrict__ best, int N, int K, int C, int share) {
    extern __shared__ __align__(16) T shared[];
    T *xs = shared, *cs = shared + STAGES * CHUNK;
    const int first = blockIdx.x * TILE, begin = blockIdx.y * share, end = min(K, begin + share);
    const int down = warp() / 4 * 64, across = warp() % 4 * 32, row = lane() / 4, column = lane() % 4 * 2;
    const int deep = divide_up(C, DEEP), steps = divide_up(end - begin, TILE) * deep;

    auto bring_step = [&](int s) {
        if (s < steps) {
            bring(xs + s % STAGES * CHUNK, x, first, N, s % deep * DEEP, C);
            bring(cs + s % STAGES * CHUNK, codes, begin + s / deep * TILE, end, s % deep * DEEP, C);
        }
        cp_async_commit();  // closed also where it is empty, so that the group of step s is always number s
    };
    for (int s = 0; s < STAGES - 1; s++) bring_step(s);

    float dot[4][4][4] = {};
    Best nearest[2] = {{INFINITY, K}, {INFINITY, K}};
    for (int s = 0; s < steps; s++) {
        cp_async_wait<STAGES - 2>();
        __syncthreads();  // step s is there for everybody, and step s - 1 has been used
        bring_step(s + STAGES - 1);

        const T *a = xs + s % STAGES * CHUNK, *b = cs + s % STAGES * CHUNK;
#pragma unroll
        for (int d = 0; d < DEEP; d += 16) {
            unsigned u[4][4], v[4][2];
#pragma unroll
            for (int i = 0; i < 4; i++)
                ldmatrix_x4(u[i], a + (down + 16 * i + lane() % 16) * ROW + d + lane() / 16 * 8);
#pragma unroll
            for (int j = 0; j < 4; j += 2) {  // two products: codes 0-7 and 8-15, of each numbers 0-7 and 8-15
                unsigned two[4];
                ldmatrix_x4(two, b + (across + 8 * j + lane() / 16 * 8 + lane() % 8) * ROW + d + lane() / 8 % 2 * 8);
                v[j][0] = two[0], v[j][1] = two[1], v[j + 1][0] = two[2], v[j + 1][1] = two[3];
            }
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) mma_bf16(dot[i][j], u[i], v[j]);
        }
        if (s % deep < deep - 1) continue;

        // The tile is whole: score |c|^2 / 2 - x.c, best of 32 codes, then begin the next one.
        const int code = begin + s / deep * TILE + across + column;
        float h[4][2];
#pragma unroll
        for (int j = 0; j < 4; j++)
#pragma unroll
            for (int e = 0; e < 2; e++) h[j][e] = code + 8 * j + e < end ? half[code + 8 * j + e] : INFINITY;
#pragma unroll
        for (int i = 0; i < 4; i++)
#pragma unroll
            for (int upper = 0; upper < 2; upper++) {
                Best here = {INFINITY, K};
#pragma unroll
                for (int j = 0; j < 4; j++)
#pragma unroll
                    for (int e = 0; e < 2; e++) {
                        here = better(here, {h[j][e] - dot[i][j][2 * upper + e], code + 8 * j + e});
                        dot[i][j][2 * upper + e] = 0;
                    }
#pragma unroll
                for (int step = 1; step < 4; step *= 2)
                    here = better(here, {__shfl_xor_sync(0xffffffffu, here.score, step),
                                         __shfl_xor_sync(0xffffffffu, here.code, step)});
                if (lane() % 4 == i) nearest[upper] = better(nearest[upper], here);
            }
    }

    __shared__ Best won[4][TILE];  // by the four warps across
#pragma unroll
    for (int upper = 0; upper < 2; upper++) won[warp() % 4][down + lane() % 4 * 16 + row + 8 * upper] = nearest[upper];
    __syncthreads();
    const int t = threadIdx.x, n = first + t;
    if (t < TILE && n < N) {
        const Best one = better(better(won[0][t], won[1][t]), better(won[2][t], won[3][t]));
        scores[(size_t)blockIdx.y * N + n] = one.score;
        best[(size_t)blockIdx.y * N + n] = one.code;
    }
}
