// What the kernels of attention.cu and attention_bf16.cu share: who may attend to whom, and where things stand.
//
// A mask reaches the kernels packed by attention_pack: 32 keys in one word, and a byte for every tile of 64 queries and
// 64 keys that says whether all, some or none of its pairs are allowed. Tiles with none are skipped, tiles with all are
// not looked at again: any mask, causal or in blocks, costs what it allows. Axes along which the mask is the same (one
// mask for all heads, padding for all queries) are packed once, and read with a stride of 0.
#pragma once
#include "numbers.cuh"

#ifndef HEAD_WIDTH
#define HEAD_WIDTH 64
#endif
constexpr int D = HEAD_WIDTH;
constexpr int TILE = 64;  // queries, and keys, that one byte of `tiles` speaks of
enum Seen { NONE, SOME, ALL };

struct Mask {
    const unsigned* bits;        // (examples, heads, queries, words), axes of 1 where the mask is the same; or null
    const unsigned char* tiles;  // (examples, heads, tiles of queries, tiles of keys), likewise
    int words, key_tiles, last_query, Tq, Tk, causal;

    // b, h: the example and head; stride_b, stride_h: rows of bits from one to the next, 0 where they share them;
    // each_query: whether queries have rows of their own
    __device__ Mask(const unsigned* bits, const unsigned char* tiles, int b, int h, int stride_b, int stride_h,
                    int each_query, int Tq, int Tk, int causal)
        : words(divide_up(Tk, 32)), key_tiles(divide_up(Tk, TILE)), last_query(each_query ? Tq - 1 : 0), Tq(Tq), Tk(Tk),
          causal(causal) {
        const int row = b * stride_b + h * stride_h;
        this->bits = bits ? bits + (size_t)row * words : nullptr;
        this->tiles = tiles + (size_t)(each_query ? row / Tq * divide_up(Tq, TILE) : row) * key_tiles;
    }

    // How many keys stand at or before query i: a causal mask ends where the last query sees the last key.
    __device__ __forceinline__ int end(int i) const { return causal ? min(Tk, i + 1 + Tk - Tq) : Tk; }

    // The first query that a causal mask lets see a key.
    __device__ __forceinline__ int begin(int key) const { return causal ? max(0, key + Tq - Tk) : 0; }

    // What attention_pack found in a tile of 64 queries and 64 keys.
    __device__ __forceinline__ Seen marked(int query_tile, int key_tile) const {
        return bits ? (Seen)tiles[min(query_tile, last_query / TILE) * key_tiles + min(key_tile, key_tiles - 1)] : ALL;
    }

    // The same, with the ends of the sequences and the causal mask.
    __device__ __forceinline__ Seen seen(int query_tile, int key_tile) const {
        const int query = query_tile * TILE, key = key_tile * TILE;
        if (query >= Tq || key >= end(min(query + TILE, Tq) - 1)) return NONE;
        const Seen found = marked(query_tile, key_tile);
        return found == ALL && key + TILE > end(query) ? SOME : found;
    }

    // Bit k: whether query i may attend to key `key` + k, for a `key` that is a multiple of 32.
    __device__ __forceinline__ unsigned word(int i, int key) const {
        const unsigned packed = bits ? bits[(size_t)min(i, last_query) * words + min(key / 32, words - 1)] : ~0u;
        return packed & (unsigned)((1ull << max(0, min(end(i) - key, 32))) - 1);
    }

    __device__ __forceinline__ bool allows(int i, int key) const { return word(i, key & ~31) >> (key & 31) & 1; }
};

// What a block knows of its example b and head h: the mask, the bias, and where in memory its numbers begin.
struct Head {
    Mask mask;
    const A* bias;               // of any shape that can be broadcast, its strides 0 along axes that it lacks; or null
    long long bias_q, bias_k;
    size_t queries, keys, sums;  // in q, out, dout, dq; in k, v, dk, dv; in log_sum and delta, which have rows of
    int padded;                  // so many numbers: Tq, rounded up to whole tiles

    __device__ Head(int b, int h, int H, int Tq, int Tk, int causal, const unsigned* bits, const unsigned char* tiles,
                    int mask_b, int mask_h, int mask_q, const A* bias, long long bias_b, long long bias_h,
                    long long bias_q, long long bias_k)
        : mask(bits, tiles, b, h, mask_b, mask_h, mask_q, Tq, Tk, causal),
          bias(bias ? bias + b * bias_b + h * bias_h : nullptr), bias_q(bias_q), bias_k(bias_k),
          queries(((size_t)b * Tq * H + h) * D), keys(((size_t)b * Tk * H + h) * D),
          sums(((size_t)b * H + h) * divide_up(Tq, TILE) * TILE), padded(divide_up(Tq, TILE) * TILE) {}

    // What is added to the score of query i and key j; beyond the ends, any number.
    __device__ __forceinline__ A added(int i, int j) const {
        return bias ? bias[min(i, mask.Tq - 1) * bias_q + min(j, mask.Tk - 1) * bias_k] : 0;
    }
};

// Packs a boolean mask (examples * heads, Q, K), K = Tk or 1. One block takes one tile of 64 x 64, one warp a row of it
// at a time: each lane reads a byte, and the ballot of the warp is the word. Q + Q / 8 bytes a key are moved, once.
extern "C" __global__ void __launch_bounds__(256) attention_pack(const bool* mask, unsigned* bits, unsigned char* tiles,
                                                                 int Q, int K, int Tk) {
    const int words = divide_up(Tk, 32), key_tiles = divide_up(Tk, TILE), query_tiles = divide_up(Q, TILE);
    const int key_tile = blockIdx.x % key_tiles, query_tile = blockIdx.x / key_tiles % query_tiles;
    const size_t example = blockIdx.x / key_tiles / query_tiles;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;

    bool any = false, all = true;
    for (int row = query_tile * TILE + warp; row < min(Q, (query_tile + 1) * TILE); row += 8)
        for (int word = key_tile * 2; word < min(words, key_tile * 2 + 2); word++) {
            const int key = word * 32 + lane;
            const bool allowed = key < Tk && mask[(example * Q + row) * K + (K == 1 ? 0 : key)];
            const unsigned packed = __ballot_sync(0xffffffffu, allowed);
            if (lane == 0) bits[(example * Q + row) * words + word] = packed;
            any |= allowed;
            all &= allowed || key >= Tk;
        }
    const Seen marked = __syncthreads_or(any) ? __syncthreads_and(all) ? ALL : SOME : NONE;
    if (threadIdx.x == 0) tiles[blockIdx.x] = marked;
}
