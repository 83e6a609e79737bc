// GELU and its relatives, with the bias that is added before them. The definition and the formulas: gelu.py.
//
// gelu_forward, gelu_backward              Without a bias. A thread takes 16 bytes at a time, four times.
// bias_gelu_forward, bias_gelu_backward    A block has as many columns as its blockDim.x threads take at once, and of
//                                          the rows every gridDim.y-th group of blockDim.y. A thread keeps the bias
//                                          of its columns in registers, and in backward the sums for dbias, which the
//                                          block writes out when it is through; column_sums adds up the blocks.
//
// Moved for each number of x: forward 2 (x in, y out), backward 3 (dy and x in, dx out), the least there can be: the
// slope is worked out again, since here arithmetic is cheaper than memory.
#include "column_sums.cuh"
#include "rows.cuh"

enum Kind { EXACT, TANH, QUICK };

__device__ __forceinline__ float reciprocal(float v) { return __fdividef(1, v); }
__device__ __forceinline__ double reciprocal(double v) { return 1 / v; }

// Phi(-|x|), the share of a standard normal distribution beyond x, over its density: t Q(t) with t = 1 / (1 + p |x|).
__device__ __forceinline__ float tail(float x) {
    const float t = reciprocal(1 + 0.2474873734152916f * fabsf(x));
    float q = -0.1006349772f;
    q = q * t + 0.3942348051f;
    q = q * t - 0.35660924f;
    q = q * t + 0.3596949327f;
    q = q * t - 0.0146028701f;
    q = q * t + 0.1211629745f;
    return (q * t + 0.0967543696f) * t;
}
__device__ __forceinline__ double tail(double x) {
    const double Q[] = {0.08462894345933861,  0.08461496088710559,   0.08098529459261655,  0.07197322470484499,
                        0.06849032280113705,  0.026985100797087786,  0.09188492298620728,  -0.08035423016647864,
                        0.1256636470414935,   -0.030095038656476704, -0.1505843214750529,  0.3252107301639023,
                        -0.37093456606855355, 0.2555193029757245,    -0.10629534984641857, 0.024832787313855364,
                        -0.0025257315103733};
    const double t = reciprocal(1 + 0.21213203435596423 * fabs(x));
    double q = Q[16];
#pragma unroll
    for (int i = 15; i >= 0; i--) q = q * t + Q[i];
    return q * t;
}

struct Curve {
    A y, slope;
};

template <int KIND>
__device__ __forceinline__ Curve curve(A x) {
    if constexpr (KIND == EXACT) {
        const A bell = exponential(x * x * (A)-0.5), beyond = tail(x) * bell;  // density without its 1 / sqrt(2 pi)
        const A below = x > 0 ? 1 - beyond : beyond;                           // Phi(x)
        return {x * below, below + x * (bell * (A)0.3989422804014327)};
    } else {
        // x times a sigmoid s of z: tanh has (1 + tanh u) / 2 = sigmoid(2 u).   dy/dx = s + x s (1 - s) dz/dx
        const A c = (A)1.5957691216057308, k = (A)0.044715;  // 2 sqrt(2 / pi)
        const A z = KIND == TANH ? c * x * (1 + k * x * x) : (A)1.702 * x;
        const A dz = KIND == TANH ? c * (1 + 3 * k * x * x) : (A)1.702;
        const A s = reciprocal(1 + exponential(-z));
        return {x * s, s + x * s * (1 - s) * dz};
    }
}

// out = gelu(x + b), or where dy is given dy times the slope, W numbers of each; these are added to `sum`, too.
template <int KIND, int W>
__device__ __forceinline__ void some(const T* dy, const T* x, const A (&b)[W], T* out, A (&sum)[W]) {
    Some<W> v = load<W>(x), d = {};
    if (dy != nullptr) d = load<W>(dy);
#pragma unroll
    for (int e = 0; e < W; e++) {
        const Curve at = curve<KIND>((A)v.x[e] + b[e]);
        const A value = dy != nullptr ? (A)d.x[e] * at.slope : at.y;
        sum[e] += value;
        v.x[e] = (T)value;
    }
    store(out, v);
}

constexpr int TIMES = 4;

template <int KIND>
__device__ __forceinline__ void all(const T* dy, const T* x, T* out, int64_t n) {
    const A none[N] = {}, nothing[1] = {};
    A unused[N], one[1];
#pragma unroll
    for (int k = 0; k < TIMES; k++) {
        const int64_t i = (((int64_t)blockIdx.x * TIMES + k) * blockDim.x + threadIdx.x) * N;
        if (i + N <= n)
            some<KIND, N>(dy == nullptr ? dy : dy + i, x + i, none, out + i, unused);
        else
            for (int64_t j = i; j < n; j++) some<KIND, 1>(dy == nullptr ? dy : dy + j, x + j, nothing, out + j, one);
    }
}

extern "C" __global__ void __launch_bounds__(256, 4)
    gelu_forward(const T* __restrict__ x, T* __restrict__ y, int64_t n, int kind) {
    if (kind == EXACT) all<EXACT>(nullptr, x, y, n);
    if (kind == TANH) all<TANH>(nullptr, x, y, n);
    if (kind == QUICK) all<QUICK>(nullptr, x, y, n);
}

extern "C" __global__ void __launch_bounds__(256, 4)
    gelu_backward(const T* __restrict__ dy, const T* __restrict__ x, T* __restrict__ dx, int64_t n, int kind) {
    if (kind == EXACT) all<EXACT>(dy, x, dx, n);
    if (kind == TANH) all<TANH>(dy, x, dx, n);
    if (kind == QUICK) all<QUICK>(dy, x, dx, n);
}

template <int KIND, int W>
__device__ __forceinline__ void columns(const T* dy, const T* x, const T* bias, T* out, A* partial, A* shared, int rows,
                                        int C) {
    const int column = (blockIdx.x * blockDim.x + threadIdx.x) * W;
    A b[W] = {}, sum[W] = {};
    if (column < C) {
        const Some<W> given = load<W>(bias + column);
#pragma unroll
        for (int e = 0; e < W; e++) b[e] = (A)given.x[e];
#pragma unroll 4
        for (int row = blockIdx.y * blockDim.y + threadIdx.y; row < rows; row += gridDim.y * blockDim.y) {
            const size_t at = (size_t)row * C + column;
            some<KIND, W>(dy == nullptr ? dy : dy + at, x + at, b, out + at, sum);
        }
    }
    if (partial == nullptr) return;
    A* mine = shared + (threadIdx.y * blockDim.x + threadIdx.x) * W;
#pragma unroll
    for (int e = 0; e < W; e++) mine[e] = sum[e];
    __syncthreads();
    if (threadIdx.y == 0 && column < C) {
#pragma unroll
        for (int e = 0; e < W; e++) {
            A total = 0;
            for (int r = 0; r < blockDim.y; r++) total += mine[r * blockDim.x * W + e];
            partial[(size_t)blockIdx.y * C + column + e] = total;
        }
    }
}

template <int KIND>
__device__ __forceinline__ void columns(const T* dy, const T* x, const T* bias, T* out, A* partial, A* shared, int rows,
                                        int C) {
    if (C % N == 0)
        columns<KIND, N>(dy, x, bias, out, partial, shared, rows, C);
    else
        columns<KIND, 1>(dy, x, bias, out, partial, shared, rows, C);
}

extern "C" __global__ void __launch_bounds__(256, 4)
    bias_gelu_forward(const T* __restrict__ x, const T* __restrict__ bias, T* __restrict__ y, int rows, int C,
                      int kind) {
    if (kind == EXACT) columns<EXACT>(nullptr, x, bias, y, nullptr, nullptr, rows, C);
    if (kind == TANH) columns<TANH>(nullptr, x, bias, y, nullptr, nullptr, rows, C);
    if (kind == QUICK) columns<QUICK>(nullptr, x, bias, y, nullptr, nullptr, rows, C);
}

extern "C" __global__ void __launch_bounds__(256, 4)
    bias_gelu_backward(const T* __restrict__ dy, const T* __restrict__ x, const T* __restrict__ bias,
                       T* __restrict__ dx, A* __restrict__ partial, int rows, int C, int kind) {
    __shared__ A shared[256 * N];
    if (kind == EXACT) columns<EXACT>(dy, x, bias, dx, partial, shared, rows, C);
    if (kind == TANH) columns<TANH>(dy, x, bias, dx, partial, shared, rows, C);
    if (kind == QUICK) columns<QUICK>(dy, x, bias, dx, partial, shared, rows, C);
}
