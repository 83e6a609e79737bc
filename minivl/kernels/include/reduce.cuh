// reduce.cuh: sums and maxima over the lanes of a warp and the threads of a block. The order of additions is fixed by the
// shape of the block, so that the same input gives the same bits every time.
//
// Every thread must take part and gets the result; a block has a multiple of 32 threads, at most 1024.
#pragma once

__device__ __forceinline__ int thread_rank() {
    return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}
__device__ __forceinline__ int lane() { return thread_rank() % 32; }
__device__ __forceinline__ int warp() { return thread_rank() / 32; }
__device__ __forceinline__ int warps() { return blockDim.x * blockDim.y * blockDim.z / 32; }

struct Sum {
    template <class V>
    __device__ __forceinline__ V operator()(V a, V b) const {
        return a + b;
    }
};
struct Max {
    template <class V>
    __device__ __forceinline__ V operator()(V a, V b) const {
        return a > b || a != a ? a : b;  // a NaN stays
    }
};

// A butterfly: after the step of 16, 8, 4, 2, 1 lanes every lane holds the result of all 32.
template <class V, class Op>
__device__ __forceinline__ V warp_reduce(V v, Op op) {
#pragma unroll
    for (int step = 16; step > 0; step /= 2) v = op(v, __shfl_xor_sync(0xffffffffu, v, step));
    return v;
}

// Each warp leaves its result in shared memory, then every warp reduces what all have left.
template <class V, class Op>
__device__ __forceinline__ V block_reduce(V v, V nothing, Op op) {
    __shared__ V part[32];
    v = warp_reduce(v, op);
    if (warps() == 1) return v;
    __syncthreads();  // nobody reads what an earlier call left here any more
    if (lane() == 0) part[warp()] = v;
    __syncthreads();
    return warp_reduce(lane() < warps() ? part[lane()] : nothing, op);
}

template <class V>
__device__ __forceinline__ V warp_sum(V v) {
    return warp_reduce(v, Sum());
}
template <class V>
__device__ __forceinline__ V warp_max(V v) {
    return warp_reduce(v, Max());
}
template <class V>
__device__ __forceinline__ V block_sum(V v) {
    return block_reduce(v, (V)0, Sum());
}
template <class V>
__device__ __forceinline__ V block_max(V v) {
    return block_reduce(v, (V)-INFINITY, Max());
}
