// RUNG: Softmax in one pass: the largest score so far, and a sum that shrinks when a larger one comes. No row is kept.
// dtypes: float32
//
// One warp works out one query; lane i holds numbers i, i + 32, ... of the query and of the output under way. With m
// the largest score so far and l the sum of exp(s - m), a new score s gives m' = max(m, s) and l' = l exp(m - m') +
// exp(s - m'), and the output shrinks by exp(m - m') too (Milakov & Gimelshein 2018, arXiv 1805.02867). A sequence may
// be of any length now; every query still reads all keys and values by itself.
#include "numbers.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(128) attention(const T* q, const T* k, const T* v, T* out, int H,
                                                            int length, int D, A scale) {
    constexpr int MOST = 4;  // numbers a lane holds: heads are up to 128 wide
    const int i = blockIdx.x * warps() + warp(), h = blockIdx.y, b = blockIdx.z;
    if (i >= length) return;
    const size_t row = (((size_t)b * length + i) * H + h) * D, keys = ((size_t)b * length * H + h) * D;

    A query[MOST], o[MOST] = {}, top = -INFINITY, sum = 0;
#pragma unroll
    for (int c = 0; c < MOST; c++) query[c] = c * 32 < D ? q[row + c * 32 + lane()] : 0;
    for (int j = 0; j < length; j++) {
        A s = 0;
#pragma unroll
        for (int c = 0; c < MOST; c++)
            if (c * 32 < D) s += query[c] * k[keys + (size_t)j * H * D + c * 32 + lane()];
        s = warp_sum(s) * scale;
        const A largest = max(top, s), shrink = exp(top - largest), p = exp(s - largest);
        sum = sum * shrink + p;
#pragma unroll
        for (int c = 0; c < MOST; c++)
            if (c * 32 < D) o[c] = o[c] * shrink + p * v[keys + (size_t)j * H * D + c * 32 + lane()];
        top = largest;
    }
#pragma unroll
    for (int c = 0; c < MOST; c++)
        if (c * 32 < D) out[row + c * 32 + lane()] = o[c] / sum;
}
