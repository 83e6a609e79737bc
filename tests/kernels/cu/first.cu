// first.cu: kernels that use a little of everything that the runner offers.
#include "numbers.cuh"
#include "reduce.cuh"

// One block a row.
extern "C" __global__ void __launch_bounds__(128) normalise(const T* x, const T* weight /* or null */, T* y, int C, float eps) {
    x += (size_t)blockIdx.x * C;
    A sum = 0, squares = 0;
    for (int i = threadIdx.x; i < C; i += blockDim.x) sum += (A)x[i];
    A mean = block_sum(sum) / C;
    for (int i = threadIdx.x; i < C; i += blockDim.x) squares += ((A)x[i] - mean) * ((A)x[i] - mean);
    A rstd = 1 / sqrt(block_sum(squares) / C + eps);
    for (int i = threadIdx.x; i < C; i += blockDim.x)
        y[(size_t)blockIdx.x * C + i] = (T)(((A)x[i] - mean) * rstd * (weight ? (A)weight[i] : (A)1));
}

// Static and dynamic shared memory, several arrays in one declaration.
extern "C" __global__ void three_reversed(const float* x, float* y) {
    __shared__ float a[64], b[2][32];
    extern __shared__ __align__(16) float c[];
    int i = threadIdx.x;
    a[i] = b[i / 32][i % 32] = c[i] = x[i];
    __syncthreads();
    y[i] = a[63 - i] + b[1 - i / 32][31 - i % 32] + c[63 - i];
}

// One block an array.
extern "C" __global__ void sums_of_all(const float* const* arrays, const int* sizes, float* sums) {
    const float* x = arrays[blockIdx.x];
    float sum = 0;
    for (int i = threadIdx.x; i < sizes[blockIdx.x]; i += blockDim.x) sum += x[i];
    sum = block_sum(sum);
    if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}
