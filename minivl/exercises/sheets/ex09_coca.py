"""CoCa: one text, read in halves.

The lower half of the decoder reads the text alone, a class token behind it for the contrast; the upper half looks at
the picture, and writes. Two poolers ask the picture: one for the caption, and one, once, for the contrast. Most
mistakes in published CoCas are in these few lines.

    words and [CLS]    [w_1 ... w_T, w_cls] -> causal, [CLS] sees words but no pads -> text embedding
    poolers            memory = Attend(Q_cap, patches),  x = Attend(q_con, memory)
    next word          sentence y_1 ... y_n: y_t predicts y_(t+1), n - 1 times

You will need: exercises 7 and 8, or their solutions at hand. About 2 hours. Read models/coca.py from its top.
"""

import numpy as np

from ..sheet import check, close, equal, holds, scenario

FILES = ("minivl/losses.py", "minivl/models/coca.py")
LEFT_OUT = ("minivl/models/open_clip_coca.py",)


@scenario
def next_tokens(text, lengths, given):
    from minivl.losses import next_tokens

    return next_tokens(text, lengths, -7, given if given.size else None)


def _model(pooler="cascade"):
    from minivl.models.coca import CoCa, Config

    sizes = dict(width=16, heads=2, image_size=16, patch=8, image_layers=1, unimodal_layers=2, multimodal_layers=1)
    config = Config.tiny(vocabulary=20, context=8, caption_queries=3, pooler=pooler, **sizes)
    return CoCa(config, np.random.default_rng(0)).to("float64")


@scenario
def pooled(patches, pooler):
    """memory and embedding, and whom the contrastive pooler would have had to ask."""
    from minivl import Tensor, ops

    model = _model(pooler)
    memory, embedding = model.pool(Tensor(patches))
    right = model.caption_pooler(Tensor(patches)).numpy() if model.caption_pooler else patches
    asked = {"cascade": right, "parallel": patches}[pooler]
    wanted = ops.normalize(model.contrastive_pooler(Tensor(asked))[:, 0]).numpy()
    return memory.numpy(), embedding.numpy(), np.asarray(right), wanted


@scenario
def read(text, lengths):
    words, embedding = _model().read(text, lengths)
    return words.numpy(), embedding.numpy()


@scenario
def read_by_hand(text, lengths):
    """Each sentence alone, without pads, the class token at its end: what [CLS] then reads."""
    from minivl import Tensor, masks, ops

    model, words, embeddings = _model(), [], []
    for ids, n in zip(text, lengths, strict=True):
        x = model.tokens(ids[None, :n]) + model.position[: int(n)]
        cls = model.cls + model.position[-1]
        x = ops.cat([x, Tensor(np.zeros((1, 1, 16))) + cls], axis=1)
        x = model.unimodal.stream(x, mask=masks.causal(int(n) + 1))
        words.append(np.zeros((len(ids), 16)))
        words[-1][:n] = x.numpy()[0, :n]
        embeddings.append(ops.normalize(model.unimodal.norm(x[:, int(n)])).numpy()[0])
    return np.stack(words), np.stack(embeddings)


def _texts(random, B=5, T=8):
    text, lengths = random.integers(3, 20, (B, T)), random.integers(2, T + 1, B)
    lengths[0] = T
    text[np.arange(T) >= lengths[:, None]] = 0
    return text, lengths


@check("ex09.a", "n tokens predict n - 1")
def every_word_predicts_the_next(run, random):
    """The word itself; the end token predicting a pad; a shift to the other side."""
    for B, T in ((5, 8), (1, 2), (3, 4)):
        text, lengths = _texts(random, B, T)
        for given in (np.zeros(0, int), random.integers(1, 3, B)):
            wanted = np.full((B, T), -7)
            for b in range(B):
                for t in range(lengths[b] - 1):
                    if not given.size or t + 1 >= given[b]:
                        wanted[b, t] = text[b, t + 1]
            equal("next tokens", run(next_tokens, text, lengths, given), wanted)


@check("ex09.b", "memory = Attend(Q_cap, X), x = Attend(q_con, memory)")
def poolers_ask_in_turn(run, random):
    """Cascade and parallel exchanged; an embedding that is not of length 1."""
    patches = random.standard_normal((2, 4, 16))
    for pooler in ("cascade", "parallel"):
        memory, embedding, right, wanted = run(pooled, patches, pooler=pooler)
        close(f"memory ({pooler})", memory, right, 1e-12)
        close(f"embedding ({pooler})", embedding, wanted, 1e-12)
        close("its length", (embedding**2).sum(-1), np.ones(2), 1e-9)


@check("ex09.c", "[CLS] reads the words of its sentence, and nothing else")
def class_token_reads_the_sentence(run, random):
    """[CLS] at the wrong place; pads that are read; the norm of the wrong half left out."""
    text, lengths = _texts(random, T=6)  # shorter than the context: the class token's place is not that of a word
    words, embedding = run(read, text, lengths)
    words_alone, alone = run(read_by_hand, text, lengths)
    close("text embedding", embedding, alone, 1e-9)
    real = np.arange(6) < lengths[:, None]
    holds(words.shape == (5, 6, 16), f"words have shape {words.shape}, must be (5, 6, 16): [CLS] is not among them")
    close("words", words[real], words_alone[real], 1e-9)


@check("ex09.c", "no word sees [CLS], or a later word")
def words_see_no_later_word(run, random):
    text, lengths = _texts(random)
    lengths[:] = 8
    changed = text.copy()
    changed[:, 5] = 3 + (changed[:, 5] - 2) % 17
    before, after = run(read, text, lengths)[0], run(read, changed, lengths)[0]
    holds(np.array_equal(before[:, :5], after[:, :5]), "a word before the changed one has changed")
    holds(not np.array_equal(before[:, 5:], after[:, 5:]), "the changed word makes no difference")
