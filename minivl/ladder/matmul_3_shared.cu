// RUNG: A block brings a tile of A and one of B into shared memory once; its 1024 threads read them there 32 times.
// dtypes: float32
//
// Block (32, 32): a 32 x 32 tile of C. Bytes: each number of A is fetched from memory N / 32 times instead of N times,
// each of B M / 32 times. Still two reads, now of shared memory, for every multiplication: these are what it waits for.
constexpr int TILE = 32;

extern "C" __global__ void __launch_bounds__(TILE* TILE)
    matmul(const float* __restrict__ a, const float* __restrict__ b, float* __restrict__ c, int M, int N, int K) {
    __shared__ float as[TILE][TILE], bs[TILE][TILE];
    const int x = threadIdx.x, y = threadIdx.y, column = blockIdx.x * TILE + x, row = blockIdx.y * TILE + y;
    float sum = 0;
    for (int first = 0; first < K; first += TILE) {
        as[y][x] = row < M && first + x < K ? a[(size_t)row * K + first + x] : 0;  // beyond the edges: nothing
        bs[y][x] = first + y < K && column < N ? b[(size_t)(first + y) * N + column] : 0;
        __syncthreads();  // the tiles are whole
#pragma unroll
        for (int k = 0; k < TILE; k++) sum += as[y][k] * bs[k][x];
        __syncthreads();  // and have been used
    }
    if (row < M && column < N) c[(size_t)row * N + column] = sum;
}
