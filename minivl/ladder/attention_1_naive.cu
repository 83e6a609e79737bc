// RUNG: Three kernels and a table between them: T x T scores, written twice and read four times. Memory is the bound.
// dtypes: float32
//
// Sequences are (B, T, H, D), tables (B, H, T, T). 4 D flops for each score, and 16 bytes of table.
#include "numbers.cuh"

// One thread a score: row i of q against row j of k. Neighbouring lanes read neighbouring rows of k, H D numbers apart.
extern "C" __global__ void __launch_bounds__(128) attention_scores(const T* q, const T* k, T* scores, int H, int length,
                                                                   int D, A scale) {
    const int j = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y, b = blockIdx.z / H, h = blockIdx.z % H;
    if (j >= length) return;
    A sum = 0;
    for (int d = 0; d < D; d++)
        sum += q[(((size_t)b * length + i) * H + h) * D + d] * k[(((size_t)b * length + j) * H + h) * D + d];
    scores[((size_t)blockIdx.z * length + i) * length + j] = sum * scale;
}

// One thread a row, in place.
extern "C" __global__ void __launch_bounds__(128) attention_softmax(T* scores, int rows, int length) {
    const int row = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows) return;
    T* s = scores + (size_t)row * length;
    A top = -INFINITY, sum = 0;
    for (int j = 0; j < length; j++) top = max(top, s[j]);
    for (int j = 0; j < length; j++) sum += exp(s[j] - top);
    for (int j = 0; j < length; j++) s[j] = exp(s[j] - top) / sum;
}

// One thread a number of the output.
extern "C" __global__ void __launch_bounds__(128) attention_average(const T* weights, const T* v, T* out, int H,
                                                                    int length, int D) {
    const int d = threadIdx.x, i = blockIdx.x, b = blockIdx.y / H, h = blockIdx.y % H;
    A sum = 0;
    for (int j = 0; j < length; j++)
        sum += weights[((size_t)blockIdx.y * length + i) * length + j] * v[(((size_t)b * length + j) * H + h) * D + d];
    out[(((size_t)b * length + i) * H + h) * D + d] = sum;
}
