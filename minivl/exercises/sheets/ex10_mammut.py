"""MaMMUT: one decoder, two passes.

CoCa has a half for reading and a half for writing. MaMMUT has one decoder for both: once over the text alone, every
word seeing every word, to be compared with pictures; once causal, with the picture, to write. The same weights, another
mask, and blocks that are skipped.

    pass A    l = mean over words of D(text), bidirectional, no cross-attention
    pass B    D(text | picture), causal, a cross block behind each N/M-th
    focal     L = -2/B sum_ij (1 - p_ij)^gamma log p_ij,  p = sigma(z) where i = j, else 1 - sigma(z)

You will need: exercise 7; log sigma(z) = -softplus(-z). About 2 hours. Read models/mammut.py from its top.
"""

import numpy as np

from ..sheet import check, close, equal, holds, scenario

FILES = ("minivl/losses.py", "minivl/models/mammut.py")


@scenario
def focal(image, text, log_scale, same, gamma):
    from minivl import Tensor
    from minivl.losses import focal_loss

    tensors = [Tensor(a, requires_grad=True) for a in (image, text, log_scale)]
    loss, logits = focal_loss(*tensors, same if same.size else None, gamma=gamma)
    loss.backward()
    return loss.numpy(), logits.numpy(), *(t.grad for t in tensors)


def _model(**changes):
    from minivl.models.mammut import Config, MaMMUT

    sizes = dict(width=16, image_heads=2, heads=2, image_size=16, patch=8, image_layers=1, layers=4, cross_layers=2)
    config = Config.tiny(vocabulary=20, context=8, **{**sizes, **changes})
    return MaMMUT(config, np.random.default_rng(0)).to("float64")


@scenario
def blocks_in_order(with_memory, layers, cross_layers):
    """Which blocks the decoder runs: i for self-attention i, 100 + i for cross block i."""
    from minivl import Tensor

    decoder, ran = _model(layers=int(layers), cross_layers=int(cross_layers)).decoder, []

    def watched(number):
        def run(x, *arguments, **options):
            ran.append(number)
            return x

        return run

    decoder.blocks = [watched(i) for i in range(int(layers))]
    decoder.cross = [watched(100 + i) for i in range(int(cross_layers))]
    x = Tensor(np.ones((1, 2, 16)))
    decoder(x, np.ones((2, 2), bool), Tensor(np.ones((1, 3, 16))) if with_memory else None)
    return np.array(ran)


@scenario
def decoded(x, memory):
    """The decoder's output with a causal mask, and what its blocks give by hand."""
    from minivl import Tensor, masks

    decoder, mask = _model().decoder, masks.causal(x.shape[1])
    out = decoder(Tensor(x), mask, Tensor(memory)).numpy()
    y = Tensor(x)
    for i, block in enumerate(decoder.blocks):
        y = block(y, mask=mask)
        if i % 2:
            y = decoder.cross[i // 2](y, Tensor(memory))
    return out, decoder.norm(y).numpy()


@scenario
def read(text, lengths, mask_pads, contrast_pass):
    words, embedding = _model(mask_pads=bool(mask_pads), contrast_pass=contrast_pass).read(text, lengths)
    return words.numpy(), embedding.numpy()


def _pairs(random, B=5, C=4):
    image, text = random.standard_normal((2, B, C))
    length = lambda a: a / np.linalg.norm(a, axis=-1, keepdims=True)  # noqa: E731
    return length(image), length(text), np.array(0.7)


def _focal(image, text, log_scale, same, gamma):
    import math

    total, B = 0.0, len(image)
    for i in range(B):
        for j in range(B):
            if i != j and same is not None and same[i, j]:
                continue
            z = float(image[i] @ text[j]) * math.exp(log_scale)
            p = 1 / (1 + math.exp(-z)) if i == j else 1 / (1 + math.exp(z))
            total += (1 - p) ** gamma * math.log(p)
    return -2 / B * total


@check("ex10.a", "L = -2/B sum_ij (1 - p_ij)^gamma log p_ij")
def focal_loss_of_every_pair(run, random):
    """The sign of the pairs; one direction for two; gamma at the wrong factor; twins that are counted."""
    image, text, log_scale = _pairs(random)
    twins = np.eye(5, dtype=bool)
    twins[1, 3] = twins[3, 1] = True
    for gamma in (0.0, 1.0, 2.5):
        for same in (np.zeros(0, bool), twins):
            loss, logits, *_ = run(focal, image, text, log_scale, same, gamma=gamma)
            wanted = _focal(image, text, log_scale, same if same.size else None, gamma)
            close(f"L (gamma {gamma})", loss, wanted, 1e-11)
            close("logits", logits, image @ text.T * np.exp(log_scale), 1e-11)


@check("ex10.a", "its derivative by the temperature")
def focal_loss_learns_its_temperature(run, random):
    """A part that no gradient flows through."""
    image, text, log_scale = _pairs(random)
    none, eps = np.zeros(0, bool), 1e-5
    ends = [_focal(image, text, log_scale + s * eps, None, 1.0) for s in (1, -1)]
    close("d log_scale", run(focal, image, text, log_scale, none, gamma=1.0)[4], (ends[0] - ends[1]) / (2 * eps), 1e-6)


@check("ex10.a", "log p of a hopeless pair is finite")
def focal_loss_does_not_overflow(run, random):
    image, text, _ = _pairs(random)
    loss, *_ = run(focal, image, -image, np.array(7.0), np.zeros(0, bool), gamma=1.0)
    holds(bool(np.isfinite(loss)), "L is not finite")


@check("ex10.b", "a cross block behind each N/M-th, none without a memory")
def cross_blocks_in_their_places(run, random):
    """Before in place of behind; cross-attention in pass A; a cross block behind every block."""
    for layers, cross in ((4, 2), (4, 4), (4, 1), (6, 2)):
        every, wanted = layers // cross, []
        for i in range(layers):
            wanted += [i] + ([100 + i // every] if (i + 1) % every == 0 else [])
        equal("blocks with memory", run(blocks_in_order, with_memory=True, layers=layers, cross_layers=cross), wanted)
        equal("without", run(blocks_in_order, with_memory=False, layers=layers, cross_layers=cross), range(layers))


@check("ex10.b", "D(x | memory)")
def decoder_by_hand(run, random):
    """The mask or the last norm forgotten."""
    out, wanted = run(decoded, random.standard_normal((2, 5, 16)), random.standard_normal((2, 4, 16)))
    close("output", out, wanted, 1e-12)


@check("ex10.c", "l = mean over the words, which all see each other and no pad")
def pads_are_not_read(run, random):
    """The mean over pads too; pads that are seen; a causal mask."""
    text, lengths = random.integers(3, 20, (4, 8)), np.array([8, 3, 5, 1])
    _, embedding = run(read, text, lengths, mask_pads=True, contrast_pass="bidirectional")
    for b, n in enumerate(lengths):
        words, alone = run(read, text[b : b + 1, :n], lengths[b : b + 1], mask_pads=True, contrast_pass="bidirectional")
        close("embedding beside the sentence alone", embedding[b], alone[0], 1e-9)
        mean = words[0].mean(0)
        close("embedding", alone[0], mean / np.linalg.norm(mean), 1e-9)


@check("ex10.c", "bidirectional: the first word sees the last; causal: it does not")
def who_sees_whom(run, random):
    text, lengths = random.integers(3, 20, (1, 6)), np.array([6])
    changed = text.copy()
    changed[0, -1] = 3 + (changed[0, -1] - 2) % 17
    for contrast_pass, moves in (("bidirectional", True), ("causal", False)):
        options = dict(mask_pads=True, contrast_pass=contrast_pass)
        before, after = (run(read, t, lengths, **options)[0] for t in (text, changed))
        holds(np.array_equal(before[0, 0], after[0, 0]) != moves, f"{contrast_pass}: the first word and the last")


@check("ex10.c", "without mask_pads, the mean is over all positions")
def parity_mode(run, random):
    text, lengths = random.integers(3, 20, (2, 6)), np.array([2, 4])
    words, embedding = run(read, text, lengths, mask_pads=False, contrast_pass="bidirectional")
    mean = words.mean(1)
    close("embedding", embedding, mean / np.linalg.norm(mean, axis=-1, keepdims=True), 1e-9)
