// correct.cu: kernels that do what looks dangerous and is not. Check mode must keep silent.
// dtypes: float32
#include "mma.cuh"
#include "numbers.cuh"
#include "reduce.cuh"

// A tree in one warp, ordered by __syncwarp.
extern "C" __global__ void tree(const float* x, float* y) {
    __shared__ float s[32];
    int i = threadIdx.x;
    s[i] = x[i];
    for (int half = 16; half; half /= 2) {
        __syncwarp();
        float sum = i < half ? s[i] + s[i + half] : 0;
        __syncwarp();
        if (i < half) s[i] = sum;
    }
    if (i == 0) y[0] = s[0];
}

// Each half of the warp on its own, then pairs across the halves.
extern "C" __global__ void halves(const float* x, float* y) {
    __shared__ float s[32];
    int i = threadIdx.x;
    s[i] = x[i];
    __syncwarp(i < 16 ? 0x0000ffffu : 0xffff0000u);
    float v = s[i ^ 15];
    __syncwarp();
    s[31 - i] = v;
    __syncwarp();
    y[i] = s[i];
}

// What lane 0 wrote reaches lane 2 through lane 1.
extern "C" __global__ void relay(float* y) {
    __shared__ float s;
    int i = threadIdx.x;
    if (i == 0) {
        s = 5;
        __syncwarp(0x3);
    } else if (i == 1) {
        __syncwarp(0x3);
        __syncwarp(0x6);
    } else if (i == 2) {
        __syncwarp(0x6);
        y[0] = s;
    }
}

// The last block to finish adds up what all have left.
extern "C" __global__ void last_block(const float* x, float* partial, unsigned* finished, float* y) {
    float sum = block_sum(x[blockIdx.x * blockDim.x + threadIdx.x]);
    __shared__ bool last;
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;
        __threadfence();
        last = atomicInc(finished, gridDim.x - 1) == gridDim.x - 1;
    }
    __syncthreads();
    if (!last) return;
    float total = 0;
    for (int b = threadIdx.x; b < (int)gridDim.x; b += blockDim.x) total += partial[b];
    total = block_sum(total);
    if (threadIdx.x == 0) y[0] = total;
}

// All threads leave something, and thread 0 publishes it for them after a barrier.
extern "C" __global__ void last_block_for_all(const float* x, float* partial, int* finished, float* y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    partial[i] = 2 * x[i];
    __syncthreads();
    __shared__ bool last;
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicAdd(finished, 1) == (int)gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        float total = 0;
        for (int k = 0; k < (int)(gridDim.x * blockDim.x); k++) total += partial[k];
        y[0] = total;
    }
}

extern "C" __global__ void histogram(const int* x, int* counts, int n, int bins) {
    extern __shared__ int mine[];
    for (int b = threadIdx.x; b < bins; b += blockDim.x) mine[b] = 0;
    __syncthreads();
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&mine[x[i]], 1);
    __syncthreads();
    for (int b = threadIdx.x; b < bins; b += blockDim.x) atomicAdd(&counts[b], mine[b]);
}

// Two buffers, the next filled while the other is read; a copy that takes nothing gives zeros.
extern "C" __global__ void double_buffer(const float* x, float* y, int tiles) {
    __shared__ __align__(16) float s[2][128];
    int i = threadIdx.x;
    cp_async16(&s[0][i * 4], &x[i * 4]);
    cp_async_commit();
    for (int k = 0; k < tiles; k++) {
        bool more = k + 1 < tiles;
        cp_async16(&s[(k + 1) % 2][i * 4], more ? &x[(k + 1) * 128 + i * 4] : nullptr, more);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
        y[k * 32 + i] = s[k % 2][127 - i] + s[k % 2][i];
        __syncthreads();
    }
}

// bool, 2-byte and 16-byte views of one piece of shared memory, by different threads side by side.
extern "C" __global__ void bytes(const unsigned char* x, unsigned char* y) {
    __shared__ __align__(16) unsigned char s[64];
    int i = threadIdx.x;
    s[i] = x[i];
    __syncthreads();
    unsigned short pair = ((const unsigned short*)s)[i / 2];
    uint4 all = ((const uint4*)s)[i / 16];
    __syncthreads();
    y[i] = (i % 2 ? pair >> 8 : pair & 255) + (all.x & 0);
}

// A block of one row of threads, and of a number that is no multiple of 32.
extern "C" __global__ void ragged(const float* x, float* y, int n) {
    __shared__ float s[80];
    int i = threadIdx.x + blockDim.x * threadIdx.y;
    if (i < n) s[i] = x[i];
    __syncthreads();
    if (i < n) y[i] = s[n - 1 - i];
}

// In place: both names are one array, and each thread stays at its own place.
extern "C" __global__ void twice(const float* x, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < n) y[i] = 2 * x[i];
}

__constant__ float table[4] = {1, 2, 4, 8};
extern "C" __global__ void look_up(float* y) {
    float own[4] = {table[3], table[2], table[1], table[0]};
    y[threadIdx.x] = own[threadIdx.x % 4] + table[threadIdx.x % 4];
}
