// Mixture of experts: which experts a token is sent to, its place in their queues, and the way there and back.
// The definition: moe.py. Of E experts each token chooses K; an expert has S slots for the tokens of a group.
//
// moe_top_k, moe_gates_*   one warp takes one token. Bytes: the E logits of a token in, K experts or gates (or E
//                          gradients) out: nothing beside the rows of C numbers below
// moe_slots                one block gives the choices of one expert in one group their places
// moe_to_slots             one block fills one slot, a row of C numbers: thread t copies packs t, t + blockDim.x, ...
//                          Bytes: 2 T for each number of a slot
// moe_to_tokens            one block adds up the slots of one token. Bytes: K + 1 T for each number of a token
// moe_combine_backward     one block finds the gradient of one slot and of the gate that led to it. Bytes: 3 T a number
#include "few.cuh"
#include "numbers.cuh"
#include "reduce.cuh"

// ---- choosing -------------------------------------------------------------------------------------------------------

// Score a of place i comes before score b of place j: it is larger, or it is equal and stands first.
template <class N>
__device__ bool before(N a, int i, N b, int j) {
    return a > b || (a == b && i < j);
}

// The choices of a row, one after the other: each is the best of those that come after the last one.
extern "C" __global__ void __launch_bounds__(256)
    moe_top_k(const T* __restrict__ scores, int* __restrict__ experts, int rows, int E, int K) {
    const int row = blockIdx.x * (blockDim.x / 32) + warp();
    if (row >= rows) return;
    const T* score = scores + (size_t)row * E;
    A last = INFINITY;
    int last_place = -1;
    for (int k = 0; k < K; k++) {
        A best = -INFINITY;
        int place = E;
        for (int e = lane(); e < E; e += 32) {
            const A s = score[e] == score[e] ? (A)score[e] : (A)-INFINITY;  // not a number: last
            if (before(last, last_place, s, e) && before(s, e, best, place)) best = s, place = e;
        }
#pragma unroll
        for (int step = 16; step > 0; step /= 2) {
            const A other = __shfl_xor_sync(0xffffffffu, best, step);
            const int other_place = __shfl_xor_sync(0xffffffffu, place, step);
            if (before(other, other_place, best, place)) best = other, place = other_place;
        }
        if (lane() == 0) experts[(size_t)row * K + k] = place;
        last = best, last_place = place;
    }
}

// The softmax that the gates of a token come from, over its choices alone or over all experts.
struct Softmax {
    A max, scale;
    __device__ A of(T logit) const { return exp((A)logit - max) * scale; }
};

__device__ Softmax softmax_of(const T* logit, const int* chosen, int E, int K, bool renormalise) {
    const int n = renormalise ? K : E;
    A largest = -INFINITY, sum = 0;
    for (int i = lane(); i < n; i += 32) largest = max(largest, (A)logit[renormalise ? chosen[i] : i]);
    largest = warp_max(largest);
    for (int i = lane(); i < n; i += 32) sum += exp((A)logit[renormalise ? chosen[i] : i] - largest);
    return {largest, 1 / warp_sum(sum)};
}

extern "C" __global__ void __launch_bounds__(256)
    moe_gates_forward(const T* __restrict__ logits, const int* __restrict__ experts, T* __restrict__ gates, int rows,
                      int E, int K, bool renormalise) {
    const int row = blockIdx.x * (blockDim.x / 32) + warp();
    if (row >= rows) return;
    const T* logit = logits + (size_t)row * E;
    const int* chosen = experts + (size_t)row * K;
    const Softmax p = softmax_of(logit, chosen, E, K, renormalise);
    for (int k = lane(); k < K; k += 32) gates[(size_t)row * K + k] = (T)p.of(logit[chosen[k]]);
}

// dlogit_e = p_e (dgate of e, if it was chosen, - sum_k dgate_k g_k); p_e is 0 for what takes no part.
extern "C" __global__ void __launch_bounds__(256)
    moe_gates_backward(const T* __restrict__ logits, const int* __restrict__ experts, const T* __restrict__ dgates,
                       T* __restrict__ dlogits, int rows, int E, int K, bool renormalise) {
    const int row = blockIdx.x * (blockDim.x / 32) + warp();
    if (row >= rows) return;
    const T* logit = logits + (size_t)row * E;
    const int* chosen = experts + (size_t)row * K;
    const T* dgate = dgates + (size_t)row * K;
    const Softmax p = softmax_of(logit, chosen, E, K, renormalise);
    A total = 0;
    for (int k = lane(); k < K; k += 32) total += (A)dgate[k] * p.of(logit[chosen[k]]);
    total = warp_sum(total);
    for (int e = lane(); e < E; e += 32) {
        bool takes_part = !renormalise;
        A d = -total;
        for (int k = 0; k < K; k++)
            if (chosen[k] == e) d += (A)dgate[k], takes_part = true;
        dlogits[(size_t)row * E + e] = takes_part ? (T)(d * p.of(logit[e])) : (T)(A)0;
    }
}

// ---- queueing -------------------------------------------------------------------------------------------------------

// Which choice stands at place q in the queue of a group: all first choices, token by token as ordered, then all
// second ones.
__device__ int in_queue(int q, int group, const int* order, int tokens, int K) {
    const int k = q / tokens, t = q % tokens;
    return (group * tokens + (order ? order[group * tokens + t] : t)) * K + k;
}

// Each warp takes one stretch of the queue. First it counts who wants this expert; then, knowing how many wanted it in
// the stretches before, it walks once more and gives each its place: the ballot tells a lane how many of its 32 come
// first. A choice of no expert at all (below 0, from E upwards) is dropped.
extern "C" __global__ void __launch_bounds__(1024)
    moe_slots(const int* __restrict__ experts, const int* __restrict__ order /* or null */,
              const bool* __restrict__ wanted /* or null */, int* __restrict__ slots, int* __restrict__ choices,
              int tokens, int K, int E, int S) {
    const int expert = blockIdx.x, group = blockIdx.y, queue = K * tokens;
    const int stretch = divide_up(divide_up(queue, (int)blockDim.x / 32), 32) * 32;
    const int start = warp() * stretch, end = min(start + stretch, queue);

    int count = 0;
    for (int first = start; first < end; first += 32) {
        const int q = first + lane(), choice = q < end ? in_queue(q, group, order, tokens, K) : -1;
        const bool mine = choice >= 0 && experts[choice] == expert && (!wanted || wanted[choice]);
        count += __popc(__ballot_sync(0xffffffffu, mine));
    }
    __shared__ int counts[32];
    if (lane() == 0) counts[warp()] = count;
    __syncthreads();
    const int of_warp = lane() < (int)blockDim.x / 32 ? counts[lane()] : 0;
    const int all = warp_sum(of_warp);
    int place = warp_sum(lane() < warp() ? of_warp : 0);  // of the next one of mine

    int* slot_of = choices + ((size_t)expert * gridDim.y + group) * S;
    for (int first = start; first < end; first += 32) {
        const int q = first + lane(), choice = q < end ? in_queue(q, group, order, tokens, K) : -1;
        const bool here = choice >= 0 && experts[choice] == expert, mine = here && (!wanted || wanted[choice]);
        const unsigned all_mine = __ballot_sync(0xffffffffu, mine);
        const int p = place + __popc(all_mine & ((1u << lane()) - 1));
        if (mine && p < S) {
            slots[choice] = (expert * gridDim.y + group) * S + p;
            slot_of[p] = choice;
        } else if (here || (choice >= 0 && expert == 0 && (unsigned)experts[choice] >= (unsigned)E)) {
            slots[choice] = -1;
        }
        place += __popc(all_mine);
    }
    for (int p = all + threadIdx.x; p < S; p += blockDim.x) slot_of[p] = -1;
}

// ---- going there and back -------------------------------------------------------------------------------------------

template <int N>
__device__ void copy_row(const T* in, T* out, int C) {  // zeros where there is nothing to copy
    for (int c = threadIdx.x * N; c < C; c += blockDim.x * N)
        store_few(out + c, in ? load_few<N>(in + c) : Few<N>{});
}

// A slot gets its token: dispatch, and the derivative of a sum without gates.
extern "C" __global__ void __launch_bounds__(256)
    moe_to_slots(const T* __restrict__ x, const int* __restrict__ choices, T* __restrict__ out, int C, int K) {
    const int choice = choices[blockIdx.x];
    const T* in = choice < 0 ? nullptr : x + (size_t)(choice / K) * C;
    if (C % PACKED == 0 && aligned16(x) && aligned16(out))
        copy_row<PACKED>(in, out + (size_t)blockIdx.x * C, C);
    else
        copy_row<1>(in, out + (size_t)blockIdx.x * C, C);
}

template <int N>
__device__ void sum_of_slots(const T* y, const A* gate, const int* slot, T* out, int C, int K) {
    for (int c = threadIdx.x * N; c < C; c += blockDim.x * N) {
        A sum[N] = {};
        for (int k = 0; k < K; k++) {
            if (slot[k] < 0) continue;
            const A g = gate ? gate[k] : (A)1;
            const Few<N> row = load_few<N>(y + (size_t)slot[k] * C + c);
#pragma unroll
            for (int n = 0; n < N; n++) sum[n] += g * (A)row.x[n];
        }
        Few<N> total;
#pragma unroll
        for (int n = 0; n < N; n++) total.x[n] = (T)sum[n];
        store_few(out + c, total);
    }
}

// A token gets the sum of its slots: combine with gates, without them the derivative of dispatch.
extern "C" __global__ void __launch_bounds__(256)
    moe_to_tokens(const T* __restrict__ y, const A* __restrict__ gates /* or null */, const int* __restrict__ slots,
                  T* __restrict__ out, int C, int K) {
    const size_t first = (size_t)blockIdx.x * K;
    T* row = out + (size_t)blockIdx.x * C;
    if (C % PACKED == 0 && aligned16(y) && aligned16(out))
        sum_of_slots<PACKED>(y, gates ? gates + first : nullptr, slots + first, row, C, K);
    else
        sum_of_slots<1>(y, gates ? gates + first : nullptr, slots + first, row, C, K);
}

template <int N>
__device__ A scaled_row(const T* d, const T* y, A gate, T* dy, int C) {  // returns this thread's d . y
    A dot = 0;
    for (int c = threadIdx.x * N; c < C; c += blockDim.x * N) {
        Few<N> row = load_few<N>(d + c);
        const Few<N> answer = load_few<N>(y + c);
#pragma unroll
        for (int n = 0; n < N; n++) {
            dot += (A)row.x[n] * (A)answer.x[n];
            row.x[n] = (T)(gate * (A)row.x[n]);
        }
        store_few(dy + c, row);
    }
    return dot;
}

// The derivative of combine: dy of a slot is its token's d times the gate, dgate their product. Choices that were
// dropped have no slot: their dgate must be 0 beforehand.
extern "C" __global__ void __launch_bounds__(256)
    moe_combine_backward(const T* __restrict__ d, const T* __restrict__ y, const A* __restrict__ gates,
                         const int* __restrict__ choices, T* __restrict__ dy, A* __restrict__ dgates, int C, int K) {
    const int choice = choices[blockIdx.x];
    const size_t row = (size_t)blockIdx.x * C;
    const bool packs = C % PACKED == 0 && aligned16(d) && aligned16(y) && aligned16(dy);
    if (choice < 0) {
        packs ? copy_row<PACKED>(nullptr, dy + row, C) : copy_row<1>(nullptr, dy + row, C);
        return;
    }
    const T* in = d + (size_t)(choice / K) * C;
    A dot = packs ? scaled_row<PACKED>(in, y + row, gates[choice], dy + row, C)
                  : scaled_row<1>(in, y + row, gates[choice], dy + row, C);
    dot = block_sum(dot);
    if (threadIdx.x == 0) dgates[choice] = dot;
}
