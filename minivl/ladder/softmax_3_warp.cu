// RUNG: One warp a row. Its lanes hand each other numbers by shuffles: no shared memory, and no barrier to wait at.
// dtypes: float32
//
// A block has several warps that never meet, so that while one of them waits for memory another computes.
#include "numbers.cuh"
#include "reduce.cuh"  // warp_max, warp_sum: five shuffles each

extern "C" __global__ void softmax(const T* x, T* y, int rows, int C) {
    const int row = blockIdx.x * (blockDim.x / 32) + warp();
    if (row >= rows) return;
    x += (size_t)row * C;
    y += (size_t)row * C;
    A largest = -INFINITY, sum = 0;
    for (int i = lane(); i < C; i += 32) largest = max(largest, x[i]);
    largest = warp_max(largest);
    for (int i = lane(); i < C; i += 32) sum += __expf(x[i] - largest);
    sum = warp_sum(sum);
    for (int i = lane(); i < C; i += 32) y[i] = __expf(x[i] - largest) / sum;
}
