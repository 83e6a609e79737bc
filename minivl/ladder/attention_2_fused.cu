// RUNG: One kernel: a block keeps the scores of its query in shared memory, and no table is ever in global memory.
// dtypes: float32
//
// One block works out one query; its scores are length numbers of shared memory, which is as long as a sequence may be.
// Every query still reads all keys and values: 8 D bytes for the 4 D flops of a score.
#include "numbers.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(128) attention(const T* q, const T* k, const T* v, T* out, int H,
                                                            int length, int D, A scale) {
    extern __shared__ T s[];
    const int i = blockIdx.x, h = blockIdx.y, b = blockIdx.z;
    const T* query = q + (((size_t)b * length + i) * H + h) * D;
    const size_t keys = ((size_t)b * length * H + h) * D;

    A top = -INFINITY;
    for (int j = warp(); j < length; j += warps()) {  // a warp works out a score: its lanes read neighbouring numbers
        A sum = 0;
        for (int d = lane(); d < D; d += 32) sum += query[d] * k[keys + (size_t)j * H * D + d];
        sum = warp_sum(sum) * scale;
        if (lane() == 0) s[j] = sum;
        top = max(top, sum);
    }
    top = block_max(top);
    A sum = 0;
    for (int j = threadIdx.x; j < length; j += blockDim.x) sum += s[j] = exp(s[j] - top);
    sum = block_sum(sum);
    __syncthreads();
    for (int d = threadIdx.x; d < D; d += blockDim.x) {
        A total = 0;
        for (int j = 0; j < length; j++) total += s[j] * v[keys + (size_t)j * H * D + d];
        out[(((size_t)b * length + i) * H + h) * D + d] = total / sum;
    }
}
