"""Optimisers: from gradients to new weights. SGD, AdamW, Adafactor; clipping, schedules, an average of the weights.

A parameter is a Tensor, with `.data` and `.grad` of one shape. Each algorithm is one function on arrays, its paper's
equations line by line, which writes into the parameter; the class around it only keeps the state between steps.

    optimizer = AdamW(decay_groups(model.named_parameters(), weight_decay=0.01), lr=1e-3)
    for step in range(total):
        optimizer.zero_grad()
        model(batch)["loss"].backward()
        clip_grad_norm(optimizer.params, 1.0)
        optimizer.lr = warmup_cosine(step, peak=1e-3, warmup=100, total=total)
        optimizer.step()
"""

import functools
import math
from contextlib import contextmanager

import numpy as np

from .array import CHUNK_BYTES, array_module, evenly, on_gpu, parallel, slices
from .ops import adamw as kernel
from .weights import match

_SMALL = 1 << 16  # numbers of a parameter, at most, that is updated together with others
_BUNDLE = 1 << 18  # numbers, at most, that are updated at a time


class Optimizer:
    """What the three have in common: whose turn it is, and what is remembered.

    params    Tensors, or dicts {"params": Tensors, "lr_scale": 1.0, "weight_decay": ...} for groups that differ
    lr        the learning rate; set `optimizer.lr` before a step to follow a schedule. A group's is lr * lr_scale

    A parameter without gradient is left alone, and its own count of steps stands still. Make the optimiser after the
    model has been moved to its device. A subclass has `moments(x)`, the state of one parameter, and `update(...)`.
    """

    by_elements = True  # what an element becomes depends on no other

    def __init__(self, params, lr, weight_decay=0.0):
        _check("lr", lr, lr >= 0, "at least 0")
        self.lr = lr
        self.params, self.lr_scales, self.weight_decays = [], [], []
        for group in _groups(params):
            members = list(group["params"])
            scale, decay = group.get("lr_scale", 1.0), group.get("weight_decay", weight_decay)
            _check("lr_scale", scale, scale >= 0, "at least 0")
            _check("weight_decay", decay, decay >= 0, "at least 0")
            self.params += members
            self.lr_scales += [scale] * len(members)
            self.weight_decays += [decay] * len(members)
        if not self.params:
            raise ValueError("params: got none, must be at least one Tensor")
        if len({id(p) for p in self.params}) < len(self.params):
            raise ValueError("params: got one Tensor twice, must be once, or it would be updated twice")
        self.steps = np.zeros(len(self.params), np.int64)  # each parameter's own
        self.state = [None] * len(self.params)
        self.bundles = [_Bundle(self, members) for members in self.small_ones()] if self.by_elements else []
        for i, p in enumerate(self.params):
            if self.state[i] is None:
                self.state[i] = self.moments(p.data)

    def zero_grad(self):
        for p in self.params:
            p.grad = None

    def step(self):
        """Changes every parameter that has a gradient, in place, on all cores."""
        due = [i for i, p in enumerate(self.params) if p.grad is not None]
        self.steps[due] += 1
        self.change(due)

    def change(self, due):
        """The step of the parameters that are due, by number."""
        alone, work = set(due), []
        for bundle in self.bundles:
            if alone.issuperset(bundle.members) and len(set(self.steps[bundle.members].tolist())) == 1:
                alone.difference_update(bundle.members)
                work.append((bundle.members[0], bundle.update))
        work += [(i, functools.partial(self.update, piece)) for i in sorted(alone) for piece in self.pieces(i)]

        def update(job):
            i, change = job
            change(float(self.lr) * self.lr_scales[i], int(self.steps[i]), self.weight_decays[i])

        _on_all_cores(update, work, [p.data for p in self.params])

    def small_ones(self):
        """Lists of small parameters, by number, that are updated alike; the numbers of a list are at most _BUNDLE."""
        alike = {}
        for i, p in enumerate(self.params):
            if p.size <= _SMALL and not on_gpu(p.data):
                lists = alike.setdefault((self.lr_scales[i], self.weight_decays[i], p.dtype), [[]])
                if sum(self.params[j].size for j in lists[-1]) + p.size > _BUNDLE:
                    lists.append([])
                lists[-1].append(i)
        return [members for lists in alike.values() for members in lists if len(members) > 1]

    def pieces(self, i):
        """[p, g, *state] of parameter i in pieces that stay in a core's cache: for updates element by element."""
        p = self.params[i]
        arrays = [p.data, p.grad, *self.state[i].values()]
        if on_gpu(p.data) or not p.data.flags.c_contiguous:  # flattening the latter would update a copy
            return [arrays]
        flat = [a.reshape(-1) for a in arrays]
        return [[a[piece] for a in flat] for piece in evenly(p.data.size, -(-p.data.size // _BUNDLE))]

    def state_dict(self):
        """{"steps", "0.mean", "0.square", "1.mean", ...}: parameters by number; the arrays themselves, no copies."""
        moments = {f"{i}.{name}": a for i, state in enumerate(self.state) for name, a in state.items()}
        return {"steps": self.steps} | moments

    def load_state_dict(self, arrays):
        """Copies `arrays` into the state: the next step has the bits that it would have had. Raises WeightsError."""
        _copy_into(self.state_dict(), arrays)


class _Bundle:
    """Small parameters of an optimiser that are updated as one: a call of NumPy costs as much as thousands of numbers.

    Their state lies in one array of each kind, of which `optimizer.state` has views.
    """

    def __init__(self, optimizer, members):
        self.optimizer, self.members = optimizer, members
        self.params = [optimizer.params[i] for i in members]
        self.ends = np.cumsum([0, *(p.size for p in self.params)]).tolist()
        self.state = optimizer.moments(np.empty(self.ends[-1], self.params[0].dtype))
        for i, p, begin, end in zip(members, self.params, self.ends, self.ends[1:], strict=False):
            optimizer.state[i] = {name: a[begin:end].reshape(p.shape) for name, a in self.state.items()}

    def update(self, lr, step, decay):
        data = np.concatenate([p.data.reshape(-1) for p in self.params])
        grad = np.concatenate([p.grad.reshape(-1) for p in self.params])
        self.optimizer.update([data, grad, *self.state.values()], lr, step, decay)
        for p, begin, end in zip(self.params, self.ends, self.ends[1:], strict=False):
            p.data[...] = data[begin:end].reshape(p.shape)


class SGD(Optimizer):
    """Gradient descent, with momentum if asked for. Weight decay is added to the gradient, as in PyTorch."""

    def __init__(self, params, lr, momentum=0.0, weight_decay=0.0, nesterov=False):
        _check("momentum", momentum, 0 <= momentum < 1, "in [0, 1)")
        if nesterov and momentum == 0:
            raise ValueError("nesterov: got True with momentum 0, which has nothing to look ahead with")
        self.momentum, self.nesterov = momentum, nesterov
        super().__init__(params, lr, weight_decay)

    def moments(self, x):
        return {"velocity": _zeros(x, x.shape)} if self.momentum else {}

    def update(self, arrays, lr, step, decay):
        sgd(*arrays, lr=lr, momentum=self.momentum, decay=decay, nesterov=self.nesterov)


def sgd(p, g, velocity=None, *, lr, momentum=0.0, decay=0.0, nesterov=False):
    """v = momentum v + g,   p = p - lr v;   with Nesterov   p = p - lr (g + momentum v).   Sutskever et al. 2013."""
    g = g + decay * p
    if velocity is None:
        p -= lr * g
        return
    velocity *= momentum
    velocity += g
    p -= lr * (g + momentum * velocity) if nesterov else lr * velocity


class AdamW(Optimizer):
    """Adam with decoupled weight decay.   Kingma & Ba 2015, Loshchilov & Hutter 2019."""

    def __init__(self, params, lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01):
        for beta in betas:
            _check("betas", betas, 0 <= beta < 1, "two numbers in [0, 1)")
        _check("eps", eps, eps > 0, "greater than 0")
        self.betas, self.eps = betas, eps
        super().__init__(params, lr, weight_decay)

    def moments(self, x):
        return {"mean": _zeros(x, x.shape), "square": _zeros(x, x.shape)}

    def change(self, due):
        """On a GPU all parameters of a dtype at once, by ops/adamw.cu."""
        together = {}
        for i in due:
            p = self.params[i]
            together.setdefault(p.dtype if kernel.fits(p.data, p.grad, *self.state[i].values()) else None, []).append(i)
        super().change(together.pop(None, []))
        for some in together.values():
            states, params = [self.state[i] for i in some], [self.params[i] for i in some]
            kernel.step(
                [p.data for p in params],
                [p.grad for p in params],
                [state["mean"] for state in states],
                [state["square"] for state in states],
                [self.rates(i) for i in some],
                self.betas,
            )

    def rates(self, i):
        """What the kernel is told of parameter i: see adamw, whose three lines of numbers they are."""
        lr, step, (beta1, beta2) = float(self.lr) * self.lr_scales[i], int(self.steps[i]), self.betas
        root = math.sqrt(1 - beta2**step)
        return lr * root / (1 - beta1**step), self.eps * root, 1 - lr * self.weight_decays[i]

    def update(self, arrays, lr, step, decay):
        adamw(*arrays, lr=lr, step=step, betas=self.betas, eps=self.eps, decay=decay)


def adamw(p, g, mean, square, *, lr, step, betas=(0.9, 0.999), eps=1e-8, decay=0.0):
    """p = p - lr (m' / (sqrt(v') + eps) + decay p)   Loshchilov & Hutter 2019, algorithm 2.

    m and v are running means of g and g^2 that begin at 0; m' and v' are divided by 1 - beta^step, the weight that the
    gradients have in them so far. `decay` is not divided by the root: all weights shrink alike.
    """
    xp, (beta1, beta2) = array_module(p), betas
    g = g.astype(mean.dtype, copy=False)
    change = g * (1 - beta1)  # the only new array: what follows takes its place
    mean *= beta1
    mean += change
    xp.multiply(g, g, out=change)
    change *= 1 - beta2
    square *= beta2
    square += change

    # m' / (sqrt(v') + eps), the two corrections taken out of the arrays: Kingma & Ba 2015, end of sec. 2
    root = math.sqrt(1 - beta2**step)
    xp.sqrt(square, out=change)
    change += eps * root
    xp.divide(mean, change, out=change)
    change *= lr * root / (1 - beta1**step)
    if decay:
        p *= 1 - lr * decay
    p -= change


class Adafactor(Optimizer):
    """Adam's second moment kept as one number a row and one a column.   Shazeer & Stern 2018, arXiv 1804.04235.

    betas             beta1 averages the updates (0: no such state); beta2 caps the paper's growing 1 - step^-0.8
    clip              d: the largest root mean square that the update of one parameter may have
    relative_step     lr is multiplied by min(0.01, 1 / sqrt(step)), sec. 8 (the paper has lr = 1)
    scale_parameter   lr is multiplied by max(eps[1], RMS(p)), sec. 8

    CoCa (sec. 4.1) names betas (0.9, 0.999) and a decoupled weight decay of 0.01, and nothing of the rest. The running
    mean of the updates begins at 0 and is not corrected for it: a warm-up of its own, over the first ten steps.
    """

    by_elements = False

    def __init__(
        self,
        params,
        lr,
        betas=(0.9, 0.999),
        eps=(1e-30, 1e-3),
        clip=1.0,
        weight_decay=0.01,
        relative_step=False,
        scale_parameter=False,
    ):
        _check("betas", betas, 0 <= betas[0] < 1 and 0 <= betas[1] <= 1, "beta1 in [0, 1) and beta2 in [0, 1]")
        _check("eps", eps, min(eps) > 0, "two numbers greater than 0")
        _check("clip", clip, clip > 0, "greater than 0")
        self.betas, self.eps, self.clip = betas, eps, clip
        self.relative_step, self.scale_parameter = relative_step, scale_parameter
        super().__init__(params, lr, weight_decay)

    def moments(self, x):
        if x.ndim < 2:
            square = {"square": _zeros(x, x.shape)}
        else:
            square = {"row": _zeros(x, x.shape[:-1]), "column": _zeros(x, x.shape[:-2] + x.shape[-1:])}
        return square | ({"mean": _zeros(x, x.shape)} if self.betas[0] else {})

    def pieces(self, i):
        p = self.params[i]
        return [[p.data, p.grad, self.state[i]]]  # rows, columns and the root mean square need all of it

    def update(self, arrays, lr, step, decay):
        p, g, state = arrays
        if p.size == 0:
            return
        if self.relative_step:
            lr = lr * min(1e-2, step**-0.5)
        if self.scale_parameter:
            lr = lr * array_module(p).maximum(_rms(p), self.eps[1])
        adafactor(p, g, state, lr=lr, step=step, betas=self.betas, eps=self.eps[0], clip=self.clip, decay=decay)


def adafactor(p, g, state, *, lr, step, betas=(0.9, 0.999), eps=1e-30, clip=1.0, decay=0.0):
    """p = p - lr (m + decay p), m the running mean of clipped updates.   Shazeer & Stern 2018, algorithms 4 and 5.

    state    {"row" (..., R), "column" (..., C)} for p (..., R, C), else {"square"}, p's shape; and "mean" if beta1 > 0

    V, the running mean of g^2, is taken to be r c^T / mean(r), from its row means r and its column means c: exact where
    V has rank 1 (sec. 3). The root is taken factor by factor, for r c^T of tiny gradients would be 0 in float32.
    """
    xp = array_module(p)
    beta2 = min(betas[1], 1 - step**-0.8)  # sec. 7.2; 0 at the first step, so that no bias is to be corrected
    g = g.astype(np.result_type(g.dtype, np.float32), copy=False)
    g2 = g * g
    g2 += eps
    if "square" in state:
        _average(state["square"], g2, beta2)
        update = g / xp.sqrt(state["square"])
    else:
        row, column = state["row"], state["column"]
        _average(row, g2.mean(-1), beta2)
        _average(column, g2.mean(-2), beta2)
        update = g / xp.sqrt(row / row.mean(-1, keepdims=True))[..., None]
        update /= xp.sqrt(column)[..., None, :]
    update /= xp.maximum(_rms(update) / clip, 1.0)  # sec. 6
    if "mean" in state:
        _average(state["mean"], update, betas[0])
        update = state["mean"]
    change = lr * decay * p
    change += lr * update
    p -= change


def _average(mean, x, beta):
    mean *= beta
    mean += (1 - beta) * x


def _rms(x):
    """The root of the mean square of all of x, a number of x's device and of at least float32."""
    dtype = np.result_type(x.dtype, np.float32)
    return array_module(x).sqrt(array_module(x).square(x, dtype=dtype).mean())


def decay_groups(named_parameters, weight_decay):
    """Two groups: matrices decay; vectors and numbers (biases, norms, temperatures) do not, for 0 is not their rest."""
    parameters = [p for _, p in named_parameters]
    matrices = [p for p in parameters if p.data.ndim >= 2]
    vectors = [p for p in parameters if p.data.ndim < 2]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]


def clip_grad_norm(params, max_norm):
    """Scales all gradients so that as one vector they are no longer than `max_norm`.   Pascanu et al. 2013, sec. 3.2.

    params     Tensors, or (name, Tensor) as `named_parameters()` gives them; those without gradient do not count
    returns    the length before clipping, summed in float64, the same bits on any number of cores
    raises     FloatingPointError that names the first parameter (by name, else by position) whose gradient is not
               finite; no gradient has been touched then, and no weight

    New arrays are made, never changed in place: two gradients may be one array, or a view of another's.
    """
    _check("max_norm", max_norm, max_norm > 0, "greater than 0")
    named = [pair if isinstance(pair, tuple) else (f"number {i}", pair) for i, pair in enumerate(params)]
    named = [(name, p) for name, p in named if p.grad is not None]
    squares = _sums_of_squares([p.grad for _, p in named])
    norm = math.sqrt(sum(squares))
    if not math.isfinite(norm):
        name, p = next(((n, p) for (n, p), s in zip(named, squares, strict=True) if not math.isfinite(s)), named[0])
        bad = int((~array_module(p.grad).isfinite(p.grad)).sum())
        raise FloatingPointError(f"gradient of parameter {name}: {bad} of its {p.grad.size} numbers are not finite")
    if norm > max_norm:
        for _, p in named:
            xp = array_module(p.grad)
            p.grad = xp.multiply(p.grad, p.grad.dtype.type(max_norm / norm), out=xp.empty_like(p.grad))
    return norm


def _sums_of_squares(arrays):
    """Of each array, in float64, a cacheful at a time; where the cuts fall depends on the shapes alone."""
    work = []
    for i, x in enumerate(arrays):
        step = max(1, x.size) if on_gpu(x) else CHUNK_BYTES // 8
        work += [(i, x.reshape(-1)[piece]) for piece in slices(x.size, step)]
    parts = [None] * len(work)

    def square(n):
        x = work[n][1].astype(np.float64)
        parts[n] = x @ x

    _on_all_cores(square, range(len(work)), arrays)
    sums = [0.0] * len(arrays)
    for (i, _), part in zip(work, parts, strict=True):
        sums[i] += float(part)
    return sums


def _on_all_cores(body, chunks, arrays):
    """body(chunk) for each; one after the other where `arrays` lie on a GPU, which has its own way of being busy."""
    if any(on_gpu(x) for x in arrays):
        for chunk in chunks:
            body(chunk)
    else:
        parallel(body, chunks)


def warmup_constant(step, peak, warmup, total=None):
    """The learning rate of update `step`, counted from 0: a straight rise over `warmup` updates, then `peak`."""
    _check("step", step, step >= 0, "at least 0")
    return peak * min(1.0, (step + 1) / max(1, warmup))


def warmup_linear(step, peak, warmup, total):
    """A straight rise to `peak` over `warmup` updates, then a straight fall that would be at 0 at update `total`."""
    return warmup_constant(step, peak, warmup) * (1 - _progress(step, warmup, total))


def warmup_cosine(step, peak, warmup, total, floor=0.0):
    """A straight rise to `peak`, then half a cosine to `floor` at update `total`.   Loshchilov & Hutter 2017, eq. 5."""
    if step < warmup:
        return warmup_constant(step, peak, warmup)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * _progress(step, warmup, total)))


def _progress(step, warmup, total):
    """0 until the warm-up is over, 1 from `total` on."""
    _check("total", total, total > warmup, f"greater than warmup ({warmup})")
    return min(1.0, max(0, step - warmup) / (total - warmup))


class WeightAverage:
    """A running mean of the weights over training, often better than the last ones.   Polyak & Juditsky 1992.

    After t updates the weights of update i count with decay^(t - i), divided by the sum of these: where training began
    has no weight of its own, and the mean of a short run is as true as that of a long one.
    """

    def __init__(self, params, decay):
        _check("decay", decay, 0 <= decay < 1, "in [0, 1)")
        self.params, self.decay = list(params), decay
        self.average = [p.data.copy() for p in self.params]
        self.updates = np.zeros((), np.int64)
        self.inside = False

    def update(self):
        """Takes in the present weights: call it after each step."""
        if self.inside:
            raise RuntimeError("WeightAverage.update: the weights are the average itself inside `swapped()`")
        self.updates += 1
        t = int(self.updates)
        beta = self.decay * (1 - self.decay ** (t - 1)) / (1 - self.decay**t)  # 0 at first, then growing to decay
        for a, p in zip(self.average, self.params, strict=True):
            a *= beta
            a += (1 - beta) * p.data

    @contextmanager
    def swapped(self):
        """Inside, the parameters have the averaged weights."""
        if self.inside:
            raise RuntimeError("WeightAverage.swapped: the weights are swapped already")
        self.inside = True
        own = [p.data for p in self.params]
        for p, a in zip(self.params, self.average, strict=True):
            p.data = a
        try:
            yield
        finally:
            for p, x in zip(self.params, own, strict=True):
                p.data = x
            self.inside = False

    def state_dict(self):
        return {"updates": self.updates} | {str(i): a for i, a in enumerate(self.average)}

    def load_state_dict(self, arrays):
        _copy_into(self.state_dict(), arrays)


def _groups(params):
    params = list(params)
    if not params or not isinstance(params[0], dict):
        return [{"params": params}]
    for group in params:
        unknown = set(group) - {"params", "lr_scale", "weight_decay"}
        if unknown or "params" not in group:
            raise ValueError(
                f"params: got a group of {sorted(group)}, must be params, and lr_scale or weight_decay if wanted"
            )
    return params


def _copy_into(own, arrays):
    match({name: a.shape for name, a in own.items()}, {name: a.shape for name, a in arrays.items()})
    for name, a in own.items():
        a[...] = array_module(a).asarray(arrays[name])


def _zeros(x, shape):
    """State beside x: on its device, of its dtype but at least float32 (squares of small float16 numbers are 0)."""
    return array_module(x).zeros(shape, np.result_type(x.dtype, np.float32))


def _check(name, value, holds, wanted):
    if not holds:
        raise ValueError(f"{name}: got {value!r}, must be {wanted}")
