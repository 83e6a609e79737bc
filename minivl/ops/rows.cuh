// rows.cuh: a row of numbers, and the team of threads that works on it.
//
// A team is blockDim.x threads. A short row gets 1, 2, 4 ... 32 of them, so that one warp has several rows; a long
// row gets a multiple of 32, and a block to itself. blockDim.y teams make a block. rows.py says how many of each.
//
// Every thread has the same columns of the row in every pass over it, and keeps them in shared memory, where nobody
// else looks: global memory is read once, without a barrier, and with a whole row under way at a time.
//
// W is how many neighbouring numbers a thread takes at a time: N, the 16 bytes that are the most that one load can
// fetch, or 1 where C is no multiple of N, so that rows begin anywhere. The arrays themselves begin at multiples of
// 16 bytes.
#pragma once
#include "mma.cuh"
#include "numbers.cuh"
#include "reduce.cuh"

constexpr int N = Pack<T>::N;  // numbers in 16 bytes: 4 of float, 2 of double, 8 of bfloat16
constexpr A LEAST = sizeof(A) == 8 ? (A)-1.7976931348623157e308 : (A)-3.4028234e38;  // of all but -infinity

// exp(v); in float by the GPU's own instruction, right to 2 + |v| units in the last place.
__device__ __forceinline__ float exponential(float v) { return __expf(v); }
__device__ __forceinline__ double exponential(double v) { return exp(v); }

template <int W>
struct Some {
    T x[W];
};

template <int W>
__device__ __forceinline__ Some<W> load(const T* from) {
    Some<W> some;
    if constexpr (W == 1) {
        some.x[0] = *from;
    } else {
        const Pack<T> pack = load16(from);
#pragma unroll
        for (int e = 0; e < W; e++) some.x[e] = pack.x[e];
    }
    return some;
}

template <int W>
__device__ __forceinline__ void store(T* to, const Some<W>& some) {
    if constexpr (W == 1) {
        *to = some.x[0];
    } else {
        Pack<T> pack;
#pragma unroll
        for (int e = 0; e < W; e++) pack.x[e] = some.x[e];
        store16(to, pack);
    }
}

// A row in global memory of which the first `room` numbers are kept in shared memory, in the team's slot number `slot`.
template <int W>
struct Row {
    const T* far;
    T* near;
    int room;

    __device__ __forceinline__ Row(const T* row, int slot, int room) : far(row), room(room) {
        extern __shared__ __align__(16) T slots[];
        near = slots + (size_t)(slot * blockDim.y + threadIdx.y) * room;
    }
    // Sets out to fetch this thread's columns among the first C; they are there after cp_async_wait.
    __device__ __forceinline__ void fetch(int C) {
#pragma unroll 4
        for (int i = threadIdx.x * W; i < min(C, room); i += blockDim.x * W)
            if constexpr (W == 1)
                near[i] = far[i];
            else
                cp_async16(near + i, far + i);
    }
    __device__ __forceinline__ Some<W> operator()(int i) const {
        return i < room ? load<W>(near + i) : load<W>(far + i);
    }
    __device__ __forceinline__ void keep(int i, const Some<W>& some) const {
        if (i < room) store(near + i, some);
    }
};

// K numbers of every thread, each combined over the team; every thread gets the results. All threads of the block take
// part, also those that have no row. A tree of fixed shape: the same bits every time, and in every thread.
template <int K, class Op>
__device__ __forceinline__ void over_team(A (&v)[K], A nothing, Op op) {
    const int threads = blockDim.x;
    for (int step = min(threads, 32) / 2; step > 0; step /= 2)
#pragma unroll
        for (int i = 0; i < K; i++) v[i] = op(v[i], __shfl_xor_sync(0xffffffffu, v[i], step));
    if (threads <= 32) return;

    __shared__ A part[K][32];  // what each warp has found
    __syncthreads();           // nobody reads what an earlier call left here any more
#pragma unroll
    for (int i = 0; i < K; i++)
        if (threadIdx.x % 32 == 0) part[i][threadIdx.x / 32] = v[i];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < K; i++) {
        const int from = threadIdx.x % 32;
        v[i] = warp_reduce(from < threads / 32 ? part[i][from] : nothing, op);
    }
}

__device__ __forceinline__ A team_sum(A value) {
    A v[1] = {value};
    over_team(v, (A)0, Sum());
    return v[0];
}

__device__ __forceinline__ A team_max(A value) {
    A v[1] = {value};
    over_team(v, (A)-INFINITY, Max());
    return v[0];
}
