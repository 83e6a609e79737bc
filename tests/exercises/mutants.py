"""Answers that are wrong in the ways in which students are: {part: [(what stands there, what they wrote)]}."""

MUTANTS = {
    "ex03.a": [
        ("xp.maximum(x.max(-1, keepdims=True), xp.finfo(x.dtype).min)", "x.max(-1, keepdims=True)"),
        ("p = x - xp.maximum(x.max(-1, keepdims=True), xp.finfo(x.dtype).min)", "p = x.copy()"),
        ("x.max(-1, keepdims=True)", "x.max()"),
        ("p.sum(-1, keepdims=True)", "p.sum(0, keepdims=True)"),
        ("p.sum(-1, keepdims=True)", "p.max(-1, keepdims=True)"),
        ("xp.maximum(p.sum(-1, keepdims=True), xp.finfo(x.dtype).tiny)", "p.sum(-1, keepdims=True)"),
    ],
    "ex03.b": [
        ("p * (dp - ", "p * (1 - p) * dp if True else (dp - "),
        ("dp - xp", "dp + xp"),
        ("[:, None]), dp, p)", "[:, None]), dp.copy(), p * p)"),
        ('"rc,rc->r", dp, p)[:, None]', '"rc,rc->c", dp, p)[None]'),
        ("p * (dp", "(dp"),
        ('xp.einsum("rc,rc->r", dp, p)[:, None]', "dp.mean(-1, keepdims=True)"),
    ],
    "ex03.c": [
        ("p = logits - logits.max(-1, keepdims=True)", "p = logits.copy()"),
        ("loss = -(1 - s) * p[row, target]", "loss = -p[row, target]"),
        ("loss -= s * p.mean(-1, keepdims=True)", "loss -= s * p.sum(-1, keepdims=True)"),
        ("p *= 1 / (total * rows)", "p *= 1 / total"),
        ("p -= s / (V * rows)", "p -= s / V"),
        ("p[row, target] -= (1 - s) / rows", "p[row, target] -= 1 / rows"),
        ("loss[~counted] = 0", "pass"),
        ("p[~counted[:, 0]] = 0", "pass"),
    ],
}
