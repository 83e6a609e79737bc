// Patches of pictures and tubes of clips, laid out as rows of a matrix and put back. The definition: patch_embed.py.
//
// patches_forward   one block lays out one patch; a thread copies its numbers t, t + blockDim.x, ...
//                   Bytes: 2 T for each number of a patch (pixel in, number out)
// patches_backward  one thread finds the gradient of one place: it adds up the patches that the place lies in, first to
//                   last, so that no two threads ever write to one pixel. Bytes: 1 T a number of a patch, 1 T a pixel
//
// Both move 16 bytes at a time where every patch begins at a multiple of 16 bytes. A picture is a clip of one frame.
// The three axes are t (frames), i (rows) and j (columns): each has a size, a kernel k, a stride s, an offset o, and a
// grid g of so many patches. One patch is one row of the matrix, its numbers are (channels, kt, kh, kw).
#include "few.cuh"
#include "numbers.cuh"

// Whether patches begin and end at whole packs. Then packs of a row of pixels are packs of a patch.
template <int N>
__device__ bool in_packs(const T* x, const T* patches, int W, int kw, int sw, int ow) {
    return W % N == 0 && kw % N == 0 && sw % N == 0 && ow % N == 0 && aligned16(x) && aligned16(patches);
}

template <int N>
__device__ void lay_out(const T* corner, T* row, int channels, int F, int H, int W, unsigned kt, unsigned kh,
                        unsigned kw) {
    const unsigned numbers = channels * kt * kh * kw;
    for (unsigned p = threadIdx.x * N; p < numbers; p += blockDim.x * N) {
        const unsigned j = p % kw, i = p / kw % kh, t = p / kw / kh % kt, channel = p / kw / kh / kt;
        const T* pixels = corner + ((size_t)(channel * F + t) * H + i) * W + j;
        store_few(row + p, load_few<N>(pixels));
    }
}

extern "C" __global__ void __launch_bounds__(256)
    patches_forward(const T* __restrict__ x, T* __restrict__ patches, int channels, int F, int H, int W, int kt, int kh,
                    int kw, int st, int sh, int sw, int ot, int oh, int ow, int gt, int gh, int gw) {
    const unsigned patch = blockIdx.x;
    const int j = patch % gw * sw + ow, i = patch / gw % gh * sh + oh, t = patch / gw / gh % gt * st + ot;
    const size_t example = patch / gw / gh / gt;
    const T* corner = x + ((example * channels * F + t) * H + i) * W + j;
    T* row = patches + (size_t)patch * channels * kt * kh * kw;
    if (in_packs<PACKED>(x, patches, W, kw, sw, ow))
        lay_out<PACKED>(corner, row, channels, F, H, W, kt, kh, kw);
    else
        lay_out<1>(corner, row, channels, F, H, W, kt, kh, kw);
}

// The first and the last of g patches that place p of an axis lies in; none where first > last.
struct Span {
    int first, last;
};

__device__ Span span(int p, int k, int s, int o, int g) {
    const int behind = p - o;  // of the first pixel of patch 0; patch n begins n s further on
    if (behind < 0) return {0, -1};
    const int first = behind < k ? 0 : (behind - k) / s + 1;
    return {first, min(behind / s, g - 1)};
}

template <int N>
__device__ void put_back(const T* dpatches, T* dx, long long places, int channels, int F, int H, int W, int kt, int kh,
                         int kw, int st, int sh, int sw, int ot, int oh, int ow, int gt, int gh, int gw) {
    const long long place = ((long long)blockIdx.x * blockDim.x + threadIdx.x) * N;
    if (place >= places) return;
    const int j = place % W, i = place / W % H;
    const unsigned plane = place / W / H, t = plane % F, channel = plane / F % channels;
    const size_t example = plane / F / channels;
    const Span ts = span(t, kt, st, ot, gt), is = span(i, kh, sh, oh, gh), js = span(j, kw, sw, ow, gw);

    A sum[N] = {};
    for (int a = ts.first; a <= ts.last; a++)
        for (int b = is.first; b <= is.last; b++)
            for (int c = js.first; c <= js.last; c++) {
                const size_t patch = ((example * gt + a) * gh + b) * gw + c;
                const int in_t = t - ot - a * st, in_i = i - oh - b * sh, in_j = j - ow - c * sw;
                const size_t number = (((patch * channels + channel) * kt + in_t) * kh + in_i) * kw + in_j;
                const Few<N> d = load_few<N>(dpatches + number);
#pragma unroll
                for (int n = 0; n < N; n++) sum[n] += (A)d.x[n];
            }

    Few<N> out;
#pragma unroll
    for (int n = 0; n < N; n++) out.x[n] = (T)sum[n];
    store_few(dx + place, out);
}

// places: B channels F H W. The grid has a thread for each; with packs the first ones do it all.
extern "C" __global__ void __launch_bounds__(256)
    patches_backward(const T* __restrict__ dpatches, T* __restrict__ dx, long long places, int channels, int F, int H,
                     int W, int kt, int kh, int kw, int st, int sh, int sw, int ot, int oh, int ow, int gt, int gh,
                     int gw) {
    if (in_packs<PACKED>(dx, dpatches, W, kw, sw, ow))
        put_back<PACKED>(dpatches, dx, places, channels, F, H, W, kt, kh, kw, st, sh, sw, ot, oh, ow, gt, gh, gw);
    else
        put_back<1>(dpatches, dx, places, channels, F, H, W, kt, kh, kw, st, sh, sw, ot, oh, ow, gt, gh, gw);
}
