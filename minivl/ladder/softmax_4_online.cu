// RUNG: Maximum and sum in one pass: where the maximum grows, the sum so far is scaled down. Two readings, not three.
// dtypes: float32
//
// Milakov & Gimelshein 2018, arXiv 1805.02867. Each lane has a maximum and a sum of its own; at the end they are
// brought to the maximum of all.
#include "numbers.cuh"
#include "reduce.cuh"

extern "C" __global__ void softmax(const T* x, T* y, int rows, int C) {
    const int row = blockIdx.x * (blockDim.x / 32) + warp();
    if (row >= rows) return;
    x += (size_t)row * C;
    y += (size_t)row * C;
    // minivl:exercise ex11.b points=5 "online softmax: largest and sum in one loop"
    // minivl:hint where a larger number comes, the sum so far is scaled by exp(old largest - new)
    // minivl:hint begin with a finite smallest number: inf - inf is no number
    // minivl:hint at the end: the largest of all lanes, each sum scaled to it, and then added up
    A largest = -3.4e38f, sum = 0;  // finite, so that a lane without a number does not compute inf - inf
    for (int i = lane(); i < C; i += 32) {
        const A larger = max(largest, x[i]);
        sum = sum * __expf(largest - larger) + __expf(x[i] - larger);
        largest = larger;
    }
    const A top = warp_max(largest);
    sum = warp_sum(sum * __expf(largest - top));
    for (int i = lane(); i < C; i += 32) y[i] = __expf(x[i] - top) / sum;
    // minivl:end
}
