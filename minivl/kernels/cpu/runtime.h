// runtime.h: what a kernel compiled for the CPU asks of its runtime, and what runtime.cpp, warp_matrix.cpp and check.cpp share.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__clang__)
#define NOT_CHECKED __attribute__((no_sanitize("thread")))
#else
#define NOT_CHECKED __attribute__((no_sanitize_thread))
#endif
#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace cpu {

struct Vec3 {
    unsigned x, y, z;
};

// A place in a kernel's source. As a default argument, HERE is the place of the call.
struct Here {
    int line;
    const char* file;
    static constexpr Here now(int line = __builtin_LINE(), const char* file = __builtin_FILE()) { return {line, file}; }
};
#define HERE cpu::Here::now()

// What Python hands over for one launch: the same fields in the same order as `_Launch` in cpu.py.
struct Launch {
    Vec3 grid, block;
    unsigned dynamic_shared;  // bytes
    unsigned counting;        // 1: count memory transactions (check mode only)
    uint64_t seed;            // 0: threads and blocks in order; else in an order that follows from the seed
};

// ---- runtime.cpp: threads that wait for each other ------------------------------------------------------------------

constexpr unsigned WHOLE_WARP = 0xffffffffu;
constexpr int MOST_THREADS = 1024;

enum Vote { PLAIN, COUNT, ALL, ANY };

// Runs once for a whole warp, when its last lane has arrived. operands[l] is what lane l brought, null if it takes no part.
typedef void (*Together)(void** operands, unsigned lanes);

int block_barrier(Vote vote, int predicate, Here here);
void warp_meeting(unsigned mask, Together together, void* operands, Here here);
void warp_fence(unsigned mask, Here here);  // __syncwarp: a meeting that also orders memory
void memory_fence();                        // __threadfence
void* dynamic_shared();
int lane();
unsigned live_lanes();
int this_thread();  // its number in the block; -1 outside of a launch
__attribute__((format(printf, 2, 3))) void fail(Here here, const char* format, ...);  // ends the launch, does not return to it
int run(void (*kernel)(void**), void** arguments, const Launch* launch);

// ---- warp_matrix.cpp: asynchronous copies and tensor cores ----------------------------------------------------------

void copy_async(void* to, const void* from, int bytes, bool take, Here here);
void copy_commit();
void copy_wait(int pending, Here here);
void forget_copies(int threads);
void ldmatrix(unsigned* into, int matrices, bool transposed, const void* row, Here here);
void mma_bf16(float* d, const unsigned* a, const unsigned* b, Here here);
void mma_tf32(float* d, const unsigned* a, const unsigned* b, Here here);

// ---- check.cpp: every access to memory is looked at. Without MINIVL_CHECK all of this is nothing --------------------

enum Access { READ, WRITE, ATOMIC, COPY_BEGINS, COPY_ENDS };

#ifdef MINIVL_CHECK
// An access made on a kernel's behalf. Its place: `code`, an address that it will return to, if that is known, else `here`.
void touch(const void* address, int bytes, Access access, Here here, void* code = nullptr);
void shared_array(const char* name, void* address, size_t bytes);
void check_launch(const Launch* launch, char* stacks, size_t stacks_bytes);
void check_block(char* dynamic, size_t dynamic_bytes, int threads);
void check_barrier();
void check_warp_fence(int warp, unsigned lanes);
void check_memory_fence();
void check_block_end();
#else
inline void touch(const void*, int, Access, Here, void* = nullptr) {}
inline void check_launch(const Launch*, char*, size_t) {}
inline void check_block(char*, size_t, int) {}
inline void check_barrier() {}
inline void check_warp_fence(int, unsigned) {}
inline void check_memory_fence() {}
inline void check_block_end() {}
#endif

template <class To, class From>
NOT_CHECKED inline To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "the same size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}

}  // namespace cpu
