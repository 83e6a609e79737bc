// few.cuh: N numbers that a thread moves together: one, or the pack of 16 bytes. A body that is written for `template <int N>`
// then serves rows that begin at multiples of 16 bytes and rows that do not.
#pragma once
#include "numbers.cuh"

constexpr int PACKED = Pack<T>::N;

struct One {
    T x[1];
};

template <int N>
__device__ __forceinline__ auto load_few(const T* from) {
    static_assert(N == 1 || N == PACKED, "one number, or a pack");
    if constexpr (N == 1)
        return One{{*from}};
    else
        return load16(from);
}
template <class Few>
__device__ __forceinline__ void store_few(T* to, const Few& few) {
    if constexpr (sizeof(Few) == sizeof(T))
        *to = few.x[0];
    else
        store16(to, few);
}
template <int N>
__device__ __forceinline__ auto zero_few() {
    decltype(load_few<N>(nullptr)) few = {};
    return few;
}
