"""CoCa, item by item of its paper: what sees what, both losses, every use, the published sizes, and that it learns."""

import itertools
import math

import numpy as np
import pytest

from minivl import Tensor, gradcheck, nn, no_grad, ops, trace
from minivl.generate import generate
from minivl.models.coca import CoCa, Config, PooledClassifier, label_prompt
from minivl.optim import AdamW
from minivl.weights import load_safetensors, save_safetensors

SMALL = dict(
    image_size=8, patch=4, vocabulary=13, context=7, width=8, heads=2, image_layers=1, image_hidden=12,
    unimodal_layers=1, multimodal_layers=2, text_hidden=12, caption_queries=3,
)  # fmt: skip
TEXT = np.array([[1, 5, 6, 7, 8, 2], [1, 9, 10, 2, 0, 0], [1, 11, 2, 0, 0, 0]])
LENGTHS = np.array([6, 4, 3])
KINDS = {"cascade": {}, "parallel": {"pooler": "parallel"}, "no caption pooler": {"caption_queries": 0}}


@pytest.fixture(params=KINDS, ids=KINDS)
def kind(request):
    return KINDS[request.param]


def model(dtype=np.float64, seed=0, **changes):
    """Weights that are larger than at the start, so that what does make a difference makes a large one."""
    random = np.random.default_rng(seed)
    made = CoCa(Config(**(SMALL | changes)), random).to(dtype)
    for name, p in made.named_parameters():
        if name != "log_scale":
            p.data = p.data + (0.2 * random.standard_normal(p.shape)).astype(dtype)
    return made


def batch(dtype=np.float64, text=TEXT, lengths=LENGTHS, seed=1):
    images = np.random.default_rng(seed).standard_normal((len(text), 3, 8, 8)).astype(dtype)
    return {"image": images, "text": text, "lengths": lengths}


def gradients(loss, m):
    m.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in m.named_parameters()}


def with_logits(m, b, *options):
    """m(b), its logits at every token (B, T, V), also at those that predict nothing."""
    out = m(b, *options)
    return {**out, "logits": m.next_token(out["decoded"])}


def arrays(out):
    return {name: t.data for name, t in out.items()}


# ---- the forward pass ------------------------------------------------------------------------------------------------


def test_every_step_of_the_paper_has_a_name_and_a_shape(kind):
    out = arrays(model(**kind)(batch()))
    Q = kind.get("caption_queries", 3) or 4
    assert {name: a.shape for name, a in out.items()} == {
        "loss": (), "contrastive_loss": (), "caption_loss": (),
        "image_tokens": (3, 4, 8), "memory": (3, Q, 8), "image_embedding": (3, 8),
        "words": (3, 6, 8), "text_embedding": (3, 8), "similarity": (3, 3), "decoded": (3, 6, 8),
        "logits": (10, 13),
    }  # fmt: skip
    for embedding in ("image_embedding", "text_embedding"):
        np.testing.assert_allclose(np.linalg.norm(out[embedding], axis=1), 1, rtol=1e-12)


def test_float32_stays_float32():
    m = model(np.float32)
    out = m(batch(np.float32))
    assert {a.dtype for a in arrays(out).values()} == {np.dtype(np.float32)}
    assert {g.dtype for g in gradients(out["loss"], m).values()} == {np.dtype(np.float32)}


def test_one_pass_gives_both_losses():
    """Each layer attends once: 1 of the ViT, 2 poolers, 1 unimodal, 2 multimodal that attend twice."""
    with trace() as ran:
        model()(batch())
    assert sum(r.op == "attention" for r in ran) == 1 + 2 + 1 + 2 * 2
    assert sum(r.op == "patch_embed" for r in ran) == 1


def test_whole_model_gradcheck(kind):
    m, b = model(**kind), batch()
    names, parameters = zip(*m.named_parameters(), strict=True)
    assert gradcheck(lambda *_: m(b)["loss"], *parameters, names=names)


def test_whole_model_gradcheck_with_every_option():
    m, b = model(label_smoothing=0.1, dropout=0.2, checkpointed=True, contrastive_weight=0.7), batch()
    b["same"] = np.eye(3, dtype=bool)
    b["same"][0, 1] = b["same"][1, 0] = True
    names, parameters = zip(*m.named_parameters(), strict=True)
    assert gradcheck(lambda *_: m(b, np.random.default_rng(3))["loss"], *parameters, names=names, seeds=(0,))


def test_every_parameter_has_a_gradient(kind):
    m = model(**kind)
    for name, gradient in gradients(m(batch())["loss"], m).items():
        if name.endswith(".key.bias"):  # moves all scores of a query alike, which softmax does not see
            np.testing.assert_allclose(gradient, 0, atol=1e-14, err_msg=name)
        elif name == "tokens.weight":
            np.testing.assert_array_equal(gradient.any(1), np.isin(np.arange(13), TEXT[TEXT > 0]), err_msg=name)
        elif name == "position":  # of 7 words and [CLS]; the longest text here has 6
            assert gradient.any(1).tolist() == [True] * 6 + [False, True]
        else:
            assert np.abs(gradient).max() > 1e-9, name


# ---- who sees whom ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("t", range(6))
def test_no_word_sees_a_later_word(t, dtype):
    m, later = model(dtype), TEXT.copy()
    later[0, t] = 12
    with no_grad():
        before, after = arrays(with_logits(m, batch(dtype))), arrays(with_logits(m, batch(dtype, later)))
    for name in ("words", "logits"):
        np.testing.assert_array_equal(after[name][0, :t], before[name][0, :t])
        np.testing.assert_array_equal(after[name][1:], before[name][1:])
        assert (after[name][0, t:] != before[name][0, t:]).any(-1).all()
    assert (after["text_embedding"][0] != before["text_embedding"][0]).any(), "[CLS] sees every word"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pads_change_nothing(dtype):
    m, others = model(dtype), TEXT.copy()
    others[1, 4:], others[2, 3:] = 7, [12, 1, 5]
    real = np.arange(6) < LENGTHS[:, None]
    out, changed = with_logits(m, batch(dtype)), with_logits(m, batch(dtype, others))
    for name in ("loss", "contrastive_loss", "caption_loss", "text_embedding", "similarity", "image_embedding"):
        np.testing.assert_array_equal(changed[name].data, out[name].data)
    for name in ("words", "logits"):
        np.testing.assert_array_equal(changed[name].data[real], out[name].data[real])
    plain, other = gradients(out["loss"], m), gradients(changed["loss"], m)
    for name in plain:
        np.testing.assert_array_equal(other[name], plain[name], err_msg=name)
    assert not plain["tokens.weight"][0].any(), "the pad token gets no gradient, exactly"


@pytest.mark.parametrize("T", [6, 7])
def test_padding_further_changes_nothing(T):
    m, short = model(), batch(text=TEXT[1:], lengths=LENGTHS[1:])
    longer = dict(short, text=np.pad(TEXT[1:, :4], ((0, 0), (0, T - 4))))
    short["text"] = TEXT[1:, :4]
    with no_grad():
        a, b = arrays(with_logits(m, short)), arrays(with_logits(m, longer))
    np.testing.assert_allclose(b["logits"][:, :4], a["logits"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(b["text_embedding"], a["text_embedding"], rtol=1e-10)
    np.testing.assert_allclose(b["loss"], a["loss"], rtol=1e-12)


def test_nobody_sees_the_class_token():
    m = model()
    before = arrays(with_logits(m, batch()))
    m.cls.data = m.cls.data + 3
    after = arrays(with_logits(m, batch()))
    for name in ("words", "logits", "caption_loss", "image_embedding"):
        np.testing.assert_array_equal(after[name], before[name])
    assert (after["text_embedding"] != before["text_embedding"]).any(-1).all()


def test_where_the_mask_forbids_the_gradient_is_exactly_zero():
    m = model()
    for t in range(6):  # every word of the first text is another one
        got = gradients(with_logits(m, batch())["logits"][0, t].sum(), m)
        assert got["tokens.weight"].any(1).tolist() == np.isin(np.arange(13), TEXT[0, : t + 1]).tolist()
        assert not got["position"][t + 1 :].any() and got["position"][: t + 1].any(1).all()
        assert got["cls"] is None or not got["cls"].any()
    for b in range(3):
        got = gradients(m(batch())["text_embedding"][b, 0], m)
        assert got["tokens.weight"].any(1).tolist() == np.isin(np.arange(13), TEXT[b, : LENGTHS[b]]).tolist()


def test_what_each_loss_teaches():
    """Contrast does not reach the multimodal half, captions reach neither [CLS] nor the contrastive pooler."""

    def taught(m, name):
        return {p.split(".")[0] for p, g in gradients(m(batch())[name], m).items() if g is not None and g.any()}

    towers = {"vit", "tokens", "position", "unimodal"}
    both = {"cls", "contrastive_pooler", "log_scale"}
    assert taught(model(), "contrastive_loss") == towers | both | {"caption_pooler"}
    assert taught(model(pooler="parallel"), "contrastive_loss") == towers | both
    captions = towers | {"caption_pooler", "multimodal", "next_token"}
    assert taught(model(), "caption_loss") == taught(model(pooler="parallel"), "caption_loss") == captions
    m = model()
    got = gradients(m(batch())["caption_loss"], m)
    assert not got["position"][-1].any(), "the place of [CLS]"
    assert got["unimodal.norm.weight"] is None, "the multimodal half takes the stream as it is"


def test_the_unimodal_half_does_not_see_the_picture():
    m = model()
    one, other = arrays(with_logits(m, batch())), arrays(with_logits(m, batch(seed=2)))
    for name in ("words", "text_embedding"):
        np.testing.assert_array_equal(one[name], other[name])
    assert (one["logits"] != other["logits"]).any(-1).all(), "every word of the multimodal half does"


def test_poolers():
    m = model()
    out = m(batch())
    memory, embedding = m.pool(out["image_tokens"])
    np.testing.assert_array_equal(memory.data, m.caption_pooler(out["image_tokens"]).data)
    np.testing.assert_array_equal(embedding.data, ops.normalize(m.contrastive_pooler(memory)[:, 0]).data)
    parallel = model(pooler="parallel")
    tokens = parallel(batch())["image_tokens"]
    expected = ops.normalize(parallel.contrastive_pooler(tokens)[:, 0])
    np.testing.assert_array_equal(parallel.pool(tokens)[1].data, expected.data)
    without = model(caption_queries=0)
    out = without(batch())
    np.testing.assert_array_equal(out["memory"].data, out["image_tokens"].data)


# ---- the losses ------------------------------------------------------------------------------------------------------


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_contrastive_loss_is_half_of_eq_2():
    """The paper prints the sum of both directions; here, as in CLIP, it is their mean: weight 2 gives the paper's."""
    m, twice = model(), model(contrastive_weight=2.0, caption_weight=0.0)
    out = arrays(m(batch()))
    similarity = out["image_embedding"] @ out["text_embedding"].T / 0.07
    np.testing.assert_allclose(out["similarity"], similarity, rtol=1e-6)
    eq_2 = -(np.diag(log_softmax(out["similarity"])) + np.diag(log_softmax(out["similarity"].T))).sum() / 3
    assert out["contrastive_loss"] == pytest.approx(eq_2 / 2, rel=1e-12)
    assert twice(batch())["loss"].item() == pytest.approx(eq_2, rel=1e-12)


def test_captioning_loss_is_the_mean_over_words():
    out = arrays(with_logits(model(), batch()))
    log_p = log_softmax(out["logits"])
    words = [log_p[b, t, TEXT[b, t + 1]] for b in range(3) for t in range(LENGTHS[b] - 1)]
    assert len(words) == 10 and out["caption_loss"] == pytest.approx(-np.mean(words), rel=1e-12)


@pytest.mark.parametrize(("contrastive", "caption"), [(1.0, 2.0), (0.0, 1.0), (3.0, 0.5)])
def test_weights_of_the_losses(contrastive, caption):
    out = arrays(model(contrastive_weight=contrastive, caption_weight=caption)(batch()))
    expected = contrastive * out["contrastive_loss"] + caption * out["caption_loss"]
    assert out["loss"] == pytest.approx(expected, rel=1e-14)


def test_the_papers_weights_and_temperature_are_the_default():
    for config in (Config(), Config.tiny(), Config.base(), Config.large(), Config.giant()):
        assert (config.contrastive_weight, config.caption_weight, config.pooler) == (1.0, 2.0, "cascade")
    m = CoCa(Config(**SMALL), np.random.default_rng(0))
    assert math.exp(-m.log_scale.item()) == pytest.approx(0.07, rel=1e-6) and m.log_scale.requires_grad


def test_twins_are_no_negatives():
    m, b = model(), batch()
    plain = m(b)["contrastive_loss"].item()
    b["same"] = np.ones((3, 3), bool)
    twins = m(b)["contrastive_loss"].item()
    assert twins == pytest.approx(0, abs=1e-12) and plain > 0.1


def test_smoothed_captions():
    out, smooth = (arrays(with_logits(model(label_smoothing=s), batch())) for s in (0.0, 0.1))
    log_p = log_softmax(out["logits"])
    spread = [log_p[b, t].mean() for b in range(3) for t in range(LENGTHS[b] - 1)]
    assert smooth["caption_loss"] == pytest.approx(0.9 * out["caption_loss"] - 0.1 * np.mean(spread), rel=1e-12)
    assert smooth["contrastive_loss"] == out["contrastive_loss"]


def test_dropout_is_behind_every_branch():
    with trace() as ran:
        model(dropout=0.1)(batch(), np.random.default_rng(0))
    assert sum(r.op == "dropout" for r in ran) == 2 + 2 + 2 * 3  # ViT, unimodal, multimodal


def test_dropout_and_checkpointing():
    def run(checkpointed, seed, dropout=0.3):
        m = model(np.float32, dropout=dropout, checkpointed=checkpointed)
        random = None if seed is None else np.random.default_rng(seed)
        out = m(batch(np.float32), random)
        return [out["loss"].data, *gradients(out["loss"], m).values()]

    plain = run(False, 1)
    for a, b in zip(plain, run(True, 1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert plain[0] != run(False, 2)[0] and run(False, None)[0] == run(False, None, dropout=0.0)[0]


# ---- sizes -----------------------------------------------------------------------------------------------------------


def matrices(m, *roots):
    """How many numbers stand in the matrices of the branches `roots`; biases and normalisations are left out."""
    named = [(name.split(".")[0], p) for name, p in m.named_parameters()]
    return sum(p.size for root, p in named if root in roots and p.ndim == 2)


@pytest.mark.parametrize(
    ("preset", "decoder", "published", "encoder"),
    [("base", 296.48e6, 297e6, 86e6), ("large", 483.39e6, 484e6, 303e6), ("giant", 1179.39e6, 1.1e9, 1e9)],
)
def test_published_sizes(preset, decoder, published, encoder):
    """Only with one MLP a layer and two vocabularies does the decoder have as many numbers as table 1 says."""
    config = getattr(Config, preset)()
    m = CoCa(config, nn.Unallocated())
    d, hidden, n_uni, n_multi = config.width, config.text_hidden, config.unimodal_layers, config.multimodal_layers
    formula = (n_uni + n_multi) * (4 * d * d + 2 * d * hidden) + n_multi * 4 * d * d + 2 * 64000 * d
    counted = matrices(m, "unimodal", "multimodal", "tokens", "next_token")
    assert counted == formula == pytest.approx(decoder, rel=2e-5)
    digits = 0.08 if preset == "giant" else 0.002  # "1.1B" and "1B" are given with less of them
    assert counted == pytest.approx(published, rel=digits)
    whole = sum(p.size for name, p in m.named_parameters() if name.startswith("vit."))
    assert whole == pytest.approx(encoder, rel=digits)
    assert m.num_parameters() > counted + whole


@pytest.mark.parametrize(
    ("preset", "table_1"),
    [
        ("base", (12, 3072, 12, 12, 3072, 768, 12)),
        ("large", (24, 4096, 12, 12, 4096, 1024, 16)),
        ("giant", (40, 6144, 18, 18, 5632, 1408, 16)),
    ],
)
def test_table_1(preset, table_1):
    c = getattr(Config, preset)()
    assert table_1 == (
        c.image_layers, c.image_hidden, c.unimodal_layers, c.multimodal_layers, c.text_hidden, c.width, c.heads
    )  # fmt: skip
    assert (c.image_size, c.patch, c.vocabulary, c.caption_queries) == (288, 18, 64000, 256)
    assert getattr(Config, preset)(image_size=576, width=64).width == 64


def test_input_and_output_words_are_not_tied():
    m = CoCa(Config(**SMALL), np.random.default_rng(0))
    assert m.tokens.weight.shape == (13, 8) and m.next_token.weight.shape == (8, 13)
    assert not np.shares_memory(m.tokens.weight.data, m.next_token.weight.data)


def test_a_cross_attention_layer_has_one_mlp():
    m = CoCa(Config(**SMALL), np.random.default_rng(0))
    names = [name for name, _ in m.named_parameters() if name.startswith("multimodal.blocks.0.")]
    assert sum(".mlp." in name and name.endswith("weight") for name in names) == 2
    assert sum(".attend_memory." in name and name.endswith("weight") for name in names) == 4
    assert not any("attend_memory" in name for name, _ in m.named_parameters() if name.startswith("unimodal."))


def test_a_config_that_makes_no_sense():
    with pytest.raises(ValueError, match="Config.pooler is 'both', must be 'cascade' or 'parallel'"):
        CoCa(Config(**SMALL, pooler="both"), np.random.default_rng(0))


# ---- learning, saving ------------------------------------------------------------------------------------------------


def test_it_learns_a_batch_by_heart():
    random = np.random.default_rng(0)
    m = CoCa(Config(**(SMALL | dict(width=32, heads=4, image_hidden=64, text_hidden=64))), random)
    text = np.concatenate([np.ones((8, 1), int), random.integers(3, 13, (8, 5)), np.full((8, 1), 2)], axis=1)
    b = {"image": random.standard_normal((8, 3, 8, 8)).astype("f"), "text": text, "lengths": np.full(8, 7)}
    optimizer = AdamW(m.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(150):
        out = m(b)
        m.zero_grad()
        out["loss"].backward()
        optimizer.step()
    assert out["contrastive_loss"].item() < 0.02 and out["caption_loss"].item() < 0.05
    for found, wanted in zip(m.generate(b["image"]), text, strict=True):
        np.testing.assert_array_equal(found, wanted[1:])
    with no_grad():
        similarity = m.encode_image(b["image"]).data @ m.encode_text(text, b["lengths"]).data.T
    assert (similarity.argmax(0) == np.arange(8)).all() and (similarity.argmax(1) == np.arange(8)).all()


def test_saved_and_loaded_it_is_the_same(tmp_path):
    one, other = model(np.float32), model(np.float32, seed=9)
    save_safetensors(tmp_path / "coca.safetensors", one.state_dict())
    other.load_state_dict(load_safetensors(tmp_path / "coca.safetensors"))
    for name, a in arrays(one(batch(np.float32))).items():
        np.testing.assert_array_equal(a, other(batch(np.float32))[name].data, err_msg=name)


# ---- generation ------------------------------------------------------------------------------------------------------


def full_logits(m, image, text):
    """Logits of what follows `text`, by the forward pass of training, which has no cache."""
    text = np.array([text])
    b = {"image": image[None], "text": text, "lengths": np.array([text.shape[1]])}
    return with_logits(m, b)["logits"].data[0, -1]


def test_greedy_generation_is_the_argmax_of_the_full_forward(kind):
    m, images = model(seed=4, **kind), batch()["image"]
    texts = m.generate(images)
    for image, text in zip(images, texts, strict=True):
        assert text.dtype == np.int64 and 1 <= len(text) <= 6
        for i, token in enumerate(text):
            assert full_logits(m, image, [1, *text[:i]]).argmax() == token
    assert len({tuple(t) for t in texts}) > 1, "the pictures of this seed have different captions"


def test_decode_with_a_cache_gives_the_logits_of_the_full_forward():
    m, b = model(), batch()
    with no_grad():
        whole = arrays(with_logits(m, b))["logits"]
        memory, cache = m.look(b["image"])[1], nn.Cache()
        parts = [m.decode(TEXT[:, t : t + 1], memory, cache).data for t in range(6)]
        np.testing.assert_allclose(m.decode(TEXT, memory).data[0], whole[0], rtol=1e-10, atol=1e-12)
    real = np.arange(6) < LENGTHS[:, None]
    np.testing.assert_allclose(np.concatenate(parts, 1)[real], whole[real], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_beam_search_finds_the_likeliest_caption(seed):
    m, images = model(seed=seed, vocabulary=5, context=5), batch(seed=seed)["image"][:2]
    others, longest = (0, 1, 3, 4), 4
    ended = [t + (2,) for n in range(longest) for t in itertools.product(others, repeat=n)]
    with no_grad():
        for image, found in zip(images, m.generate(images, beams=4**3), strict=True):
            memory = m.look(image[None])[1]
            texts = np.array([(1, *t) + (0,) * (longest - len(t)) for t in ended])
            log_p = log_softmax(m.decode(texts[:, :-1], memory[np.zeros(len(texts), int)]).data)
            score = [sum(log_p[i, j, token] for j, token in enumerate(t)) for i, t in enumerate(ended)]
            assert tuple(found) == ended[int(np.argmax(score))]


def test_a_beam_of_one_is_greedy_and_wider_beams_are_no_worse():
    m, images = model(seed=4), batch()["image"]

    def log_p(image, text):
        return sum(log_softmax(full_logits(m, image, [1, *text[:i]]))[token] for i, token in enumerate(text))

    greedy, one, two, many = (m.generate(images, beams=n) for n in (1, 1, 2, 30))
    for b, image in enumerate(images):
        np.testing.assert_array_equal(greedy[b], one[b])
        if greedy[b][-1] == 2 and two[b][-1] == 2 and many[b][-1] == 2:
            assert log_p(image, many[b]) >= max(log_p(image, greedy[b]), log_p(image, two[b])) - 1e-12


@pytest.mark.parametrize("beams", [2, 3, 5])
def test_beam_search_with_a_cache_is_that_without(beams):
    m, images = model(seed=3, context=12), batch()["image"]  # long texts, between which the beams change places
    with no_grad():
        memory = m.look(images)[1][np.repeat(np.arange(3), beams)]
        read = np.empty((3 * beams, 0), int)

        def step(tokens):
            nonlocal read
            read = np.concatenate([read, tokens], axis=1)
            return m.decode(read, memory).data[:, -1]

        def select(rows):
            nonlocal read
            read = read[rows]

        expected = generate(step, np.ones((3, 1), int), end=2, max_tokens=11, beams=beams, select=select)
    for found, text in zip(m.generate(images, beams=beams), expected, strict=True):
        np.testing.assert_array_equal(found, text)


def test_prompts_lengths_and_sampling():
    m, images = model(), batch()["image"]
    for image, text in zip(images, m.generate(images, prompt=[5, 6], max_tokens=2), strict=True):
        assert text[:2].tolist() == [5, 6] and 3 <= len(text) <= 4
        assert text[2] == full_logits(m, image, [1, 5, 6]).argmax()
    assert all(len(text) <= 6 for text in m.generate(images, max_tokens=100)), "no longer than the context"
    sampled = [m.generate(images, temperature=2.0, random=np.random.default_rng(s)) for s in (1, 1, 2)]
    same = [all(np.array_equal(a, b) for a, b in zip(sampled[0], other, strict=True)) for other in sampled[1:]]
    assert same == [True, False]
    assert [len(t) for t in m.generate(images, temperature=1.0, top_k=1, random=np.random.default_rng(0))] == [
        len(t) for t in m.generate(images)
    ]


# ---- uses ------------------------------------------------------------------------------------------------------------


class Words:
    """A tokenizer of single words, as CoCa uses one."""

    words = ("a", "photo", "of", "red", "cat", "dog", "drawing", "the")

    def __call__(self, texts, context):
        self.asked = list(texts), context
        rows = [[1, *(3 + self.words.index(w) for w in text.split()), 2] for text in texts]
        T = max(map(len, rows))
        return np.array([r + [0] * (T - len(r)) for r in rows]), np.array([len(r) for r in rows])

    def decode(self, tokens):
        return " ".join(self.words[t - 3] for t in tokens if 3 <= t < 11)


def test_encoding():
    m = model()
    m.tokenizer = Words()
    out = arrays(m(batch()))
    np.testing.assert_array_equal(m.encode_image(batch()["image"]).data, out["image_embedding"])
    np.testing.assert_array_equal(m.encode_text(TEXT, LENGTHS).data, out["text_embedding"])
    texts = ["a red cat", "photo of a dog"]
    np.testing.assert_array_equal(m.encode_text(texts).data, m.encode_text(*Words()(texts, 7)).data)
    assert m.encode_text("a cat").shape == (1, 8) and m.tokenizer.asked == (["a cat"], 7)
    captions = m.generate(batch()["image"])
    assert len(captions) == 3 and all(isinstance(c, str) for c in captions)


def test_without_a_tokenizer_the_error_says_so():
    with pytest.raises(ValueError, match="this model has no tokenizer: load a trained one with minivl.load"):
        model().encode_text(["a cat"])


def test_a_text_that_is_too_long():
    long = np.ones((1, 8), int)
    for use in (lambda m: m.encode_text(long, np.array([8])), lambda m: m.decode(long, Tensor(np.ones((1, 3, 8))))):
        with pytest.raises(ValueError, match="text of 8 tokens, Config.context is 7"):
            use(model())


def test_zero_shot_classification_averages_prompts_and_normalises_twice():
    m, names, templates = model(), ["cat", "dog", "red cat"], ("a photo of {}", "the {}")
    m.tokenizer = Words()
    classifier = m.zeroshot_classifier(names, templates)
    assert classifier.shape == (8, 3) and not classifier.requires_grad
    for i, name in enumerate(names):
        each = [m.encode_text([t.format(name)]).data[0] for t in templates]
        np.testing.assert_allclose(np.linalg.norm(each, axis=1), 1, rtol=1e-12)
        mean = np.mean(each, axis=0)
        assert np.linalg.norm(mean) < 0.9999
        np.testing.assert_allclose(classifier.data[:, i], mean / np.linalg.norm(mean), rtol=1e-10, atol=1e-12)
    scores = m.encode_image(batch()["image"]) @ classifier
    assert scores.shape == (3, 3) and (np.abs(scores.data) <= 1).all()


def test_a_video_is_the_mean_of_its_frames():
    m, clips = model(), np.random.default_rng(0).standard_normal((2, 3, 5, 8, 8))
    for b, got in enumerate(m.encode_video(clips).data):
        mean = m.encode_image(clips[b].transpose(1, 0, 2, 3)).data.mean(0)
        np.testing.assert_allclose(got, mean / np.linalg.norm(mean), rtol=1e-10, atol=1e-12)


def test_the_tokens_of_a_video_are_those_of_all_frames():
    m, clips = model(), np.random.default_rng(0).standard_normal((2, 3, 5, 8, 8))
    tokens = m.video_tokens(clips)
    assert tokens.shape == (2, 5 * 4, 8)
    for f in range(5):
        np.testing.assert_allclose(
            tokens.data[:, 4 * f : 4 * f + 4], m.vit(clips[:, :, f]).data, rtol=1e-10, atol=1e-12
        )
    head = PooledClassifier(8, 2, 10, np.random.default_rng(0)).to(np.float64)
    assert head(tokens).shape == (2, 10)
    memory, embedding = m.pool(tokens)  # the model's own poolers take all frames as well
    assert memory.shape == (2, 3, 8) and embedding.shape == (2, 8)


def test_decoder_features_are_what_the_words_are_predicted_from():
    m = model()
    features = m.decoder_features(batch())
    assert features.shape == (3, 6, 8)
    np.testing.assert_array_equal(m.next_token(features).data, with_logits(m, batch())["logits"].data)


@pytest.mark.parametrize("pairs", [1, 2])
def test_a_new_pooler_on_frozen_features(pairs):
    """3,129 answers of VQA, 3 of SNLI-VE, two pictures of NLVR2: only the head learns, and pads make no difference."""
    m, head = model(), PooledClassifier(8, 2, 3, np.random.default_rng(0), pairs=pairs).to(np.float64)
    with no_grad():
        features = [m.decoder_features(batch(seed=s)) for s in range(pairs)]
    assert head.classify.weight.shape == (8 * pairs, 3)
    gradcheck(lambda *_: head(*features, lengths=[LENGTHS] * pairs), *head.parameters(), seeds=(0,))
    out = head(*features, lengths=[LENGTHS] * pairs)
    assert out.shape == (3, 3)
    changed = [Tensor(np.where((np.arange(6) < LENGTHS[:, None])[..., None], f.data, 99.0)) for f in features]
    np.testing.assert_array_equal(head(*changed, lengths=[LENGTHS] * pairs).data, out.data)
    assert (head(*features).data != out.data).any()
    out.sum().backward()
    assert all(p.grad is None for p in m.parameters())
    if pairs == 2:
        assert (head(*features[::-1], lengths=[LENGTHS] * 2).data != out.data).any(), "left and right are told apart"
        with pytest.raises(ValueError):
            head(*features, lengths=[LENGTHS])


def test_labels_as_text():
    labels = ["cat", "animal", "pet"]
    random = np.random.default_rng(0)
    prompts = {label_prompt(labels, random) for _ in range(100)}
    assert prompts == {"a photo of the " + ", ".join(p) for p in itertools.permutations(labels)}
    assert label_prompt(["cat"], random) == "a photo of the cat" and labels == ["cat", "animal", "pet"]


def test_preprocess_gives_what_encode_image_takes():
    m = model(np.float32)
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    x = m.preprocess(picture)
    assert x.shape == (3, 8, 8) and x.dtype == np.float32 and -1 <= x.min() < x.max() <= 1
    assert m.encode_image(x[None]).shape == (1, 8)
