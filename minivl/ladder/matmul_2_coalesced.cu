// RUNG: Neighbouring threads take neighbouring columns: a warp reads 32 numbers of B, and writes 32 of C, side by side.
// dtypes: float32
//
// Two words have changed places since matmul_1_naive.cu: threadIdx.x now counts columns. A warp wants one number of A,
// which all its threads share, and 128 bytes of B in a row: 4 sectors. The arithmetic is the same, in the same order.
extern "C" __global__ void matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
                                  int M, int N, int K) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= M || column >= N) return;
    float sum = 0;
    for (int k = 0; k < K; k++) sum += a[(size_t)row * K + k] * b[(size_t)k * N + column];
    c[(size_t)row * N + column] = sum;
}
