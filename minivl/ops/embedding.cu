// Embedding: rows of a table, looked up by number. The definition: embedding.py.
//
// forward    A team of threads (rows.cuh) copies one row. Moved for each number of the output: 2 (in, out).
// backward   The places where one number stands are summed, in an order that depends on the ids alone: no atomics,
//            and the same bits every time. The ids come sorted, with the place that each had (`order`).
//            embedding_chunks: a team takes CHUNK sorted places, which are runs of equal ids, and sums each run. A
//            run that lies within the chunk goes into the table; a piece of one that goes on in another chunk is put
//            aside. embedding_joins: a block adds up the pieces of the run that begins in one chunk and ends in
//            another, if there is one. So a pad that stands in half of all places is summed by many teams at once.
//            Moved for each number of d: 1 in, and 1 out for each number of a row that is looked up; both the least
//            there can be, but for the zeros that the rest of the table begins as.
#include "rows.cuh"

extern "C" __global__ void __launch_bounds__(128)
    embedding_forward(const T* __restrict__ table, const int64_t* __restrict__ ids, T* __restrict__ out, int rows,
                      int C, int V) {
    const int row = blockIdx.x * blockDim.y + threadIdx.y;
    if (row >= rows) return;
    const int64_t id = ids[row];
    const bool known = id >= 0 && id < V;  // a number that the table has not gets NaN, and in backward is left out
    const T* from = table + (known ? id : 0) * C;
    T* to = out + (size_t)row * C;
    const int whole = C % N == 0 ? C : 0;
#pragma unroll 4
    for (int i = threadIdx.x * N; i < whole; i += blockDim.x * N) {
        Some<N> v = load<N>(from + i);
#pragma unroll
        for (int e = 0; e < N; e++) v.x[e] = known ? v.x[e] : (T)(A)NAN;
        store(to + i, v);
    }
    for (int i = whole + threadIdx.x; i < C; i += blockDim.x) to[i] = known ? from[i] : (T)(A)NAN;
}

constexpr int CHUNK = 32;  // sorted places that one team sums; embedding.py has it too
constexpr int AHEAD = 4;   // of them are under way at a time

template <int W>
__device__ __forceinline__ void write(T* to, A (&sum)[W]) {
    Some<W> v;
#pragma unroll
    for (int e = 0; e < W; e++) v.x[e] = (T)sum[e], sum[e] = 0;
    store(to, v);
}

// pieces (chunks, 2, C): of the run that came from the chunk before, and of the run that goes on in the next.
template <int W>
__device__ __forceinline__ void sum_chunk(const T* d, const int64_t* ids, const int64_t* order, T* dtable, A* pieces,
                                          int chunk, int n, int C, int V) {
    const int column = (blockIdx.y * blockDim.x + threadIdx.x) * W, begin = chunk * CHUNK, end = min(begin + CHUNK, n);
    if (begin >= n || column >= C) return;
    bool came_in = begin > 0 && ids[begin - 1] == ids[begin];
    A sum[W] = {};
    for (int base = begin; base < end; base += AHEAD) {
        Some<W> v[AHEAD];
#pragma unroll
        for (int k = 0; k < AHEAD; k++)
            if (base + k < end) v[k] = load<W>(d + order[base + k] * C + column);
#pragma unroll
        for (int k = 0; k < AHEAD; k++) {
            const int i = base + k;
            if (i >= end) break;
#pragma unroll
            for (int e = 0; e < W; e++) sum[e] += (A)v[k].x[e];
            const bool ends = i + 1 == n || ids[i + 1] != ids[i];
            if (ids[i] < 0 || ids[i] >= V) {
#pragma unroll
                for (int e = 0; e < W; e++) sum[e] = 0;
            } else if (ends && !came_in) {
                write(dtable + ids[i] * C + column, sum);
            } else if (ends || i + 1 == end) {
                A* piece = pieces + ((size_t)chunk * 2 + !came_in) * C + column;
#pragma unroll
                for (int e = 0; e < W; e++) piece[e] = sum[e], sum[e] = 0;
            }
            if (ends) came_in = false;
        }
    }
}

extern "C" __global__ void __launch_bounds__(128)
    embedding_chunks(const T* d, const int64_t* ids, const int64_t* order, T* dtable, A* pieces, int n, int C, int V) {
    const int chunk = blockIdx.x * blockDim.y + threadIdx.y;
    if (C % N == 0)
        sum_chunk<N>(d, ids, order, dtable, pieces, chunk, n, C, V);
    else
        sum_chunk<1>(d, ids, order, dtable, pieces, chunk, n, C, V);
}

// Block (32, 8): 32 columns, and 8 threads for each, which take every eighth piece.
extern "C" __global__ void __launch_bounds__(256)
    embedding_joins(const int64_t* ids, const A* pieces, T* dtable, int n, int C, int V) {
    const int chunk = blockIdx.x, begin = chunk * CHUNK, next = begin + CHUNK, column = blockIdx.y * 32 + threadIdx.x;
    const int64_t id = ids[next - 1];  // blockIdx.x counts the chunks but the last, so that there is a next one
    if (ids[next] != id || (begin > 0 && ids[begin - 1] == id)) return;  // no run begins here and goes on
    if (id < 0 || id >= V) return;

    A sum = 0;
    if (column < C) {
#pragma unroll 4
        for (int k = chunk + 1 + threadIdx.y; k * CHUNK < n && ids[k * CHUNK] == id; k += 8)
            sum += pieces[(size_t)k * 2 * C + column];
    }
    __shared__ A part[8][32];
    part[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y > 0 || column >= C) return;
    sum = pieces[((size_t)chunk * 2 + 1) * C + column];
    for (int r = 0; r < 8; r++) sum += part[r][threadIdx.x];
    dtable[id * C + column] = (T)sum;
}
