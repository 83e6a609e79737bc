// Layer normalisation of rows of C numbers, or of the sum of two such rows. Definition and derivative: layernorm.py.
//
// forward    A team of threads (rows.cuh) takes one row and keeps it in shared memory. Moved for each number of x: 2
//            (x in, y out), the least there can be; with the addition 4 (x and its addend in, their sum and y out).
// backward   A team takes every g-th row, g being the teams of the launch; while it works on one, the next is under
//            way. Each thread keeps the sums for dweight and dbias of its columns in registers. After the last row
//            each block writes them out, and column_sums adds up the blocks. Moved for each number of x: 3 (x and dy
//            in, dx out), the least there can be.
#include "column_sums.cuh"
#include "rows.cuh"

template <int W>
__device__ __forceinline__ void normalise(const T* x, const T* add, const T* weight, const T* bias, T* sum, T* y,
                                          A* mean, A* rstd, int C, int room, A eps) {
    const int begin = threadIdx.x * W, step = blockDim.x * W;
    Row<W> row(x, 0, room);
    row.fetch(C);
    if (add != nullptr) {
        Row<W> addend(add, 1, room);
        addend.fetch(C);
        cp_async_commit();
        cp_async_wait<0>();
        for (int i = begin; i < C; i += step) {
            Some<W> v = row(i), more = addend(i);
#pragma unroll
            for (int e = 0; e < W; e++) v.x[e] = (T)((A)v.x[e] + (A)more.x[e]);
            store(sum + i, v);
            row.keep(i, v);
        }
        row.far = sum;
    }
    cp_async_commit();
    cp_async_wait<0>();

    A total = 0;
    for (int i = begin; i < C; i += step) {
        const Some<W> v = row(i);
#pragma unroll
        for (int e = 0; e < W; e++) total += (A)v.x[e];
    }
    const A m = team_sum(total) / C;

    // The variance from the differences, not from E[x^2] - m^2: that one loses its digits where |m| is large beside
    // the spread.
    A squares = 0;
    for (int i = begin; i < C; i += step) {
        const Some<W> v = row(i);
#pragma unroll
        for (int e = 0; e < W; e++) squares += ((A)v.x[e] - m) * ((A)v.x[e] - m);
    }
    const A r = (A)1 / sqrt(team_sum(squares) / C + eps);

    for (int i = begin; i < C; i += step) {
        const Some<W> w = load<W>(weight + i), b = load<W>(bias + i);
        Some<W> v = row(i);
#pragma unroll
        for (int e = 0; e < W; e++) v.x[e] = (T)(((A)v.x[e] - m) * r * (A)w.x[e] + (A)b.x[e]);
        store(y + i, v);
    }
    if (begin == 0 && C > 0) *mean = m, *rstd = r;
}

extern "C" __global__ void __launch_bounds__(512, 1)
    layernorm_forward(const T* x, const T* add /* or null */, const T* weight, const T* bias, T* sum /* or null */,
                      T* y, A* mean, A* rstd, int rows, int C, int room, A eps) {
    const int row = blockIdx.x * blockDim.y + threadIdx.y;
    const int here = row < rows ? C : 0;  // the last block may have more teams than there are rows; sums need them all
    const size_t at = (size_t)row * C;
    const T* addend = add == nullptr ? add : add + at;
    if (C % N == 0)
        normalise<N>(x + at, addend, weight, bias, sum + at, y + at, mean + row, rstd + row, here, room, eps);
    else
        normalise<1>(x + at, addend, weight, bias, sum + at, y + at, mean + row, rstd + row, here, room, eps);
}

// A thread sums dweight and dbias for so many columns, a team for `tile` of them. In a longer row several blocks,
// counted by blockIdx.y, each look at all of it and write the columns of one tile.
template <int W>
constexpr int OWN = W == 1 ? 4 : sizeof(T) == 8 ? 8 : 16;

template <int W>
__device__ __forceinline__ void gradients(const T* x, const T* dy, const T* weight, const A* mean, const A* rstd,
                                          T* dx, A* partial, int rows, int C, int room) {
    const int threads = blockDim.x, tile = OWN<W> * threads, first = blockIdx.y * tile, end = min(C, first + tile);
    const int begin = first + threadIdx.x * W, step = threads * W;
    const int teams = gridDim.x * blockDim.y;
    A dweight[OWN<W>] = {}, dbias[OWN<W>] = {};
    A m_next = 0, r_next = 0;

    auto fetch = [&](int row, int buffer) {
        if (row < rows) {
            Row<W>(x + (size_t)row * C + first, 2 * buffer, room).fetch(end - first);
            Row<W>(dy + (size_t)row * C + first, 2 * buffer + 1, room).fetch(end - first);
            m_next = mean[row], r_next = rstd[row];
        }
        cp_async_commit();
    };
    fetch(blockIdx.x * blockDim.y + threadIdx.y, 0);
    for (int top = blockIdx.x * blockDim.y, buffer = 0; top < rows; top += teams, buffer ^= 1) {
        const int row = top + threadIdx.y;
        const size_t at = (size_t)row * C;
        const bool there = row < rows;
        const A m = m_next, r = r_next;
        fetch(row + teams, buffer ^ 1);  // the next row is under way while this one is worked on
        cp_async_wait<1>();
        const Row<W> x_row(x + at + first, 2 * buffer, room), dy_row(dy + at + first, 2 * buffer + 1, room);

        A sums[2] = {};  // of dn = dy * weight, and of dn * n, n = (x - mean) * rstd
        auto take = [&](const Some<W>& v, const Some<W>& d, const Some<W>& w) {
#pragma unroll
            for (int e = 0; e < W; e++) {
                const A dn = (A)d.x[e] * (A)w.x[e];
                sums[0] += dn;
                sums[1] += dn * (((A)v.x[e] - m) * r);
            }
        };
        if (there) {
            for (int i = begin; i < end; i += step) take(x_row(i - first), dy_row(i - first), load<W>(weight + i));
            for (int i = threadIdx.x * W; i < C; i += step)  // the columns of other blocks
                if (i < first || i >= end) take(load<W>(x + at + i), load<W>(dy + at + i), load<W>(weight + i));
        }
        over_team(sums, (A)0, Sum());
        const A along_1 = sums[0] / C, along_n = sums[1] / C;

#pragma unroll
        for (int k = 0; k < OWN<W> / W; k++) {
            const int i = begin + k * step;
            if (there && i < end) {
                const Some<W> d = dy_row(i - first), w = load<W>(weight + i);
                Some<W> v = x_row(i - first);
#pragma unroll
                for (int e = 0; e < W; e++) {
                    const A n = ((A)v.x[e] - m) * r;
                    dweight[k * W + e] += (A)d.x[e] * n;
                    dbias[k * W + e] += (A)d.x[e];
                    v.x[e] = (T)(((A)d.x[e] * (A)w.x[e] - along_1 - n * along_n) * r);
                }
                store(dx + at + i, v);
            }
        }
    }

    // The teams of a warp have the same columns: first they are added up.
    A* into = partial + (size_t)blockIdx.x * C;
    const size_t table = (size_t)gridDim.x * C;
#pragma unroll
    for (int j = 0; j < OWN<W>; j++) {
        for (int apart = threads; apart < 32; apart *= 2) {
            dweight[j] += __shfl_xor_sync(0xffffffffu, dweight[j], apart);
            dbias[j] += __shfl_xor_sync(0xffffffffu, dbias[j], apart);
        }
        const int i = begin + j / W * step + j % W;
        if (threadIdx.y == 0 && i < end) into[i] = dweight[j], into[table + i] = dbias[j];
    }
}

extern "C" __global__ void __launch_bounds__(384, 1)
    layernorm_backward(const T* x, const T* dy, const T* weight, const A* mean, const A* rstd, T* dx, A* partial,
                       int rows, int C, int room) {
    if (C % N == 0)
        gradients<N>(x, dy, weight, mean, rstd, dx, partial, rows, C, room);
    else
        gradients<1>(x, dy, weight, mean, rstd, dx, partial, rows, C, room);
}
