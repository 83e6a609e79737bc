// InfoNCE in both directions without a table of similarities.
// The definition: contrastive.py; on tensor cores, for bfloat16: contrastive_bf16.cu.
// dtypes: float32 float64
//
// Pictures v and texts w, (B, C) each; z_ij = s <v_i, w_j>, s = exp(log_scale). What texts are to pictures, pictures
// are to texts: direction 0 has rows a = v and columns b = w, direction 1 the other way round.
//
// contrastive_log_sums    One block takes 64 rows of one direction and goes through all columns, 64 at a time: of a row
//                         it keeps the largest z so far and the sum of the exponentials below it. In all 4 B B C flops;
//                         2 B C numbers moved for every 64 rows. Of direction 0 it also leaves the diagonal.
// contrastive_backward    One block takes 64 rows of one direction and CHUNK of the C columns of da. It works out z
//                         again, 64 columns at a time, from it the weights dz_ij = (p_ij + q_ij - 2 [i = j]) dloss /
//                         2B, where p is the softmax along the row and q along the column, and adds dz b. No number is
//                         added to by two blocks: no atomics, the same bits at every run. In all 4 B B C flops for the
//                         products dz b, and as many for each chunk, to work out z.
//
// A block has 16 x 16 threads; thread (y, x) works out rows y, y + 16, ... and columns x, x + 16, ... of every product.
// C is cut into slices of 32 numbers. Shared memory: two slices of 64 rows, and for backward the 64 x 64 weights.
#include "numbers.cuh"

constexpr int R = 4, N = 16 * R, SLICE = 32, WIDE = SLICE + 1, WIDE_P = N + 1;
constexpr int CHUNK = 1024 / sizeof(T);  // columns of da that a block takes: what its registers hold
constexpr unsigned ALL_LANES = 0xffffffffu;

// Columns `column` ... of rows `first` ... of a matrix (B, C), into a tile; zeros beyond its ends.
__device__ __forceinline__ void fetch(T* tile, const T* matrix, int first, int column, int B, int C) {
    for (int i = threadIdx.x; i < N * SLICE; i += 256) {
        const int row = first + i / SLICE, c = column + i % SLICE;
        tile[i / SLICE * WIDE + i % SLICE] = row < B && c < C ? matrix[(size_t)row * C + c] : (T)0;
    }
}

// z of 64 rows of a and 64 rows of b, slice by slice; -infinity for pairs that do not count.
__device__ __forceinline__ void similarities(T (&z)[R][R], const T* a, const T* b, T* a_tile, T* b_tile,
                                             const bool* same, bool turned, T scale, int row, int column, int B,
                                             int C) {
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < R; j++) z[i][j] = 0;
    for (int c = 0; c < C; c += SLICE) {
        __syncthreads();
        fetch(a_tile, a, row, c, B, C);
        fetch(b_tile, b, column, c, B, C);
        __syncthreads();
        for (int d = 0; d < SLICE; d++)
#pragma unroll
            for (int i = 0; i < R; i++)
#pragma unroll
                for (int j = 0; j < R; j++)
                    z[i][j] += a_tile[(y + 16 * i) * WIDE + d] * b_tile[(x + 16 * j) * WIDE + d];
    }
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < R; j++) {
            const int r = row + y + 16 * i, c = column + x + 16 * j;
            bool counts = r < B && c < B;
            if (counts && same && r != c) counts = !same[turned ? (size_t)c * B + r : (size_t)r * B + c];
            z[i][j] = counts ? z[i][j] * scale : (T)-INFINITY;
        }
}

// Over the 16 threads that share a row; all of them get the result.
__device__ __forceinline__ T row_sum(T v) {
#pragma unroll
    for (int step = 8; step > 0; step /= 2) v += __shfl_xor_sync(ALL_LANES, v, step);
    return v;
}
__device__ __forceinline__ T row_max(T v) {
#pragma unroll
    for (int step = 8; step > 0; step /= 2) v = max(v, __shfl_xor_sync(ALL_LANES, v, step));
    return v;
}

extern "C" __global__ void __launch_bounds__(256) contrastive_log_sums(
    const T* image, const T* text, const bool* same /* or null */, const A* log_scale, A* log_sums, A* diagonal, int B,
    int C) {
    __shared__ T a_tile[N * WIDE], b_tile[N * WIDE];
    const int first = blockIdx.x * N, y = threadIdx.x / 16, x = threadIdx.x % 16;
    const bool turned = blockIdx.y;
    const T *a = turned ? text : image, *b = turned ? image : text, scale = exp(log_scale[0]);

    T top[R], sum[R] = {};
    for (int i = 0; i < R; i++) top[i] = -INFINITY;
    for (int column = 0; column < B; column += N) {
        T z[R][R];
        similarities(z, a, b, a_tile, b_tile, same, turned, scale, first, column, B, C);
#pragma unroll
        for (int i = 0; i < R; i++) {
            T largest = top[i], total = 0;
            for (int j = 0; j < R; j++) largest = max(largest, z[i][j]);
            largest = row_max(largest);
            const T base = largest == -INFINITY ? 0 : largest;  // so far nothing has counted in this row
            for (int j = 0; j < R; j++) total += exp(z[i][j] - base);
            sum[i] = sum[i] * exp(top[i] - base) + row_sum(total);
            top[i] = largest;
        }
        if (column == first && !turned && x == y)
            for (int i = 0; i < R; i++)
                if (first + y + 16 * i < B) diagonal[first + y + 16 * i] = z[i][i];
    }
    for (int i = 0; i < R; i++)
        if (x == 0 && first + y + 16 * i < B) log_sums[(turned ? B : 0) + first + y + 16 * i] = top[i] + log(sum[i]);
}

// `dots` (chunks, B) gets the part that each chunk has in <v_i, dv_i> = sum_j dz_ij z_ij: their sum is dlog_scale.
extern "C" __global__ void __launch_bounds__(256, 1) contrastive_backward(
    const T* image, const T* text, const bool* same /* or null */, const A* log_scale, const A* log_sums,
    const A* dloss, T* dimage, T* dtext, A* dots, int B, int C) {
    extern __shared__ __align__(16) T shared[];
    T *a_tile = shared, *b_tile = a_tile + N * WIDE, *p_tile = b_tile + N * WIDE;
    const int first = blockIdx.x * N, chunk = blockIdx.y * CHUNK, y = threadIdx.x / 16, x = threadIdx.x % 16;
    const bool turned = blockIdx.z;
    const T *a = turned ? text : image, *b = turned ? image : text, scale = exp(log_scale[0]);
    const A *row_sums = log_sums + (turned ? B : 0), *column_sums = log_sums + (turned ? 0 : B);

    T da[R][CHUNK / 16] = {};
    for (int column = 0; column < B; column += N) {
        T z[R][R];
        similarities(z, a, b, a_tile, b_tile, same, turned, scale, first, column, B, C);
#pragma unroll
        for (int i = 0; i < R; i++)
#pragma unroll
            for (int j = 0; j < R; j++) {
                const int r = first + y + 16 * i, c = column + x + 16 * j;
                T p = 0;
                if (r < B && c < B) p = exp(z[i][j] - row_sums[r]) + exp(z[i][j] - column_sums[c]) - (r == c ? 2 : 0);
                p_tile[(y + 16 * i) * WIDE_P + x + 16 * j] = p;
            }
#pragma unroll
        for (int w = 0; w < CHUNK; w += SLICE) {
            __syncthreads();
            if (chunk + w < C) fetch(b_tile, b, column, chunk + w, B, C);
            __syncthreads();
            for (int n = 0; n < N && chunk + w < C; n++)
#pragma unroll
                for (int i = 0; i < R; i++)
#pragma unroll
                    for (int j = 0; j < SLICE / 16; j++)
                        da[i][w / 16 + j] += p_tile[(y + 16 * i) * WIDE_P + n] * b_tile[n * WIDE + x + 16 * j];
        }
    }

    const T factor = scale * dloss[0] / (2 * B);
    for (int i = 0; i < R; i++) {
        const int r = first + y + 16 * i;
        T dot = 0;
#pragma unroll
        for (int j = 0; j < CHUNK / 16; j++) {
            const int c = chunk + x + 16 * j;
            if (r >= B || c >= C) continue;
            const size_t place = (size_t)r * C + c;
            (turned ? dtext : dimage)[place] = da[i][j] * factor;
            dot += a[place] * (da[i][j] * factor);
        }
        dot = row_sum(dot);
        if (x == 0 && r < B && !turned) dots[blockIdx.y * B + r] = dot;
    }
}
