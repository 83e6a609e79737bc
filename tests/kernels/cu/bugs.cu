// bugs.cu: kernels that are wrong, each in one way. `<- here` marks the line that check mode must name, `<- with` the other
// line of a race.
// dtypes: float32
#include "mma.cuh"
#include "numbers.cuh"
#include "reduce.cuh"

extern "C" __global__ void past_the_end(const float* x, float* y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i <= n) y[i] = x[i];  // <- here
}

extern "C" __global__ void before_the_begin(const float* x, float* y, int n) {
    int i = threadIdx.x;
    float left = x[i - 1];  // <- here
    y[i] = left;
}

extern "C" __global__ void null_pointer(const float* x /* or null */, float* y) {
    y[threadIdx.x] = x[threadIdx.x];  // <- here
}

extern "C" __global__ void past_static_shared(float* y, int shift) {
    __shared__ float other[64], s[64];
    int i = threadIdx.x;
    s[i] = other[i] = i;
    __syncthreads();
    y[i] = s[i + shift];  // <- here
}

extern "C" __global__ void past_dynamic_shared(float* y) {
    extern __shared__ float s[];
    int i = threadIdx.x;
    s[i] = i;
    __syncthreads();
    y[i] = s[i + 1];  // <- here
}

extern "C" __global__ void misaligned(const float* x, float* y) {
    float4 v = *(const float4*)(x + 1);  // <- here
    y[0] = v.x + v.y + v.z + v.w;
}

extern "C" __global__ void misaligned_pack(const float* x, float* y) {
    Pack<float> v = load16(x + 2);  // <- here
    y[0] = v.x[0] + v.x[1] + v.x[2] + v.x[3];
}

// Nothing says that s is aligned to more than its own numbers.
extern "C" __global__ void misaligned_shared(float* y) {
    __shared__ float s[64];
    s[threadIdx.x] = 0;
    __syncthreads();
    Pack<float> four = load16(&s[threadIdx.x / 4 * 4]);  // <- here
    y[threadIdx.x] = four.x[0] + four.x[1] + four.x[2] + four.x[3];
}

extern "C" __global__ void uninitialised(float* y) {
    __shared__ float s[64];
    int i = threadIdx.x;
    if (i < 63) s[i] = i;
    __syncthreads();
    y[i] = s[i];  // <- here
}

// The second block finds nothing of what the first one wrote.
extern "C" __global__ void uninitialised_in_second_block(float* y) {
    __shared__ float s[64];
    int i = threadIdx.x;
    if (blockIdx.x == 0) s[i] = i;
    __syncthreads();
    y[i + blockIdx.x * 64] = s[i];  // <- here
}

extern "C" __global__ void missing_barrier(const float* x, float* y) {
    __shared__ float s[64];
    int i = threadIdx.x;
    s[i] = x[i];     // <- with
    y[i] = s[i ^ 1]; // <- here
}

// The loop comes round and writes while others still read.
extern "C" __global__ void missing_second_barrier(const float* x, float* y, int n) {
    __shared__ float s[64];
    int i = threadIdx.x;
    for (int k = 0; k < n; k++) {
        s[i] = x[k * 64 + i];  // <- here
        __syncthreads();
        y[k * 64 + i] = s[63 - i];  // <- with
    }
}

extern "C" __global__ void two_write(float* y) {
    __shared__ float s[32];
    s[threadIdx.x / 2] = threadIdx.x;  // <- here
    __syncthreads();
    y[threadIdx.x] = s[threadIdx.x / 2];
}

// The lanes of a warp do not run in step.
extern "C" __global__ void lockstep(const float* x, float* y) {
    __shared__ float s[32];
    int i = threadIdx.x;
    s[i] = x[i];                     // <- with
    if (i < 16) s[i] += s[i + 16];   // <- here
    __syncwarp();
    if (i == 0) y[0] = s[0];
}

// A shuffle makes lanes wait for each other, but orders no memory.
extern "C" __global__ void shuffle_for_a_barrier(const float* x, float* y) {
    __shared__ float s[32];
    int i = threadIdx.x;
    s[i] = x[i];                                  // <- with
    float v = __shfl_sync(0xffffffffu, x[i], 0);
    y[i] = v + s[31 - i];                         // <- here
}

// Each __syncwarp is for half a warp, and nobody waits for the other half.
extern "C" __global__ void half_a_warp(const float* x, float* y) {
    __shared__ float s[32];
    int i = threadIdx.x;
    s[i] = x[i];                                   // <- with
    __syncwarp(i < 16 ? 0x0000ffffu : 0xffff0000u);
    y[i] = s[31 - i];                              // <- here
}

extern "C" __global__ void blocks_write_one_place(float* y) {
    if (threadIdx.x == 0) y[0] = blockIdx.x;  // <- here
}

// The last block to finish adds up what all have left, but nothing was published before the counter went up.
extern "C" __global__ void last_block_without_fence(const float* x, float* partial, int* finished, float* y) {
    float sum = block_sum(x[blockIdx.x * blockDim.x + threadIdx.x]);
    __shared__ bool last;
    if (threadIdx.x == 0) {
        partial[blockIdx.x] = sum;  // <- with
        last = atomicAdd(finished, 1) == (int)gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        float total = 0;
        for (int b = 0; b < (int)gridDim.x; b++) total += partial[b];  // <- here
        y[0] = total;
    }
}

// All threads have written, but only thread 0 waits and publishes.
extern "C" __global__ void fence_without_barrier(const float* x, float* partial, int* finished, float* y) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    partial[i] = 2 * x[i];  // <- with
    __shared__ bool last;
    if (threadIdx.x == 0) {
        __threadfence();
        last = atomicAdd(finished, 1) == (int)gridDim.x - 1;
    }
    __syncthreads();
    if (last && threadIdx.x == 0) {
        float total = 0;
        for (int k = (int)(gridDim.x * blockDim.x) - 1; k >= 0; k--) total += partial[k];  // <- here
        y[0] = total;
    }
}

extern "C" __global__ void atomic_and_plain(int* counts, int* y) {
    atomicAdd(&counts[0], 1);     // <- with
    y[threadIdx.x] = counts[0];   // <- here
}

extern "C" __global__ void write_to_constant(const float* x, float* y) {
    ((float*)x)[threadIdx.x] = 0;  // <- here
    y[threadIdx.x] = 0;
}

extern "C" __global__ void some_return_before_a_barrier(float* x, int n) {
    int i = threadIdx.x;
    if (i >= n) return;
    x[i] = i;
    __syncthreads();  // <- here
    x[i] = x[n - 1 - i];
}

extern "C" __global__ void two_barriers(float* x) {
    int i = threadIdx.x;
    if (i < 32) {
        __syncthreads();  // <- here
        x[i] = 1;
    } else {
        __syncthreads();  // <- with
        x[i] = 2;
    }
}

extern "C" __global__ void shuffle_from_a_lane_that_returned(float* y, int n) {
    int i = threadIdx.x;
    if (i >= n) return;
    y[i] = warp_sum(y[i]);
}

extern "C" __global__ void shuffle_outside_of_the_mask(float* y) {
    int i = threadIdx.x;
    if (i < 16) y[i] = __shfl_sync(0x0000ffffu, y[i], i + 8);  // <- here
}

extern "C" __global__ void not_in_its_own_mask(float* y) {
    y[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, y[threadIdx.x], 1);  // <- here
}

extern "C" __global__ void some_lanes_stay_away(float* y) {
    int i = threadIdx.x;
    if (i % 2) y[i] = warp_sum(y[i]);
    __syncthreads();  // <- with
}

extern "C" __global__ void copy_not_waited_for(const float* x, float* y) {
    __shared__ __align__(16) float s[128];
    int i = threadIdx.x;
    cp_async16(&s[i * 4], &x[i * 4]);  // <- with
    cp_async_commit();
    __syncthreads();
    y[i] = s[i];  // <- here
}

extern "C" __global__ void copy_waited_for_by_its_thread_only(const float* x, float* y) {
    __shared__ __align__(16) float s[128];
    int i = threadIdx.x;
    cp_async16(&s[i * 4], &x[i * 4]);  // <- with
    cp_async_commit();
    cp_async_wait<0>();
    y[i] = s[127 - i];  // <- here
}

// The buffer is filled again while others still read it.
extern "C" __global__ void copy_over_what_is_read(const float* x, float* y, int n) {
    __shared__ __align__(16) float s[128];
    int i = threadIdx.x;
    for (int k = 0; k < n; k++) {
        cp_async16(&s[i * 4], &x[k * 128 + i * 4]);  // <- here
        cp_async_commit();
        cp_async_wait<0>();
        __syncthreads();
        y[k * 32 + i] = s[127 - i];  // <- with
    }
}

extern "C" __global__ void failed_assertion(const float* x, float* y) {
    assert(x[threadIdx.x] >= 0);  // <- here
    y[threadIdx.x] = sqrtf(x[threadIdx.x]);
}
