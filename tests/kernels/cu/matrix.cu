// matrix.cu: one warp, one product on tensor cores, its fragments filled number by number or by ldmatrix.
// dtypes: float32
#include "mma.cuh"
#include "numbers.cuh"


// d (16, 8) += a (16, 16) b (16, 8), each number taken from where mma.cuh says that it belongs.
extern "C" __global__ void product_bf16(const __nv_bfloat16* a, const __nv_bfloat16* b, float* d) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4 * 2;
    unsigned ra[4], rb[2];
    float rd[4];
    for (int i = 0; i < 4; i++) {
        const __nv_bfloat16* pair = a + (g + i % 2 * 8) * 16 + t + i / 2 * 8;
        ra[i] = pack_bf16(pair[0], pair[1]);
    }
    for (int i = 0; i < 2; i++) rb[i] = pack_bf16(b[(t + i * 8) * 8 + g], b[(t + i * 8 + 1) * 8 + g]);
    for (int i = 0; i < 4; i++) rd[i] = d[(g + i / 2 * 8) * 8 + t + i % 2];
    mma_bf16(rd, ra, rb);
    for (int i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + t + i % 2] = rd[i];
}

// d (16, 8) += a (16, 8) b (8, 8) in tf32.
extern "C" __global__ void product_tf32(const float* a, const float* b, float* d, int rounded) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    unsigned ra[4], rb[2];
    float rd[4];
    for (int i = 0; i < 4; i++) ra[i] = __float_as_uint(a[(g + i % 2 * 8) * 8 + t + i / 2 * 4]);
    for (int i = 0; i < 2; i++) rb[i] = __float_as_uint(b[(t + i * 4) * 8 + g]);
    for (int i = 0; rounded && i < 4; i++) ra[i] = to_tf32(__uint_as_float(ra[i]));
    for (int i = 0; rounded && i < 2; i++) rb[i] = to_tf32(__uint_as_float(rb[i]));
    for (int i = 0; i < 4; i++) rd[i] = d[(g + i / 2 * 8) * 8 + t * 2 + i % 2];
    mma_tf32(rd, ra, rb);
    for (int i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + t * 2 + i % 2] = rd[i];
}

// The same product with the fragments that cp.async and ldmatrix bring: a as it lies, b through _trans.
extern "C" __global__ void loaded(const __nv_bfloat16* a, const __nv_bfloat16* b, float* d, int by_two) {
    __shared__ __align__(16) __nv_bfloat16 sa[16][16], sb[16][8];
    int l = threadIdx.x, g = l / 4, t = l % 4 * 2;
    cp_async16(&sa[l / 2][l % 2 * 8], a + l * 8);
    if (l < 16) cp_async16(&sb[l][0], b + l * 8);
    cp_async_commit();
    cp_async_wait<0>();
    __syncwarp();
    unsigned ra[4], rb[2], pair[2];
    if (by_two) {
        ldmatrix_x2(pair, &sa[l % 16][0]);
        ra[0] = pair[0], ra[1] = pair[1];
        ldmatrix_x2(pair, &sa[l % 16][8]);
        ra[2] = pair[0], ra[3] = pair[1];
    } else {
        ldmatrix_x4(ra, &sa[l % 16][l / 16 * 8]);
    }
    ldmatrix_x2_trans(rb, &sb[l % 16][0]);
    float rd[4] = {0, 0, 0, 0};
    mma_bf16(rd, ra, rb);
    for (int i = 0; i < 4; i++) d[(g + i / 2 * 8) * 8 + t + i % 2] = rd[i];
}

// Four 8 x 8 matrices one below the other in x; y (32, 4, 2): what each lane gets of each.
extern "C" __global__ void four_transposed(const unsigned short* x, unsigned short* y) {
    __shared__ __align__(16) unsigned short s[32][8];
    for (int i = 0; i < 8; i++) s[threadIdx.x][i] = x[threadIdx.x * 8 + i];
    __syncwarp();
    unsigned r[4];
    ldmatrix_x4_trans(r, &s[threadIdx.x][0]);
    for (int i = 0; i < 4; i++) {
        y[(threadIdx.x * 4 + i) * 2] = r[i] & 0xffff;
        y[(threadIdx.x * 4 + i) * 2 + 1] = r[i] >> 16;
    }
}

extern "C" __global__ void half_a_warp_multiplies(float* d) {
    unsigned a[4] = {0, 0, 0, 0}, b[2] = {0, 0};
    float rd[4] = {0, 0, 0, 0};
    if (threadIdx.x < 16) mma_bf16(rd, a, b);
    d[threadIdx.x] = rd[0];
}

// bfloat16 and back, of every float that is asked for.
extern "C" __global__ void rounded(const float* x, __nv_bfloat16* y, unsigned* pairs, float* back, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    y[i] = (__nv_bfloat16)x[i];
    pairs[i] = pack_bf16(x[i], -x[i]);
    float2 both = unpack_bf16(pairs[i]);
    back[i] = both.x - both.y;
}
