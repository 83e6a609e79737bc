// Attention without a table of scores: forward and backward in tiles that fit on the chip.
// The definition: attention.py; the same four kernels on tensor cores, for bfloat16: attention_bf16.cu.
// dtypes: float32 float64
// defines: HEAD_WIDTH=32, HEAD_WIDTH=64, HEAD_WIDTH=128
//
// attention_forward    One block works out N queries of one head and goes through the keys, N at a time. Of a row it
//                      keeps the largest score so far, the sum of the exponentials below it, and the output under way
//                      (Milakov & Gimelshein 2018, arXiv 1805.02867); a larger score shrinks the other two. It
//                      leaves the log-sum-exp of each row, from which backward finds any weight again (Dao et al. 2022,
//                      arXiv 2205.14135).
// attention_dq         One block, N queries: meets all keys. It also leaves delta = <O, dO>, which dkdv and dbias need.
// attention_dkdv       One block, N keys: meets all queries. No number is added to by two blocks: no atomics, the same
//                      bits at every run.
// attention_dbias      One block owns N x N numbers of dbias and adds up dS over what the bias is shared by, in order.
//
// A block has 16 x 16 threads; thread (y, x) works out rows y, y + 16, ... and columns x, x + 16, ... of every product:
// of N x N scores R x R numbers, each from shared memory but kept in registers. N = 16 R is 64, or 32 where rows are
// long.
//
// With D the head width (HEAD_WIDTH: 32, 64 or 128), for every pair that the mask allows: forward 4 D flops, backward
// 14 D, and 4 D more for a bias. Bytes moved: a key and a value, 2 D numbers, for every N queries. Shared memory:
// N (D + 1) numbers for each of 3 tiles (forward) or 4, and N (N + 1) for the weights.
#include "numbers.cuh"
#include "attention.cuh"

constexpr int R = sizeof(T) * D <= 256 ? 4 : 2, N = 16 * R, C = D / 16;
constexpr int WIDE = D + 1, WIDE_P = N + 1;  // one number more a row, so that 16 rows begin in 16 different banks
constexpr unsigned ALL_LANES = 0xffffffffu;

// ---- tiles, and the two products that all of attention is made of ---------------------------------------------------

// Rows `first` ... of one head, into a tile of N rows; rows from `count` on are zeros. In memory a sequence is (T, H,
// D): `stride` = H D numbers from row to row.
__device__ __forceinline__ void fetch(T* tile, const T* head, int first, int count, int stride) {
    for (int i = threadIdx.x; i < N * D; i += 256) {
        const int row = i / D, column = i % D;
        tile[row * WIDE + column] = first + row < count ? head[(size_t)(first + row) * stride + column] : (T)0;
    }
}

// product += a b^T: the rows of one tile against those of another.
__device__ __forceinline__ void multiply_by_rows(T (&product)[R][R], const T* a, const T* b) {
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
    for (int d = 0; d < D; d++)
#pragma unroll
        for (int i = 0; i < R; i++)
#pragma unroll
            for (int j = 0; j < R; j++) product[i][j] += a[(y + 16 * i) * WIDE + d] * b[(x + 16 * j) * WIDE + d];
}

// product += p b: N x N weights, by way of shared memory, times a tile. Only the 16 threads of a row need its weights,
// and they are of one warp: no barrier of the block.
__device__ __forceinline__ void multiply_by_columns(T (&product)[R][C], const T (&p)[R][R], T* p_tile, const T* b) {
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
    __syncwarp();
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < R; j++) p_tile[(y + 16 * i) * WIDE_P + x + 16 * j] = p[i][j];
    __syncwarp();
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < R; i++)
#pragma unroll
            for (int c = 0; c < C; c++) product[i][c] += p_tile[(y + 16 * i) * WIDE_P + n] * b[n * WIDE + x + 16 * c];
}

// Writes a product, times a factor, as rows `first` ... of one head.
__device__ __forceinline__ void store(T* head, const T (&product)[R][C], const T (&factor)[R], int first, int count,
                                      int stride) {
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int c = 0; c < C; c++)
            if (first + y + 16 * i < count)
                head[(size_t)(first + y + 16 * i) * stride + x + 16 * c] = product[i][c] * factor[i];
}

// s = scale s + bias where the mask allows, else -infinity. Rows are queries from `query` on and columns keys from
// `key` on; if TURNED, the other way round.
template <bool TURNED>
__device__ __forceinline__ void finish(T (&s)[R][R], T scale, const Head& head, Seen seen, int query, int key) {
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;
#pragma unroll
    for (int row = 0; row < R; row++)
#pragma unroll
        for (int column = 0; column < R; column++) {
            const int i = query + (TURNED ? x + 16 * column : y + 16 * row);
            const int j = key + (TURNED ? y + 16 * row : x + 16 * column);
            const bool allowed = seen == ALL || head.mask.allows(i, j);
            s[row][column] = allowed ? scale * s[row][column] + head.added(i, j) : (T)-INFINITY;
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

// ---- forward --------------------------------------------------------------------------------------------------------

extern "C" __global__ void __launch_bounds__(256) attention_forward(
    const T* q, const T* k, const T* v, const unsigned* bits /* or null */, const unsigned char* tiles /* or null */,
    const A* bias /* or null */, T* out, A* log_sum, int H, int Tq, int Tk, A scale, int causal, int mask_b, int mask_h,
    int mask_q, long long bias_b, long long bias_h, long long bias_q, long long bias_k) {
    extern __shared__ __align__(16) T shared[];
    T *q_tile = shared, *k_tile = q_tile + N * WIDE, *v_tile = k_tile + N * WIDE, *p_tile = v_tile + N * WIDE;

    const int b = blockIdx.z, h = blockIdx.y, block = gridDim.x - 1 - blockIdx.x;  // the longest first, if causal
    const int first = block * N, y = threadIdx.x / 16, x = threadIdx.x % 16;
    const Head head(b, h, H, Tq, Tk, causal, bits, tiles, mask_b, mask_h, mask_q, bias, bias_b, bias_h, bias_q, bias_k);
    const Mask& mask = head.mask;

    T o[R][C] = {}, top[R], sum[R] = {};
    for (int i = 0; i < R; i++) top[i] = -INFINITY;
    fetch(q_tile, q + head.queries, first, Tq, H * D);
    for (int key = 0; key < Tk; key += N) {
        const Seen seen = mask.seen(first / TILE, key / TILE);
        if (seen == NONE) continue;
        __syncthreads();  // nobody reads the keys and values of the round before any more
        fetch(k_tile, k + head.keys, key, Tk, H * D);
        fetch(v_tile, v + head.keys, key, Tk, H * D);
        __syncthreads();
        T s[R][R] = {};
        multiply_by_rows(s, q_tile, k_tile);
        finish<false>(s, scale, head, seen, first, key);
#pragma unroll
        for (int i = 0; i < R; i++) {
            T largest = top[i];
            for (int j = 0; j < R; j++) largest = max(largest, s[i][j]);
            largest = row_max(largest);
            const T base = largest == -INFINITY ? 0 : largest, shrink = exp(top[i] - base);
            T total = 0;
            for (int j = 0; j < R; j++) total += s[i][j] = exp(s[i][j] - base);
            sum[i] = sum[i] * shrink + row_sum(total);
            top[i] = largest;
            for (int c = 0; c < C; c++) o[i][c] *= shrink;
        }
        multiply_by_columns(o, s, p_tile, v_tile);
    }

    T share[R];
    for (int i = 0; i < R; i++) {
        const int query = first + y + 16 * i;
        share[i] = sum[i] > 0 ? 1 / sum[i] : 0;  // a row that may attend to nothing gives 0
        if (x == 0 && query < head.padded)
            log_sum[head.sums + query] = sum[i] > 0 ? top[i] + log(sum[i]) : (T)INFINITY;
    }
    store(out + head.queries, o, share, first, Tq, H * D);
}

// ---- backward -------------------------------------------------------------------------------------------------------

// With A = softmax(S), O = A V, delta_i = sum_j A_ij dA_ij = <O_i, dO_i>:   dS = A (dO V^T - delta),   dQ = scale dS K.
extern "C" __global__ void __launch_bounds__(256) attention_dq(
    const T* q, const T* k, const T* v, const unsigned* bits /* or null */, const unsigned char* tiles /* or null */,
    const A* bias /* or null */, const T* out, const T* dout, const A* log_sum, A* delta, T* dq, int H, int Tq, int Tk,
    A scale, int causal, int mask_b, int mask_h, int mask_q, long long bias_b, long long bias_h, long long bias_q,
    long long bias_k) {
    extern __shared__ __align__(16) T shared[];
    T *q_tile = shared, *dout_tile = q_tile + N * WIDE, *k_tile = dout_tile + N * WIDE, *v_tile = k_tile + N * WIDE,
      *p_tile = v_tile + N * WIDE;

    const int b = blockIdx.z, h = blockIdx.y, block = gridDim.x - 1 - blockIdx.x;
    const int first = block * N, y = threadIdx.x / 16, x = threadIdx.x % 16;
    const Head head(b, h, H, Tq, Tk, causal, bits, tiles, mask_b, mask_h, mask_q, bias, bias_b, bias_h, bias_q, bias_k);
    const Mask& mask = head.mask;

    T total[R][C] = {}, row_delta[R], row_log[R], factor[R];
    for (int i = 0; i < R; i++) {
        const int query = first + y + 16 * i;
        T sum = 0;
        for (int d = x; d < D && query < Tq; d += 16) {
            const size_t place = head.queries + (size_t)query * H * D + d;
            sum += out[place] * dout[place];
        }
        row_delta[i] = row_sum(sum);
        row_log[i] = query < head.padded ? log_sum[head.sums + query] : (T)INFINITY;  // infinite: attends to nothing
        if (x == 0 && query < head.padded) delta[head.sums + query] = row_delta[i];
        factor[i] = scale;
    }
    fetch(q_tile, q + head.queries, first, Tq, H * D);
    fetch(dout_tile, dout + head.queries, first, Tq, H * D);
    for (int key = 0; key < Tk; key += N) {
        const Seen seen = mask.seen(first / TILE, key / TILE);
        if (seen == NONE) continue;
        __syncthreads();
        fetch(k_tile, k + head.keys, key, Tk, H * D);
        fetch(v_tile, v + head.keys, key, Tk, H * D);
        __syncthreads();
        T s[R][R] = {}, ds[R][R] = {};
        multiply_by_rows(s, q_tile, k_tile);
        multiply_by_rows(ds, dout_tile, v_tile);
        finish<false>(s, scale, head, seen, first, key);
#pragma unroll
        for (int i = 0; i < R; i++)
#pragma unroll
            for (int j = 0; j < R; j++) ds[i][j] = exp(s[i][j] - row_log[i]) * (ds[i][j] - row_delta[i]);
        multiply_by_columns(total, ds, p_tile, k_tile);
    }
    store(dq + head.queries, total, factor, first, Tq, H * D);
}

// dV = A^T dO,   dK = scale dS^T Q. Rows are keys here, columns queries.
extern "C" __global__ void __launch_bounds__(256) attention_dkdv(
    const T* q, const T* k, const T* v, const unsigned* bits /* or null */, const unsigned char* tiles /* or null */,
    const A* bias /* or null */, const T* dout, const A* log_sum, const A* delta, T* dk, T* dv, int H, int Tq, int Tk,
    A scale, int causal, int mask_b, int mask_h, int mask_q, long long bias_b, long long bias_h, long long bias_q,
    long long bias_k) {
    extern __shared__ __align__(16) T shared[];
    T *k_tile = shared, *v_tile = k_tile + N * WIDE, *q_tile = v_tile + N * WIDE, *dout_tile = q_tile + N * WIDE,
      *p_tile = dout_tile + N * WIDE;

    const int b = blockIdx.z, h = blockIdx.y, first = blockIdx.x * N, x = threadIdx.x % 16;
    const Head head(b, h, H, Tq, Tk, causal, bits, tiles, mask_b, mask_h, mask_q, bias, bias_b, bias_h, bias_q, bias_k);
    const Mask& mask = head.mask;

    T total_dk[R][C] = {}, total_dv[R][C] = {}, factor[R], one[R];
    for (int i = 0; i < R; i++) factor[i] = scale, one[i] = 1;
    fetch(k_tile, k + head.keys, first, Tk, H * D);
    fetch(v_tile, v + head.keys, first, Tk, H * D);
    for (int query = 0; query < Tq; query += N) {
        const Seen seen = mask.seen(query / TILE, first / TILE);
        if (seen == NONE) continue;
        __syncthreads();
        fetch(q_tile, q + head.queries, query, Tq, H * D);
        fetch(dout_tile, dout + head.queries, query, Tq, H * D);
        __syncthreads();
        T s[R][R] = {}, ds[R][R] = {};
        multiply_by_rows(s, k_tile, q_tile);
        multiply_by_rows(ds, v_tile, dout_tile);
        finish<true>(s, scale, head, seen, query, first);
#pragma unroll
        for (int j = 0; j < R; j++) {
            const size_t column = head.sums + query + x + 16 * j;
            const T log_sum_j = log_sum[column], delta_j = delta[column];
#pragma unroll
            for (int i = 0; i < R; i++) {
                s[i][j] = exp(s[i][j] - log_sum_j);
                ds[i][j] = s[i][j] * (ds[i][j] - delta_j);
            }
        }
        multiply_by_columns(total_dv, s, p_tile, dout_tile);
        multiply_by_columns(total_dk, ds, p_tile, q_tile);
    }
    store(dk + head.keys, total_dk, factor, first, Tk, H * D);
    store(dv + head.keys, total_dv, one, first, Tk, H * D);
}

// dbias = dS, added up over the examples, heads, queries and keys that share one number of the bias. `dbias` has the
// shape (parts_b, parts_h, Tq or 1, Tk or 1); where it lacks queries or keys, each example and head has a part of its
// own.
extern "C" __global__ void __launch_bounds__(256, 1) attention_dbias(
    const T* q, const T* k, const T* v, const unsigned* bits /* or null */, const unsigned char* tiles /* or null */,
    const A* bias, const T* dout, const A* log_sum, const A* delta, A* dbias, int B, int H, int Tq, int Tk, A scale,
    int causal, int mask_b, int mask_h, int mask_q, long long bias_b, long long bias_h, long long bias_q,
    long long bias_k, int parts_b, int parts_h) {
    extern __shared__ __align__(16) T shared[];
    T *q_tile = shared, *k_tile = q_tile + N * WIDE, *dout_tile = k_tile + N * WIDE, *v_tile = dout_tile + N * WIDE,
      *ds_tile = v_tile + N * WIDE;

    const int own_queries = bias_q ? divide_up(Tq, N) : 1, own_keys = bias_k ? divide_up(Tk, N) : 1;
    const int part = blockIdx.x / own_keys / own_queries;
    const int own_query = blockIdx.x / own_keys % own_queries, own_key = blockIdx.x % own_keys;
    const int y = threadIdx.x / 16, x = threadIdx.x % 16;

    T total[R][R] = {};
    for (int b = parts_b == 1 ? 0 : part / parts_h; b < (parts_b == 1 ? B : part / parts_h + 1); b++)
        for (int h = parts_h == 1 ? 0 : part % parts_h; h < (parts_h == 1 ? H : part % parts_h + 1); h++) {
            const Head head(b, h, H, Tq, Tk, causal, bits, tiles, mask_b, mask_h, mask_q, bias, bias_b, bias_h, bias_q,
                            bias_k);
            const Mask& mask = head.mask;
            for (int query = own_query * N; query < Tq; query += own_queries * N)
                for (int key = own_key * N; key < Tk; key += own_keys * N) {
                    const Seen seen = mask.seen(query / TILE, key / TILE);
                    if (seen == NONE) continue;
                    __syncthreads();
                    fetch(q_tile, q + head.queries, query, Tq, H * D);
                    fetch(dout_tile, dout + head.queries, query, Tq, H * D);
                    fetch(k_tile, k + head.keys, key, Tk, H * D);
                    fetch(v_tile, v + head.keys, key, Tk, H * D);
                    __syncthreads();
                    T s[R][R] = {}, ds[R][R] = {};
                    multiply_by_rows(s, q_tile, k_tile);
                    multiply_by_rows(ds, dout_tile, v_tile);
                    finish<false>(s, scale, head, seen, query, key);
#pragma unroll
                    for (int i = 0; i < R; i++) {
                        const size_t row = head.sums + query + y + 16 * i;
                        for (int j = 0; j < R; j++)
                            total[i][j] += exp(s[i][j] - log_sum[row]) * (ds[i][j] - delta[row]);
                    }
                }
        }

    // What is left of the tile to add up, from top to bottom and from left to right.
    for (int i = 0; i < R; i++)
        for (int j = 0; j < R; j++) ds_tile[(y + 16 * i) * WIDE_P + x + 16 * j] = total[i][j];
    __syncthreads();
    const int height = bias_q ? N : 1, width = bias_k ? N : 1;
    for (int place = threadIdx.x; place < height * width; place += 256) {
        const int row = place / width, column = place % width, i = own_query * N + row, j = own_key * N + column;
        T sum = 0;
        for (int r = row; r < N; r += height)
            for (int c = column; c < N; c += width) sum += ds_tile[r * WIDE_P + c];
        if (i < (bias_q ? Tq : 1) && j < (bias_k ? Tk : 1))
            dbias[((size_t)part * (bias_q ? Tq : 1) + i) * (bias_k ? Tk : 1) + j] = sum;
    }
}
