// patterns.cu: ways to go through memory whose transactions can be counted on paper.
// dtypes: float32
#include "mma.cuh"
#include "numbers.cuh"

extern "C" __global__ void strided(const float* x, float* y, int stride) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    y[i] = x[i * stride];
}

extern "C" __global__ void four_at_once(const float* x, float* y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    store16(y + 4 * i, load16(x + 4 * i));
    ((float4*)y)[i] = ((const float4*)x)[i];
}

extern "C" __global__ void transposed(const float* x, float* y) {
    __shared__ float s[32][32];
    int c = threadIdx.x, r = threadIdx.y;
    s[r][c] = x[r * 32 + c];
    __syncthreads();
    y[r * 32 + c] = s[c][r];
}

extern "C" __global__ void transposed_padded(const float* x, float* y) {
    __shared__ float s[32][33];
    int c = threadIdx.x, r = threadIdx.y;
    s[r][c] = x[r * 32 + c];
    __syncthreads();
    y[r * 32 + c] = s[c][r];
}

// Rows of 64 bytes: of eight rows that are read at once, every second one begins in the same bank.
extern "C" __global__ void matrices(float* y, int padding) {
    extern __shared__ __align__(16) unsigned short rows[];
    for (int i = threadIdx.x; i < 16 * (32 + padding); i += 32) rows[i] = i;
    __syncwarp();
    unsigned r[4];
    ldmatrix_x4(r, &rows[threadIdx.x % 16 * (32 + padding) + threadIdx.x / 16 * 8]);
    y[threadIdx.x] = r[0] + r[1] + r[2] + r[3];
}
