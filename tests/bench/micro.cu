// micro.cu: kernels that do one thing many times, to see what it costs on the CPU runner.
// dtypes: float32
#include "mma.cuh"
#include "numbers.cuh"

extern "C" __global__ void nothing(float* y) {}

extern "C" __global__ void add(const float* a, const float* b, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = a[i] + b[i];
}

extern "C" __global__ void barriers(float* y, int times) {
    for (int i = 0; i < times; i++) __syncthreads();
    y[blockIdx.x * blockDim.x + threadIdx.x] = times;
}

extern "C" __global__ void shuffles(float* y, int times) {
    float v = threadIdx.x;
    for (int i = 0; i < times; i++) v = __shfl_xor_sync(0xffffffffu, v, 1);
    y[blockIdx.x * blockDim.x + threadIdx.x] = v;
}

extern "C" __global__ void products(float* y, int times) {
    unsigned a[4] = {0x3f803f80u, 0x3f803f80u, 0x3f803f80u, 0x3f803f80u}, b[2] = {0x3f803f80u, 0x3f803f80u};
    float d[4] = {0, 0, 0, 0};
    for (int i = 0; i < times; i++) mma_bf16(d, a, b);
    y[blockIdx.x * blockDim.x + threadIdx.x] = d[0];
}
