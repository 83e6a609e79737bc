// Softmax and log-softmax of rows of C numbers, with a mask if there is one. The definition: softmax.py.
//
// A team of threads (rows.cuh) takes one row and keeps it in shared memory: one pass finds the largest score and the
// sum of exponentials together (Milakov & Gimelshein 2018), a second writes. Moved for each number of x: forward 2 (x
// in, p out), and 1 byte of mask; backward 3 (dp and p in, dx out). That is the least there can be, as long as the
// row fits.
#include "rows.cuh"

// The mask has the axes of x, three leading ones and C. Along an axis where it is the same for all its stride is 0.
struct Mask {
    const bool* row;
    long long stride;

    __device__ __forceinline__ Mask(const bool* mask, int row, int n1, int n2, long long s0, long long s1, long long s2,
                                    long long s3)
        : row(mask == nullptr ? mask : mask + row / n2 / n1 * s0 + row / n2 % n1 * s1 + row % n2 * s2), stride(s3) {}
    __device__ __forceinline__ A operator()(int column, T score) const {
        return row == nullptr || row[column * stride] ? (A)score : (A)-INFINITY;
    }
};

template <int W, bool LOG>
__device__ __forceinline__ void forward(const T* x, const Mask& mask, T* y, int C, int room) {
    const int begin = threadIdx.x * W, step = blockDim.x * W;
    Row<W> row(x, 0, room);
    row.fetch(C);
    cp_async_commit();
    cp_async_wait<0>();

    // A number below all but -inf: a row of -inf then has no exponentials, instead of exp(-inf + inf).
    const A none = LEAST;
    A top = none, total = 0;  // of this thread's scores: the largest, and the sum of exp(score - top)
    for (int i = begin; i < C; i += step) {
        const Some<W> v = row(i);
        A scores[W], higher = top;
#pragma unroll
        for (int e = 0; e < W; e++) {
            scores[e] = mask(i + e, v.x[e]);
            higher = max(higher, scores[e]);
        }
        total *= exponential(top - higher);
#pragma unroll
        for (int e = 0; e < W; e++) total += exponential(scores[e] - higher);
        top = higher;
    }
    const A highest = team_max(top);
    total = team_sum(total * exponential(top - highest));
    const A share = total > 0 || total != total ? 1 / total : 0, logarithm = LOG ? log(total) : 0;

    for (int i = begin; i < C; i += step) {
        Some<W> v = row(i);
#pragma unroll
        for (int e = 0; e < W; e++) {
            const A score = mask(i + e, v.x[e]) - highest;
            v.x[e] = (T)(LOG ? score - logarithm : exponential(score) * share);
        }
        store(y + i, v);
    }
}

extern "C" __global__ void __launch_bounds__(512, 1)
    softmax_forward(const T* x, const bool* mask /* or null */, T* p, int rows, int C, int room, int n1, int n2,
                    long long s0, long long s1, long long s2, long long s3) {
    const int row = blockIdx.x * blockDim.y + threadIdx.y, here = row < rows ? C : 0;
    const size_t at = (size_t)row * C;
    const Mask mine(mask, row, n1, n2, s0, s1, s2, s3);
    if (C % N == 0)
        forward<N, false>(x + at, mine, p + at, here, room);
    else
        forward<1, false>(x + at, mine, p + at, here, room);
}

extern "C" __global__ void __launch_bounds__(512, 1) log_softmax_forward(const T* x, T* y, int rows, int C, int room) {
    const int row = blockIdx.x * blockDim.y + threadIdx.y, here = row < rows ? C : 0;
    const size_t at = (size_t)row * C;
    const Mask none(nullptr, 0, 1, 1, 0, 0, 0, 0);
    if (C % N == 0)
        forward<N, true>(x + at, none, y + at, here, room);
    else
        forward<1, true>(x + at, none, y + at, here, room);
}

template <int W, bool LOG>
__device__ __forceinline__ void backward(const T* d, const T* y, T* dx, int C, int room) {
    const int begin = threadIdx.x * W, step = blockDim.x * W;
    Row<W> d_row(d, 0, room), y_row(y, 1, room);
    d_row.fetch(C);
    y_row.fetch(C);
    cp_async_commit();
    cp_async_wait<0>();

    A sum = 0;  // of dp * p; of d for the logarithm
    for (int i = begin; i < C; i += step) {
        const Some<W> dv = d_row(i), yv = y_row(i);
#pragma unroll
        for (int e = 0; e < W; e++) sum += LOG ? (A)dv.x[e] : (A)dv.x[e] * (A)yv.x[e];
    }
    sum = team_sum(sum);
    for (int i = begin; i < C; i += step) {
        const Some<W> dv = d_row(i), yv = y_row(i);
        Some<W> out;
#pragma unroll
        for (int e = 0; e < W; e++) {
            const A slope = (A)dv.x[e], v = (A)yv.x[e];
            out.x[e] = (T)(LOG ? slope - exponential(v) * sum : v * (slope - sum));
        }
        store(dx + i, out);
    }
}

extern "C" __global__ void __launch_bounds__(512, 1)
    softmax_backward(const T* dp, const T* p, T* dx, int rows, int C, int room) {
    const int row = blockIdx.x * blockDim.y + threadIdx.y, here = row < rows ? C : 0;
    const size_t at = (size_t)row * C;
    if (C % N == 0)
        backward<N, false>(dp + at, p + at, dx + at, here, room);
    else
        backward<1, false>(dp + at, p + at, dx + at, here, room);
}

extern "C" __global__ void __launch_bounds__(512, 1)
    log_softmax_backward(const T* d, const T* y, T* dx, int rows, int C, int room) {
    const int row = blockIdx.x * blockDim.y + threadIdx.y, here = row < rows ? C : 0;
    const size_t at = (size_t)row * C;
    if (C % N == 0)
        backward<N, true>(d + at, y + at, dx + at, here, room);
    else
        backward<1, true>(d + at, y + at, dx + at, here, room);
}
