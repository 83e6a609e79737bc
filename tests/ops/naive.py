"""Every op once more, as its definition reads: loops over numbers, in float64, nothing clever."""

import itertools
import math

import numpy as np


def elementwise(f):
    """f on numbers becomes a function of arrays, which are broadcast."""

    def reference(*arrays):
        shape = np.broadcast_shapes(*(np.shape(a) for a in arrays))
        stretched = [np.broadcast_to(a, shape) for a in arrays]
        out = np.empty(shape)
        for i in np.ndindex(shape):
            out[i] = f(*(a[i].item() for a in stretched))
        return out

    return reference


def reduction(f):
    """f on a list of numbers becomes a function of an array, an axis and keepdims."""

    def reference(x, axis=None, keepdims=False):
        axes = range(x.ndim) if axis is None else (axis,) if isinstance(axis, int) else axis
        axes = {a % x.ndim for a in axes}
        out = np.empty([1 if a in axes else n for a, n in enumerate(x.shape)])
        for i in np.ndindex(out.shape):
            ranges = [range(x.shape[a]) if a in axes else [i[a]] for a in range(x.ndim)]
            out[i] = f([float(x[j]) for j in itertools.product(*ranges)])
        return out if keepdims else out.squeeze(tuple(axes))

    return reference


def rowwise(f):
    """f on a list of C numbers, giving a list, becomes a function of (..., C)."""

    def reference(x, *others):
        out = np.empty(x.shape)
        for i in np.ndindex(x.shape[:-1]):
            out[i] = f([float(n) for n in x[i]], *([float(n) for n in o] for o in others))
        return out

    return reference


def mean(numbers):
    return sum(numbers) / len(numbers)


def var(numbers):
    return sum((n - mean(numbers)) ** 2 for n in numbers) / len(numbers)


def logsumexp(numbers):
    return math.log(sum(math.exp(n) for n in numbers))


def softmax(row):
    total = sum(math.exp(n) for n in row)
    return [math.exp(n) / total for n in row]


def log_softmax(row):
    return [math.log(p) for p in softmax(row)]


def layernorm(row, weight, bias, eps=1e-5):
    m, v = mean(row), var(row)
    return [w * (n - m) / math.sqrt(v + eps) + b for n, w, b in zip(row, weight, bias, strict=True)]


def rmsnorm(row, weight, eps=1e-6):
    size = math.sqrt(mean([n * n for n in row]) + eps)
    return [w * n / size for n, w in zip(row, weight, strict=True)]


def masked_softmax(x, mask):
    """Over the last axis, of the scores that the mask allows; a row without any gives 0."""
    mask, out = np.broadcast_to(mask, x.shape), np.zeros(x.shape)
    for i in np.ndindex(x.shape[:-1]):
        seen = [c for c in range(x.shape[-1]) if mask[(*i, c)]]
        for c, share in zip(seen, softmax([float(x[(*i, c)]) for c in seen]), strict=True):
            out[(*i, c)] = share
    return out


def normalize(row):
    length = max(math.sqrt(sum(n * n for n in row)), 1e-12)
    return [n / length for n in row]


def sigmoid(a):
    return 1 / (1 + math.exp(-a))


def gelu(a):
    return a * 0.5 * math.erfc(-a / math.sqrt(2))


def gelu_tanh(a):
    return a / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (a + 0.044715 * a**3)))


def matmul(a, b):
    if b.ndim == 1:
        return matmul(a, b[:, None])[..., 0]
    if a.ndim == 1:
        return matmul(a[None], b)[..., 0, :]
    stack = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, stack + a.shape[-2:]), np.broadcast_to(b, stack + b.shape[-2:])
    out = np.zeros((*stack, a.shape[-2], b.shape[-1]))
    for *s, m, n in np.ndindex(out.shape):
        for k in range(a.shape[-1]):
            out[(*s, m, n)] += float(a[(*s, m, k)]) * float(b[(*s, k, n)])
    return out


def linear(x, weight, bias=None):
    out = np.zeros((*x.shape[:-1], weight.shape[1]))
    for *i, d in np.ndindex(out.shape):
        total = 0.0 if bias is None else float(bias[d])
        for c in range(x.shape[-1]):
            total += float(x[(*i, c)]) * float(weight[c, d])
        out[(*i, d)] = total
    return out


def embedding(table, ids):
    out = np.empty((*ids.shape, table.shape[1]))
    for i in np.ndindex(ids.shape):
        out[i] = table[int(ids[i])]
    return out


def contrastive(image, text, log_scale, same=None):
    B, z = len(image), np.exp(log_scale).item() * image @ text.T
    counts = [[i == j or same is None or not same[i][j] for j in range(B)] for i in range(B)]
    losses = []
    for i in range(B):
        rows = sum(math.exp(z[i, j] - z[i, i]) for j in range(B) if counts[i][j])
        columns = sum(math.exp(z[j, i] - z[i, i]) for j in range(B) if counts[j][i])
        losses.append((math.log(rows) + math.log(columns)) / 2)
    return np.array(sum(losses) / max(1, B))


def cross_entropy(logits, target, ignore_index=-100, label_smoothing=0.0):
    V, losses = logits.shape[-1], []
    for i in np.ndindex(target.shape):
        if target[i] == ignore_index:
            continue
        log_p = log_softmax([float(n) for n in logits[i]])
        q = [label_smoothing / V + (1 - label_smoothing) * (v == target[i]) for v in range(V)]
        losses.append(-sum(a * b for a, b in zip(q, log_p, strict=True)))
    return np.float64(mean(losses) if losses else 0.0)


def attention(q, k, v, mask=None, bias=None, scale=None):
    (B, H, Tq, D), Tk = q.shape, k.shape[2]
    full = (B, H, Tq, Tk)
    mask = np.ones(full, bool) if mask is None else np.broadcast_to(mask, full)
    bias = np.zeros(full) if bias is None else np.broadcast_to(bias, full)
    scale = 1 / math.sqrt(D) if scale is None else scale
    out = np.zeros((B, H, Tq, v.shape[3]))
    for b, h, t in np.ndindex(B, H, Tq):
        seen = [j for j in range(Tk) if mask[b, h, t, j]]
        scores = [
            scale * sum(float(q[b, h, t, d]) * float(k[b, h, j, d]) for d in range(D)) + float(bias[b, h, t, j])
            for j in seen
        ]
        for share, j in zip(softmax(scores), seen, strict=True):
            for d in range(v.shape[3]):
                out[b, h, t, d] += share * float(v[b, h, j, d])
    return out


def patch_embed(x, weight, bias, stride, offset):
    """stride and offset: one number for each axis."""
    B, kernel, C = len(x), weight.shape[1:-1], weight.shape[-1]
    starts = [
        range(o, n - k + 1, s) for n, k, s, o in zip(x.shape[2:], kernel, stride, offset, strict=True)
    ]  # of the patches that are whole
    tokens = []
    for b in range(B):
        for corner in itertools.product(*starts):
            token = [0.0 if bias is None else float(bias[c]) for c in range(C)]
            for channel, *place in np.ndindex(weight.shape[:-1]):
                pixel = float(x[(b, channel, *(a + p for a, p in zip(corner, place, strict=True)))])
                for c in range(C):
                    token[c] += pixel * float(weight[(channel, *place, c)])
            tokens.append(token)
    return np.array(tokens).reshape(B, -1, C) if B else np.zeros((0, math.prod(len(s) for s in starts), C))


def conv2d(x, weight, bias=None, stride=(1, 1), padding=(0, 0)):
    (h, w, C, D), at = weight.shape, pixels_around(x)
    out = np.empty((len(x), *window_grid(x, (h, w), stride, padding), D))
    for b, i, j, d in np.ndindex(out.shape):
        total = 0.0 if bias is None else float(bias[d])
        for p, q, c in np.ndindex(h, w, C):
            row, column = i * stride[0] + p - padding[0], j * stride[1] + q - padding[1]
            total += at(b, row, column, c, 0.0) * float(weight[p, q, c, d])
        out[b, i, j, d] = total
    return out


def pool2d(reduce, x, size, stride, padding=(0, 0)):
    """`reduce` of the list of numbers in each window; what is padded is not in the list."""
    at = pixels_around(x)
    out = np.empty((len(x), *window_grid(x, size, stride, padding), x.shape[3]))
    for b, i, j, c in np.ndindex(out.shape):
        rows = [i * stride[0] + p - padding[0] for p in range(size[0])]
        columns = [j * stride[1] + q - padding[1] for q in range(size[1])]
        seen = [at(b, r, k, c, None) for r in rows for k in columns]
        out[b, i, j, c] = reduce([n for n in seen if n is not None])
    return out


def window_grid(x, size, stride, padding):
    return [len(range(-p, n + p - k + 1, s)) for n, k, s, p in zip(x.shape[1:3], size, stride, padding, strict=True)]


def pixels_around(x):
    """at(b, row, column, c, otherwise), for pixels beside the picture too."""

    def at(b, row, column, c, otherwise):
        inside = 0 <= row < x.shape[1] and 0 <= column < x.shape[2]
        return float(x[b, row, column, c]) if inside else otherwise

    return at


def batch_norm(x, weight, bias, m=None, v=None, eps=1e-5):
    """By the given mean and variance of every feature, or by its own."""
    out = np.empty(x.shape)
    for c in range(x.shape[-1]):
        own = [float(n) for n in x[..., c].flat]
        mc, vc = (mean(own), var(own)) if m is None else (float(m[c]), float(v[c]))
        for i in np.ndindex(x.shape[:-1]):
            out[(*i, c)] = float(weight[c]) * (float(x[(*i, c)]) - mc) / math.sqrt(vc + eps) + float(bias[c])
    return out


def top_k(row, k):
    """One after the other, the largest that is left; of equal ones the first."""
    left, chosen = list(range(len(row))), []
    for _ in range(k):
        best = left[0]
        for i in left:
            if row[i] > row[best]:
                best = i
        chosen.append(best)
        left.remove(best)
    return chosen


def route(experts, E, capacity, order=None, wanted=None):
    """Queues as people would: {(group, token, k): (expert, place)} of the choices that found a place."""
    places = {}
    for g in range(len(experts)):
        taken = [0] * E
        T, K = np.shape(experts[g])
        for k in range(K):
            for t in range(T) if order is None else order[g]:
                e = int(experts[g][t][k])
                if (wanted is None or wanted[g][t][k]) and taken[e] < capacity:
                    places[g, int(t), k] = e, taken[e]
                    taken[e] += 1
    return places


def gates(logits, experts, renormalise=True):
    out = np.empty(experts.shape)
    for i in np.ndindex(experts.shape[:-1]):
        among = experts[i] if renormalise else range(logits.shape[-1])
        total = sum(math.exp(logits[i][e]) for e in among)
        out[i] = [math.exp(logits[i][e]) / total for e in experts[i]]
    return out


def dispatch(x, places, E, capacity):
    out = np.zeros((E, len(x), capacity, x.shape[-1]))
    for (g, t, _), (e, place) in places.items():
        out[e, g, place] = x[g, t]
    return out


def combine(y, gates, places):
    out = np.zeros((*gates.shape[:2], y.shape[-1]))
    for (g, t, k), (e, place) in places.items():
        out[g, t] += gates[g, t, k] * y[e, g, place]
    return out


def load_balance(logits, first):
    G, T, E = logits.shape
    total = 0.0
    for g in range(G):
        for e in range(E):
            share = sum(int(first[g, t]) == e for t in range(T)) / T
            total += E * share * sum(softmax(logits[g, t])[e] for t in range(T)) / T
    return total / G


def nearest_code(x, codes):
    """x (N, C) -> the places of the nearest codes, and their squared distances."""
    distances = [[sum((float(a) - float(b)) ** 2 for a, b in zip(v, c, strict=True)) for c in codes] for v in x]
    return [row.index(min(row)) for row in distances], [min(row) for row in distances]
