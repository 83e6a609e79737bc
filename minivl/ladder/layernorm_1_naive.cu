// RUNG: One thread a row; dweight and dbias by atomic additions, one for each number of the input.
// dtypes: float32
//
// The lanes of a warp read 32 different rows. And all rows add to the same C numbers: additions to one address are made
// one after the other, in an order that changes from run to run, and with it the last bits of the sums.
#include "numbers.cuh"

extern "C" __global__ void backward(const T* x, const T* dy, const T* weight, const A* mean, const A* rstd, T* dx,
                                    T* dweight, T* dbias, int rows, int C) {
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    const size_t at = (size_t)row * C;
    const A m = mean[row], r = rstd[row];
    A along_1 = 0, along_n = 0;
    for (int i = 0; i < C; i++) {
        const A dn = dy[at + i] * weight[i], n = (x[at + i] - m) * r;
        along_1 += dn / C, along_n += dn * n / C;
    }
    for (int i = 0; i < C; i++) {
        const A n = (x[at + i] - m) * r;
        dx[at + i] = (dy[at + i] * weight[i] - along_1 - n * along_n) * r;
        atomicAdd(dweight + i, dy[at + i] * n);
        atomicAdd(dbias + i, dy[at + i]);
    }
}
