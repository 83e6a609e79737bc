// cuda.h: CUDA C++ as ordinary C++. Put before a kernel's text, it lets g++ or clang++ compile a .cu file for the CPU.
//
// How a GPU program runs on a laptop:
//   a thread           a fiber: a stack of its own, left and entered again only where threads wait for each other (runtime.cpp)
//   threadIdx ...      global variables, set whenever a fiber is entered
//   __shared__         thread_local bytes (SHARED_ARRAY below): all in one block of memory, which the runtime can find and fill
//                      with NaN before each block of threads
//   __syncthreads()    leave the fiber until all others have arrived
//   a warp operation   every lane deposits a pointer to its operands; the last one to arrive works out the answer for all 32
//   atomics            plain reads and writes: a fiber is never interrupted
// Blocks run one after another, so a grid-wide barrier, or a block that spins until another one writes, does not work here.
//
// No heavy C++ header is included: a kernel then compiles in a fraction of a second.
#pragma once
#include <stdio.h>

#include "runtime.h"

#define MINIVL_CPU 1

// ---- words of the language ------------------------------------------------------------------------------------------

#define __global__ __attribute__((noinline))
#define __device__
#define __host__
#define __constant__ static
#define __managed__ static
#define __grid_constant__
#define __launch_bounds__(...)
#define __maxnreg__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(bytes) __attribute__((aligned(bytes)))
#define CPU_INLINE NOT_CHECKED static inline  // ours: its own memory accesses are no concern of check mode

// ---- shared memory --------------------------------------------------------------------------------------------------

// The loader writes   __shared__ float tile[32][33];      as   SHARED_ARRAY(tile, 1, [32][33], float);
//            and      extern __shared__ float rows[];     as   float* rows = (float*)cpu::dynamic_shared();
// In check mode an array has a gap on either side that nobody may touch, and no more alignment than it asked for. The
// compiler is not to know where it is (asm), or it would itself take a misaligned access apart.
#ifdef MINIVL_CHECK
#define SHARED_ARRAY(name, alignment, dimensions, ...)                                                          \
    typedef __VA_ARGS__ name##_type dimensions;                                                                 \
    enum { name##_at = 128 + (alignof(name##_type) > alignment ? alignof(name##_type) : alignment) };           \
    static thread_local __attribute__((aligned(128))) char name##_bytes[name##_at + sizeof(name##_type) + 128]; \
    char* name##_begin = name##_bytes + name##_at;                                                              \
    asm("" : "+r"(name##_begin));                                                                               \
    name##_type& name = *(name##_type*)name##_begin;                                                            \
    cpu::shared_array(#name, &name, sizeof name)
#else
#define SHARED_ARRAY(name, alignment, dimensions, ...)                                        \
    typedef __VA_ARGS__ name##_type dimensions;                                               \
    static thread_local __attribute__((aligned(128))) char name##_bytes[sizeof(name##_type)]; \
    name##_type& name = *(name##_type*)name##_bytes
#endif

// ---- vector types ---------------------------------------------------------------------------------------------------

#define CPU_VECTORS(scalar, name, align2, align4)                                              \
    struct __align__(align2) name##2 { scalar x, y; };                                         \
    struct name##3 { scalar x, y, z; };                                                        \
    struct __align__(align4) name##4 { scalar x, y, z, w; };                                   \
    static inline name##2 make_##name##2(scalar x, scalar y) { return {x, y}; }                \
    static inline name##3 make_##name##3(scalar x, scalar y, scalar z) { return {x, y, z}; }   \
    static inline name##4 make_##name##4(scalar x, scalar y, scalar z, scalar w) { return {x, y, z, w}; }
CPU_VECTORS(signed char, char, 2, 4)
CPU_VECTORS(unsigned char, uchar, 2, 4)
CPU_VECTORS(short, short, 4, 8)
CPU_VECTORS(unsigned short, ushort, 4, 8)
CPU_VECTORS(int, int, 8, 16)
CPU_VECTORS(unsigned, uint, 8, 16)
CPU_VECTORS(long long, longlong, 16, 16)
CPU_VECTORS(unsigned long long, ulonglong, 16, 16)
CPU_VECTORS(float, float, 8, 16)
CPU_VECTORS(double, double, 16, 16)
struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

extern cpu::Vec3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

// ---- barriers -------------------------------------------------------------------------------------------------------

static inline void __syncthreads(cpu::Here here = HERE) { cpu::block_barrier(cpu::PLAIN, 0, here); }
static inline int __syncthreads_count(int p, cpu::Here here = HERE) { return cpu::block_barrier(cpu::COUNT, p, here); }
static inline int __syncthreads_and(int p, cpu::Here here = HERE) { return cpu::block_barrier(cpu::ALL, p, here); }
static inline int __syncthreads_or(int p, cpu::Here here = HERE) { return cpu::block_barrier(cpu::ANY, p, here); }
static inline void __syncwarp(unsigned mask = cpu::WHOLE_WARP, cpu::Here here = HERE) { cpu::warp_fence(mask, here); }
static inline void __threadfence() { cpu::memory_fence(); }
static inline void __threadfence_block() {}
static inline void __threadfence_system() { cpu::memory_fence(); }
static inline void __nanosleep(unsigned) {}
static inline unsigned __activemask() { return cpu::live_lanes(); }

// ---- warp operations ------------------------------------------------------------------------------------------------

namespace cpu {

struct Shuffle {
    uint64_t value, answer;
    int source;
    Here here;
};

NOT_CHECKED static void shuffle_together(void** operands, unsigned lanes) {
    for (int l = 0; l < 32; l++) {
        if (!(lanes >> l & 1)) continue;
        Shuffle* mine = (Shuffle*)operands[l];
        if (!(lanes >> mine->source & 1)) {
            fail(mine->here, "lane %d shuffles from lane %d, which has returned or is not in the mask", l, mine->source);
            return;
        }
        mine->answer = ((Shuffle*)operands[mine->source])->value;
    }
}

template <class V>
CPU_INLINE V shuffle(unsigned mask, V value, int source, Here here) {
    static_assert(sizeof(V) <= 8, "a shuffle moves at most 8 bytes");
    Shuffle s{0, 0, source, here};
    memcpy(&s.value, &value, sizeof value);
    warp_meeting(mask, shuffle_together, &s, here);
    memcpy(&value, &s.answer, sizeof value);
    return value;
}

struct Ballot {
    int predicate;
    unsigned answer;
};

NOT_CHECKED static void ballot_together(void** operands, unsigned lanes) {
    unsigned votes = 0;
    for (int l = 0; l < 32; l++)
        if (lanes >> l & 1 && ((Ballot*)operands[l])->predicate) votes |= 1u << l;
    for (int l = 0; l < 32; l++)
        if (lanes >> l & 1) ((Ballot*)operands[l])->answer = votes;
}

CPU_INLINE unsigned ballot(unsigned mask, int predicate, Here here) {
    Ballot b{predicate, 0};
    warp_meeting(mask, ballot_together, &b, here);
    return b.answer;
}

// What match and reduce need: every lane sees the values of all.
struct Gather {
    uint64_t value, all[32];
    unsigned lanes;
};

NOT_CHECKED static void gather_together(void** operands, unsigned lanes) {
    for (int l = 0; l < 32; l++) {
        if (!(lanes >> l & 1)) continue;
        Gather* mine = (Gather*)operands[l];
        mine->lanes = lanes;
        for (int k = 0; k < 32; k++)
            if (lanes >> k & 1) mine->all[k] = ((Gather*)operands[k])->value;
    }
}

template <class V>
CPU_INLINE Gather gather(unsigned mask, V value, Here here) {
    Gather g{0, {}, 0};
    memcpy(&g.value, &value, sizeof value);
    warp_meeting(mask, gather_together, &g, here);
    return g;
}

}  // namespace cpu

template <class V>
static inline V __shfl_sync(unsigned mask, V v, int source, int width = 32, cpu::Here here = HERE) {
    int first = cpu::lane() & ~(width - 1);
    return cpu::shuffle(mask, v, first + (source & (width - 1)), here);
}
template <class V>
static inline V __shfl_up_sync(unsigned mask, V v, unsigned delta, int width = 32, cpu::Here here = HERE) {
    int lane = cpu::lane(), source = lane - (int)delta;
    return cpu::shuffle(mask, v, source < (lane & ~(width - 1)) ? lane : source, here);
}
template <class V>
static inline V __shfl_down_sync(unsigned mask, V v, unsigned delta, int width = 32, cpu::Here here = HERE) {
    int lane = cpu::lane(), source = lane + (int)delta;
    return cpu::shuffle(mask, v, source > (lane | (width - 1)) ? lane : source, here);
}
template <class V>
static inline V __shfl_xor_sync(unsigned mask, V v, int bits, int width = 32, cpu::Here here = HERE) {
    int lane = cpu::lane(), source = lane ^ bits;
    return cpu::shuffle(mask, v, source > (lane | (width - 1)) ? lane : source, here);
}

static inline unsigned __ballot_sync(unsigned mask, int p, cpu::Here here = HERE) { return cpu::ballot(mask, p, here); }
static inline int __any_sync(unsigned mask, int p, cpu::Here here = HERE) { return cpu::ballot(mask, p, here) != 0; }
static inline int __all_sync(unsigned mask, int p, cpu::Here here = HERE) { return cpu::ballot(mask, !p, here) == 0; }

template <class V>
CPU_INLINE unsigned __match_any_sync(unsigned mask, V v, cpu::Here here = HERE) {
    cpu::Gather g = cpu::gather(mask, v, here);
    unsigned same = 0;
    for (int l = 0; l < 32; l++)
        if (g.lanes >> l & 1 && g.all[l] == g.value) same |= 1u << l;
    return same;
}
template <class V>
CPU_INLINE unsigned __match_all_sync(unsigned mask, V v, int* all, cpu::Here here = HERE) {
    cpu::Gather g = cpu::gather(mask, v, here);
    *all = 1;
    for (int l = 0; l < 32; l++)
        if (g.lanes >> l & 1 && g.all[l] != g.value) *all = 0;
    return *all ? g.lanes : 0;
}

#define CPU_WARP_REDUCE(name, type, expression)                                           \
    CPU_INLINE type name(unsigned mask, type v, cpu::Here here = HERE) {                  \
        cpu::Gather g = cpu::gather(mask, v, here);                                       \
        type a = v;                                                                       \
        for (int l = 0, me = cpu::lane(); l < 32; l++) {                                  \
            type b = (type)g.all[l];                                                      \
            if (g.lanes >> l & 1 && l != me) a = (expression);                            \
        }                                                                                 \
        return a;                                                                         \
    }
CPU_WARP_REDUCE(__reduce_add_sync, unsigned, a + b)
CPU_WARP_REDUCE(__reduce_add_sync, int, a + b)
CPU_WARP_REDUCE(__reduce_min_sync, unsigned, a < b ? a : b)
CPU_WARP_REDUCE(__reduce_min_sync, int, a < b ? a : b)
CPU_WARP_REDUCE(__reduce_max_sync, unsigned, a > b ? a : b)
CPU_WARP_REDUCE(__reduce_max_sync, int, a > b ? a : b)
CPU_WARP_REDUCE(__reduce_and_sync, unsigned, a & b)
CPU_WARP_REDUCE(__reduce_or_sync, unsigned, a | b)
CPU_WARP_REDUCE(__reduce_xor_sync, unsigned, a ^ b)

// ---- atomics: a fiber is never interrupted, so that reading and writing is atomic -----------------------------------

namespace cpu {
template <class V>
struct Same {
    typedef V type;
};
}  // namespace cpu

#define CPU_ATOMIC(name, expression)                                       \
    template <class V>                                                     \
    CPU_INLINE V name(V* address, typename cpu::Same<V>::type v, cpu::Here here = HERE) { \
        cpu::touch(address, sizeof(V), cpu::ATOMIC, here);                 \
        V old = *address;                                                  \
        *address = (expression);                                           \
        return old;                                                        \
    }
CPU_ATOMIC(atomicAdd, old + v)
CPU_ATOMIC(atomicSub, old - v)
CPU_ATOMIC(atomicMin, v < old ? v : old)
CPU_ATOMIC(atomicMax, v > old ? v : old)
CPU_ATOMIC(atomicExch, v)
CPU_ATOMIC(atomicAnd, old & v)
CPU_ATOMIC(atomicOr, old | v)
CPU_ATOMIC(atomicXor, old ^ v)
CPU_ATOMIC(atomicInc, old >= v ? 0 : old + 1)
CPU_ATOMIC(atomicDec, old == 0 || old > v ? v : old - 1)
template <class V>
CPU_INLINE V atomicCAS(V* address, typename cpu::Same<V>::type compare, typename cpu::Same<V>::type v,
                       cpu::Here here = HERE) {
    cpu::touch(address, sizeof(V), cpu::ATOMIC, here);
    V old = *address;
    if (old == compare) *address = v;
    return old;
}

// ---- loads, stores and bits -----------------------------------------------------------------------------------------

#define CPU_LOAD(name) template <class V> static inline V name(const V* address) { return *address; }
CPU_LOAD(__ldg)
CPU_LOAD(__ldca)
CPU_LOAD(__ldcg)
CPU_LOAD(__ldcs)
#define CPU_STORE(name) \
    template <class V> static inline void name(V* address, typename cpu::Same<V>::type v) { *address = v; }
CPU_STORE(__stwb)
CPU_STORE(__stcg)
CPU_STORE(__stcs)

static inline int __float_as_int(float v) { return cpu::bits_as<int>(v); }
static inline unsigned __float_as_uint(float v) { return cpu::bits_as<unsigned>(v); }
static inline float __int_as_float(int v) { return cpu::bits_as<float>(v); }
static inline float __uint_as_float(unsigned v) { return cpu::bits_as<float>(v); }
static inline long long __double_as_longlong(double v) { return cpu::bits_as<long long>(v); }
static inline double __longlong_as_double(long long v) { return cpu::bits_as<double>(v); }
static inline int __popc(unsigned v) { return __builtin_popcount(v); }
static inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
static inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
static inline int __clzll(long long v) { return v ? __builtin_clzll((unsigned long long)v) : 64; }
static inline int __ffs(int v) { return __builtin_ffs(v); }
static inline int __ffsll(long long v) { return __builtin_ffsll(v); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
static inline int __mul24(int a, int b) { return a * b; }

// ---- mathematics: the C library's, declared here because <cmath> alone would double the time of a compilation -------

#define CPU_MATHS_1(name) extern "C" double name(double) noexcept; extern "C" float name##f(float) noexcept; \
    static inline float name(float v) { return name##f(v); }
#define CPU_MATHS_2(name) extern "C" double name(double, double) noexcept; extern "C" float name##f(float, float) noexcept; \
    static inline float name(float v, float w) { return name##f(v, w); }
CPU_MATHS_1(exp) CPU_MATHS_1(exp2) CPU_MATHS_1(expm1) CPU_MATHS_1(log) CPU_MATHS_1(log2) CPU_MATHS_1(log10) CPU_MATHS_1(log1p)
CPU_MATHS_1(sqrt) CPU_MATHS_1(cbrt) CPU_MATHS_1(sin) CPU_MATHS_1(cos) CPU_MATHS_1(tan) CPU_MATHS_1(asin) CPU_MATHS_1(acos)
CPU_MATHS_1(atan) CPU_MATHS_1(sinh) CPU_MATHS_1(cosh) CPU_MATHS_1(tanh) CPU_MATHS_1(erf) CPU_MATHS_1(erfc) CPU_MATHS_1(fabs)
CPU_MATHS_1(floor) CPU_MATHS_1(ceil) CPU_MATHS_1(trunc) CPU_MATHS_1(round) CPU_MATHS_1(rint)
CPU_MATHS_2(pow) CPU_MATHS_2(atan2) CPU_MATHS_2(fmod) CPU_MATHS_2(fmax) CPU_MATHS_2(fmin) CPU_MATHS_2(hypot)
CPU_MATHS_2(copysign)
extern "C" double fma(double, double, double) noexcept;
extern "C" float fmaf(float, float, float) noexcept;
static inline float fma(float a, float b, float c) { return fmaf(a, b, c); }
extern "C" double ldexp(double, int) noexcept;
extern "C" float ldexpf(float, int) noexcept;
extern "C" int abs(int) noexcept;
static inline float abs(float v) { return fabsf(v); }
static inline double abs(double v) { return fabs(v); }
#define isnan(v) __builtin_isnan(v)
#define isinf(v) __builtin_isinf(v)
#define isfinite(v) __builtin_isfinite(v)
#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")

static inline float rsqrtf(float v) { return 1 / sqrtf(v); }
static inline double rsqrt(double v) { return 1 / sqrt(v); }
static inline float rsqrt(float v) { return rsqrtf(v); }
static inline float exp10f(float v) { return powf(10, v); }
static inline float normcdff(float v) { return 0.5f * erfcf(-v * 0.70710678f); }
static inline void sincosf(float v, float* s, float* c) { *s = sinf(v), *c = cosf(v); }
static inline float __saturatef(float v) { return v > 0 ? v < 1 ? v : 1.f : 0.f; }
static inline float __fdividef(float a, float b) { return a / b; }
#define __expf expf  // macros, because the C library has functions of these names
#define __exp10f exp10f
#define __logf logf
#define __log2f log2f
#define __powf powf
#define __sinf sinf
#define __cosf cosf
#define __tanf tanf
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __frsqrt_rn(float a) { return rsqrtf(a); }
static inline float __frcp_rn(float a) { return 1 / a; }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline int __float2int_rn(float v) { return (int)rintf(v); }
static inline int __float2int_rd(float v) { return (int)floorf(v); }
static inline int __float2int_rz(float v) { return (int)v; }
static inline float __int2float_rn(int v) { return (float)v; }

// CUDA's own overloads. Of a number and a NaN, both give the number.
#define CPU_MIN_MAX(result, type_a, type_b)                                                    \
    static inline result min(type_a a, type_b b) { return (result)a < (result)b ? (result)a : (result)b; } \
    static inline result max(type_a a, type_b b) { return (result)a > (result)b ? (result)a : (result)b; }
CPU_MIN_MAX(int, int, int)
CPU_MIN_MAX(unsigned, unsigned, unsigned)
CPU_MIN_MAX(unsigned, int, unsigned)
CPU_MIN_MAX(unsigned, unsigned, int)
CPU_MIN_MAX(long, long, long)
CPU_MIN_MAX(unsigned long, unsigned long, unsigned long)
CPU_MIN_MAX(long long, long long, long long)
CPU_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
#define CPU_MIN_MAX_FLOAT(result, type_a, type_b)                                                      \
    static inline result min(type_a a, type_b b) { return a < b || b != b ? (result)a : (result)b; } \
    static inline result max(type_a a, type_b b) { return a > b || b != b ? (result)a : (result)b; }
CPU_MIN_MAX_FLOAT(float, float, float)
CPU_MIN_MAX_FLOAT(double, double, double)
CPU_MIN_MAX_FLOAT(double, float, double)
CPU_MIN_MAX_FLOAT(double, double, float)

#undef assert
#define assert(condition) ((condition) ? (void)0 : cpu::fail(HERE, "assertion failed: %s", #condition))
