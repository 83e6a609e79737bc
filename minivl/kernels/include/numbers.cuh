// numbers.cuh: the numbers that kernels compute with. T is what arrays hold, A what sums are kept in.
//
//   dtype asked for    T                A
//   float32            float            float
//   float64            double           double
//   bfloat16           __nv_bfloat16    float
//
// It needs no header of the CUDA toolkit, so that the same text compiles with NVRTC alone and with g++.
#pragma once

#ifdef __CUDACC_RTC__
typedef signed char int8_t;
typedef unsigned char uint8_t;
typedef short int16_t;
typedef unsigned short uint16_t;
typedef int int32_t;
typedef unsigned uint32_t;
typedef long long int64_t;
typedef unsigned long long uint64_t;
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#define NAN __int_as_float(0x7fffffff)
#endif
#endif

// ---- bfloat16: the upper half of a float ----------------------------------------------------------------------------

// Only stored and converted: arithmetic happens in float. A float becomes the nearest bfloat16, of two the even one.
struct __nv_bfloat16 {
    unsigned short bits;

    __nv_bfloat16() = default;
    __device__ __forceinline__ explicit __nv_bfloat16(float v) {
#ifdef MINIVL_CPU
        unsigned u = __float_as_uint(v);
        bits = v != v ? 0x7fff : (u + 0x7fff + (u >> 16 & 1)) >> 16;
#else
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(v));
#endif
    }
    __device__ __forceinline__ operator float() const { return __uint_as_float((unsigned)bits << 16); }
};

struct __align__(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

// Two floats as a pair of bfloat16 in a register, `low` in the lower half; and back.
__device__ __forceinline__ unsigned pack_bf16(float low, float high) {
#ifdef MINIVL_CPU
    return __nv_bfloat16(low).bits | (unsigned)__nv_bfloat16(high).bits << 16;
#else
    unsigned pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
#endif
}
__device__ __forceinline__ float2 unpack_bf16(unsigned pair) {
    return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xffff0000u));
}

#ifdef MINIVL_T
typedef MINIVL_T T;
typedef MINIVL_A A;
#endif

template <class V>
__device__ __forceinline__ V lowest() {
    return (V)-INFINITY;
}

__host__ __device__ constexpr int divide_up(int a, int b) { return (a + b - 1) / b; }

// ---- 16 bytes at once: the widest load and store of a thread --------------------------------------------------------

template <class V>
struct __align__(16) Pack {
    static constexpr int N = 16 / sizeof(V);
    V x[N];
};

__device__ __forceinline__ bool aligned16(const void* p) { return (size_t)p % 16 == 0; }

// As one number of 16 bytes, so that it is one instruction whatever V is.
#ifdef MINIVL_CPU
typedef unsigned Bits16 __attribute__((vector_size(16), may_alias));
#else
typedef uint4 Bits16;
#endif

template <class V>
union PackBits {
    Bits16 bits;
    Pack<V> pack;
    __device__ PackBits() {}
};
template <class V>
__device__ __forceinline__ Pack<V> load16(const V* from) {
    PackBits<V> both;
    both.bits = *reinterpret_cast<const Bits16*>(from);
#ifdef MINIVL_CHECK
    asm("" : "+m"(both.bits));  // or the compiler makes four reads of it, if it knows what becomes of each number
#endif
    return both.pack;
}
template <class V>
__device__ __forceinline__ void store16(V* to, const Pack<V>& pack) {
    PackBits<V> both;
    both.pack = pack;
    *reinterpret_cast<Bits16*>(to) = both.bits;
}
