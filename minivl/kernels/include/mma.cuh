// mma.cuh: the instructions of sm_80 and later that C++ has no word for: asynchronous copies to shared memory, matrix
// products on tensor cores, a quick exponential. On a GPU they are inline PTX; on the CPU, warp_matrix.cpp does the same in plain loops.
//
// Where the numbers of a product lie, lane l of the warp, g = l / 4, t = l % 4 (row, column):
//
//   mma_bf16, 16 x 16 times 16 x 8            mma_tf32, 16 x 8 times 8 x 8
//   a[0]  (g, 2t)      (g, 2t+1)              a[0]  (g, t)
//   a[1]  (g+8, 2t)    (g+8, 2t+1)            a[1]  (g+8, t)
//   a[2]  (g, 2t+8)    (g, 2t+9)              a[2]  (g, t+4)
//   a[3]  (g+8, 2t+8)  (g+8, 2t+9)            a[3]  (g+8, t+4)
//   b[0]  (2t, g)      (2t+1, g)              b[0]  (t, g)
//   b[1]  (2t+8, g)    (2t+9, g)              b[1]  (t+4, g)
//   d     (g, 2t)  (g, 2t+1)  (g+8, 2t)  (g+8, 2t+1)   in both
//
// ldmatrix reads 8 x 8 matrices of 16-bit numbers: lanes 8m to 8m+7 name the rows of matrix m, and register m of lane l gets
// (g, 2t) and (g, 2t+1) of it; with _trans, (2t, g) and (2t+1, g).
#pragma once

#ifdef MINIVL_CPU

__device__ __forceinline__ void cp_async16(void* to, const void* from, bool take = true, cpu::Here here = HERE) {
    cpu::copy_async(to, from, 16, take, here);
}
__device__ __forceinline__ void cp_async_commit() { cpu::copy_commit(); }
template <int PENDING>
__device__ __forceinline__ void cp_async_wait(cpu::Here here = HERE) {
    cpu::copy_wait(PENDING, here);
}
__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* row, cpu::Here here = HERE) {
    cpu::ldmatrix(r, 4, false, row, here);
}
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&r)[4], const void* row, cpu::Here here = HERE) {
    cpu::ldmatrix(r, 4, true, row, here);
}
__device__ __forceinline__ void ldmatrix_x2(unsigned (&r)[2], const void* row, cpu::Here here = HERE) {
    cpu::ldmatrix(r, 2, false, row, here);
}
__device__ __forceinline__ void ldmatrix_x2_trans(unsigned (&r)[2], const void* row, cpu::Here here = HERE) {
    cpu::ldmatrix(r, 2, true, row, here);
}
__device__ __forceinline__ void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], cpu::Here here = HERE) {
    cpu::mma_bf16(d, a, b, here);
}
__device__ __forceinline__ void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], cpu::Here here = HERE) {
    cpu::mma_tf32(d, a, b, here);
}
__device__ __forceinline__ float fast_exp2(float v) { return exp2f(v); }
__device__ __forceinline__ unsigned to_tf32(float v) { return (__float_as_uint(v) + 0x1000u) & 0xffffe000u; }

#else

__device__ __forceinline__ unsigned shared_address(const void* p) { return (unsigned)__cvta_generic_to_shared(p); }

// 16 bytes from global to shared memory, past the registers; zeros where `take` is false, and `from` is then not read.
__device__ __forceinline__ void cp_async16(void* to, const void* from, bool take = true) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(take ? 16 : 0)
                 : "memory");
}
// Closes a group of copies; cp_async_wait<N> waits until at most the N youngest groups are still under way.
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int PENDING>
__device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;" ::"n"(PENDING) : "memory");
}

__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void ldmatrix_x2(unsigned (&r)[2], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
}
__device__ __forceinline__ void ldmatrix_x2_trans(unsigned (&r)[2], const void* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(row))
                 : "memory");
}

// d += a b, in float
__device__ __forceinline__ void mma_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
__device__ __forceinline__ void mma_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
    asm volatile(
        "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
// A float rounded to the 10 bits of fraction that tf32 has. mma_tf32 cuts off what is not rounded.
__device__ __forceinline__ unsigned to_tf32(float v) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
    return bits;
}
// 2^v in one instruction, to 22 bits; 0 where the result is below the smallest normal float.
__device__ __forceinline__ float fast_exp2(float v) {
    float power;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(v));
    return power;
}

#endif
