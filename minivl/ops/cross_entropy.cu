// Cross-entropy of rows of V logits: the loss and dlogits in one pass over each row. Definition: cross_entropy.py.
//
// A team of threads (rows.cuh) takes one row and keeps it in shared memory: the largest logit and the sum of
// exponentials are found together while the row comes in, then dlogits is written. Moved for each logit: 2 (in, and
// its derivative out), the least there can be, as long as a row fits; of a longer one the rest is read again, 3 for
// these. A row that does not count is not read at all.
#include "rows.cuh"

// counted[0] += how many of the targets count. Whole numbers, so the order of the additions makes no difference.
extern "C" __global__ void __launch_bounds__(256)
    cross_entropy_count(const long long* target, int* counted, int rows, long long ignore) {
    int n = 0;
    for (int row = blockIdx.x * 256 + threadIdx.x; row < rows; row += gridDim.x * 256) n += target[row] != ignore;
    n = block_sum(n);
    if (threadIdx.x == 0 && n > 0) atomicAdd(counted, n);
}

template <int W>
__device__ __forceinline__ A loss_of_row(const T* logits, T* dlogits, long long target, bool counts, A scale,
                                         A smoothing, int V, int room) {
    const int begin = threadIdx.x * W, step = blockDim.x * W, reading = counts ? V : 0;
    Row<W> row(logits, 0, room);
    row.fetch(reading);
    cp_async_commit();
    cp_async_wait<0>();

    // Of this thread's logits x: the largest, the sum of exp(x - top), the sum of x - top and how many these are.
    A top = LEAST, total = 0, below = 0, seen = 0;
    for (int i = begin; i < reading; i += step) {
        const Some<W> v = row(i);
        A higher = top;
#pragma unroll
        for (int e = 0; e < W; e++) higher = max(higher, (A)v.x[e]);
        total *= exponential(top - higher);
        if (smoothing > 0) below += seen > 0 ? seen * (top - higher) : 0;
#pragma unroll
        for (int e = 0; e < W; e++) {
            total += exponential((A)v.x[e] - higher);
            if (smoothing > 0) below += (A)v.x[e] - higher;
        }
        top = higher, seen += W;
    }
    const A highest = team_max(top);
    if (seen > 0) below += seen * (top - highest);
    A sums[2] = {total * exponential(top - highest), below};
    over_team(sums, (A)0, Sum());
    total = sums[0], below = sums[1];

    const bool known = target >= 0 && target < V;  // a target that is no column makes NaN of its row: it is noticed
    const A share = known ? scale / total : (A)NAN, spread = scale * smoothing / V, at_target = scale * (1 - smoothing);
    for (int i = begin; i < V && dlogits != nullptr; i += step) {
        Some<W> v = {};
        if (counts) {
            v = row(i);
#pragma unroll
            for (int e = 0; e < W; e++) {
                A d = exponential((A)v.x[e] - highest) * share - spread;
                if (i + e == target) d -= at_target;
                v.x[e] = (T)d;
            }
        }
        store(dlogits + i, v);
    }
    if (!counts) return 0;
    if (!known) return NAN;
    const A right = (A)logits[target] - highest;
    return log(total) - (1 - smoothing) * right - (smoothing > 0 ? smoothing * below / V : 0);
}

// losses[row] = the loss of a row, 0 if it does not count; dlogits, if it is wanted, of the mean over all that do.
extern "C" __global__ void __launch_bounds__(512, 1)
    cross_entropy_rows(const T* logits, const long long* target, const int* counted, T* dlogits /* or null */,
                       A* losses, int rows, int V, int room, long long ignore, A smoothing) {
    const int row = blockIdx.x * blockDim.y + threadIdx.y, here = row < rows ? V : 0;
    const size_t at = (size_t)row * V;
    const long long wanted = here > 0 ? target[row] : ignore;
    const bool counts = wanted != ignore;
    const A scale = (A)1 / max(counted[0], 1);
    T* out = dlogits == nullptr ? dlogits : dlogits + at;
    const A loss = V % N == 0 ? loss_of_row<N>(logits + at, out, wanted, counts, scale, smoothing, here, room)
                              : loss_of_row<1>(logits + at, out, wanted, counts, scale, smoothing, here, room);
    if (threadIdx.x == 0 && row < rows) losses[row] = loss;
}

// loss = the sum of `losses` over what was counted. One block: they are one number a row, next to V that were read.
extern "C" __global__ void __launch_bounds__(1024, 1)
    cross_entropy_mean(const A* losses, const int* counted, T* loss, int rows) {
    A sum = 0;
#pragma unroll 4
    for (int row = threadIdx.x; row < rows; row += 1024) sum += losses[row];
    sum = block_sum(sum);
    if (threadIdx.x == 0) loss[0] = (T)(sum / max(counted[0], 1));
}

// x *= by[0], in place; where that is 1, as in nearly every training, nothing is moved.
extern "C" __global__ void __launch_bounds__(256) cross_entropy_scale(T* x, const T* by, int64_t n) {
    const A factor = (A)by[0];
    if (factor == 1) return;
    for (int64_t i = ((int64_t)blockIdx.x * 256 + threadIdx.x) * N; i < n; i += (int64_t)gridDim.x * 256 * N) {
        if (i + N <= n) {
            Some<N> v = load<N>(x + i);
#pragma unroll
            for (int e = 0; e < N; e++) v.x[e] = (T)((A)v.x[e] * factor);
            store(x + i, v);
        } else {
            for (int64_t j = i; j < n; j++) x[j] = (T)((A)x[j] * factor);
        }
    }
}
