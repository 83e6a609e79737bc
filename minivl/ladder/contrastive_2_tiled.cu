// RUNG: A tile of 16 x 16 similarities at a time, used up on the spot: largest and sum are kept for each row, no table.
// dtypes: float32
//
// One block takes 16 rows and all columns, 16 at a time; thread (y, x) works out one similarity of a tile, from 16
// numbers of each row in shared memory at a time, and the 16 threads of a row share its largest and its sum. Columns
// are the rows of the transposed problem (blockIdx.y = 1). Each number fetched is used 16 times; by the shipped kernel
// 64 times.
#include "numbers.cuh"

__device__ __forceinline__ A row_sum(A v) {
    for (int step = 8; step > 0; step /= 2) v += __shfl_xor_sync(0xffffffffu, v, step);
    return v;
}
__device__ __forceinline__ A row_max(A v) {
    for (int step = 8; step > 0; step /= 2) v = max(v, __shfl_xor_sync(0xffffffffu, v, step));
    return v;
}

extern "C" __global__ void __launch_bounds__(256) contrastive_log_sums(const T* image, const T* text,
                                                                       const A* log_scale, A* log_sums, A* diagonal,
                                                                       int B, int C) {
    __shared__ T a_tile[16][17], b_tile[16][17];
    const int y = threadIdx.x / 16, x = threadIdx.x % 16, i = blockIdx.x * 16 + y, direction = blockIdx.y;
    const T *a = direction ? text : image, *b = direction ? image : text;
    A top = -INFINITY, sum = 0;
    for (int column = 0; column < B; column += 16) {
        A z = 0;
        for (int c = 0; c < C; c += 16) {
            __syncthreads();
            a_tile[y][x] = i < B && c + x < C ? a[(size_t)i * C + c + x] : (T)0;
            b_tile[y][x] = column + y < B && c + x < C ? b[(size_t)(column + y) * C + c + x] : (T)0;
            __syncthreads();
            for (int d = 0; d < 16; d++) z += a_tile[y][d] * b_tile[x][d];
        }
        z = column + x < B ? z * exp(log_scale[0]) : (A)-INFINITY;
        if (direction == 0 && column + x == i && i < B) diagonal[i] = z;
        const A largest = max(top, row_max(z));
        sum = sum * exp(top - largest) + row_sum(exp(z - largest));
        top = largest;
    }
    if (x == 0 && i < B) log_sums[direction * B + i] = top + log(sum);
}
