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
    // minivl:exercise ex11.a points=4 "softmax of a row by one warp"
    // minivl:hint lane() is 0..31: it takes the numbers lane(), lane() + 32, ... of its row
    // minivl:hint warp_max(v) and warp_sum(v) give every lane the largest, or the sum, of all 32 lanes
    // minivl:hint three loops: the largest, the sum of exponentials, the result
    A largest = -INFINITY, sum = 0;
    for (int i = lane(); i < C; i += 32) largest = max(largest, x[i]);
    largest = warp_max(largest);
    for (int i = lane(); i < C; i += 32) sum += __expf(x[i] - largest);
    sum = warp_sum(sum);
    for (int i = lane(); i < C; i += 32) y[i] = __expf(x[i] - largest) / sum;
    // minivl:end
}
