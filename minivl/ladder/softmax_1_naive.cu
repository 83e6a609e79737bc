// RUNG: One thread a row. The lanes of a warp read 32 different rows: 32 sectors a request, 4 bytes of each are used.
// dtypes: float32
#include "numbers.cuh"

extern "C" __global__ void softmax(const T* x, T* y, int rows, int C) {
    int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    x += (size_t)row * C;
    y += (size_t)row * C;
    A largest = -INFINITY, sum = 0;
    for (int i = 0; i < C; i++) largest = max(largest, (A)x[i]);
    for (int i = 0; i < C; i++) sum += exp((A)x[i] - largest);
    for (int i = 0; i < C; i++) y[i] = (T)(exp((A)x[i] - largest) / sum);
}
