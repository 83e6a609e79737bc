// few.cuh: N numbers that a thread moves together: one, or the pack of 16 bytes. A body written for `template <int N>` then
// serves rows that begin at multiples of 16 bytes, and rows that do not.
#pragma once
#include "numbers.cuh"

constexpr int PACKED = Pack<T>::N;

template <int N>
struct __align__(N * sizeof(T)) Few {
    static_assert(N == 1 || N == PACKED, "one number, or a pack");
    T x[N];
};

#ifdef MINIVL_CPU
template <int N>
CPU_INLINE Few<N> load_few(const T* from, cpu::Here here = HERE) {
    cpu::touch(from, sizeof(Few<N>), cpu::READ, here);
    Few<N> few;
    memcpy(&few, from, sizeof few);
    return few;
}
template <int N>
CPU_INLINE void store_few(T* to, const Few<N>& few, cpu::Here here = HERE) {
    cpu::touch(to, sizeof few, cpu::WRITE, here);
    memcpy(to, &few, sizeof few);
}
#else
template <int N>
__device__ __forceinline__ Few<N> load_few(const T* from) {
    Few<N> few;
    if constexpr (N == 1)
        few.x[0] = *from;
    else
        *reinterpret_cast<uint4*>(&few) = *reinterpret_cast<const uint4*>(from);
    return few;
}
template <int N>
__device__ __forceinline__ void store_few(T* to, const Few<N>& few) {
    if constexpr (N == 1)
        *to = few.x[0];
    else
        *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(&few);
}
#endif
