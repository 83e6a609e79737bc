// RUNG: One thread works out one number of C = A B by the definition; its neighbour in the warp the number below.
// dtypes: float32
//
// a (M, K), b (K, N), c (M, N), row by row. Block (32, 8): thread (x, y) takes row 32 bx + x and column 8 by + y.
// Bytes: every multiplication fetches two numbers from memory, and the 32 threads of a warp fetch theirs from 32 rows
// of A, 4 K bytes apart: 32 sectors of 32 bytes for 128 bytes that are wanted. And 32 sectors for every write of C.
extern "C" __global__ void matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c,
                                  int M, int N, int K) {
    const int row = blockIdx.x * blockDim.x + threadIdx.x, column = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= M || column >= N) return;
    float sum = 0;
    for (int k = 0; k < K; k++) sum += a[(size_t)row * K + k] * b[(size_t)k * N + column];
    c[(size_t)row * N + column] = sum;
}
