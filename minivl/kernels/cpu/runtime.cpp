// runtime.cpp: runs the threads of a CUDA kernel on one core of a CPU.
//
// Each thread of a block is a fiber: it has a stack of its own, and runs until it has to wait for other threads, at a
// barrier or a warp operation. Then the next one runs. When the last of those that wait for each other has arrived, all of
// them may go on. A thread that never waits costs no switch: when it ends, the next one begins on the same stack.
//
// With a seed, who runs next is drawn at random, and so is the order of the blocks. A kernel whose result depends on the
// order of its threads then gives different results for different seeds.
#include "runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#ifdef __linux__
#include <link.h>
#endif

#define HIDDEN __attribute__((visibility("hidden")))
HIDDEN cpu::Vec3 threadIdx, blockIdx, blockDim, gridDim;

// ---- one stack to another -------------------------------------------------------------------------------------------

// Saves the registers that a called function must preserve on the current stack, keeps the stack pointer in *from, and
// does the reverse with the stack `to`.
extern "C" HIDDEN void minivl_switch(void** from, void* to);

#if defined(__x86_64__)
__asm__(
    ".text\n.hidden minivl_switch\n.globl minivl_switch\nminivl_switch:\n"
    "  push %rbp\n  push %rbx\n  push %r12\n  push %r13\n  push %r14\n  push %r15\n"
    "  mov %rsp, (%rdi)\n"
    "  mov %rsi, %rsp\n"
    "  pop %r15\n  pop %r14\n  pop %r13\n  pop %r12\n  pop %rbx\n  pop %rbp\n"
    "  ret\n");
// What the first switch to a new stack finds there: six registers, and the function to "return" to.
static void* fresh_stack(char* top, void (*begin)()) {
    void** at = (void**)top;
    *--at = nullptr;
    *--at = (void*)begin;
    for (int i = 0; i < 6; i++) *--at = nullptr;
    return at;
}
#elif defined(__aarch64__)
__asm__(
    ".text\n.hidden minivl_switch\n.globl minivl_switch\nminivl_switch:\n"
    "  sub sp, sp, #160\n"
    "  stp x19, x20, [sp]\n       stp x21, x22, [sp, #16]\n  stp x23, x24, [sp, #32]\n  stp x25, x26, [sp, #48]\n"
    "  stp x27, x28, [sp, #64]\n  stp x29, x30, [sp, #80]\n  stp d8, d9, [sp, #96]\n    stp d10, d11, [sp, #112]\n"
    "  stp d12, d13, [sp, #128]\n stp d14, d15, [sp, #144]\n"
    "  mov x9, sp\n  str x9, [x0]\n"
    "  mov sp, x1\n"
    "  ldp x19, x20, [sp]\n       ldp x21, x22, [sp, #16]\n  ldp x23, x24, [sp, #32]\n  ldp x25, x26, [sp, #48]\n"
    "  ldp x27, x28, [sp, #64]\n  ldp x29, x30, [sp, #80]\n  ldp d8, d9, [sp, #96]\n    ldp d10, d11, [sp, #112]\n"
    "  ldp d12, d13, [sp, #128]\n ldp d14, d15, [sp, #144]\n"
    "  add sp, sp, #160\n  ret\n");
static void* fresh_stack(char* top, void (*begin)()) {
    void** at = (void**)(top - 160);
    for (int i = 0; i < 20; i++) at[i] = nullptr;
    at[11] = (void*)begin;  // x30, the return address
    return at;
}
#else
#error "kernels on the CPU need a context switch for this processor: see minivl_switch in runtime.cpp"
#endif

namespace cpu {

// ---- the threads of the block that runs -----------------------------------------------------------------------------

enum State : uint8_t { NEW, READY, AT_BARRIER, IN_MEETING, DONE };

struct Fiber {
    void* stack_pointer;
    int stack;
    State state;
    bool orders_memory;  // in a meeting: __syncwarp
    Vec3 index;
    Here here;  // where it waits
    Vote vote;
    int predicate;
    unsigned mask;
    void* operands;
    Together together;
};

// Stacks that began at equal places of their pages would all compete for the same few lines of the cache.
constexpr size_t STACK_BYTES = 256 << 10, GUARD_BYTES = 4096, STAGGER_BYTES = 320;

static Fiber fibers[MOST_THREADS];
static uint64_t ready[MOST_THREADS / 64];  // a bit for each thread that could run
static int current = -1, threads, waiting, done;
static char* stacks;
static int free_stacks[MOST_THREADS], free_count, stacks_used;
static void* scheduler_stack_pointer;  // of the caller of run()
static void (*kernel)(void**);
static void** arguments;
static char* dynamic_memory;
static uint64_t random_state;  // 0: everything in order
static bool failed;
static char message[2048];

int this_thread() { return current; }
int lane() { return current & 31; }
void* dynamic_shared() { return dynamic_memory; }

unsigned live_lanes() {
    unsigned live = 0;
    for (int first = current & ~31, l = 0; l < 32 && first + l < threads; l++)
        if (fibers[first + l].state != DONE) live |= 1u << l;
    return live;
}

static uint64_t draw() {  // xorshift64
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void set_ready(int t) {
    fibers[t].state = READY;
    ready[t >> 6] |= 1ull << (t & 63);
}

static void leave(State state, Here here) {
    fibers[current].state = state;
    fibers[current].here = here;
    ready[current >> 6] &= ~(1ull << (current & 63));
}

// ---- going wrong ----------------------------------------------------------------------------------------------------

static void enter(int t);

void fail(Here here, const char* format, ...) {
    if (!failed) {
        int at = here.file ? snprintf(message, sizeof message, "%s:%d: ", here.file, here.line) : 0;
        va_list values;
        va_start(values, format);
        at += vsnprintf(message + at, sizeof message - at, format, values);
        if (current >= 0)
            snprintf(message + at, sizeof message - at, "; block (%u, %u, %u) thread (%u, %u, %u)", blockIdx.x,
                     blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.y, threadIdx.z);
        va_end(values);
    }
    failed = true;
    if (current >= 0) enter(-1);  // back to run(): every thread of the launch is abandoned
}

// ---- who runs next --------------------------------------------------------------------------------------------------

static int some_ready_thread() {
    if (!random_state && current >= 0) {  // in order: first the other lanes of this warp
        uint32_t lanes = ready[current >> 6] >> (current & 32);
        if (lanes) return (current & ~31) + __builtin_ctz(lanes);
    }
    int words = (threads + 63) / 64, from = random_state ? draw() % threads : (current + 1) % threads;
    int word = from >> 6;
    uint64_t candidates = ready[word] & (~0ull << (from & 63));
    for (int i = 0; i <= words; i++) {
        if (candidates) return word * 64 + __builtin_ctzll(candidates);
        word = (word + 1) % words;
        candidates = ready[word];
    }
    return -1;
}

static bool barrier_opens();
static bool meeting_begins(int warp);
static void report_deadlock();

// The thread to run now, or -1 when all have ended. Nobody being ready means that some wait for threads that have returned.
static int next_thread() {
    for (;;) {
        int t = some_ready_thread();
        if (t >= 0) return t;
        if (done == threads) return -1;
        bool progress = false;
        for (int warp = 0; warp * 32 < threads; warp++) progress |= meeting_begins(warp);
        if (!progress && !barrier_opens()) report_deadlock();
    }
}

static void fiber_begins();

// Switches from the thread that runs to thread t, or to the caller of run() for t = -1.
static void enter(int t) {
    void** from = current < 0 ? &scheduler_stack_pointer : &fibers[current].stack_pointer;
    current = t;
    if (t < 0) return minivl_switch(from, scheduler_stack_pointer);
    Fiber& f = fibers[t];
    threadIdx = f.index;
    if (f.state == NEW) {
        f.state = READY;
        f.stack = free_count ? free_stacks[--free_count] : stacks_used++;
        f.stack_pointer = fresh_stack(stacks + (f.stack + 1) * STACK_BYTES - f.stack % 32 * STAGGER_BYTES, fiber_begins);
    }
    minivl_switch(from, f.stack_pointer);
}

static void fiber_begins() {
    for (;;) {
        kernel(arguments);
        leave(DONE, Here{0, nullptr});
        done++;
        int t = next_thread();
        if (t < 0 || fibers[t].state != NEW) {
            free_stacks[free_count++] = fibers[current].stack;
            enter(t);  // never comes back
        }
        fibers[t].stack = fibers[current].stack;  // one more thread on this stack, without a switch
        fibers[t].state = READY;
        current = t;
        threadIdx = fibers[t].index;
    }
}

static void run_others() {
    int t = next_thread();
    if (t != current) enter(t);
}

// ---- barriers of a block --------------------------------------------------------------------------------------------

int block_barrier(Vote vote, int predicate, Here here) {
    Fiber& f = fibers[current];
    f.vote = vote;
    f.predicate = predicate != 0;
    leave(AT_BARRIER, here);
    waiting++;
    if (waiting < threads || !barrier_opens() || random_state) run_others();
    return f.predicate;
}

// Lets everybody go if all who could come are at the same barrier.
static bool barrier_opens() {
    if (!waiting || waiting + done < threads) return false;
    int first = 0, votes = 0;
    while (fibers[first].state != AT_BARRIER) first++;
    Here place = fibers[first].here;
    if (done)
        fail(place, "barrier divergence: %d of %d threads wait here, the other %d have returned", waiting, threads, done);
    for (int t = first; t < threads; t++) {
        Fiber& f = fibers[t];
        if (f.here.line != place.line || strcmp(f.here.file, place.file) || f.vote != fibers[first].vote)
            fail(place, "barrier divergence: thread %d waits here, thread %d at another barrier, %s:%d", first, t,
                 f.here.file, f.here.line);
        votes += f.predicate;
    }
    for (int t = 0; t < threads; t++) {
        Fiber& f = fibers[t];
        f.predicate = f.vote == COUNT ? votes : f.vote == ALL ? votes == threads : votes > 0;
        set_ready(t);
    }
    waiting = 0;
    check_barrier();
    return true;
}

// ---- meetings of a warp ---------------------------------------------------------------------------------------------

static void meet(unsigned mask, Together together, void* operands, bool orders_memory, Here here) {
    Fiber& f = fibers[current];
    if (!(mask >> lane() & 1)) fail(here, "lane %d is not in the mask %08x that it gives", lane(), mask);
    f.mask = mask;
    f.together = together;
    f.operands = operands;
    f.orders_memory = orders_memory;
    leave(IN_MEETING, here);
    int first = current & ~31;
    bool all = true;
    for (int l = 31; l >= 0 && all; l--) {
        State state = first + l < threads ? fibers[first + l].state : DONE;
        all = !(mask >> l & 1) || state == IN_MEETING || state == DONE;
    }
    if (!all || !meeting_begins(current >> 5) || random_state || fibers[current].state != READY) run_others();
}

void warp_meeting(unsigned mask, Together together, void* operands, Here here) {
    meet(mask, together, operands, false, here);
}

void warp_fence(unsigned mask, Here here) { meet(mask, nullptr, nullptr, true, here); }

// The lanes that wait for the same operation with the same mask as lane `first`, or 0 while somebody is still missing.
static unsigned gathered(int warp, int first) {
    Fiber* lanes = fibers + warp * 32;
    unsigned present = 0;
    for (int l = 0; l < 32 && warp * 32 + l < threads; l++) {
        Fiber& f = lanes[l];
        if (!(lanes[first].mask >> l & 1) || f.state == DONE) continue;
        if (f.state != IN_MEETING || f.mask != lanes[first].mask || f.together != lanes[first].together) return 0;
        present |= 1u << l;
    }
    return present;
}

// Carries out the operations of a warp for which every lane of the mask that still lives has arrived.
static bool meeting_begins(int warp) {
    Fiber* lanes = fibers + warp * 32;
    bool any = false;
    for (int first = 0; first < 32 && warp * 32 + first < threads; first++) {
        if (lanes[first].state != IN_MEETING) continue;
        unsigned present = gathered(warp, first);
        if (!present) continue;
        void* operands[32];
        for (int l = 0; l < 32; l++) operands[l] = present >> l & 1 ? lanes[l].operands : nullptr;
        if (lanes[first].together) lanes[first].together(operands, present);
        if (lanes[first].orders_memory) check_warp_fence(warp, present);
        for (int l = 0; l < 32; l++)
            if (present >> l & 1) set_ready(warp * 32 + l);
        any = true;
    }
    return any;
}

static void report_deadlock() {
    int stuck = 0;
    while (fibers[stuck].state != IN_MEETING) stuck++;
    Fiber& f = fibers[stuck];
    int other = -1;
    for (int t = stuck & ~31; t < threads && t <= (stuck | 31); t++)
        if (f.mask >> (t & 31) & 1 && fibers[t].state != DONE &&
            (fibers[t].state != IN_MEETING || fibers[t].mask != f.mask || fibers[t].together != f.together))
            other = t;
    if (other < 0) fail(f.here, "deadlock: thread %d waits here for its warp", stuck);
    fail(f.here, "deadlock: thread %d waits here for lanes %08x, but thread %d waits at %s:%d%s", stuck, f.mask, other,
         fibers[other].here.file, fibers[other].here.line,
         fibers[other].state == IN_MEETING && fibers[other].mask != f.mask ? " with another mask" : "");
}

void memory_fence() { check_memory_fence(); }

// ---- shared memory --------------------------------------------------------------------------------------------------

// Every static __shared__ array is thread_local, so all of them lie in this library's block of thread-local memory, which
// the dynamic linker knows. Seen from the probe it is at the same distance in every thread of the operating system.
static thread_local char probe[8];
static ptrdiff_t shared_from_probe;
static size_t shared_bytes;

#ifdef __linux__
static int find_shared(dl_phdr_info* library, size_t, void*) {
    bool ours = false;
    size_t bytes = 0;
    for (int i = 0; i < library->dlpi_phnum; i++) {
        auto& part = library->dlpi_phdr[i];
        uintptr_t begin = library->dlpi_addr + part.p_vaddr, here = (uintptr_t)&find_shared;
        if (part.p_type == PT_LOAD && here >= begin && here < begin + part.p_memsz) ours = true;
        if (part.p_type == PT_TLS) bytes = part.p_memsz;
    }
    if (ours && bytes && library->dlpi_tls_data) {
        shared_bytes = bytes;
        shared_from_probe = (char*)library->dlpi_tls_data - probe;
    }
    return ours;
}
#endif

// What a block finds in shared memory is nothing that it could use: all bits set is NaN, in every format of numbers.
static void spoil_shared(size_t dynamic_bytes) {
    memset(dynamic_memory, 0xff, dynamic_bytes);
    if (shared_bytes) memset(probe + shared_from_probe, 0xff, shared_bytes);
}

// ---- launch ---------------------------------------------------------------------------------------------------------

static bool allocate(size_t dynamic_bytes) {
    if (!stacks) {  // only addresses: the system gives memory to the pages that are used
        int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        void* memory = mmap(nullptr, MOST_THREADS * STACK_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (memory == MAP_FAILED) return false;
        stacks = (char*)memory;
        // Every guard makes two more mappings, of which Linux allows a process 65,530: not one a stack, where every
        // compiled file has its own. A kernel that never stops calling itself runs into one all the same.
        for (int i = 0; i < MOST_THREADS; i += 64) mprotect(stacks + i * STACK_BYTES, GUARD_BYTES, PROT_NONE);
        *(volatile char*)probe = 0;  // the linker makes thread-local memory on first use
#ifdef __linux__
        dl_iterate_phdr(find_shared, nullptr);
#endif
    }
    *(volatile char*)probe = 0;
    dynamic_memory = (char*)aligned_alloc(1024, (dynamic_bytes + 2047) / 1024 * 1024);
    return dynamic_memory != nullptr;
}

static void run_block() {
    waiting = done = free_count = stacks_used = 0;
    memset(ready, 0, sizeof ready);
    int t = 0;
    for (unsigned z = 0; z < blockDim.z; z++)
        for (unsigned y = 0; y < blockDim.y; y++)
            for (unsigned x = 0; x < blockDim.x; x++, t++) {
                set_ready(t);
                fibers[t].state = NEW;
                fibers[t].index = Vec3{x, y, z};
            }
    forget_copies(threads);
    current = -1;
    enter(random_state ? draw() % threads : 0);
}

static uint64_t common_divisor(uint64_t a, uint64_t b) { return b ? common_divisor(b, a % b) : a; }

int run(void (*kernel_)(void**), void** arguments_, const Launch* launch) {
    kernel = kernel_, arguments = arguments_;
    gridDim = launch->grid, blockDim = launch->block;
    threads = blockDim.x * blockDim.y * blockDim.z;
    failed = false, current = -1;
    random_state = launch->seed ? (launch->seed * 0x9E3779B97F4A7C15ull) | 1 : 0;
    for (int i = 0; random_state && i < 8; i++) draw();
    if (!allocate(launch->dynamic_shared)) {
        snprintf(message, sizeof message, "no memory for the stacks and shared memory of a block");
        return 1;
    }
    check_launch(launch, stacks, MOST_THREADS * STACK_BYTES);
    // With a seed, the blocks are visited in steps that share no factor with their number: each once, out of order.
    uint64_t blocks = (uint64_t)gridDim.x * gridDim.y * gridDim.z, first = 0, step = 1;
    if (random_state && blocks > 1) {
        first = draw() % blocks;
        do step = 1 + draw() % blocks;
        while (common_divisor(step, blocks) != 1);
    }
    for (uint64_t i = 0; i < blocks && !failed; i++) {
        uint64_t b = (first + i * step) % blocks;
        blockIdx = Vec3{(unsigned)(b % gridDim.x), (unsigned)(b / gridDim.x % gridDim.y),
                        (unsigned)(b / gridDim.x / gridDim.y)};
        spoil_shared(launch->dynamic_shared);
        check_block(dynamic_memory, launch->dynamic_shared, threads);
        run_block();
        check_block_end();
    }
    free(dynamic_memory);
    return failed;
}

EXPORTED const char* cpu_message() { return message; }

}  // namespace cpu
