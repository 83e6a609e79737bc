// Attention on tensor cores: bfloat16 in and out, sums in float32.
// The definition: attention.py; the same kernels without tensor cores, which read more easily: attention.cu.
// dtypes: bfloat16
// defines: HEAD_WIDTH=32, HEAD_WIDTH=64, HEAD_WIDTH=128
//
// attention_forward    One block works out 128 queries of one head, one warp 32 of them. Their scores S against 64 keys
//                      at a time stay in registers; so do the output and, for each query, the largest score so far and
//                      the sum of the exponentials below it (Milakov & Gimelshein 2018, arXiv 1805.02867). When a
//                      larger score comes, what was summed shrinks. No score ever reaches memory (Dao 2023, arXiv
//                      2307.08691). While a product runs, the keys or values of the next one are on their way.
// attention_dq         As the forward: one block, 128 queries. Weights come back from S and the saved log-sum-exp.
// attention_dkdv       One block holds 128 keys and values and meets all queries. It works out the transposes of S and
//                      dS, for then they lie in the registers as the next product wants them. Nothing is added up in
//                      global memory, so that there are no atomics: the same bits at every run.
// attention_dbias      One block owns 64 x 64 numbers of dbias and adds up dS over what shares the bias, in order.
//
// With D the head width (HEAD_WIDTH: 32, 64 or 128), for every pair that the mask allows: forward 4 D flops, backward
// 14 D, and 4 D more for a bias. Bytes moved: forward 4 D a query, and 4 D a key for every 128 queries, most of these
// from the L2 cache: 128 flops a byte. Shared memory, in tiles of 64 x D numbers (D = 32, 64, 128: 4, 8, 16 KB):
// forward 4; dq 8, 6, 6; dkdv 8, 6, 8; dbias 4.
#include "numbers.cuh"
#include "mma.cuh"
#include "attention.cuh"
#include "tiles_bf16.cuh"

// ---- scores in registers --------------------------------------------------------------------------------------------

// What scores are before q k^T is added to them: -infinity where the mask forbids, and stays so; else the bias, or 0.
// The sum is scaled once, inside the exponential: `bias` holds what is to be added divided by `scale`. Rows of s are
// queries from `query` on and columns keys from `key` on; if TURNED, the other way round.
template <bool TURNED, int M, int N>
__device__ __forceinline__ void start(float (&s)[M][N][4], const Head& head, Seen seen, int query, int key) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 4; e++) {
                const int row = m * 16 + e / 2 * 8 + lane / 4, column = n * 8 + lane % 4 * 2 + e % 2;
                const int i = query + (TURNED ? column : row), j = key + (TURNED ? row : column);
                s[m][n][e] = head.added(i, j);
            }
    if (seen == ALL) return;
    if (!TURNED) {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int half = 0; half < 2; half++)
#pragma unroll
                for (int n = 0; n < N; n += 4) {
                    const int i = query + m * 16 + half * 8 + lane / 4;
                    const unsigned word = head.mask.word(i, key + n * 8) >> lane % 4 * 2;
#pragma unroll
                    for (int bit = 0; bit < 8; bit++)
                        if (!(word >> (bit / 2 * 8 + bit % 2) & 1)) s[m][n + bit / 2][half * 2 + bit % 2] = -INFINITY;
                }
    } else {
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int i = query + n * 8 + lane % 4 * 2 + e;
                const unsigned word = head.mask.word(i, key & ~31) >> (key % 32 + lane / 4);
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int half = 0; half < 2; half++)
                        if (!(word >> (m * 16 + half * 8) & 1)) s[m][n][half * 2 + e] = -INFINITY;
            }
    }
}

// Writes 16 M rows of a product, each times a factor, as rows `first` ... of one head. They go through a tile of the
// warp's own, so that they are written in pieces of 16 bytes.
template <int M>
__device__ __forceinline__ void store(T* head, T* tile, const float (&x)[M][D / 8][4], const float (&factor)[M][2],
                                      int first, int count, int stride) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++)
#pragma unroll
            for (int n = 0; n < D / 8; n++)
                *(unsigned*)(tile + at(m * 16 + half * 8 + lane / 4, n * 8 + lane % 4 * 2)) =
                    pack_bf16(x[m][n][half * 2] * factor[m][half], x[m][n][half * 2 + 1] * factor[m][half]);
    __syncwarp();
    for (int i = lane; i < 16 * M * D / 8; i += 32) {
        const int row = i / (D / 8), column = i % (D / 8) * 8;
        if (first + row < count)
            store16(head + (size_t)(first + row) * stride + column, load16(tile + at(row, column)));
    }
}

// ---- forward --------------------------------------------------------------------------------------------------------

extern "C" __global__ void __launch_bounds__(128) attention_forward(
    const T* q, const T* k, const T* v, const unsigned* bits /* or null */, const unsigned char* tiles /* or null */,
    const A* bias /* or null */, T* out, float* log_sum, int H, int Tq, int Tk, float scale, int causal, int mask_b,
    int mask_h, int mask_q, long long bias_b, long long bias_h, long long bias_q, long long bias_k) {
    constexpr int ROWS = 128, KEYS = 64, THREADS = 128, M = 2, N = KEYS / 8;
    extern __shared__ __align__(128) T shared[];
    T *q_tile = shared, *k_tile = q_tile + ROWS * D, *v_tile = k_tile + KEYS * D;

    const int b = blockIdx.z, h = blockIdx.y, block = gridDim.x - 1 - blockIdx.x;  // the longest first, if causal
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int first = block * ROWS, warp_row = warp * 16 * M, warp_first = first + warp_row;
    const Head head(b, h, H, Tq, Tk, causal, bits, tiles, mask_b, mask_h, mask_q, bias, bias_b, bias_h, bias_q, bias_k);
    const Mask& mask = head.mask;

    const int last = divide_up(mask.end(min(first + ROWS, Tq) - 1), KEYS);
    auto next = [&](int t) {  // the next tile of keys that any query of the block may see
        do t++; while (t < last && mask.marked(2 * block, t) == NONE && mask.marked(2 * block + 1, t) == NONE);
        return t;
    };

    float o[M][D / 8][4] = {}, top[M][2], sum[M][2] = {};
#pragma unroll
    for (int m = 0; m < M; m++) top[m][0] = top[m][1] = LOWEST;
    const float factor = LOG2_E * scale;  // exp(x) = 2^(x log2 e): the hardware knows powers of 2

    int t = next(-1);
    fetch<ROWS, THREADS>(q_tile, q + (size_t)b * Tq * H * D + h * D, first, Tq, H * D);
    if (t < last) fetch<KEYS, THREADS>(k_tile, k + head.keys, t * KEYS, Tk, H * D);
    cp_async_commit();
    while (t < last) {
        cp_async_wait<0>();
        __syncthreads();  // the keys are here, and nobody reads the values of the round before any more
        fetch<KEYS, THREADS>(v_tile, v + head.keys, t * KEYS, Tk, H * D);
        cp_async_commit();
        const Seen seen = mask.seen(warp_first / TILE, t);
        const int key = t * KEYS;
        float s[M][N][4];
        start<false>(s, head, seen, warp_first, key);
        multiply_by_rows(s, q_tile + warp_row * D, k_tile);

        cp_async_wait<0>();
        __syncthreads();  // the values are here, and nobody reads the keys any more
        t = next(t);
        if (t < last) fetch<KEYS, THREADS>(k_tile, k + head.keys, t * KEYS, Tk, H * D);
        cp_async_commit();

        // Where a larger score has come, what is summed up so far shrinks: seldom, once many keys have been seen.
        float shrink[M][2];
        bool shrinks = false;
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                float largest = -INFINITY;
#pragma unroll
                for (int n = 0; n < N; n++) largest = fmaxf(largest, fmaxf(s[m][n][half * 2], s[m][n][half * 2 + 1]));
                largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 1));
                largest = fmaxf(largest, __shfl_xor_sync(ALL_LANES, largest, 2));
                largest = fmaxf(top[m][half], largest * factor);
                shrink[m][half] = fast_exp2(top[m][half] - largest);
                shrinks |= top[m][half] != largest;
                top[m][half] = largest;
                sum[m][half] *= shrink[m][half];
            }
        if (__any_sync(ALL_LANES, shrinks)) {
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int n = 0; n < D / 8; n++)
#pragma unroll
                    for (int e = 0; e < 4; e++) o[m][n][e] *= shrink[m][e / 2];
        }

        // Exponentials of 16 keys at a time, so that they are worked out while the tensor cores multiply the last 16.
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            float p[M][2][4];
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int e = 0; e < 8; e++) {
                    p[m][e / 4][e % 4] = fast_exp2(s[m][n + e / 4][e % 4] * factor - top[m][e % 4 / 2]);
                    sum[m][e % 4 / 2] += p[m][e / 4][e % 4];
                }
            multiply_by_columns(o, p, v_tile + n * 8 * D);
            if (D == 128) __syncwarp();  // the next ones not before: two registers would be spilled
        }
    }

    float share[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            float total = sum[m][half];
            total += __shfl_xor_sync(ALL_LANES, total, 1);
            total += __shfl_xor_sync(ALL_LANES, total, 2);
            share[m][half] = total > 0 ? 1 / total : 0;
            const int i = warp_first + m * 16 + half * 8 + lane / 4;
            if (lane % 4 == 0 && i < head.padded)
                log_sum[head.sums + i] = total > 0 ? top[m][half] * LN_2 + __logf(total) : INFINITY;
        }
    cp_async_wait<0>();
    __syncthreads();  // the queries are here also if there were no keys, and can be written over
    store(out + head.queries, q_tile + warp_row * D, o, share, warp_first, Tq, H * D);
}

// ---- backward -------------------------------------------------------------------------------------------------------

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 900
constexpr int DQ_UNROLLED = D == 128 ? 1 : D / 16;  // else two registers would be spilled here
#else
constexpr int DQ_UNROLLED = D / 16;
#endif

// With A = softmax(S), O = A V, delta_i = sum_j A_ij dA_ij = <O_i, dO_i>:   dS = A (dO V^T - delta),   dQ = scale dS K.
extern "C" __global__ void __launch_bounds__(128) attention_dq(
    const T* q, const T* k, const T* v, const unsigned* bits /* or null */, const unsigned char* tiles /* or null */,
    const A* bias /* or null */, const T* out, const T* dout, const float* log_sum, float* delta, T* dq, int H,
    int Tq, int Tk, float scale, int causal, int mask_b, int mask_h, int mask_q, long long bias_b, long long bias_h,
    long long bias_q, long long bias_k) {
    constexpr int ROWS = 128, KEYS = D == 32 ? 64 : 32, THREADS = 128, M = 2, N = KEYS / 8;
    extern __shared__ __align__(128) T shared[];
    T *q_tile = shared, *dout_tile = q_tile + ROWS * D, *key_tiles = dout_tile + ROWS * D;  // two rounds of k and v
    __shared__ float delta_of[ROWS], log_sum_of[ROWS];

    const int b = blockIdx.z, h = blockIdx.y, block = gridDim.x - 1 - blockIdx.x;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int first = block * ROWS, warp_row = warp * 16 * M, warp_first = first + warp_row;
    const Head head(b, h, H, Tq, Tk, causal, bits, tiles, mask_b, mask_h, mask_q, bias, bias_b, bias_h, bias_q, bias_k);
    const Mask& mask = head.mask;

    const int last = divide_up(mask.end(min(first + ROWS, Tq) - 1), KEYS);
    auto hidden = [&](int t) {
        return mask.marked(2 * block, t * KEYS / TILE) == NONE && mask.marked(2 * block + 1, t * KEYS / TILE) == NONE;
    };
    auto next = [&](int t) {
        do t++; while (t < last && hidden(t));
        return t;
    };
    auto fetch_keys = [&](int t, int round) {
        fetch<KEYS, THREADS>(key_tiles + round * 2 * KEYS * D, k + head.keys, t * KEYS, Tk, H * D);
        fetch<KEYS, THREADS>(key_tiles + round * 2 * KEYS * D + KEYS * D, v + head.keys, t * KEYS, Tk, H * D);
    };
    int t = next(-1);
    fetch<ROWS, THREADS>(q_tile, q + head.queries, first, Tq, H * D);
    fetch<ROWS, THREADS>(dout_tile, dout + head.queries, first, Tq, H * D);
    if (t < last) fetch_keys(t, 0);
    cp_async_commit();

    // delta, of 256 / D rows at a time: D / 8 lanes share a row.
    for (int r = lane / (D / 8); r < 16 * M; r += 256 / D) {
        const int i = warp_first + r;
        float sum = 0;
        if (i < Tq) {
            const size_t place = head.queries + (size_t)i * H * D + lane % (D / 8) * 8;
            const Pack<T> x = load16(out + place), y = load16(dout + place);
#pragma unroll
            for (int e = 0; e < 8; e++) sum += (float)x.x[e] * (float)y.x[e];
        }
#pragma unroll
        for (int step = D / 16; step > 0; step /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, step);
        if (lane % (D / 8) == 0) {
            if (i < head.padded) delta[head.sums + i] = sum;
            delta_of[warp_row + r] = sum;  // infinite is the log-sum-exp of a row that sees nothing, or does not exist
            log_sum_of[warp_row + r] = i < head.padded ? log_sum[head.sums + i] * LOG2_E : INFINITY;
        }
    }
    float total[M][D / 8][4] = {};
    for (int round = 0; t < last; round ^= 1) {
        cp_async_wait<0>();
        __syncthreads();  // the keys and values are here, and nobody reads those of the round before any more
        const T *k_tile = key_tiles + round * 2 * KEYS * D, *v_tile = k_tile + KEYS * D;
        const Seen seen = mask.seen(warp_first / TILE, t * KEYS / TILE);
        const int key = t * KEYS;
        t = next(t);
        if (t < last) fetch_keys(t, round ^ 1);
        cp_async_commit();

        float ds[M][N][4] = {}, s[M][N][4];
        multiply_by_rows<DQ_UNROLLED>(ds, dout_tile + warp_row * D, v_tile);
        start<false>(s, head, seen, warp_first, key);
        multiply_by_rows<DQ_UNROLLED>(s, q_tile + warp_row * D, k_tile);
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
            for (int half = 0; half < 2; half++) {
                const int row = warp_row + m * 16 + half * 8 + lane / 4;
                const float log_sum_i = log_sum_of[row], delta_i = delta_of[row];
#pragma unroll
                for (int n = 0; n < N; n++)
#pragma unroll
                    for (int e = half * 2; e < half * 2 + 2; e++) {
                        const float p = fast_exp2(s[m][n][e] * (scale * LOG2_E) - log_sum_i);
                        ds[m][n][e] = p * (ds[m][n][e] - delta_i);
                    }
            }
        multiply_by_columns(total, ds, k_tile);
    }
    cp_async_wait<0>();
    __syncthreads();
    float factor[M][2];
#pragma unroll
    for (int m = 0; m < M; m++) factor[m][0] = factor[m][1] = scale;
    store(dq + head.queries, q_tile + warp_row * D, total, factor, warp_first, Tq, H * D);
}

// dV = A^T dO,   dK = scale dS^T Q. Rows are keys here, columns queries.
constexpr int DKDV_M = D == 128 ? 1 : 2, DKDV_THREADS = 256 / DKDV_M;

extern "C" __global__ void __launch_bounds__(DKDV_THREADS) attention_dkdv(
    const T* q, const T* k, const T* v, const unsigned* bits /* or null */, const unsigned char* tiles /* or null */,
    const A* bias /* or null */, const T* dout, const float* log_sum, const float* delta, T* dk, T* dv, int H,
    int Tq, int Tk, float scale, int causal, int mask_b, int mask_h, int mask_q, long long bias_b, long long bias_h,
    long long bias_q, long long bias_k) {
    constexpr int KEYS = 128, ROWS = D == 64 ? 32 : 64, M = DKDV_M, THREADS = DKDV_THREADS, N = ROWS / 8;
    extern __shared__ __align__(128) T shared[];
    T *k_tile = shared, *v_tile = k_tile + KEYS * D, *query_tiles = v_tile + KEYS * D;  // two rounds of q and dout,
    __shared__ __align__(16) float sums_of[2][2][ROWS];                                 // of log-sum-exp and delta

    const int b = blockIdx.z, h = blockIdx.y, block = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int first = block * KEYS, warp_row = warp * 16 * M, warp_first = first + warp_row;
    const Head head(b, h, H, Tq, Tk, causal, bits, tiles, mask_b, mask_h, mask_q, bias, bias_b, bias_h, bias_q, bias_k);
    const Mask& mask = head.mask;

    const int last = divide_up(Tq, ROWS);
    auto hidden = [&](int t) {
        return mask.marked(t * ROWS / TILE, 2 * block) == NONE && mask.marked(t * ROWS / TILE, 2 * block + 1) == NONE;
    };
    auto next = [&](int t) {
        do t++; while (t < last && hidden(t));
        return t;
    };
    auto fetch_queries = [&](int t, int round) {
        fetch<ROWS, THREADS>(query_tiles + round * 2 * ROWS * D, q + head.queries, t * ROWS, Tq, H * D);
        fetch<ROWS, THREADS>(query_tiles + round * 2 * ROWS * D + ROWS * D, dout + head.queries, t * ROWS, Tq, H * D);
        if (threadIdx.x < ROWS / 2) {
            const int which = threadIdx.x / (ROWS / 4), place = threadIdx.x % (ROWS / 4) * 4;
            cp_async16(&sums_of[round][which][place], (which ? delta : log_sum) + head.sums + t * ROWS + place);
        }
    };
    int t = next(mask.begin(first) / ROWS - 1);
    fetch<KEYS, THREADS>(k_tile, k + head.keys, first, Tk, H * D);
    fetch<KEYS, THREADS>(v_tile, v + head.keys, first, Tk, H * D);
    if (t < last) fetch_queries(t, 0);
    cp_async_commit();

    float total_dk[M][D / 8][4] = {}, total_dv[M][D / 8][4] = {};
    for (int round = 0; t < last; round ^= 1) {
        cp_async_wait<0>();
        __syncthreads();  // the queries are here, and nobody reads those of the round before any more
        const T *q_tile = query_tiles + round * 2 * ROWS * D, *dout_tile = q_tile + ROWS * D;
        const float *log_sums = sums_of[round][0], *deltas = sums_of[round][1];
        const Seen seen = mask.seen(t * ROWS / TILE, warp_first / TILE);
        const int query = t * ROWS;
        t = next(t);
        if (t < last) fetch_queries(t, round ^ 1);
        cp_async_commit();

        float s[M][N][4], ds[M][N][4] = {};
        start<true>(s, head, seen, query, warp_first);
        multiply_by_rows(s, k_tile + warp_row * D, q_tile);
        multiply_by_rows(ds, v_tile + warp_row * D, dout_tile);
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int i = n * 8 + lane % 4 * 2 + e;
                const float log_sum_i = log_sums[i] * LOG2_E, delta_i = deltas[i];
#pragma unroll
                for (int m = 0; m < M; m++)
#pragma unroll
                    for (int half = 0; half < 4; half += 2) {
                        s[m][n][half + e] = fast_exp2(s[m][n][half + e] * (scale * LOG2_E) - log_sum_i);
                        ds[m][n][half + e] = s[m][n][half + e] * (ds[m][n][half + e] - delta_i);
                    }
            }
        multiply_by_columns(total_dv, s, dout_tile);
        multiply_by_columns(total_dk, ds, q_tile);
    }
    cp_async_wait<0>();
    __syncthreads();
    float factor[M][2], one[M][2];
#pragma unroll
    for (int m = 0; m < M; m++) factor[m][0] = factor[m][1] = scale, one[m][0] = one[m][1] = 1;
    store(dk + head.keys, k_tile + warp_row * D, total_dk, factor, warp_first, Tk, H * D);
    store(dv + head.keys, v_tile + warp_row * D, total_dv, one, warp_first, Tk, H * D);
}

// dbias = dS, added up over the examples, heads, queries and keys that share one number of the bias. `dbias` has the
// shape (parts_b, parts_h, Tq or 1, Tk or 1); where it lacks queries or keys, each example and head has a part of its
// own.
extern "C" __global__ void __launch_bounds__(128, 1) attention_dbias(
    const T* q, const T* k, const T* v, const unsigned* bits /* or null */, const unsigned char* tiles /* or null */,
    const A* bias, const T* dout, const float* log_sum, const float* delta, float* dbias, int B, int H, int Tq, int Tk,
    float scale, int causal, int mask_b, int mask_h, int mask_q, long long bias_b, long long bias_h, long long bias_q,
    long long bias_k, int parts_b, int parts_h) {
    constexpr int N = TILE / 8, WIDE = TILE + 1;
    extern __shared__ __align__(128) T shared[];
    T *q_tile = shared, *k_tile = q_tile + TILE * D, *dout_tile = k_tile + TILE * D, *v_tile = dout_tile + TILE * D;
    float* ds_tile = (float*)shared;

    const int query_tiles = divide_up(Tq, TILE), key_tiles = divide_up(Tk, TILE);
    const int own_queries = bias_q ? query_tiles : 1, own_keys = bias_k ? key_tiles : 1;
    const int part = blockIdx.x / own_keys / own_queries;
    const int own_query = blockIdx.x / own_keys % own_queries, own_key = blockIdx.x % own_keys;
    const int lane = threadIdx.x % 32, warp_row = threadIdx.x / 32 * 16;

    float total[1][N][4] = {};
    for (int b = parts_b == 1 ? 0 : part / parts_h; b < (parts_b == 1 ? B : part / parts_h + 1); b++)
        for (int h = parts_h == 1 ? 0 : part % parts_h; h < (parts_h == 1 ? H : part % parts_h + 1); h++) {
            const Head head(b, h, H, Tq, Tk, causal, bits, tiles, mask_b, mask_h, mask_q, bias, bias_b, bias_h, bias_q,
                            bias_k);
            const Mask& mask = head.mask;
            for (int i = own_query; i < query_tiles; i += own_queries)
                for (int j = own_key; j < key_tiles; j += own_keys) {
                    const Seen seen = mask.seen(i, j);
                                __syncthreads();  // nobody reads the tiles of the round before any more
                    fetch<TILE, 128>(q_tile, q + head.queries, i * TILE, Tq, H * D);
                    fetch<TILE, 128>(dout_tile, dout + head.queries, i * TILE, Tq, H * D);
                    fetch<TILE, 128>(k_tile, k + head.keys, j * TILE, Tk, H * D);
                    fetch<TILE, 128>(v_tile, v + head.keys, j * TILE, Tk, H * D);
                    cp_async_commit();
                    cp_async_wait<0>();
                    __syncthreads();

                    float s[1][N][4], ds[1][N][4] = {};
                    start<false>(s, head, seen, i * TILE + warp_row, j * TILE);
                    multiply_by_rows<2>(s, q_tile + warp_row * D, k_tile);
                    multiply_by_rows<2>(ds, dout_tile + warp_row * D, v_tile);
#pragma unroll
                    for (int half = 0; half < 2; half++) {
                        const size_t row = head.sums + i * TILE + warp_row + half * 8 + lane / 4;
                        const float log_sum_i = log_sum[row] * LOG2_E, delta_i = delta[row];
#pragma unroll
                        for (int n = 0; n < N; n++)
#pragma unroll
                            for (int e = half * 2; e < half * 2 + 2; e++) {
                                const float p = fast_exp2(s[0][n][e] * (scale * LOG2_E) - log_sum_i);
                                total[0][n][e] += p * (ds[0][n][e] - delta_i);
                            }
                    }
                }
        }

    // What is left of the tile to add up, from top to bottom and from left to right.
    __syncthreads();
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int row = warp_row + e / 2 * 8 + lane / 4, column = n * 8 + lane % 4 * 2 + e % 2;
            ds_tile[row * WIDE + column] = total[0][n][e];
        }
    __syncthreads();
    const int height = bias_q ? TILE : 1, width = bias_k ? TILE : 1;
    for (int place = threadIdx.x; place < height * width; place += 128) {
        const int row = place / width, column = place % width, i = own_query * TILE + row, j = own_key * TILE + column;
        float sum = 0;
        for (int r = row; r < TILE; r += height)
            for (int c = column; c < TILE; c += width) sum += ds_tile[r * WIDE + c];
        if (i < (bias_q ? Tq : 1) && j < (bias_k ? Tk : 1))
            dbias[((size_t)part * (bias_q ? Tq : 1) + i) * (bias_k ? Tk : 1) + j] = sum;
    }
}
