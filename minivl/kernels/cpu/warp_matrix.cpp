// warp_matrix.cpp: what tensor cores and asynchronous copies do, in plain loops. The layouts are those of the PTX manual,
// sections "Matrix Fragments for mma.m16n8k16", "... mma.m16n8k8" and "ldmatrix".
#include <stdlib.h>

#include "runtime.h"

namespace cpu {

// ---- cp.async: a copy that is under way until somebody waits for it -------------------------------------------------

struct Copy {
    char* to;
    const char* from;  // null: zeros
    int bytes, group;
};

struct Copies {  // of one thread, oldest first
    Copy* items;
    int begin, end, room, group;
};

static Copies copies[MOST_THREADS];

void forget_copies(int threads) {
    for (int t = 0; t < threads; t++) copies[t].begin = copies[t].end = copies[t].group = 0;
}

// The data are spoilt now and copied at the wait, so that a kernel that forgets to wait computes with NaN.
void copy_async(void* to, const void* from, int bytes, bool take, Here here) {
    if (take) touch(from, bytes, READ, here, __builtin_return_address(0));
    touch(to, bytes, COPY_BEGINS, here, __builtin_return_address(0));
    if ((uintptr_t)to % bytes || (take && (uintptr_t)from % bytes))
        return fail(here, "cp.async of %d bytes between addresses that are not multiples of %d", bytes, bytes);
    Copies& mine = copies[this_thread()];
    if (mine.end == mine.room) {
        mine.room = mine.room ? 2 * mine.room : 16;
        mine.items = (Copy*)realloc(mine.items, mine.room * sizeof(Copy));
    }
    mine.items[mine.end++] = Copy{(char*)to, take ? (const char*)from : nullptr, bytes, mine.group};
    memset(to, 0xff, bytes);
}

void copy_commit() { copies[this_thread()].group++; }

void copy_wait(int pending, Here here) {
    Copies& mine = copies[this_thread()];
    for (; mine.begin < mine.end && mine.items[mine.begin].group < mine.group - pending; mine.begin++) {
        Copy& c = mine.items[mine.begin];
        touch(c.to, c.bytes, COPY_ENDS, here, __builtin_return_address(0));
        if (c.from)
            memcpy(c.to, c.from, c.bytes);
        else
            memset(c.to, 0, c.bytes);
    }
    if (mine.begin == mine.end) mine.begin = mine.end = 0;
}

// ---- ldmatrix: 8 x 8 matrices of 16-bit numbers, each lane naming one row -------------------------------------------

struct Load {
    const char* row;
    unsigned* into;
    int matrices;
    bool transposed;
    Here here;
};

// Matrix m is in the rows that lanes 8m to 8m + 7 name. Lane l gets its elements (l / 4, 2 (l % 4)) and the one after it;
// transposed, the elements (2 (l % 4), l / 4) and the one below it.
static void ldmatrix_together(void** operands, unsigned lanes) {
    if (lanes != WHOLE_WARP) return fail(((Load*)operands[__builtin_ctz(lanes)])->here, "ldmatrix needs all 32 lanes");
    Load& any = *(Load*)operands[0];
    for (int m = 0; m < any.matrices; m++) {
        uint16_t matrix[8][8];
        for (int r = 0; r < 8; r++) memcpy(matrix[r], ((Load*)operands[m * 8 + r])->row, 16);
        for (int l = 0; l < 32; l++) {
            int r = l / 4, c = l % 4 * 2;
            uint16_t low = any.transposed ? matrix[c][r] : matrix[r][c];
            uint16_t high = any.transposed ? matrix[c + 1][r] : matrix[r][c + 1];
            ((Load*)operands[l])->into[m] = low | (unsigned)high << 16;
        }
    }
}

void ldmatrix(unsigned* into, int matrices, bool transposed, const void* row, Here here) {
    if (lane() < matrices * 8) {
        if ((uintptr_t)row % 16) return fail(here, "ldmatrix: the address of a row must be a multiple of 16");
        touch(row, 16, READ, here, __builtin_return_address(0));
    }
    Load load{(const char*)row, into, matrices, transposed, here};
    warp_meeting(WHOLE_WARP, ldmatrix_together, &load, here);
}

// ---- mma.sync: d (16 x 8) += a (16 x K) b (K x 8), the matrices spread over the registers of a warp -----------------

struct Product {
    float* d;
    const unsigned *a, *b;
    Here here;
};

// Lane l holds, with g = l / 4 and t = l % 4: of d the elements (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
typedef float Four __attribute__((vector_size(16), aligned(4), may_alias));  // the compiler's own vectors

template <int K>
static void multiply(void** operands, const float (&a)[16][K], const float (&b)[K][8]) {
    float product[16][8];
    for (int r = 0; r < 16; r++) {
        Four left = {}, right = {};
        for (int k = 0; k < K; k++) {
            left += a[r][k] * *(const Four*)b[k];
            right += a[r][k] * *(const Four*)(b[k] + 4);
        }
        *(Four*)product[r] = left, *(Four*)(product[r] + 4) = right;
    }
    for (int l = 0; l < 32; l++) {
        float* d = ((Product*)operands[l])->d;
        for (int i = 0; i < 4; i++) d[i] += product[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
    }
}

static bool whole(void** operands, unsigned lanes) {
    if (lanes != WHOLE_WARP) fail(((Product*)operands[__builtin_ctz(lanes)])->here, "mma.sync needs all 32 lanes");
    return lanes == WHOLE_WARP;
}

static float low_bf16(unsigned pair) { return bits_as<float>(pair << 16); }
static float high_bf16(unsigned pair) { return bits_as<float>(pair & 0xffff0000u); }

// bf16, K = 16: register i of a has row g (+ 8 for odd i), columns 2t and 2t + 1 (+ 8 for i >= 2);
// register i of b has rows 2t and 2t + 1 (+ 8 for i = 1), column g.
static void mma_bf16_together(void** operands, unsigned lanes) {
    if (!whole(operands, lanes)) return;
    float a[16][16], b[16][8];
    for (int l = 0; l < 32; l++) {
        Product& p = *(Product*)operands[l];
        int g = l / 4, t = l % 4 * 2;
        for (int i = 0; i < 4; i++) {
            a[g + i % 2 * 8][t + i / 2 * 8] = low_bf16(p.a[i]);
            a[g + i % 2 * 8][t + i / 2 * 8 + 1] = high_bf16(p.a[i]);
        }
        for (int i = 0; i < 2; i++) {
            b[t + i * 8][g] = low_bf16(p.b[i]);
            b[t + i * 8 + 1][g] = high_bf16(p.b[i]);
        }
    }
    multiply(operands, a, b);
}

// tf32, K = 8: register i of a has row g (+ 8 for odd i), column t (+ 4 for i >= 2); register i of b has row t (+ 4 for
// i = 1), column g. The tensor core reads the upper 19 bits of each.
static float tf32(unsigned bits) { return bits_as<float>(bits & 0xffffe000u); }

static void mma_tf32_together(void** operands, unsigned lanes) {
    if (!whole(operands, lanes)) return;
    float a[16][8], b[8][8];
    for (int l = 0; l < 32; l++) {
        Product& p = *(Product*)operands[l];
        int g = l / 4, t = l % 4;
        for (int i = 0; i < 4; i++) a[g + i % 2 * 8][t + i / 2 * 4] = tf32(p.a[i]);
        for (int i = 0; i < 2; i++) b[t + i * 4][g] = tf32(p.b[i]);
    }
    multiply(operands, a, b);
}

void mma_bf16(float* d, const unsigned* a, const unsigned* b, Here here) {
    Product product{d, a, b, here};
    warp_meeting(WHOLE_WARP, mma_bf16_together, &product, here);
}

void mma_tf32(float* d, const unsigned* a, const unsigned* b, Here here) {
    Product product{d, a, b, here};
    warp_meeting(WHOLE_WARP, mma_tf32_together, &product, here);
}

}  // namespace cpu
