// check.cpp: check mode. Every access to memory is looked at before it happens.
//
// A kernel is compiled with -fsanitize=thread, which puts a call of __tsan_readN or __tsan_writeN before each load and
// store, but it is not linked with that sanitizer: the functions of these names stand here. They know which thread of which
// block is running, what the arrays are, and for every few bytes who wrote and who read them last, where, and when. That
// is enough to find
//   - accesses outside of all arrays, misaligned ones, writes to what the kernel declared const,
//   - reads of shared memory that nobody has written, or that a cp.async is still writing,
//   - races: two accesses to one place, at least one a write, by threads that did not wait for each other in between,
// and to count the transactions that the accesses of a warp need.
//
// "When" is a clock that goes forward at every synchronisation: an access is ordered before a later one of another thread
// of its block if a barrier lies between (or, in one warp, a __syncwarp); of another block, if that block has published it:
// a __threadfence, then an atomic operation, seen by an atomic operation of this block on the same address.
#include <link.h>
#include <stdarg.h>
#include <stdio.h>

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "runtime.h"

extern cpu::Vec3 threadIdx, blockIdx, blockDim, gridDim;

namespace cpu {

// ---- what is known --------------------------------------------------------------------------------------------------

struct Mark {  // one access
    uint32_t block;  // 1 for the first block that runs, 2 for the second, ...; 0: no access
    uint32_t when;
    int32_t place;
    int16_t thread;
    bool atomic;
};

struct Cell {  // the last accesses to a few bytes: the write, and two reads by different threads
    Mark write, read, other_read;
    bool copying;  // by a cp.async that nobody has waited for
};

struct Region {
    char *begin, *end;
    const char* name;
    bool shared, constant;
    int grain;  // bytes that a cell stands for: as many as the smallest access so far
    std::vector<Cell> cells;
};

struct Place {  // in the source: of a call, or an address of code that Python looks up
    uintptr_t code;
    Here here;
    bool write, shared;
    uint64_t accesses, requests, transactions, ideal;
};

struct Release {  // what a thread has published: its own accesses, and those it had waited for
    uint32_t block, own, others;
    int16_t thread;
};

static std::vector<Region> buffers;  // the arguments of the launch
static std::vector<Region> arrays;   // static shared memory
static Region dynamic_region;
static std::vector<Place> places;
static std::unordered_map<uintptr_t, int> place_of;
static char *stacks_begin, *stacks_end, *code_begin, *code_end;

static uint32_t block, now, since_barrier, since_fence[MOST_THREADS / 32];
static bool partial[MOST_THREADS / 32];  // __syncwarp with a part of the lanes was used in this warp
static uint32_t since_meeting[MOST_THREADS / 32][32][32];
static uint32_t own_fence[MOST_THREADS], fence_barrier[MOST_THREADS];
static std::unordered_map<const void*, std::vector<Release>> released;  // at the address of an atomic
static std::unordered_map<uint32_t, Release> acquired;                  // by the running block, of others

static bool counting;
static char uninitialised[1024];  // a read of nothing, not reported yet: at the next barrier it may turn out to be a race

static int place_at(uintptr_t code, Here here, bool write, bool shared) {
    uintptr_t key = (code ? code : ~((uintptr_t)here.file * 31 + here.line)) * 4 + write * 2 + shared;
    auto found = place_of.find(key);
    if (found != place_of.end()) return found->second;
    places.push_back(Place{code, here, write, shared, 0, 0, 0, 0});
    return place_of[key] = (int)places.size() - 1;
}

// "file:line", or "[code 0x...]", which Python replaces by that.
struct Text {
    char letters[160];
};
static Text text_of(const Place& place) {
    Text text;
    if (place.code)
        snprintf(text.letters, sizeof text, "[code 0x%zx]", (size_t)(place.code - 1 - (uintptr_t)code_begin));
    else
        snprintf(text.letters, sizeof text, "%s:%d", place.here.file, place.here.line);
    return text;
}
static Text text_of(const Mark& mark) {
    Text text;
    unsigned t = mark.thread, x = t % blockDim.x, y = t / blockDim.x % blockDim.y, z = t / blockDim.x / blockDim.y;
    snprintf(text.letters, sizeof text, "thread (%u, %u, %u)%s", x, y, z, mark.block == block ? "" : " of another block");
    return text;
}

// ---- order ----------------------------------------------------------------------------------------------------------

static bool ordered_in_block(const Mark& earlier, int thread) {
    int warp = thread >> 5;
    if (earlier.thread == thread || earlier.when < since_barrier) return true;
    if (earlier.thread >> 5 != warp) return false;
    return earlier.when < since_fence[warp] ||
           (partial[warp] && earlier.when < since_meeting[warp][thread & 31][earlier.thread & 31]);
}

static bool ordered_across_blocks(const Mark& earlier) {
    auto found = acquired.find(earlier.block);
    if (found == acquired.end()) return false;
    const Release& r = found->second;
    return earlier.when < (earlier.thread == r.thread ? r.own : r.others);
}

static bool clashes(const Mark& earlier, const Mark& later, bool shared) {
    if (!earlier.block || (earlier.atomic && later.atomic)) return false;
    if (earlier.block == later.block) return !ordered_in_block(earlier, later.thread);
    return !shared && !ordered_across_blocks(earlier);
}

static void report_uninitialised();

void check_barrier() {
    report_uninitialised();
    since_barrier = ++now;
}

void check_warp_fence(int warp, unsigned lanes) {
    now++;
    if (lanes == live_lanes()) {
        since_fence[warp] = now;
        return;
    }
    if (!partial[warp]) memset(since_meeting[warp], 0, sizeof since_meeting[warp]);
    partial[warp] = true;
    uint32_t joined[32] = {};
    for (int l = 0; l < 32; l++)
        for (int k = 0; lanes >> l & 1 && k < 32; k++) joined[k] = std::max(joined[k], since_meeting[warp][l][k]);
    for (int l = 0; l < 32; l++)
        if (lanes >> l & 1) joined[l] = now;
    for (int l = 0; l < 32; l++)
        if (lanes >> l & 1) memcpy(since_meeting[warp][l], joined, sizeof joined);
}

void check_memory_fence() {
    own_fence[this_thread()] = ++now;
    fence_barrier[this_thread()] = since_barrier;
}

static void publish_and_see(const void* address) {
    std::vector<Release>& there = released[address];
    for (const Release& r : there) {
        Release& known = acquired[r.block];
        if (known.own < r.own) known = r;
    }
    int t = this_thread();
    if (own_fence[t]) there.push_back(Release{block, own_fence[t], fence_barrier[t], (int16_t)t});
}

// ---- going wrong ----------------------------------------------------------------------------------------------------

static const Here NOWHERE = {0, nullptr};  // the place is in the message

// What was read from uninitialised memory may be the reason for anything that comes later.
__attribute__((format(printf, 1, 2))) static void report(const char* format, ...) {
    char text[1024];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    fail(NOWHERE, "%s", *uninitialised ? uninitialised : text);
}

static void report_uninitialised() {
    if (*uninitialised) report("%s", uninitialised);
}

static const char* kind(const Region& region) { return region.shared ? "shared memory " : ""; }

static void out_of_bounds(const Place& place, char* at, int bytes) {
    const Region* nearest = nullptr;
    ptrdiff_t least = 1 << 20;
    auto look = [&](const Region& region) {
        ptrdiff_t distance = at < region.begin ? region.begin - at : std::max(at - region.end, (ptrdiff_t)0);
        if (region.begin && distance < least) least = distance, nearest = &region;
    };
    for (const Region& region : buffers) look(region);
    for (const Region& region : arrays) look(region);
    if (dynamic_region.begin < dynamic_region.end) look(dynamic_region);
    char where[160] = "no array is near";
    if (nearest)
        snprintf(where, sizeof where, "at byte %td of %s%s, which has %td", at - nearest->begin, kind(*nearest),
                 nearest->name, nearest->end - nearest->begin);
    report("%s: out of bounds: %s of %d bytes, %s", text_of(place).letters, place.write ? "write" : "read", bytes,
         where);
}

static void race(const Mark& earlier, const Mark& later, bool earlier_wrote, const Region& region, size_t offset) {
    const Place& place = places[later.place];
    *uninitialised = 0;
    report("%s: race: %s of byte %zu of %s%s, which %s %s at %s, with no barrier between", text_of(place).letters,
         place.write ? "write" : "read", offset, kind(region), region.name, text_of(earlier).letters,
         earlier_wrote ? "wrote" : "read", text_of(places[earlier.place]).letters);
}

// ---- one access -----------------------------------------------------------------------------------------------------

static Region* region_of(char* at) {
    static Region* last;
    if (last >= buffers.data() && last < buffers.data() + buffers.size() && at >= last->begin && at < last->end) return last;
    if (at >= dynamic_region.begin && at < dynamic_region.end) return &dynamic_region;
    for (Region& region : buffers)
        if (at >= region.begin && at < region.end) return last = &region;
    for (Region& region : arrays)
        if (at >= region.begin && at < region.end) return &region;
    return nullptr;
}

// Cells for pieces of `grain` bytes, each with the history of the larger one that it was a part of.
static void refine(Region& region, int grain) {
    int parts = region.grain / grain;
    std::vector<Cell> finer(region.cells.size() * parts);
    for (size_t i = 0; i < finer.size(); i++) finer[i] = region.cells[i / parts];
    region.cells.swap(finer);
    region.grain = grain;
}

static void remember_read(Cell& cell, const Mark& mark) {
    if (cell.read.block != mark.block || cell.read.thread != mark.thread) {
        // Of the two reads that are kept, one of another warp, and one that no barrier has made harmless, is worth more.
        bool keep = cell.other_read.block == mark.block && cell.other_read.when >= since_barrier &&
                    cell.other_read.thread >> 5 != mark.thread >> 5 && cell.read.thread >> 5 == mark.thread >> 5;
        if (!keep) cell.other_read = cell.read;
    }
    cell.read = mark;
}

static void look_at(Cell& cell, const Mark& mark, Access access, const Region& region, size_t offset) {
    const Place& place = places[mark.place];
    bool fresh = region.shared && cell.write.block != block;
    if (fresh) cell.copying = false;
    if (cell.copying && access != COPY_ENDS)
        return report("%s: unfinished copy: %s of byte %zu of %s%s, which the copy begun at %s may not have written yet",
                    text_of(place).letters, place.write ? "write" : "read", offset, kind(region), region.name,
                    text_of(places[cell.write.place]).letters);
    if (fresh && (access == READ || access == ATOMIC) && !*uninitialised)
        snprintf(uninitialised, sizeof uninitialised,
                 "%s: uninitialised: read of byte %zu of %s%s, which nobody has written, by thread (%u, %u, %u)",
                 text_of(place).letters, offset, kind(region), region.name, threadIdx.x, threadIdx.y, threadIdx.z);
    if (clashes(cell.write, mark, region.shared)) return race(cell.write, mark, true, region, offset);
    if (access == READ) return remember_read(cell, mark);
    if (clashes(cell.read, mark, region.shared)) return race(cell.read, mark, false, region, offset);
    if (clashes(cell.other_read, mark, region.shared)) return race(cell.other_read, mark, false, region, offset);
    int32_t begun = cell.write.place;
    cell.write = mark;
    cell.copying = access == COPY_BEGINS;
    if (access == COPY_ENDS) cell.write.place = begun;
}

static void count(int place, char* at, int bytes);

static void look(char* at, int bytes, Access access, bool aligned, uintptr_t code, Here here) {
    bool local = at >= stacks_begin && at < stacks_end, constant = at >= code_begin && at < code_end;
    if (this_thread() < 0 || local || constant) return;
    Region* region = region_of(at);
    int number = place_at(code, here, access != READ, region && region->shared);
    const Place& place = places[number];
    if (!region || at + bytes > region->end) return out_of_bounds(place, at, bytes);
    size_t offset = at - region->begin;
    if (aligned && (uintptr_t)at % bytes)
        return report("%s: misaligned: access of %d bytes at byte %zu of %s%s, must be at a multiple of %d",
                    text_of(place).letters, bytes, offset, kind(*region), region->name, bytes);
    if (access != READ && region->constant)
        return report("%s: write to a constant: byte %zu of %s, which the kernel declares const",
                    text_of(place).letters, offset, region->name);
    while (bytes < region->grain || offset % region->grain) refine(*region, region->grain / 2);
    Mark mark{block, now, number, (int16_t)this_thread(), access == ATOMIC};
    for (size_t i = offset / region->grain; i * region->grain < offset + bytes; i++)
        look_at(region->cells[i], mark, access, *region, i * region->grain);
    if (access == ATOMIC) publish_and_see(at);
    if (counting && access != COPY_ENDS) count(number, region->shared ? (char*)offset : at, bytes);
}

void touch(const void* at, int bytes, Access access, Here here, void* code) {
    look((char*)at, bytes, access, true, (uintptr_t)code, here);
}

// ---- what the compiler calls ----------------------------------------------------------------------------------------

#define FROM (uintptr_t) __builtin_return_address(0), NOWHERE
#define HOOKS(n)                                                                                         \
    EXPORTED void __tsan_read##n(char* at) { look(at, n, READ, true, FROM); }                            \
    EXPORTED void __tsan_write##n(char* at) { look(at, n, WRITE, true, FROM); }                          \
    EXPORTED void __tsan_unaligned_read##n(char* at) { look(at, n, READ, false, FROM); }                 \
    EXPORTED void __tsan_unaligned_write##n(char* at) { look(at, n, WRITE, false, FROM); }               \
    EXPORTED void __tsan_read_write##n(char* at) { look(at, n, READ, true, FROM), look(at, n, WRITE, true, FROM); }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

static void look_at_range(char* at, size_t bytes, Access access, uintptr_t code) {
    for (size_t i = 0; i < bytes; i += 4) look(at + i, bytes - i < 4 ? (int)(bytes - i) : 4, access, false, code, NOWHERE);
}
#define CODE (uintptr_t) __builtin_return_address(0)
EXPORTED void __tsan_read_range(char* at, size_t bytes) { look_at_range(at, bytes, READ, CODE); }
EXPORTED void __tsan_write_range(char* at, size_t bytes) { look_at_range(at, bytes, WRITE, CODE); }
EXPORTED void* __tsan_memset(void* at, int value, size_t bytes) {
    look_at_range((char*)at, bytes, WRITE, CODE);
    return memset(at, value, bytes);
}
EXPORTED void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
    look_at_range((char*)from, bytes, READ, CODE);
    look_at_range((char*)to, bytes, WRITE, CODE);
    return memcpy(to, from, bytes);
}
EXPORTED void* __tsan_memmove(void* to, const void* from, size_t bytes) {
    look_at_range((char*)from, bytes, READ, CODE);
    look_at_range((char*)to, bytes, WRITE, CODE);
    return memmove(to, from, bytes);
}
EXPORTED void __tsan_init() {}
EXPORTED void __tsan_func_entry(void*) {}
EXPORTED void __tsan_func_exit() {}
EXPORTED void __tsan_vptr_update(void**, void*) {}
EXPORTED void __tsan_vptr_read(void**) {}

// ---- transactions ---------------------------------------------------------------------------------------------------

// The accesses of a warp that one instruction makes at once: lanes of one warp at one place, each for the nth time.
struct Request {
    uint64_t at[32];
    int bytes;
    uint32_t lanes;
};
struct Requests {  // at one place, of one block
    std::vector<uint32_t> times = std::vector<uint32_t>(MOST_THREADS);
    std::vector<Request> of_warp[MOST_THREADS / 32];
};
static std::vector<Requests> requests;  // as many as places

static void count(int place, char* at, int bytes) {
    if (requests.size() < places.size()) requests.resize(places.size());
    int t = this_thread();
    std::vector<Request>& of_warp = requests[place].of_warp[t >> 5];
    uint32_t nth = requests[place].times[t]++;
    if (of_warp.size() <= nth) of_warp.resize(nth + 1);
    of_warp[nth].at[t & 31] = (uint64_t)at;
    of_warp[nth].bytes = bytes;
    of_warp[nth].lanes |= 1u << (t & 31);
}

// Global memory comes in sectors of 32 bytes. Ideal is as many as the bytes asked for would fill.
static void count_sectors(const Request& r, Place& place) {
    std::vector<uint64_t> sectors, distinct;
    for (int l = 0; l < 32; l++) {
        if (!(r.lanes >> l & 1)) continue;
        distinct.push_back(r.at[l]);
        for (uint64_t s = r.at[l] / 32; s <= (r.at[l] + r.bytes - 1) / 32; s++) sectors.push_back(s);
    }
    auto number = [](std::vector<uint64_t>& v) {
        std::sort(v.begin(), v.end());
        return (uint64_t)(std::unique(v.begin(), v.end()) - v.begin());
    };
    place.transactions += number(sectors);
    place.ideal += (number(distinct) * r.bytes + 31) / 32;
}

// Shared memory has 32 banks, each four bytes wide: words in one bank are served one after another, unless they are the
// same word. Wide accesses are served in parts: 8 bytes half a warp, 16 bytes a quarter of a warp at a time.
static void count_wavefronts(const Request& r, Place& place) {
    int together = r.bytes <= 4 ? 32 : 128 / r.bytes;
    for (int first = 0; first < 32; first += together) {
        std::vector<uint64_t> words;
        for (int l = first; l < first + together; l++)
            for (uint64_t w = r.at[l] / 4; r.lanes >> l & 1 && w <= (r.at[l] + r.bytes - 1) / 4; w++) words.push_back(w);
        std::sort(words.begin(), words.end());
        words.erase(std::unique(words.begin(), words.end()), words.end());
        int in_bank[32] = {};
        for (uint64_t w : words) in_bank[w % 32]++;
        place.transactions += *std::max_element(in_bank, in_bank + 32);
        place.ideal += (words.size() + 31) / 32;
    }
}

static void add_up_requests() {
    for (size_t p = 0; p < requests.size(); p++) {
        Place& place = places[p];
        for (auto& of_warp : requests[p].of_warp) {
            for (const Request& r : of_warp) {
                place.requests++;
                place.accesses += __builtin_popcount(r.lanes);
                place.shared ? count_wavefronts(r, place) : count_sectors(r, place);
            }
            of_warp.clear();
        }
        std::fill(requests[p].times.begin(), requests[p].times.end(), 0);
    }
}

// A line of what was counted, or null after the last: place, space, kind, accesses, requests, transactions, ideal.
EXPORTED const char* cpu_counted(int i) {
    static char line[320];
    if (i >= (int)places.size()) return nullptr;
    const Place& p = places[i];
    snprintf(line, sizeof line, "%s\t%s\t%s\t%llu\t%llu\t%llu\t%llu", text_of(p).letters, p.shared ? "shared" : "global",
             p.write ? "write" : "read", (unsigned long long)p.accesses, (unsigned long long)p.requests,
             (unsigned long long)p.transactions, (unsigned long long)p.ideal);
    return line;
}

// ---- arrays, launches and blocks ------------------------------------------------------------------------------------

static std::vector<Cell> cells_for(size_t bytes, int grain) { return std::vector<Cell>(bytes / grain + 1); }

EXPORTED void cpu_forget_buffers() { buffers.clear(); }

EXPORTED void cpu_buffer(char* begin, size_t bytes, const char* name, int constant, int grain) {
    buffers.push_back(Region{begin, begin + bytes, name, false, constant != 0, grain, cells_for(bytes, grain)});
}

void shared_array(const char* name, void* address, size_t bytes) {
    char* begin = (char*)address;
    for (Region& region : arrays)
        if (region.begin == begin && region.end == begin + bytes) return;
    // Another thread of the operating system has its shared memory elsewhere; what has ended left its addresses to others.
    arrays.erase(std::remove_if(arrays.begin(), arrays.end(),
                                [&](Region& r) { return r.begin < begin + bytes && begin < r.end; }),
                 arrays.end());
    arrays.push_back(Region{begin, begin + bytes, name, true, false, 4, cells_for(bytes, 4)});
}

static int find_code(dl_phdr_info* library, size_t, void*) {
    char *begin = (char*)~(uintptr_t)0, *end = nullptr, *here = (char*)&find_code;
    for (int i = 0; i < library->dlpi_phnum; i++) {
        auto& part = library->dlpi_phdr[i];
        if (part.p_type != PT_LOAD) continue;
        begin = std::min(begin, (char*)library->dlpi_addr + part.p_vaddr);
        end = std::max(end, (char*)library->dlpi_addr + part.p_vaddr + part.p_memsz);
    }
    if (here < begin || here >= end) return 0;
    code_begin = begin, code_end = end;
    return 1;
}

void check_launch(const Launch* launch, char* stacks, size_t bytes) {
    dl_iterate_phdr(find_code, nullptr);
    stacks_begin = stacks, stacks_end = stacks + bytes;
    counting = launch->counting;
    places.clear(), place_of.clear(), requests.clear(), released.clear();
    block = 0, now = 0, *uninitialised = 0;
    for (Region& region : arrays) std::fill(region.cells.begin(), region.cells.end(), Cell());
    int grain = 4;
    dynamic_region = Region{nullptr, nullptr, "(dynamic)", true, false, grain, cells_for(launch->dynamic_shared, grain)};
}

void check_block(char* dynamic, size_t dynamic_bytes, int threads) {
    dynamic_region.begin = dynamic, dynamic_region.end = dynamic + dynamic_bytes;
    block++;
    since_barrier = ++now;
    for (int w = 0; w * 32 < threads; w++) since_fence[w] = now, partial[w] = false;
    for (int t = 0; t < threads; t++) own_fence[t] = 0;
    acquired.clear();
}

void check_block_end() {
    report_uninitialised();
    add_up_requests();
}

}  // namespace cpu
