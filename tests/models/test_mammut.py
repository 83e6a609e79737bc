"""MaMMUT, item by item of its paper: two passes of one decoder, both losses, clips, every use, sizes; and it learns."""

import itertools
import math

import numpy as np
import pytest

from minivl import Tensor, gradcheck, nn, no_grad, ops, trace
from minivl.losses import focal_loss
from minivl.models.mammut import PUBLISHED_TUBES, Config, MaMMUT, tube_shapes
from minivl.optim import AdamW
from minivl.weights import load_safetensors, save_safetensors

SMALL = dict(
    image_size=8, patch=4, image_width=8, image_heads=2, image_layers=1, image_hidden=12, vocabulary=13, context=7,
    width=12, heads=2, layers=2, cross_layers=1, hidden=16,
)  # fmt: skip
VIDEO = dict(frames=6, frame_stride=3, tubes="2x4x4/2x4x4@1x0x0 6x2x2/6x4x4@0x1x1")
TEXT = np.array([[1, 5, 6, 7, 8, 2], [1, 9, 10, 2, 0, 0], [1, 11, 2, 0, 0, 0]])
LENGTHS = np.array([6, 4, 3])
REAL = np.arange(6) < LENGTHS[:, None]


def model(dtype=np.float64, seed=0, **changes):
    """Weights that are larger than at the start, so that what does make a difference makes a large one."""
    random = np.random.default_rng(seed)
    made = MaMMUT(Config(**(SMALL | changes)), random).to(dtype)
    for name, p in made.named_parameters():
        if name != "log_scale":
            p.data = np.asarray(p.data + 0.2 * random.standard_normal(p.shape), dtype)
    return made


def batch(dtype=np.float64, text=TEXT, lengths=LENGTHS, seed=1, frames=None):
    shape = (len(text), 3, 8, 8) if frames is None else (len(text), 3, frames, 8, 8)
    images = np.random.default_rng(seed).standard_normal(shape).astype(dtype)
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


# ---- one decoder, two passes -----------------------------------------------------------------------------------------


def test_every_step_of_the_paper_has_a_name_and_a_shape():
    out = arrays(model()(batch()))
    assert {name: a.shape for name, a in out.items()} == {
        "loss": (), "contrastive_loss": (), "caption_loss": (), "patches": (3, 4, 8), "memory": (3, 4, 12),
        "image_embedding": (3, 12), "words": (3, 6, 12), "text_embedding": (3, 12), "similarity": (3, 3),
        "decoded": (3, 6, 12), "logits": (10, 13),
    }  # fmt: skip
    for embedding in ("image_embedding", "text_embedding"):
        np.testing.assert_allclose(np.linalg.norm(out[embedding], axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("changes", [{}, {"cross_layers": 2}, {"contrast": "softmax"}, {"contrast_pass": "causal"}])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_gradient_of_shared_weights_is_the_sum_of_both_passes_bit_for_bit(changes, dtype):
    """Each weight of the decoder and each word is used once a pass, and a + b = b + a: no bit may differ."""
    m, b = model(dtype, **changes), batch(dtype)
    compare = gradients(m(b)["contrastive_loss"], m)
    write = gradients(m(b)["caption_loss"], m)
    both = gradients(m(b)["loss"], m)
    shared = [name for name in both if name.startswith(("decoder.blocks", "decoder.norm", "tokens", "position"))]
    assert len(shared) == 2 * 16 + 2 + 2
    for name in shared:
        assert compare[name].any() and write[name].any() or name.endswith("key.bias"), name
        np.testing.assert_array_equal(both[name], compare[name] + write[name], err_msg=name)
    for name in set(both) - set(shared):  # the ViT is walked back once, with the sum: equal but for rounding
        parts = [g[name] for g in (compare, write) if g[name] is not None]
        floor = max(np.abs(g).max() for g in both.values()) * (1e-13 if dtype is np.float64 else 1e-5)
        np.testing.assert_allclose(both[name], sum(parts), rtol=1e-10, atol=floor, err_msg=name)


def test_what_each_loss_teaches():
    """Comparing reaches neither the cross blocks nor the words out; writing does not reach the temperature."""

    def taught(name):
        return {p.rsplit("blocks.")[0].split(".")[0] + ".cross" * (".cross." in p)
                for p, g in gradients(m(batch())[name], m).items() if g is not None and g.any()}  # fmt: skip

    m = model()
    shared = {"vit", "to_decoder", "tokens", "position", "decoder"}
    assert taught("contrastive_loss") == shared | {"log_scale"}
    assert taught("caption_loss") == shared | {"decoder.cross", "next_token"}
    assert taught("loss") == shared | {"decoder.cross", "next_token", "log_scale"}


def test_the_picture_is_looked_at_once_and_the_decoder_run_twice():
    """Attention: 1 of the ViT; 2 blocks in pass A; 2 blocks and 1 cross block in pass B."""
    with trace() as ran:
        model()(batch())
    assert sum(r.op == "patch_embed" for r in ran) == 1
    assert sum(r.op == "attention" for r in ran) == 1 + 2 + 3


@pytest.mark.parametrize(("weights", "ops_run"), [((1.0, 0.0), 1 + 2), ((0.0, 1.0), 1 + 3)])
def test_a_loss_of_weight_0_costs_nothing(weights, ops_run):
    m = model(contrastive_weight=weights[0], caption_weight=weights[1])
    with trace() as ran:
        out = m(batch())
    assert sum(r.op == "attention" for r in ran) == ops_run
    assert ("contrastive_loss" in out, "caption_loss" in out) == tuple(w > 0 for w in weights)
    other = "contrastive_loss" if weights[0] else "caption_loss"
    assert out["loss"].item() == model()(batch())[other].item()


@pytest.mark.parametrize(("cross_layers", "behind"), [(1, [3]), (2, [1, 3]), (4, [0, 1, 2, 3])])
def test_a_cross_block_stands_behind_each_n_over_m_th_block(cross_layers, behind):
    m = model(layers=4, cross_layers=cross_layers)
    ran = []
    for kind in ("blocks", "cross"):
        for i, block in enumerate(getattr(m.decoder, kind)):
            block.forward = lambda x, *a, _name=(kind, i), **k: ran.append(_name) or x
    m(batch())
    pass_a, pass_b = ran[:4], ran[4:]
    assert pass_a == [("blocks", i) for i in range(4)]
    assert [i for i in range(4) if ("cross", behind.index(i) if i in behind else -1) in pass_b] == behind
    places = [pass_b.index(("blocks", i)) + 1 for i in behind]
    assert [pass_b[p] for p in places] == [("cross", k) for k in range(cross_layers)]


def test_features_are_means_without_pooler_or_projection():
    m = model()
    out = arrays(m(batch()))
    mean = out["memory"].mean(axis=1)
    np.testing.assert_allclose(out["image_embedding"], mean / np.linalg.norm(mean, axis=1, keepdims=True), rtol=1e-12)
    for b, n in enumerate(LENGTHS):
        mean = out["words"][b, :n].mean(axis=0)
        np.testing.assert_allclose(out["text_embedding"][b], mean / np.linalg.norm(mean), rtol=1e-12)
    assert not [name for name, _ in m.named_parameters() if "pool" in name or "projection" in name]


@pytest.mark.parametrize("changes", [{}, {"frames": 6, **VIDEO}], ids=["pictures", "clips"])
def test_whole_model_gradcheck(changes):
    m, b = model(**changes), batch(frames=changes.get("frames"))
    names, parameters = zip(*m.named_parameters(), strict=True)
    assert gradcheck(lambda *_: m(b)["loss"], *parameters, names=names)


def test_whole_model_gradcheck_with_every_option():
    m = model(
        label_smoothing=0.1, dropout=0.2, checkpointed=True, contrastive_weight=0.7, gamma=2.0, crop_positions=1.0
    )
    m.before_step(0.5)
    b = batch() | {"same": np.eye(3, dtype=bool)}
    b["same"][0, 1] = b["same"][1, 0] = True
    names, parameters = zip(*m.named_parameters(), strict=True)
    assert gradcheck(lambda *_: m(b, np.random.default_rng(3))["loss"], *parameters, names=names, seeds=(0,))


def test_every_parameter_has_a_gradient():
    m = model(**VIDEO)
    for name, gradient in gradients(m(batch(frames=6))["loss"], m).items():
        if name.endswith(".key.bias"):  # moves all scores of a query alike, which softmax does not see
            np.testing.assert_allclose(gradient, 0, atol=1e-14, err_msg=name)
        elif name == "tokens.weight":
            np.testing.assert_array_equal(gradient.any(1), np.isin(np.arange(13), TEXT[TEXT > 0]), err_msg=name)
        elif name == "position":
            assert gradient.any(1).tolist() == [True] * 6 + [False]
        else:
            assert np.abs(gradient).max() > 1e-9, name


def test_float32_stays_float32():
    m = model(np.float32, **VIDEO)
    out = m(batch(np.float32, frames=6))
    assert {a.dtype for a in arrays(out).values()} == {np.dtype(np.float32)}
    assert {g.dtype for g in gradients(out["loss"], m).values()} == {np.dtype(np.float32)}


# ---- who sees whom ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("t", range(6))
def test_pass_b_sees_no_later_word_and_pass_a_sees_them_all(t, dtype):
    m, later = model(dtype), TEXT.copy()
    later[0, t] = 12
    with no_grad():
        before, after = arrays(with_logits(m, batch(dtype))), arrays(with_logits(m, batch(dtype, later)))
    np.testing.assert_array_equal(after["logits"][0, :t], before["logits"][0, :t])
    assert (after["logits"][0, t:] != before["logits"][0, t:]).any(-1).all()
    assert (after["words"][0] != before["words"][0]).any(-1).all()
    for name in ("logits", "words", "text_embedding"):
        np.testing.assert_array_equal(after[name][1:], before[name][1:])


@pytest.mark.parametrize("t", range(6))
def test_a_causal_pass_a_sees_no_later_word(t):
    m, later = model(contrast_pass="causal"), TEXT.copy()
    later[0, t] = 12
    with no_grad():
        before, after = (m.read(text, LENGTHS)[0].data for text in (TEXT, later))
    np.testing.assert_array_equal(after[0, :t], before[0, :t])
    assert (after[0, t:] != before[0, t:]).any(-1).all()


def test_where_the_mask_forbids_the_gradient_is_exactly_zero():
    m = model()
    for t in range(6):
        got = gradients(with_logits(m, batch())["logits"][0, t].sum(), m)
        assert got["tokens.weight"].any(1).tolist() == np.isin(np.arange(13), TEXT[0, : t + 1]).tolist()
        assert not got["position"][t + 1 :].any() and got["position"][: t + 1].any(1).all()
    for b, n in enumerate(LENGTHS):  # pass A: every word of its own text, no pad, and no picture
        got = gradients(m(batch())["text_embedding"][b, 0], m)
        assert got["tokens.weight"].any(1).tolist() == np.isin(np.arange(13), TEXT[b, :n]).tolist()
        assert got["position"].any(1).tolist() == [True] * n + [False] * (7 - n)
        silent = [name for name in got if name.startswith(("vit", "to_decoder", "decoder.cross", "next_token"))]
        assert all(got[name] is None or not got[name].any() for name in silent)
    causal = model(contrast_pass="causal")
    got = gradients(causal.read(TEXT, LENGTHS)[0][0, 2].sum(), causal)
    assert got["position"].any(1).tolist() == [True] * 3 + [False] * 4


def test_pass_a_does_not_see_the_picture_and_pass_b_does():
    m = model()
    one, other = arrays(with_logits(m, batch())), arrays(with_logits(m, batch(seed=2)))
    for name in ("words", "text_embedding"):
        np.testing.assert_array_equal(one[name], other[name])
    assert (one["logits"] != other["logits"]).any(-1).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pads_change_nothing(dtype):
    m, others = model(dtype), TEXT.copy()
    others[1, 4:], others[2, 3:] = 7, [12, 1, 5]
    out, changed = with_logits(m, batch(dtype)), with_logits(m, batch(dtype, others))
    for name in ("loss", "contrastive_loss", "caption_loss", "text_embedding", "similarity", "image_embedding"):
        np.testing.assert_array_equal(changed[name].data, out[name].data)
    for name in ("words", "logits"):
        np.testing.assert_array_equal(changed[name].data[REAL], out[name].data[REAL])
    plain, other = gradients(out["loss"], m), gradients(changed["loss"], m)
    for name in plain:
        np.testing.assert_array_equal(other[name], plain[name], err_msg=name)
    assert not plain["tokens.weight"][0].any(), "the pad token gets no gradient, exactly"


def test_padding_further_changes_nothing_but_rounding():
    m, short = model(), batch(text=TEXT[1:, :4], lengths=LENGTHS[1:])
    longer = dict(short, text=np.pad(TEXT[1:, :4], ((0, 0), (0, 3))))
    with no_grad():
        a, b = arrays(with_logits(m, short)), arrays(with_logits(m, longer))
    np.testing.assert_allclose(b["logits"][:, :4], a["logits"], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(b["text_embedding"], a["text_embedding"], rtol=1e-10)
    np.testing.assert_allclose(b["loss"], a["loss"], rtol=1e-12)


def test_without_mask_pads_pads_are_read_and_averaged():
    """As open implementations do: what a text means then depends on how far it was filled up."""
    m, others = model(mask_pads=False), TEXT.copy()
    others[1, 4:] = 7
    with no_grad():
        words, embedding = m.read(TEXT, LENGTHS)
        changed = m.read(others, LENGTHS)[1]
    mean = words.data.mean(axis=1)
    np.testing.assert_allclose(embedding.data, mean / np.linalg.norm(mean, axis=1, keepdims=True), rtol=1e-12)
    assert (changed.data[1] != embedding.data[1]).any() and (changed.data[0] == embedding.data[0]).all()


# ---- the losses ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_focal_loss_is_the_papers_sum_in_plain_loops(gamma):
    m = model(gamma=gamma)
    m.log_scale.data = np.asarray(0.7)
    out = arrays(m(batch()))
    v, w, B = out["image_embedding"], out["text_embedding"], 3

    def direction(of_pair):
        total = 0.0
        for i, j in itertools.product(range(B), range(B)):
            p = 1 / (1 + math.exp(-of_pair(i, j) * math.exp(0.7)))
            p = p if i == j else 1 - p
            total += (1 - p) ** gamma * math.log(p)
        return -total / B

    i2t, t2i = direction(lambda i, j: v[i] @ w[j]), direction(lambda i, j: v[j] @ w[i])
    assert i2t == pytest.approx(t2i, rel=1e-12), "each pair by itself: both directions are one sum"
    assert out["contrastive_loss"] == pytest.approx(i2t + t2i, rel=1e-12)
    np.testing.assert_allclose(out["similarity"], v @ w.T * math.exp(0.7), rtol=1e-12)


def test_softmax_beside_it_is_infonce():
    m = model(contrast="softmax")
    out = arrays(m(batch()))
    log_p = [s - np.log(np.exp(s).sum(1, keepdims=True)) for s in (out["similarity"], out["similarity"].T)]
    assert out["contrastive_loss"] == pytest.approx(-sum(np.diag(x).mean() for x in log_p) / 2, rel=1e-12)


def test_hard_pairs_count_more_the_larger_gamma():
    random = np.random.default_rng(0)
    v, w = (ops.normalize(Tensor(random.standard_normal((4, 6)), requires_grad=True)) for _ in range(2))
    easy, hard = (
        focal_loss(v, w * sign, Tensor(np.log(5.0)), gamma=2.0)[0].item()
        / focal_loss(v, w * sign, Tensor(np.log(5.0)), gamma=0.0)[0].item()
        for sign in (1, -1)
    )
    assert min(easy, hard) > 0 and max(easy, hard) < 1


def test_temperature_starts_at_1_and_is_learned():
    m = MaMMUT(Config(**SMALL), np.random.default_rng(0))
    assert math.exp(-m.log_scale.item()) == 1.0 and m.log_scale.requires_grad
    assert (Config().contrastive_weight, Config().caption_weight, Config().contrast) == (1.0, 1.0, "focal")
    assert Config().contrast_pass == "bidirectional" and Config().mask_pads


@pytest.mark.parametrize("contrast", ["focal", "softmax"])
def test_twins_are_no_negatives(contrast):
    m, b = model(contrast=contrast), batch()
    plain = m(b)["contrastive_loss"].item()
    b["same"] = np.ones((3, 3), bool)
    out = arrays(m(b))
    own = np.diag(out["similarity"])
    p = 1 / (1 + np.exp(-own))
    expected = -2 / 3 * ((1 - p) * np.log(p)).sum() if contrast == "focal" else 0.0
    assert out["contrastive_loss"] == pytest.approx(expected, abs=1e-12) and plain > out["contrastive_loss"] + 0.1


def test_of_a_question_only_the_answer_is_predicted_and_nothing_compared():
    m, given = model(), np.array([4, 2, 2])
    out = m(batch() | {"given": given})
    assert "contrastive_loss" not in out and out["loss"].item() == out["caption_loss"].item()
    logits = m.next_token(out["decoded"]).data
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = [log_p[b, t, TEXT[b, t + 1]] for b in range(3) for t in range(given[b] - 1, LENGTHS[b] - 1)]
    assert len(expected) == 2 + 2 + 1 == len(out["logits"])
    assert out["loss"].item() == pytest.approx(-np.mean(expected), rel=1e-12)


def test_several_questions_of_a_picture_are_those_questions_each_with_a_picture_of_its_own():
    m, b, asked_of = model(), batch(), np.array([2, 0, 2])
    asked = b | {"given": np.array([4, 2, 2]), "asked_of": asked_of}
    apart = {name: value for name, value in asked.items() if name != "asked_of"} | {"image": b["image"][asked_of]}
    together, one_by_one = m(asked), m(apart)
    assert len(together["memory"].data) == 3 == len(one_by_one["memory"].data)
    np.testing.assert_array_equal(together["logits"].data, one_by_one["logits"].data)
    found, expected = gradients(together["loss"], m), gradients(one_by_one["loss"], m)
    for name, gradient in expected.items():
        if gradient is None:
            assert found[name] is None, name
        else:
            np.testing.assert_allclose(found[name], gradient, atol=1e-13, err_msg=name)

    fewer = m(asked | {"image": b["image"][:1], "asked_of": np.zeros(3, np.int64)})
    assert len(fewer["memory"].data) == 1 and len(fewer["decoded"].data) == 3, "it is looked at once"


def test_dropout_is_behind_every_branch_and_checkpointing_keeps_the_bits():
    def run(checkpointed, seed, dropout=0.3):
        m = model(np.float32, dropout=dropout, checkpointed=checkpointed)
        random = None if seed is None else np.random.default_rng(seed)
        out = m(batch(np.float32), random)
        return [out["loss"].data, *gradients(out["loss"], m).values()]

    with trace() as ran:
        model(dropout=0.1)(batch(), np.random.default_rng(0))
    assert sum(r.op == "dropout" for r in ran) == 2 + 2 * 2 + 2 * 2 + 2  # ViT; pass A; pass B and its cross block
    plain = run(False, 1)
    for a, b in zip(plain, run(True, 1), strict=True):
        np.testing.assert_array_equal(a, b)
    assert plain[0] != run(False, 2)[0] and run(False, None)[0] == run(False, 5, dropout=0.0)[0]


# ---- positions of a cropped picture ----------------------------------------------------------------------------------


def test_cropped_positions_are_for_the_last_share_of_the_training():
    m, random = model(crop_positions=0.2), np.random.default_rng
    whole = m.patches(batch()["image"]).data
    m.before_step(0.79)
    np.testing.assert_array_equal(m.patches(batch()["image"], random(0)).data, whole)
    m.before_step(0.8)
    cropped = m.patches(batch()["image"], random(0)).data
    assert (cropped != whole).any(axis=(1, 2)).all()
    assert (m.patches(batch()["image"], random(1)).data != cropped).any()
    np.testing.assert_array_equal(m.patches(batch()["image"]).data, whole)  # in use
    never = model()
    never.before_step(0.999)
    np.testing.assert_array_equal(never.patches(batch()["image"], random(0)).data, whole)


# ---- clips -----------------------------------------------------------------------------------------------------------


def test_a_clip_goes_through_the_vit_once_as_patches_and_tubes():
    m = model(**VIDEO)
    with trace() as ran:
        patches, memory, embedding = m.look(batch(frames=6)["image"])
    N = 2 * 4 + 2 * 4 + 1 * 4  # patches of frames 0 and 3; tubes of frames 1-2 and 3-4; of all six frames
    assert patches.shape == (3, N, 8) and memory.shape == (3, N, 12) and embedding.shape == (3, 12)
    assert sum(r.op == "attention" for r in ran) == 1 and sum(r.op == "patch_embed" for r in ran) == 3
    np.testing.assert_array_equal(m.encode_video(batch(frames=6)["image"]).data, embedding.data)


@pytest.mark.parametrize("tubes", [VIDEO["tubes"], ""])
def test_tokens_of_a_clip_are_what_lies_under_each_tube(tubes):
    m = model(**(VIDEO | {"tubes": tubes}))
    clips, vit, video = batch(frames=6)["image"], m.vit, m.video
    tokens = video(clips, vit).data - video.places(vit.position).data
    expected = []
    for f in (0, 3):
        for y, x in itertools.product((0, 4), (0, 4)):
            expected.append(np.einsum("bchw,chwd->bd", clips[:, :, f, y : y + 4, x : x + 4], vit.patch.data))
        for k in range(4):
            expected[-1 - k] = expected[-1 - k] + vit.patch_bias.data
    if tubes:
        short, long = (kernel.data for kernel in video.kernels)
        for f, y, x in itertools.product((1, 3), (0, 4), (0, 4)):
            cut = clips[:, :, f : f + 2, y : y + 4, x : x + 4]
            expected.append(np.einsum("bcthw,cthwd->bd", cut, short) + video.biases[0].data)
        for y, x in itertools.product((1, 5), (1, 5)):
            cut = clips[:, :, :, y : y + 2, x : x + 2]
            expected.append(np.einsum("bcthw,cthwd->bd", cut, long) + video.biases[1].data)
    np.testing.assert_allclose(tokens, np.stack(expected, axis=1), rtol=1e-10, atol=1e-12)


def test_the_gate_weighs_the_fixed_place_against_the_learned_one():
    m = model(**VIDEO)
    learned, fixed = m.video.reading @ m.vit.position.data, m.video.fixed
    np.testing.assert_allclose(learned[:8], np.tile(m.vit.position.data, (2, 1)), rtol=1e-12)  # patches: a picture's
    for gate, share in ((0.0, 0.5), (-40.0, 0.0), (40.0, 1.0)):
        m.video.gate.data = np.asarray(gate)
        places = m.video.places(m.vit.position).data
        np.testing.assert_allclose(places, share * fixed + (1 - share) * learned, rtol=1e-9, atol=1e-12)
    plain = model(**VIDEO, gated=False)
    learned = plain.video.reading @ plain.vit.position.data
    np.testing.assert_allclose(plain.video.places(plain.vit.position).data, learned + fixed, rtol=1e-12)
    none = model(**VIDEO, fixed_position=False)
    places = none.video.places(none.vit.position).data
    np.testing.assert_allclose(places, none.video.reading @ none.vit.position.data, rtol=1e-12)
    assert none.video.gate is None and plain.video.gate is None


def test_with_fixed_positions_alone_the_order_of_frames_can_be_told():
    m, still = model(**VIDEO), model(**VIDEO, fixed_position=False)
    two = dict(tubes="", frame_stride=1)
    for made, differ in ((model(**(VIDEO | two)), True), (model(**(VIDEO | two), fixed_position=False), False)):
        clips = batch(frames=6)["image"]
        forwards, backwards = made.encode_video(clips).data, made.encode_video(clips[:, :, ::-1]).data
        assert (np.abs(forwards - backwards).max() > 1e-3) == differ
    assert m.num_parameters() == still.num_parameters() + 1


def test_the_published_tubes():
    """TubeViT's numbers of tokens for 32 x 224 x 224: patches, and three shapes of tubes."""
    shapes = tube_shapes(PUBLISHED_TUBES)
    assert shapes[1] == ((12, 4, 4), (6, 32, 32), (4, 8, 8))
    counted = [math.prod(ops.patch_grid((32, 224, 224), *shape)) for shape in shapes]
    assert counted == [2 * 49, 3 * 49, 2 * 49]
    hollow = MaMMUT(Config.base(frames=32), nn.Unallocated())
    assert len(hollow.video.fixed) == sum(counted) + 2 * 14 * 14
    per_frame = 32 * 14 * 14
    assert len(hollow.video.fixed) / per_frame < 0.12


@pytest.mark.parametrize("tubes", ["8x8", "8x8x8/4x4@0x0x0", "8x8x8/4x4x4", "axbxc/1x1x1@0x0x0"])
def test_tubes_that_cannot_be_read(tubes):
    with pytest.raises(ValueError, match="Config.tubes: .* must be like 8x8x8/16x32x32@0x0x0"):
        model(frames=6, tubes=tubes)


def test_clips_that_do_not_fit():
    with pytest.raises(ValueError, match=r"clips \(3, 3, 6, 8, 8\): this model has Config.frames = 1"):
        model().encode_video(batch(frames=6)["image"])
    with pytest.raises(ValueError, match=r"clips \(3, 3, 5, 8, 8\), must be \(B, 3, 6, 8, 8\)"):
        model(**VIDEO).encode_video(batch(frames=5)["image"])


# ---- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "encoder", "decoder", "cross"),
    [("base", 86e6, 100.7e6, None), ("huge", 630e6, 849.3e6, 424.7e6)],
)
def test_published_sizes(preset, encoder, decoder, cross):
    """Only with an MLP in each cross block have nine of them 420M; decoders are counted without their vocabulary."""
    config = getattr(Config, preset)()
    m = MaMMUT(config, nn.Unallocated())
    named = list(m.named_parameters())
    matrices = {part: sum(p.size for name, p in named if name.startswith(f"decoder.{part}") and p.ndim == 2)
                for part in ("blocks", "cross")}  # fmt: skip
    d, h = config.width, config.hidden
    assert matrices["blocks"] == config.layers * (4 * d * d + 2 * d * h) == pytest.approx(decoder, rel=5e-4)
    assert matrices["cross"] == config.cross_layers * (4 * d * d + 2 * d * h)
    assert cross is None or matrices["cross"] == pytest.approx(cross, rel=5e-4)
    assert sum(p.size for name, p in named if name.startswith("vit.")) == pytest.approx(encoder, rel=5e-3)
    assert config.layers // config.cross_layers == 2, "a cross block every two layers"
    assert (config.context, config.image_size, config.crop_positions) == (64, 224, 0.2)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"contrast": "hinge"}, "Config.contrast is 'hinge', must be 'focal' or 'softmax'"),
        ({"contrast_pass": "prefix"}, "Config.contrast_pass is 'prefix', must be 'bidirectional' or 'causal'"),
        ({"layers": 3, "cross_layers": 2}, "Config.cross_layers is 2, must divide Config.layers, 3"),
        ({"contrastive_weight": 0.0, "caption_weight": 0.0}, "are both 0: nothing to learn"),
    ],
)
def test_a_config_that_makes_no_sense(changes, told):
    with pytest.raises(ValueError, match=told):
        model(**changes)


# ---- learning, saving ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", [None, 6], ids=["pictures", "clips"])
def test_it_learns_a_batch_by_heart(frames):
    random = np.random.default_rng(0)
    sizes = dict(width=32, heads=4, image_width=32, image_heads=4, image_hidden=64, hidden=64, temperature=0.1)
    m = MaMMUT(Config(**(SMALL | sizes | (VIDEO if frames else {}))), random)
    text = np.concatenate([np.ones((8, 1), int), random.integers(3, 13, (8, 5)), np.full((8, 1), 2)], axis=1)
    b = batch(np.float32, text, np.full(8, 7), frames=frames)
    optimizer = AdamW(m.parameters(), lr=4e-3, weight_decay=0.0)
    for _ in range(150):
        out = m(b)
        m.zero_grad()
        out["loss"].backward()
        optimizer.step()
    assert out["contrastive_loss"].item() < 0.4 and out["caption_loss"].item() < 0.05
    for found, wanted in zip(m.generate(b["image"]), text, strict=True):
        np.testing.assert_array_equal(found, wanted[1:])
    with no_grad():
        similarity = m.encode_image(b["image"]).data @ m.encode_text(text, b["lengths"]).data.T
    assert (similarity.argmax(0) == np.arange(8)).all() and (similarity.argmax(1) == np.arange(8)).all()


@pytest.mark.parametrize("changes", [{}, VIDEO], ids=["pictures", "clips"])
def test_saved_and_loaded_it_is_the_same(tmp_path, changes):
    one, other = model(np.float32, **changes), model(np.float32, seed=9, **changes)
    save_safetensors(tmp_path / "mammut.safetensors", one.state_dict())
    other.load_state_dict(load_safetensors(tmp_path / "mammut.safetensors"))
    b = batch(np.float32, frames=changes.get("frames"))
    for name, a in arrays(one(b)).items():
        np.testing.assert_array_equal(a, other(b)[name].data, err_msg=name)


# ---- generation ------------------------------------------------------------------------------------------------------


def full_logits(m, image, text):
    """Logits of what follows `text`, by the forward pass of training, which has no cache."""
    text = np.array([text])
    b = {"image": image[None], "text": text, "lengths": np.array([text.shape[1]])}
    return with_logits(m, b)["logits"].data[0, -1]


@pytest.mark.parametrize("changes", [{}, {"layers": 4, "cross_layers": 4}, VIDEO], ids=["1 of 2", "4 of 4", "clips"])
def test_greedy_generation_is_the_argmax_of_the_full_forward(changes):
    m, images = model(seed=4, **changes), batch(frames=changes.get("frames"))["image"]
    texts = m.generate(images)
    for image, text in zip(images, texts, strict=True):
        assert text.dtype == np.int64 and 1 <= len(text) <= 6
        for i, token in enumerate(text):
            assert full_logits(m, image, [1, *text[:i]]).argmax() == token


def test_decode_with_a_cache_gives_the_logits_of_the_full_forward():
    m, b = model(layers=4, cross_layers=2), batch()
    with no_grad():
        whole = arrays(with_logits(m, b))["logits"]
        memory, cache = m.look(b["image"])[1], nn.Cache()
        parts = [m.decode(TEXT[:, t : t + 1], memory, cache).data for t in range(6)]
        np.testing.assert_allclose(m.decode(TEXT, memory).data[0], whole[0], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.concatenate(parts, 1)[REAL], whole[REAL], rtol=1e-10, atol=1e-12)


def test_a_beam_of_one_is_greedy_and_wide_beams_are_no_worse():
    m, images = model(seed=4), batch()["image"]

    def log_p(image, text):
        logits = [full_logits(m, image, [1, *text[:i]]) for i in range(len(text))]
        return sum(x[token] - np.log(np.exp(x).sum()) for x, token in zip(logits, text, strict=True))

    greedy, one, many = (m.generate(images, beams=n) for n in (1, 1, 30))
    for b, image in enumerate(images):
        np.testing.assert_array_equal(greedy[b], one[b])
        if greedy[b][-1] == 2 and many[b][-1] == 2:
            assert log_p(image, many[b]) >= log_p(image, greedy[b]) - 1e-12


def test_prompts_lengths_and_sampling():
    m, images = model(), batch()["image"]
    for image, text in zip(images, m.generate(images, prompt=[5, 6], max_tokens=2), strict=True):
        assert text[:2].tolist() == [5, 6] and 3 <= len(text) <= 4
        assert text[2] == full_logits(m, image, [1, 5, 6]).argmax()
    own = m.generate(images, prompt=[[5], [6], [7]], max_tokens=1)
    assert [text[0] for text in own] == [5, 6, 7]
    assert all(len(text) <= 6 for text in m.generate(images, max_tokens=100)), "no longer than the context"
    with pytest.raises(ValueError, match="prompt has 6 tokens, must leave room for one in 7"):
        m.generate(images, prompt=[5] * 6)
    sampled = [m.generate(images, temperature=2.0, random=np.random.default_rng(s)) for s in (1, 1, 2)]
    same = [all(np.array_equal(a, b) for a, b in zip(sampled[0], other, strict=True)) for other in sampled[1:]]
    assert same == [True, False]


# ---- uses ------------------------------------------------------------------------------------------------------------


class Words:
    """A tokenizer of single words, as MaMMUT uses one."""

    words = ("a", "photo", "of", "red", "cat", "dog", "what", "the")

    def encode(self, text):
        return [3 + self.words.index(word) for word in text.split()]

    def __call__(self, texts, context):
        rows = [[1, *self.encode(text), 2] for text in texts]
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
    captions = m.generate(batch()["image"])
    assert len(captions) == 3 and all(isinstance(c, str) for c in captions)


def test_answers_are_what_the_decoder_writes_behind_each_question():
    """Questions of several lengths, each answered as if it were asked alone."""
    m, images = model(seed=2), batch()["image"]
    m.tokenizer = Words()
    questions = ["what red", "what", "the cat"]
    answers = m.answer(images, questions)
    for image, question, answer in zip(images, questions, answers, strict=True):
        tokens = [1, *Words().encode(question)]
        while len(tokens) < 7 and (token := full_logits(m, image, tokens).argmax()) != 2:
            tokens.append(token)
        assert answer == Words().decode(tokens[1 + len(question.split()) :])
    assert len(m.answer(images, questions, beams=3)) == 3


def test_without_a_tokenizer_the_error_says_so():
    for use in (lambda m: m.encode_text(["a cat"]), lambda m: m.answer(batch()["image"], ["what"] * 3)):
        with pytest.raises(ValueError, match="this model has no tokenizer: load a trained one with minivl.load"):
            use(model())


def test_a_text_that_is_too_long():
    long = np.ones((1, 8), int)
    for use in (lambda m: m.encode_text(long, np.array([8])), lambda m: m.decode(long, Tensor(np.ones((1, 3, 12))))):
        with pytest.raises(ValueError, match="text of 8 tokens, Config.context is 7"):
            use(model())


def test_zero_shot_classification_averages_prompts_and_normalises_twice():
    m, names, templates = model(), ["cat", "dog", "red cat"], ("a photo of {}", "the {}")
    m.tokenizer = Words()
    classifier = m.zeroshot_classifier(names, templates)
    assert classifier.shape == (12, 3) and not classifier.requires_grad
    for i, name in enumerate(names):
        mean = np.mean([m.encode_text([t.format(name)]).data[0] for t in templates], axis=0)
        np.testing.assert_allclose(classifier.data[:, i], mean / np.linalg.norm(mean), rtol=1e-10, atol=1e-12)


def test_a_detectors_map_has_the_patches_where_they_lie():
    m, images = model(), batch()["image"]
    found, patches = m.feature_map(images).data, m.patches(images).data
    assert found.shape == (3, 8, 2, 2)
    for i, j in itertools.product(range(2), range(2)):
        np.testing.assert_array_equal(found[:, :, i, j], patches[:, 2 * i + j])
    np.testing.assert_allclose(m.frozen_features(images).data, m.look(images)[1].data.mean(1), rtol=1e-12)


def test_a_picture_less_its_mean():
    m, images = model(centred=True), batch()["image"]
    np.testing.assert_allclose(m.encode_image(images + 3).data, m.encode_image(images).data, rtol=1e-9, atol=1e-12)
    v, clips = model(centred=True, **VIDEO), batch(frames=6)["image"]
    np.testing.assert_allclose(v.encode_video(clips + 3).data, v.encode_video(clips).data, rtol=1e-9, atol=1e-12)
