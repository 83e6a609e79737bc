// RUNG: 16 bytes a load: a quarter of the instructions for the same bytes, and more of them under way at a time.
// dtypes: float32
//
// For rows of a multiple of 4 numbers. The maximum is scaled down once for four numbers, too. What is left to gain: the
// row is still read twice. The shipped kernel keeps it in shared memory, and takes rows of any length.
#include "numbers.cuh"
#include "reduce.cuh"

extern "C" __global__ void softmax(const T* x, T* y, int rows, int C) {
    const int row = blockIdx.x * (blockDim.x / 32) + warp();
    if (row >= rows) return;
    x += (size_t)row * C;
    y += (size_t)row * C;
    A largest = -3.4e38f, sum = 0;
    for (int i = lane() * 4; i < C; i += 32 * 4) {
        const Pack<T> v = load16(x + i);
        const A larger = max(max(largest, max(v.x[0], v.x[1])), max(v.x[2], v.x[3]));
        sum *= __expf(largest - larger);
#pragma unroll
        for (int e = 0; e < 4; e++) sum += __expf(v.x[e] - larger);
        largest = larger;
    }
    const A top = warp_max(largest), share = 1 / warp_sum(sum * __expf(largest - top));
    for (int i = lane() * 4; i < C; i += 32 * 4) {
        Pack<T> v = load16(x + i);
#pragma unroll
        for (int e = 0; e < 4; e++) v.x[e] = __expf(v.x[e] - top) * share;
        store16(y + i, v);
    }
}
