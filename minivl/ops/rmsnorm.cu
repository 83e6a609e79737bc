// Root mean square normalisation of rows of C numbers. The definition: rmsnorm.py. The kernels are those of
// layernorm.cu, which says more, without mean and bias.
//
// forward    A team of threads (rows.cuh) takes one row and keeps it in shared memory. Moved for each number of x: 2
//            (x in, y out), the least there can be.
// backward   A team takes every g-th row, g being the teams of the launch, and sums dweight in registers; column_sums
//            adds up the blocks. Moved: 3 (x and dy in, dx out), the least there can be.
#include "column_sums.cuh"
#include "rows.cuh"

template <int W>
__device__ __forceinline__ void normalise(const T* x, const T* weight, T* y, A* rstd, int C, int room, A eps) {
    const int begin = threadIdx.x * W, step = blockDim.x * W;
    Row<W> row(x, 0, room);
    row.fetch(C);
    cp_async_commit();
    cp_async_wait<0>();

    A squares = 0;
    for (int i = begin; i < C; i += step) {
        const Some<W> v = row(i);
#pragma unroll
        for (int e = 0; e < W; e++) squares += (A)v.x[e] * (A)v.x[e];
    }
    const A r = (A)1 / sqrt(team_sum(squares) / C + eps);

    for (int i = begin; i < C; i += step) {
        const Some<W> w = load<W>(weight + i);
        Some<W> v = row(i);
#pragma unroll
        for (int e = 0; e < W; e++) v.x[e] = (T)((A)v.x[e] * r * (A)w.x[e]);
        store(y + i, v);
    }
    if (begin == 0 && C > 0) *rstd = r;
}

extern "C" __global__ void __launch_bounds__(512, 1)
    rmsnorm_forward(const T* x, const T* weight, T* y, A* rstd, int rows, int C, int room, A eps) {
    const int row = blockIdx.x * blockDim.y + threadIdx.y, here = row < rows ? C : 0;
    const size_t at = (size_t)row * C;
    if (C % N == 0)
        normalise<N>(x + at, weight, y + at, rstd + row, here, room, eps);
    else
        normalise<1>(x + at, weight, y + at, rstd + row, here, room, eps);
}

// As in layernorm.cu: a thread sums dweight for so many columns.
template <int W>
constexpr int OWN = W == 1 ? 4 : sizeof(T) == 8 ? 8 : 16;

template <int W>
__device__ __forceinline__ void gradients(const T* x, const T* dy, const T* weight, const A* rstd, T* dx, A* partial,
                                          int rows, int C, int room) {
    const int threads = blockDim.x, tile = OWN<W> * threads, first = blockIdx.y * tile, end = min(C, first + tile);
    const int begin = first + threadIdx.x * W, step = threads * W;
    const int teams = gridDim.x * blockDim.y;
    A dweight[OWN<W>] = {}, r_next = 0;

    auto fetch = [&](int row, int buffer) {
        if (row < rows) {
            Row<W>(x + (size_t)row * C + first, 2 * buffer, room).fetch(end - first);
            Row<W>(dy + (size_t)row * C + first, 2 * buffer + 1, room).fetch(end - first);
            r_next = rstd[row];
        }
        cp_async_commit();
    };
    fetch(blockIdx.x * blockDim.y + threadIdx.y, 0);
    for (int top = blockIdx.x * blockDim.y, buffer = 0; top < rows; top += teams, buffer ^= 1) {
        const int row = top + threadIdx.y;
        const size_t at = (size_t)row * C;
        const bool there = row < rows;
        const A r = r_next;
        fetch(row + teams, buffer ^ 1);  // the next row is under way while this one is worked on
        cp_async_wait<1>();
        const Row<W> x_row(x + at + first, 2 * buffer, room), dy_row(dy + at + first, 2 * buffer + 1, room);

        A along = 0;  // the mean of dn * n, with dn = dy * weight and n = x * rstd
        auto take = [&](const Some<W>& v, const Some<W>& d, const Some<W>& w) {
#pragma unroll
            for (int e = 0; e < W; e++) along += (A)d.x[e] * (A)w.x[e] * ((A)v.x[e] * r);
        };
        if (there) {
            for (int i = begin; i < end; i += step) take(x_row(i - first), dy_row(i - first), load<W>(weight + i));
            for (int i = threadIdx.x * W; i < C; i += step)  // the columns of other blocks
                if (i < first || i >= end) take(load<W>(x + at + i), load<W>(dy + at + i), load<W>(weight + i));
        }
        along = team_sum(along) / C;

#pragma unroll
        for (int k = 0; k < OWN<W> / W; k++) {
            const int i = begin + k * step;
            if (there && i < end) {
                const Some<W> d = dy_row(i - first), w = load<W>(weight + i);
                Some<W> v = x_row(i - first);
#pragma unroll
                for (int e = 0; e < W; e++) {
                    const A n = (A)v.x[e] * r;
                    dweight[k * W + e] += (A)d.x[e] * n;
                    v.x[e] = (T)(((A)d.x[e] * (A)w.x[e] - n * along) * r);
                }
                store(dx + at + i, v);
            }
        }
    }

#pragma unroll
    for (int j = 0; j < OWN<W>; j++) {
        for (int apart = threads; apart < 32; apart *= 2)  // the teams of a warp have the same columns
            dweight[j] += __shfl_xor_sync(0xffffffffu, dweight[j], apart);
        const int i = begin + j / W * step + j % W;
        if (threadIdx.y == 0 && i < end) partial[(size_t)blockIdx.x * C + i] = dweight[j];
    }
}

extern "C" __global__ void __launch_bounds__(384, 1)
    rmsnorm_backward(const T* x, const T* dy, const T* weight, const A* rstd, T* dx, A* partial, int rows, int C,
                     int room) {
    if (C % N == 0)
        gradients<N>(x, dy, weight, rstd, dx, partial, rows, C, room);
    else
        gradients<1>(x, dy, weight, rstd, dx, partial, rows, C, room);
}
