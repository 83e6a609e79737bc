// RUNG: One warp a row: its lanes read neighbouring numbers and sum by shuffles. The atomic additions are left.
// dtypes: float32
//
// The additions of a warp now go to 32 neighbouring addresses, which the second-level cache takes together; but all
// rows still wait for the same C numbers, and the order of the rows is still left to chance.
#include "numbers.cuh"
#include "reduce.cuh"

extern "C" __global__ void backward(const T* x, const T* dy, const T* weight, const A* mean, const A* rstd, T* dx,
                                    T* dweight, T* dbias, int rows, int C) {
    const int row = blockIdx.x * (blockDim.x / 32) + warp();
    if (row >= rows) return;
    const size_t at = (size_t)row * C;
    const A m = mean[row], r = rstd[row];
    A along_1 = 0, along_n = 0;
    for (int i = lane(); i < C; i += 32) {
        const A dn = dy[at + i] * weight[i], n = (x[at + i] - m) * r;
        along_1 += dn, along_n += dn * n;
    }
    along_1 = warp_sum(along_1) / C, along_n = warp_sum(along_n) / C;
    for (int i = lane(); i < C; i += 32) {
        const A n = (x[at + i] - m) * r;
        dx[at + i] = (dy[at + i] * weight[i] - along_1 - n * along_n) * r;
        atomicAdd(dweight + i, dy[at + i] * n);
        atomicAdd(dbias + i, dy[at + i]);
    }
}
