// RUNG: A thread keeps an 8 x 8 tile of C in registers: 16 reads of shared memory then feed 64 multiplications, not 8.
// dtypes: float32
//
// Block of 256 threads, 16 across and 16 down: a 128 x 128 tile of C, 8 numbers of K at a time. Thread (across, down)
// takes columns across, across + 16, ... and rows down, down + 16, ...: neighbours then read neighbouring words,
// without bank conflicts, and threads of one row of threads read the same word of A.
constexpr int TILE = 128, DEEP = 8, R = 8;

extern "C" __global__ void __launch_bounds__(256)
    matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int M, int N, int K) {
    __shared__ float as[DEEP][TILE], bs[DEEP][TILE];
    const int t = threadIdx.x, across = t % 16, down = t / 16, row = blockIdx.y * TILE, column = blockIdx.x * TILE;
    float sum[R][R] = {};
    for (int first = 0; first < K; first += DEEP) {
        for (int i = t; i < TILE * DEEP; i += 256) {  // A's tile is turned over, so that rows lie side by side
            const int r = i / DEEP, k = i % DEEP;
            as[k][r] = row + r < M && first + k < K ? a[(size_t)(row + r) * K + first + k] : 0;
        }
        for (int i = t; i < TILE * DEEP; i += 256) {
            const int k = i / TILE, n = i % TILE;
            bs[k][n] = first + k < K && column + n < N ? b[(size_t)(first + k) * N + column + n] : 0;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < DEEP; k++) {
            float x[R], y[R];
#pragma unroll
            for (int i = 0; i < R; i++) x[i] = as[k][down + 16 * i], y[i] = bs[k][across + 16 * i];
#pragma unroll
            for (int i = 0; i < R; i++)
#pragma unroll
                for (int j = 0; j < R; j++) sum[i][j] += x[i] * y[j];
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < R; i++)
#pragma unroll
        for (int j = 0; j < R; j++) {
            const int m = row + down + 16 * i, n = column + across + 16 * j;
            if (m < M && n < N) c[(size_t)m * N + n] = sum[i][j];
        }
}
