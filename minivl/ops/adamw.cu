// AdamW on many parameters in one launch. The definition, and its equations: adamw in optim.py.
//
// A block takes CHUNK numbers of one parameter: which parameter, and which of its chunks, it reads from two tables. A
// thread takes 16 bytes of each array at a time. Moved for each number: 7 (p, g, m and v in; p, m and v out), the
// least there can be. Every number is worked out by itself, so the bits are the same every time.
#include "rows.cuh"

constexpr int CHUNK = 8192;  // optim.py has it too

// What is the same for all numbers of one parameter, as adamw in optim.py has it: lr sqrt(1 - beta2^t) / (1 - beta1^t),
// eps sqrt(1 - beta2^t) and 1 - lr decay.
struct Rates {
    A step, eps, keep;
};

__device__ __forceinline__ void update(T& p, A g, A& mean, A& square, const Rates& rates, A towards1, A towards2) {
    mean += towards1 * (g - mean);
    square += towards2 * (g * g - square);
    p = (T)((A)p * rates.keep - rates.step * (mean / (sqrt(square) + rates.eps)));
}

// W neighbouring numbers of m or v, which are wider than those of p where these are bfloat16.
template <int W>
__device__ __forceinline__ void read(const A* from, A (&v)[W]) {
    constexpr int M = Pack<A>::N < W ? Pack<A>::N : W;
#pragma unroll
    for (int i = 0; i < W; i += M) {
        if constexpr (M == 1) {
            v[i] = from[i];
        } else {
            const Pack<A> pack = load16(from + i);
#pragma unroll
            for (int e = 0; e < M; e++) v[i + e] = pack.x[e];
        }
    }
}
template <int W>
__device__ __forceinline__ void write(A* to, const A (&v)[W]) {
    constexpr int M = Pack<A>::N < W ? Pack<A>::N : W;
#pragma unroll
    for (int i = 0; i < W; i += M) {
        if constexpr (M == 1) {
            to[i] = v[i];
        } else {
            Pack<A> pack;
#pragma unroll
            for (int e = 0; e < M; e++) pack.x[e] = v[i + e];
            store16(to + i, pack);
        }
    }
}

template <int W>
__device__ __forceinline__ void update_some(T* p, const T* g, A* mean, A* square, const Rates& rates, A towards1,
                                            A towards2) {
    Some<W> weights = load<W>(p);
    const Some<W> gradients = load<W>(g);
    A m[W], v[W];
    read(mean, m);
    read(square, v);
#pragma unroll
    for (int e = 0; e < W; e++) update(weights.x[e], (A)gradients.x[e], m[e], v[e], rates, towards1, towards2);
    store(p, weights);
    write(mean, m);
    write(square, v);
}

extern "C" __global__ void __launch_bounds__(256)
    adamw(T* const* p, const T* const* g, A* const* mean, A* const* square, const int64_t* sizes, const A* rates,
          const int* parameter_of, const int* chunk_of, A towards1, A towards2) {
    const int which = parameter_of[blockIdx.x];
    const int64_t begin = (int64_t)chunk_of[blockIdx.x] * CHUNK, end = min(begin + CHUNK, sizes[which]);
    const Rates mine = {rates[3 * which], rates[3 * which + 1], rates[3 * which + 2]};
    T* const pw = p[which];
    const T* const gw = g[which];
    A *const mw = mean[which], *const vw = square[which];
    for (int64_t i = begin + threadIdx.x * N; i < end; i += 256 * N) {
        if (i + N <= end)
            update_some<N>(pw + i, gw + i, mw + i, vw + i, mine, towards1, towards2);
        else
            for (int64_t j = i; j < end; j++) update_some<1>(pw + j, gw + j, mw + j, vw + j, mine, towards1, towards2);
    }
}
