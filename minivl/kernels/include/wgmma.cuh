// wgmma.cuh: the matrix products of a warpgroup, 4 warps, on sm_90a. Both factors lie in shared memory, and the product
// goes on beside the threads that have asked for it. On the CPU it is done at once, in plain loops.
//
// Rows of a tile are 128 bytes, 64 numbers, whose eight units of 16 bytes have changed places (the "128-byte swizzle"):
// unit u of row r lies where unit u ^ r % 8 would. Eight rows are an atom, which begins at a multiple of 1024 bytes. A
// tile of A has a row of 64 numbers of K for each m (A lies row by row), a tile of B a row of 64 numbers n for each k
// (so does B).
//
// Of the 64 x 128 result, thread t holds in d[4 j + i]: row 16 (t / 32) + t % 32 / 4 + 8 (i / 2), column 8 j + t % 4 *
// 2 + i % 2.
#pragma once

// Where unit `unit` of row `row` lies, in bytes from the beginning of its tile.
__device__ __forceinline__ int swizzled(int row, int unit) { return row * 128 + (unit ^ row % 8) * 16; }

#ifdef MINIVL_CPU

// from: the first row wanted, at the first number wanted; leading, stride: bytes from 64 numbers n to the next (of B),
// and from one atom to the next.
struct WgmmaTile {
    const void* from;
    int leading, stride;
};
static inline WgmmaTile wgmma_tile(const void* from, int leading, int stride) { return {from, leading, stride}; }
static inline void wgmma_sees_shared() {}
static inline void wgmma_fence() {}
static inline void wgmma_commit() {}
template <int PENDING>
static inline void wgmma_wait() {}

CPU_INLINE const char* wgmma_place(uintptr_t place) { return (const char*)(place ^ (place >> 7 & 7) << 4); }
CPU_INLINE float wgmma_number(uintptr_t place) { return __uint_as_float(*(const uint16_t*)wgmma_place(place) << 16); }

CPU_INLINE void wgmma_bf16(float (&d)[64], WgmmaTile a, WgmmaTile b, cpu::Here here = HERE) {
    const int t = (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 128;
    const auto of_a = [a](int m, int k) { return (uintptr_t)a.from + m / 8 * a.stride + m % 8 * 128 + k * 2; };
    const auto of_b = [b](int k, int n) {
        return (uintptr_t)b.from + n / 64 * b.leading + k / 8 * b.stride + k % 8 * 128 + n % 64 * 2;
    };
    // The 128 threads together read every unit once: one of A each, and two of B.
    cpu::touch(wgmma_place(of_a(t % 64, t / 64 * 8)), 16, cpu::READ, here);
    for (int half = 0; half < 2; half++)
        cpu::touch(wgmma_place(of_b(t / 8, half * 64 + t % 8 * 8)), 16, cpu::READ, here);

    for (int half = 0; half < 2; half++)
        for (int k = 0; k < 16; k++) {
            const float x = wgmma_number(of_a(t / 32 * 16 + t % 32 / 4 + 8 * half, k));
            for (int j = 0; j < 16; j++)
                for (int i = 0; i < 2; i++) d[4 * j + 2 * half + i] += x * wgmma_number(of_b(k, 8 * j + t % 4 * 2 + i));
        }
}

#else

typedef unsigned long long WgmmaTile;
__device__ __forceinline__ WgmmaTile wgmma_tile(const void* from, int leading, int stride) {
    const WgmmaTile address = __cvta_generic_to_shared(from);
    return (address & 0x3ffff) >> 4 | (WgmmaTile)(leading >> 4) << 16 | (WgmmaTile)(stride >> 4) << 32 | 1ull << 62;
}
// What this thread has written to shared memory is visible to products from now on (they read by another way than
// threads do).
__device__ __forceinline__ void wgmma_sees_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
// Before the first product: d is as the threads have left it.
__device__ __forceinline__ void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Closes a group of products; wgmma_wait<N> waits until at most the N youngest groups are still under way.
__device__ __forceinline__ void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int PENDING>
__device__ __forceinline__ void wgmma_wait() {
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(PENDING) : "memory");
}
// d (64 x 128) += a (64 x 16) b (16 x 128), in float; for all 128 threads of a warpgroup together
__device__ __forceinline__ void wgmma_bf16(float (&d)[64], WgmmaTile a, WgmmaTile b) {
    asm volatile(
        "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
        "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
        "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
        "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
        "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
        "%64, %65, 1, 1, 1, 0, 1;"  // scales of d, a, b; a not transposed, b is
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]),
          "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),
          "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]),
          "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]),
          "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]),
          "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]),
          "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]),
          "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
        : "l"(a), "l"(b));
}

#endif
