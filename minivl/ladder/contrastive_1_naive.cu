// RUNG: All B x B similarities in memory: one kernel writes them, another reads them along rows and along columns.
// dtypes: float32
//
// 2 C flops for each similarity; it is written once and read four times.
#include "numbers.cuh"

// One thread a similarity.
extern "C" __global__ void contrastive_similarities(const T* image, const T* text, const A* log_scale, T* z, int B,
                                                    int C) {
    const int j = blockIdx.x * blockDim.x + threadIdx.x, i = blockIdx.y;
    if (j >= B) return;
    A sum = 0;
    for (int c = 0; c < C; c++) sum += image[(size_t)i * C + c] * text[(size_t)j * C + c];
    z[(size_t)i * B + j] = sum * exp(log_scale[0]);
}

// One thread a row, or (blockIdx.y = 1) a column.
extern "C" __global__ void contrastive_log_sums(const T* z, A* log_sums, A* diagonal, int B) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, direction = blockIdx.y;
    if (i >= B) return;
    const size_t first = direction ? i : (size_t)i * B, step = direction ? B : 1;
    A top = -INFINITY, sum = 0;
    for (int j = 0; j < B; j++) top = max(top, z[first + j * step]);
    for (int j = 0; j < B; j++) sum += exp(z[first + j * step] - top);
    log_sums[direction * B + i] = top + log(sum);
    if (direction == 0) diagonal[i] = z[(size_t)i * B + i];
}
