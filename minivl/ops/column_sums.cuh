// column_sums.cuh: the second stage of every sum over rows, as for dweight and dbias.
//
// In the first stage each block has written one row of partial sums; here they are added up, in an order that depends
// on their number alone: no atomics, the same bits every time. A block has 8 columns, 32 bytes of float wide, and 64
// threads for each: thread (c, r) adds up rows r, r + 64, ... What it reads was written just now, and is still in the
// second-level cache.
#pragma once
#include "numbers.cuh"

// partial (tables, rows, C) -> sums (tables, C); grid (columns / 8, tables), block (8, 64)
extern "C" __global__ void __launch_bounds__(512) column_sums(const A* partial, T* sums, int rows, int C) {
    const int column = blockIdx.x * 8 + threadIdx.x, r = threadIdx.y;
    const A* mine = partial + (size_t)blockIdx.y * rows * C + column;
    A sum = 0;
    if (column < C) {
#pragma unroll 4
        for (int row = r; row < rows; row += 64) sum += mine[(size_t)row * C];
    }
    __shared__ A part[64][8];
    part[r][threadIdx.x] = sum;
    for (int half = 32; half > 0; half /= 2) {
        __syncthreads();
        if (r < half) part[r][threadIdx.x] += part[r + half][threadIdx.x];
    }
    if (r == 0 && column < C) sums[(size_t)blockIdx.y * C + column] = (T)part[0][threadIdx.x];
}
