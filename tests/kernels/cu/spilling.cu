// spilling.cu: asks for more registers than 64 a thread, as many as 1024 threads leave each.
// dtypes: float32
extern "C" __global__ void __launch_bounds__(1024) spilling(const float* x, float* y, int n) {
    float a[128];
#pragma unroll
    for (int i = 0; i < 128; i++) a[i] = x[i * n + threadIdx.x];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < 128; i++) y[i * n + threadIdx.x] = a[i] + a[(i + 1) % 128];
}
