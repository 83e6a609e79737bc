// RUNG: One block a row. Neighbouring threads read neighbouring numbers: every byte of a sector is used.
// dtypes: float32
//
// The threads meet twice in shared memory, for the maximum and for the sum: a tree of log2(256) steps, each with a
// barrier at which all wait for the slowest. The row is read three times; twice it is still in the first-level cache.
#include "numbers.cuh"

constexpr int THREADS = 256;

// The larger of two numbers, or their sum, over the whole block.
__device__ float tree(float value, bool largest) {
    __shared__ float part[THREADS];
    part[threadIdx.x] = value;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if (threadIdx.x < half) {
            const float a = part[threadIdx.x], b = part[threadIdx.x + half];
            part[threadIdx.x] = largest ? max(a, b) : a + b;
        }
        __syncthreads();
    }
    value = part[0];
    __syncthreads();  // all have read it; the next tree may begin
    return value;
}

extern "C" __global__ void softmax(const T* x, T* y, int rows, int C) {
    x += (size_t)blockIdx.x * C;
    y += (size_t)blockIdx.x * C;
    A largest = -INFINITY, sum = 0;
    for (int i = threadIdx.x; i < C; i += THREADS) largest = max(largest, x[i]);
    largest = tree(largest, true);
    for (int i = threadIdx.x; i < C; i += THREADS) sum += __expf(x[i] - largest);
    sum = tree(sum, false);
    for (int i = threadIdx.x; i < C; i += THREADS) y[i] = __expf(x[i] - largest) / sum;
}
