"""CLIP, item by item of its paper: both towers, who sees whom, the loss, the start, every use, sizes, learning."""

import math

import numpy as np
import pytest

from minivl import Tensor, gradcheck, nn, no_grad, trace
from minivl.losses import contrastive_loss
from minivl.models.clip import CLIP, LARGEST_SCALE, SEVEN_TEMPLATES, Config
from minivl.optim import AdamW
from minivl.weights import load_safetensors, save_safetensors

SMALL = dict(
    embedding=6, image_size=16, image_width=8, image_heads=2, patch=8, image_layers=2, image_blocks=(1, 1),
    vocabulary=13, context=7, text_width=8, text_heads=2, text_layers=2,
)  # fmt: skip
TEXT = np.array([[1, 5, 6, 7, 8, 2], [1, 9, 10, 2, 0, 0], [1, 11, 2, 0, 0, 0]])
LENGTHS = np.array([6, 4, 3])
KINDS = {"vit": {}, "resnet": {"image_encoder": "resnet", "image_width": 4}}


@pytest.fixture(params=KINDS, ids=KINDS)
def kind(request):
    return KINDS[request.param]


def model(dtype=np.float64, seed=0, **changes):
    """Weights that are larger than at the start, so that what does make a difference makes a large one."""
    random = np.random.default_rng(seed)
    made = CLIP(Config(**(SMALL | changes)), random).to(dtype)
    for name, p in made.named_parameters():
        if name not in ("log_scale", "bias"):
            p.data = p.data + (0.2 * random.standard_normal(p.shape)).astype(dtype)
    return made


def batch(dtype=np.float64, text=TEXT, lengths=LENGTHS, seed=1):
    images = np.random.default_rng(seed).standard_normal((len(text), 3, 16, 16)).astype(dtype)
    return {"image": images, "text": text, "lengths": lengths}


def gradients(loss, m):
    m.zero_grad()
    loss.backward()
    return {name: p.grad for name, p in m.named_parameters()}


def arrays(out):
    return {name: t.data for name, t in out.items()}


def log_softmax(x):
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


# ---- the forward pass ------------------------------------------------------------------------------------------------


def test_every_step_of_the_paper_has_a_name_and_a_shape(kind):
    out = arrays(model(**kind)(batch()))
    assert {name: a.shape for name, a in out.items()} == {
        "loss": (), "image_features": (3, 6 if kind else 8), "text_features": (3, 8),
        "image_embedding": (3, 6), "text_embedding": (3, 6), "similarity": (3, 3),
    }  # fmt: skip
    for embedding in ("image_embedding", "text_embedding"):
        np.testing.assert_allclose(np.linalg.norm(out[embedding], axis=1), 1, rtol=1e-12)


def test_float32_stays_float32(kind):
    m = model(np.float32, **kind)
    out = m(batch(np.float32))
    assert {a.dtype for a in arrays(out).values()} == {np.dtype(np.float32)}
    assert {g.dtype for g in gradients(out["loss"], m).values()} == {np.dtype(np.float32)}
    assert {a.dtype for a in m.state_dict().values()} == {np.dtype(np.float32)}, "running statistics too"


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_whole_model_gradcheck(kind, loss):
    m, b = model(loss=loss, **kind), batch()
    names, parameters = zip(*m.named_parameters(), strict=True)
    assert gradcheck(lambda *_: m(b)["loss"], *parameters, names=names, seeds=(0, 1))


def test_whole_model_gradcheck_with_every_option(kind):
    m, b = model(dropout=0.2, checkpointed=True, quick_gelu=False, centred=True, **kind).eval(), batch()
    b["same"] = np.eye(3, dtype=bool)
    b["same"][0, 1] = b["same"][1, 0] = True
    names, parameters = zip(*m.named_parameters(), strict=True)
    assert gradcheck(lambda *_: m(b, random=np.random.default_rng(3))["loss"], *parameters, names=names, seeds=(0,))


def test_every_parameter_has_a_gradient(kind):
    m = model(**kind)
    for name, gradient in gradients(m(batch())["loss"], m).items():
        if name.endswith(".key.bias"):  # moves all scores of a query alike, which softmax does not see
            np.testing.assert_allclose(gradient, 0, atol=1e-14, err_msg=name)
        elif name == "tokens.weight":
            np.testing.assert_array_equal(gradient.any(1), np.isin(np.arange(13), TEXT[TEXT > 0]), err_msg=name)
        elif name == "position":  # of 7 places; the longest text here has 6
            assert gradient.any(1).tolist() == [True] * 6 + [False]
        else:
            assert np.abs(gradient).max() > 1e-9, name


def test_quick_gelu_is_the_default_and_can_be_switched_off():
    for quick, name in ((True, "quick_gelu"), (False, "gelu")):
        with trace() as ran:
            model(quick_gelu=quick)(batch())
        assert [r.op for r in ran if "gelu" in r.op] == [name] * 4


# ---- who sees whom ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_word_sees_a_later_word(dtype):
    m, mask = model(dtype), np.tri(6, dtype=bool)
    with no_grad():
        x = m.tokens(TEXT) + m.position[:6]
        before = m.text_encoder(x, mask=mask).data
        for t in range(6):
            later = TEXT.copy()
            later[0, t] = 12
            after = m.text_encoder(m.tokens(later) + m.position[:6], mask=mask).data
            np.testing.assert_array_equal(after[0, :t], before[0, :t])
            assert (after[0, t:] != before[0, t:]).any(-1).all()
            np.testing.assert_array_equal(after[1:], before[1:])


def test_the_text_is_what_its_end_token_has_read():
    m, end = model(), LENGTHS - 1
    x = m.text_encoder(m.tokens(TEXT) + m.position[:6], mask=np.tri(6, dtype=bool)).data
    features = m.text_features(TEXT, LENGTHS).data
    np.testing.assert_allclose(features, x[np.arange(3), end], rtol=1e-12)
    assert (TEXT[np.arange(3), end] == 2).all()
    expected = features @ m.text_projection.weight.data
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(m.encode_text(TEXT, LENGTHS).data, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pads_change_nothing_although_no_mask_hides_them(dtype):
    m, others = model(dtype), TEXT.copy()
    others[1, 4:], others[2, 3:] = 7, [12, 1, 5]
    out, changed = m(batch(dtype)), m(batch(dtype, others))
    np.testing.assert_array_equal(changed["text_embedding"].data, out["text_embedding"].data)
    plain, other = gradients(out["loss"], m), gradients(changed["loss"], m)
    for name in plain:
        np.testing.assert_array_equal(other[name], plain[name], err_msg=name)
    assert not plain["tokens.weight"][0].any(), "the pad token gets no gradient, exactly"


def test_the_image_is_what_the_class_token_has_seen():
    m = model()
    tokens, features = m.image_encoder(batch()["image"]), m.image_features(batch()["image"])
    assert tokens.shape == (3, 1 + 4, 8)
    np.testing.assert_array_equal(features.data, tokens.data[:, 0])


def test_the_towers_do_not_see_each_other(kind):
    m = model(**kind)
    one, other = arrays(m(batch())), arrays(m(batch(seed=2)))
    np.testing.assert_array_equal(one["text_embedding"], other["text_embedding"])
    assert (one["image_embedding"] != other["image_embedding"]).any(-1).all()


def test_in_use_a_picture_does_not_depend_on_its_neighbours(kind):
    m = model(**kind)
    m(batch())
    m.eval()
    images = batch()["image"]
    alone = np.concatenate([m.encode_image(images[i : i + 1]).data for i in range(3)])
    np.testing.assert_allclose(m.encode_image(images).data, alone, rtol=1e-10)


# ---- the loss --------------------------------------------------------------------------------------------------------


def test_the_loss_is_figure_3():
    out = arrays(model()(batch()))
    logits = out["image_embedding"] @ out["text_embedding"].T / 0.07
    np.testing.assert_allclose(out["similarity"], logits, rtol=1e-6)
    rows, columns = (-np.diag(log_softmax(z)).mean() for z in (out["similarity"], out["similarity"].T))
    assert out["loss"] == pytest.approx((rows + columns) / 2, rel=1e-12)


def test_the_temperature_is_clipped_after_a_step():
    m = model(np.float32)
    assert math.exp(m.log_scale.item()) == pytest.approx(1 / 0.07, rel=1e-6)
    for before, after in ((4.0, 4.0), (4.6, 4.6), (4.7, LARGEST_SCALE), (-1.0, -1.0)):
        m.log_scale.data = t = np.full((), before, np.float32)
        m.after_step()
        assert m.log_scale.data is t, "an optimiser goes on writing into it"
        assert m.log_scale.item() == pytest.approx(after, rel=1e-6) and m.log_scale.dtype == np.float32
    m.log_scale.data = np.full((), 7.0, np.float32)
    with no_grad():  # using it clips nothing
        assert np.abs(m(batch(np.float32))["similarity"].data).max() > 101


def test_the_sigmoid_loss_has_a_bias_and_is_not_clipped():
    m = model(loss="sigmoid")
    assert m.bias.item() == -10 and m.log_scale.item() == pytest.approx(math.log(10))
    out = arrays(m(batch()))
    z = 2 * np.eye(3) - 1
    assert out["loss"] == pytest.approx(np.log1p(np.exp(-z * out["similarity"])).sum() / 3, rel=1e-12)
    m.log_scale.data = np.full((), 7.0)
    m.after_step()
    assert m.log_scale.item() == 7
    assert model().bias is None


def test_twins_are_no_negatives():
    for loss in ("softmax", "sigmoid"):
        m, b = model(loss=loss), batch()
        m.log_scale.data = np.full((), 1.0)
        plain = m(b)["loss"].item()
        b["same"] = np.ones((3, 3), bool)
        twins = m(b)["loss"].item()
        assert twins < plain and (loss == "sigmoid" or twins == pytest.approx(0, abs=1e-12))


# ---- the start: the authors' code ------------------------------------------------------------------------------------


def spread(tensor, std):
    assert tensor.data.std() == pytest.approx(std, rel=0.1)
    assert abs(tensor.data.mean()) < 0.1 * std


def evenly(tensor, bound):
    spread(tensor, bound / 3**0.5)
    assert 0.9 * bound < np.abs(tensor.data).max() <= bound * (1 + 1e-6)


def test_weights_at_the_start_of_the_text_tower():
    W, L = 64, 6
    config = Config(text_width=W, text_layers=L, vocabulary=300, context=77, embedding=32)
    m = CLIP(config, np.random.default_rng(0))
    spread(m.tokens.weight, 0.02)
    spread(m.position, 0.01)
    spread(m.text_projection.weight, W**-0.5)
    for block in m.text_encoder.blocks:
        for linear in (block.attend.query, block.attend.key, block.attend.value):
            spread(linear.weight, W**-0.5)
        spread(block.attend.out.weight, W**-0.5 * (2 * L) ** -0.5)
        spread(block.mlp.down.weight, W**-0.5 * (2 * L) ** -0.5)
        spread(block.mlp.up.weight, (2 * W) ** -0.5)
        assert not any(x.bias.data.any() for x in vars(block.attend).values() if isinstance(x, nn.Linear))


def test_weights_at_the_start_of_the_vit():
    C = 64
    m = CLIP(Config(image_width=C, embedding=100), np.random.default_rng(0))
    vit = m.image_encoder
    for tensor in (vit.position, m.image_projection.weight):
        spread(tensor, C**-0.5)
    assert vit.cls.data.std() == pytest.approx(C**-0.5, rel=0.3)
    evenly(vit.patch, (3 * 8 * 8) ** -0.5)
    for block in vit.transformer.blocks:
        for linear in (block.attend.query, block.attend.key, block.attend.value):
            evenly(linear.weight, (6 / (C + 3 * C)) ** 0.5)
            assert not linear.bias.data.any()
        evenly(block.attend.out.weight, C**-0.5)
        evenly(block.mlp.up.weight, C**-0.5)
        evenly(block.mlp.down.weight, (4 * C) ** -0.5)
        assert block.mlp.up.bias.data.any() and not block.attend.out.bias.data.any()


def test_weights_at_the_start_of_the_resnet():
    m = CLIP(Config.tiny_resnet(image_width=16), np.random.default_rng(0))
    net = m.image_encoder
    for stage in net.stages:
        for block in stage.blocks:
            assert not block.norm3.weight.data.any() and (block.norm2.weight.data == 1).all()
    evenly(net.stages[1].blocks[0].conv2.weight, (9 * 32) ** -0.5)
    C = 64 * 4
    spread(net.pool.position, C**-0.5)
    for linear in (net.pool.attend.query, net.pool.attend.key, net.pool.attend.value, net.pool.attend.out):
        spread(linear.weight, C**-0.5)


# ---- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "embedding", "size", "total", "visual"),
    [
        ("rn50", 1024, 224, 102_007_137, 38_316_896),
        ("rn101", 512, 224, 119_688_033, 56_259_936),
        ("rn50x4", 640, 288, 178_300_601, 87_137_080),
        ("rn50x16", 768, 384, 290_979_217, 167_328_912),
        ("rn50x64", 1024, 448, 623_258_305, 420_380_352),
        ("vit_b_32", 512, 224, 151_277_313, 87_849_216),
        ("vit_b_16", 512, 224, 149_620_737, 86_192_640),
        ("vit_l_14", 768, 224, 427_616_513, 303_966_208),
    ],
)
def test_published_sizes(preset, embedding, size, total, visual):
    config = getattr(Config, preset)()
    m = CLIP(config, nn.Unallocated())
    assert m.num_parameters() == total
    assert sum(p.size for name, p in m.named_parameters() if name.startswith("image_")) == visual
    assert (config.embedding, config.image_size, config.context, config.vocabulary) == (embedding, size, 77, 49408)
    assert (config.pad_token, config.start_token, config.end_token) == (0, 49406, 49407) and config.quick_gelu
    assert config.text_width == 64 * config.text_heads and config.text_layers == 12
    assert getattr(Config, preset)(context=16).context == 16


def test_a_published_size_can_be_made_narrower():
    m = CLIP(Config.rn50x4(image_width=10, image_heads=5, text_width=8, text_heads=2, text_layers=1), nn.Unallocated())
    assert m.image_encoder.pool.position.shape == (82, 320) and len(m.image_encoder.stages[2].blocks) == 10


def test_configs_that_make_no_sense():
    with pytest.raises(ValueError, match="Config.image_encoder is 'mlp', must be 'vit' or 'resnet'"):
        CLIP(Config(**SMALL, image_encoder="mlp"), np.random.default_rng(0))
    with pytest.raises(ValueError, match="Config.loss is 'hinge', must be 'softmax' or 'sigmoid'"):
        CLIP(Config(**SMALL, loss="hinge"), np.random.default_rng(0))


# ---- learning, saving ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["softmax", "sigmoid"])
def test_it_learns_a_batch_by_heart(kind, loss):
    random = np.random.default_rng(0)
    wide = dict(image_width=16 if kind else 32, image_heads=4, text_width=32, text_heads=4, embedding=32, loss=loss)
    m = CLIP(Config(**(SMALL | kind | wide)), random)
    text = np.concatenate([np.ones((8, 1), int), random.integers(3, 13, (8, 5)), np.full((8, 1), 2)], axis=1)
    b = {"image": random.standard_normal((8, 3, 16, 16)).astype("f"), "text": text, "lengths": np.full(8, 7)}
    optimizer = AdamW(m.parameters(), lr=3e-3, weight_decay=0.0)
    for _ in range(80):
        out = m(b)
        m.zero_grad()
        out["loss"].backward()
        optimizer.step()
        m.after_step()
    assert out["loss"].item() < (0.1 if loss == "softmax" else 0.2) and m.log_scale.item() < LARGEST_SCALE + 1e-6
    m.eval()
    with no_grad():
        similarity = m.encode_image(b["image"]).data @ m.encode_text(text, b["lengths"]).data.T
    assert (similarity.argmax(0) == np.arange(8)).all() and (similarity.argmax(1) == np.arange(8)).all()


def test_saved_and_loaded_it_is_the_same(kind, tmp_path):
    one, other = model(np.float32, **kind), model(np.float32, seed=9, **kind)
    one(batch(np.float32))  # moves the running statistics
    save_safetensors(tmp_path / "clip.safetensors", one.state_dict())
    other.load_state_dict(load_safetensors(tmp_path / "clip.safetensors"))
    for name, a in arrays(one.eval()(batch(np.float32))).items():
        np.testing.assert_array_equal(a, other.eval()(batch(np.float32))[name].data, err_msg=name)


# ---- uses ------------------------------------------------------------------------------------------------------------


class Words:
    """A tokenizer of single words, as CLIP uses one."""

    words = ("a", "photo", "of", "red", "cat", "dog", "drawing", "the")

    def __call__(self, texts, context):
        self.asked = list(texts), context
        rows = [[1, *(3 + self.words.index(w) for w in text.split()), 2] for text in texts]
        T = max(map(len, rows))
        return np.array([r + [0] * (T - len(r)) for r in rows]), np.array([len(r) for r in rows])


def test_encoding(kind):
    m = model(**kind).eval()
    m.tokenizer = Words()
    out = arrays(m(batch()))
    np.testing.assert_array_equal(m.encode_image(batch()["image"]).data, out["image_embedding"])
    np.testing.assert_array_equal(m.encode_text(TEXT, LENGTHS).data, out["text_embedding"])
    np.testing.assert_array_equal(m.frozen_features(batch()["image"]).data, out["image_features"])
    texts = ["a red cat", "photo of a dog"]
    np.testing.assert_array_equal(m.encode_text(texts).data, m.encode_text(*Words()(texts, 7)).data)
    assert m.encode_text("a cat").shape == (1, 6) and m.tokenizer.asked == (["a cat"], 7)


def test_errors_of_use():
    with pytest.raises(ValueError, match="this model has no tokenizer: load a trained one with minivl.load"):
        model().encode_text(["a cat"])
    with pytest.raises(ValueError, match="text of 8 tokens, Config.context is 7"):
        model().encode_text(np.ones((1, 8), int), np.array([8]))
    with pytest.raises(ValueError, match=r"images \(1, 3, 8, 8\), must be \(B, 3, 16, 16\)"):
        model().encode_image(np.ones((1, 3, 8, 8)))


def test_zero_shot_classification_averages_prompts_and_normalises_twice():
    m, names, templates = model(), ["cat", "dog", "red cat"], ("a photo of {}", "the {}")
    m.tokenizer = Words()
    classifier = m.zeroshot_classifier(names, templates)
    assert classifier.shape == (6, 3) and not classifier.requires_grad
    for i, name in enumerate(names):
        each = [m.encode_text([t.format(name)]).data[0] for t in templates]
        np.testing.assert_allclose(np.linalg.norm(each, axis=1), 1, rtol=1e-12)
        mean = np.mean(each, axis=0)
        assert np.linalg.norm(mean) < 0.9999
        np.testing.assert_allclose(classifier.data[:, i], mean / np.linalg.norm(mean), rtol=1e-10, atol=1e-12)
    scores = m.encode_image(batch()["image"]) @ classifier
    assert scores.shape == (3, 3) and (np.abs(scores.data) <= 1).all()
    assert len(set(SEVEN_TEMPLATES)) == 7 and all(t.count("{}") == 1 for t in SEVEN_TEMPLATES)


def test_preprocess_gives_what_encode_image_takes():
    m = model(np.float32)
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    x = m.preprocess(picture)
    assert x.shape == (3, 16, 16) and x.dtype == np.float32
    black = m.preprocess(np.zeros((16, 16, 3), np.uint8))
    np.testing.assert_allclose(black[:, 0, 0], [-1.7923, -1.7521, -1.4802], atol=1e-4)
    assert m.encode_image(x[None]).shape == (1, 6)


def test_centred_pictures_have_no_mean():
    m, images = model(centred=True), batch()["image"]
    np.testing.assert_allclose(m.encode_image(images + 3.0).data, m.encode_image(images).data, rtol=1e-9)
    assert (model().encode_image(images + 3.0).data != model().encode_image(images).data).any()


def test_it_writes_no_captions():
    assert not hasattr(model(), "generate")


def test_gradients_of_chunks_add_up_to_those_of_the_batch():
    """A batch too large for memory: features chunk by chunk, the loss of all of them, and back chunk by chunk."""
    m, b = model(), batch()
    whole = gradients(m(b)["loss"], m)
    with no_grad():
        out = m(b)
    embedded = [Tensor(out[name].data, requires_grad=True) for name in ("image_embedding", "text_embedding")]
    m.zero_grad()
    contrastive_loss(*embedded, m.log_scale)[0].backward()
    for rows in ([0], [1, 2]):
        image = m.encode_image(b["image"][rows])
        text = m.encode_text(TEXT[rows], LENGTHS[rows])
        for part, d in zip((image, text), embedded, strict=True):
            part.backward(d.grad[rows])
    for name, p in m.named_parameters():
        np.testing.assert_allclose(p.grad, whole[name], rtol=1e-9, atol=1e-12, err_msg=name)
