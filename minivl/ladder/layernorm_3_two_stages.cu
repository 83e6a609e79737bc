// RUNG: No atomics: a block keeps its sums in shared memory and writes them out once; a second kernel adds them up.
// dtypes: float32
//
// A block takes rows b, b + gridDim.x, ... with all its threads, and thread t always has columns t, t + blockDim.x,
// ...: no two threads add to the same number. Additions are made in the same order every time: the same bits every
// time. Partial sums cost 2 C numbers a block; with enough rows a block that is nothing beside the rows themselves.
#include "../ops/column_sums.cuh"
#include "numbers.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(256)
    backward(const T* x, const T* dy, const T* weight, const A* mean, const A* rstd, T* dx, A* partial, int rows,
             int C) {
    extern __shared__ A sums[];  // dweight, then dbias
    for (int i = threadIdx.x; i < C; i += blockDim.x) sums[i] = sums[C + i] = 0;
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        const size_t at = (size_t)row * C;
        const A m = mean[row], r = rstd[row];
        A along_1 = 0, along_n = 0;
        for (int i = threadIdx.x; i < C; i += blockDim.x) {
            const A dn = dy[at + i] * weight[i], n = (x[at + i] - m) * r;
            along_1 += dn, along_n += dn * n;
        }
        along_1 = block_sum(along_1) / C, along_n = block_sum(along_n) / C;
        for (int i = threadIdx.x; i < C; i += blockDim.x) {
            const A n = (x[at + i] - m) * r;
            dx[at + i] = (dy[at + i] * weight[i] - along_1 - n * along_n) * r;
            sums[i] += dy[at + i] * n;
            sums[C + i] += dy[at + i];
        }
    }
    for (int i = threadIdx.x; i < C; i += blockDim.x) {
        partial[(size_t)blockIdx.x * C + i] = sums[i];
        partial[((size_t)gridDim.x + blockIdx.x) * C + i] = sums[C + i];
    }
}
