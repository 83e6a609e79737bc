// RUNG: 16 bytes a load, and the row and the sums of a thread's four columns in registers: everything is read once.
// dtypes: float32
//
// A block has C / 4 threads, so that C may be up to 4096, in whole warps. What is left to gain: while a row is summed
// and written, nothing is being read. The shipped kernel fetches the next row meanwhile.
#include "../ops/column_sums.cuh"
#include "numbers.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(1024)
    backward(const T* x, const T* dy, const T* weight, const A* mean, const A* rstd, T* dx, A* partial, int rows,
             int C) {
    const int i = threadIdx.x * 4;
    const bool there = i < C;
    Pack<T> v = {}, d = {}, w = {};
    if (there) w = load16(weight + i);
    A dweight[4] = {}, dbias[4] = {};
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        const size_t at = (size_t)row * C + i;
        const A m = mean[row], r = rstd[row];
        if (there) v = load16(x + at), d = load16(dy + at);
        A along_1 = 0, along_n = 0;
#pragma unroll
        for (int e = 0; e < 4; e++) {
            v.x[e] = (v.x[e] - m) * r;  // from here on n
            along_1 += d.x[e] * w.x[e];
            along_n += d.x[e] * w.x[e] * v.x[e];
        }
        along_1 = block_sum(along_1) / C, along_n = block_sum(along_n) / C;
#pragma unroll
        for (int e = 0; e < 4; e++) {
            dweight[e] += d.x[e] * v.x[e];
            dbias[e] += d.x[e];
            v.x[e] = (d.x[e] * w.x[e] - along_1 - v.x[e] * along_n) * r;
        }
        if (there) store16(dx + at, v);
    }
#pragma unroll
    for (int e = 0; e < 4; e++) {
        if (!there) continue;
        partial[(size_t)blockIdx.x * C + i + e] = dweight[e];
        partial[((size_t)gridDim.x + blockIdx.x) * C + i + e] = dbias[e];
    }
}
