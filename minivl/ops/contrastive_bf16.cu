// InfoNCE in both directions without a table of similarities, on tensor cores: bfloat16 in and out, sums in float32.
// The definition: contrastive.py; the same kernels without tensor cores, which read more easily: contrastive.cu.
// dtypes: bfloat16
//
// Pictures v and texts w, (B, C) each; z_ij = s <v_i, w_j>, s = exp(log_scale). What texts are to pictures, pictures
// are to texts: direction 0 has rows a = v and columns b = w, direction 1 the other way round.
//
// One block takes 128 rows of one direction, one warp 16 of them, and goes through all columns, 64 at a time. C is cut
// into slices of 64 numbers, which come in turn through two pairs of tiles: while one slice is multiplied, the next is
// on its way. The scores of a warp stay in its registers. contrastive_backward takes 256 of the C columns of da
// besides; from the scores it makes the weights dz_ij = (p_ij + q_ij - 2 [i = j]) dloss / 2B, where p is the softmax
// along the row and q along the column, and multiplies them, still in registers, by slices of b. No number is added to
// by two blocks: no atomics, the same bits at every run.
//
// Flops: 4 B B C for the sums, 4 B B (C (C / 256, rounded up) + C) for backward. Bytes moved, for every 128 rows: 4 B
// C, and in backward as much again for each chunk; nearly all from the L2 cache. Shared memory: 48 KB, two slices of
// 128 and of 64 rows.
#include "numbers.cuh"
#include "mma.cuh"
constexpr int D = 64;  // of a slice
#include "tiles_bf16.cuh"

constexpr int ROWS = 128, COLUMNS = 64, THREADS = 256, N = COLUMNS / 8, CHUNK = 256, SLICES = CHUNK / D;

// Two matrices (B, C), and the tiles through which their slices come.
struct Slices {
    const T *a, *b;
    T* shared;  // twice: a tile of ROWS, a tile of COLUMNS
    int B, C;

    __device__ __forceinline__ T* a_tile(int turn) const { return shared + turn % 2 * (ROWS + COLUMNS) * D; }
    __device__ __forceinline__ T* b_tile(int turn) const { return a_tile(turn) + ROWS * D; }
    __device__ __forceinline__ void start_a(int turn, int row, int c) const {
        fetch<ROWS, THREADS>(a_tile(turn), a + c, row, B, C, C - c);
    }
    __device__ __forceinline__ void start_b(int turn, int column, int c) const {
        fetch<COLUMNS, THREADS>(b_tile(turn), b + c, column, B, C, C - c);
    }
    // What was started last is here for all threads, and nobody reads the other pair of tiles any more.
    __device__ __forceinline__ void wait() const {
        cp_async_wait<0>();
        __syncthreads();
    }
};

// <a_i, b_j> of 16 rows of the warp and 64 columns. The first slice has been started with `turn`; `then(turn)` starts
// what comes after the last. Returns the turn of that.
template <class Then>
__device__ __forceinline__ int similarities(float (&z)[1][N][4], const Slices& slices, int turn, int row, int column,
                                            Then then) {
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) z[0][n][e] = 0;
    for (int c = 0; c < slices.C; c += D, turn++) {
        slices.wait();
        if (c + D < slices.C) {
            slices.start_a(turn + 1, row, c + D);
            slices.start_b(turn + 1, column, c + D);
        } else {
            then(turn + 1);
        }
        cp_async_commit();
        multiply_by_rows(z, slices.a_tile(turn) + threadIdx.x / 32 * 16 * D, slices.b_tile(turn));
    }
    return turn;
}

// Whether row r of a and row c of b are a pair whose similarity counts.
__device__ __forceinline__ bool counts(const bool* same, bool turned, int r, int c, int B) {
    if (r >= B || c >= B) return false;
    return !same || r == c || !same[turned ? (size_t)c * B + r : (size_t)r * B + c];
}

extern "C" __global__ void __launch_bounds__(256) contrastive_log_sums(
    const T* image, const T* text, const bool* same /* or null */, const A* log_scale, A* log_sums, A* diagonal, int B,
    int C) {
    extern __shared__ __align__(128) T shared[];
    const int first = blockIdx.x * ROWS, lane = threadIdx.x % 32, row = first + threadIdx.x / 32 * 16 + lane / 4;
    const bool turned = blockIdx.y;
    const Slices slices = {turned ? text : image, turned ? image : text, shared, B, C};
    const float factor = expf(log_scale[0]) * LOG2_E;

    float top[2] = {LOWEST, LOWEST}, sum[2] = {};
    slices.start_a(0, first, 0);
    slices.start_b(0, 0, 0);
    cp_async_commit();
    for (int column = 0, turn = 0; column < B; column += COLUMNS) {
        float z[1][N][4];
        turn = similarities(z, slices, turn, first, column, [&](int turn) {
            if (column + COLUMNS >= B) return;
            slices.start_a(turn, first, 0);
            slices.start_b(turn, column + COLUMNS, 0);
        });
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int r = row + half * 8;
            float largest = top[half];
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = half * 2; e < half * 2 + 2; e++) {
                    const int c = column + n * 8 + lane % 4 * 2 + e % 2;
                    z[0][n][e] = counts(same, turned, r, c, B) ? z[0][n][e] * factor : -INFINITY;
                    if (r == c && r < B && !turned) diagonal[r] = z[0][n][e] * LN_2;
                    largest = fmaxf(largest, z[0][n][e]);
                }
            largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 1));
            largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 2));
            sum[half] *= fast_exp2(top[half] - largest);
            top[half] = largest;
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int e = half * 2; e < half * 2 + 2; e++) sum[half] += fast_exp2(z[0][n][e] - largest);
        }
    }
#pragma unroll
    for (int half = 0; half < 2; half++) {
        float total = sum[half];
        total += __shfl_xor_sync(ALL_LANES, total, 1);
        total += __shfl_xor_sync(ALL_LANES, total, 2);
        const int r = row + half * 8;
        if (lane % 4 == 0 && r < B) log_sums[(turned ? B : 0) + r] = top[half] * LN_2 + __logf(total);
    }
}

// `dots` (chunks, B) gets the part that each chunk has in <v_i, dv_i> = sum_j dz_ij z_ij: their sum is dlog_scale.
extern "C" __global__ void __launch_bounds__(256, 1) contrastive_backward(
    const T* image, const T* text, const bool* same /* or null */, const A* log_scale, const A* log_sums,
    const A* dloss, T* dimage, T* dtext, A* dots, int B, int C) {
    extern __shared__ __align__(128) T shared[];
    const int first = blockIdx.x * ROWS, chunk = blockIdx.y * CHUNK, lane = threadIdx.x % 32;
    const int row = first + threadIdx.x / 32 * 16 + lane / 4;
    const bool turned = blockIdx.z;
    const Slices slices = {turned ? text : image, turned ? image : text, shared, B, C};
    const A *row_sums = log_sums + (turned ? B : 0), *column_sums = log_sums + (turned ? 0 : B);
    const float factor = expf(log_scale[0]) * LOG2_E;
    float row_log[2];
#pragma unroll
    for (int half = 0; half < 2; half++) row_log[half] = row_sums[min(row + half * 8, B - 1)] * LOG2_E;

    float da[SLICES][1][D / 8][4] = {};
    slices.start_a(0, first, 0);
    slices.start_b(0, 0, 0);
    cp_async_commit();
    for (int column = 0, turn = 0; column < B; column += COLUMNS) {
        float z[1][N][4];
        turn = similarities(z, slices, turn, first, column, [&](int turn) { slices.start_b(turn, column, chunk); });
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int r = row + e / 2 * 8, c = column + n * 8 + lane % 4 * 2 + e % 2;
                const float power = z[0][n][e] * factor;
                z[0][n][e] = !counts(same, turned, r, c, B) ? 0
                    : fast_exp2(power - row_log[e / 2]) + fast_exp2(power - column_sums[c] * LOG2_E) - (r == c ? 2 : 0);
            }
#pragma unroll
        for (int w = 0; w < SLICES; w++, turn++) {
            slices.wait();
            if (w + 1 < SLICES && chunk + (w + 1) * D < C) {
                slices.start_b(turn + 1, column, chunk + (w + 1) * D);
            } else if (w + 1 == SLICES && column + COLUMNS < B) {
                slices.start_a(turn + 1, first, 0);
                slices.start_b(turn + 1, column + COLUMNS, 0);
            }
            cp_async_commit();
            if (chunk + w * D < C) multiply_by_columns(da[w], z, slices.b_tile(turn));
        }
    }

    const float share = expf(log_scale[0]) * dloss[0] / (2 * B);
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const int r = row + half * 8;
        float dot = 0;
#pragma unroll
        for (int w = 0; w < SLICES; w++)
#pragma unroll
            for (int n = 0; n < D / 8; n++) {
                const int c = chunk + w * D + n * 8 + lane % 4 * 2;
                if (r >= B || c >= C) continue;
                const size_t place = (size_t)r * C + c;
                const float x = da[w][0][n][half * 2] * share, y = da[w][0][n][half * 2 + 1] * share;
                const float2 of_a = unpack_bf16(*(const unsigned*)(slices.a + place));
                *(unsigned*)((turned ? dtext : dimage) + place) = pack_bf16(x, y);
                dot += of_a.x * x + of_a.y * y;
            }
        dot += __shfl_xor_sync(ALL_LANES, dot, 1);
        dot += __shfl_xor_sync(ALL_LANES, dot, 2);
        if (lane % 4 == 0 && r < B && !turned) dots[blockIdx.y * B + r] = dot;
    }
}
