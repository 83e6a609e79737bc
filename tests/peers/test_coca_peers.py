"""open_clip's CoCa: random weights through the name map, the same features, logits, losses and gradients.

Its traps, met on the way: text_decoder.text_projection is never initialised; the mask of [CLS] is shifted by one, and
its mending is no setting; with two poolers image features are (B, 1, E), which its loss cannot take.
"""

import json

import numpy as np
import pytest

from minivl import pretrained
from minivl.models import open_clip_coca
from minivl.nn import Unallocated
from minivl.weights import coca_names, load_safetensors
from minivl.weights.names import to_theirs

pytestmark = pytest.mark.peer

CONTEXT = 15


def build(torch, open_clip, pooler, image_width, dtype):
    """A small CoCa, every weight random, and what of it the file does not tell."""
    torch.manual_seed(0)
    text = dict(context_length=CONTEXT, vocab_size=99, width=32, heads=4, layers=2)
    image = dict(image_size=16, layers=2, width=image_width, head_width=8, patch_size=8, output_tokens=True)
    pool = dict(attentional_pool=pooler, attn_pooler_heads=4, attn_pooler_queries=6)
    model = open_clip.CoCa(
        embed_dim=32,
        multimodal_cfg=dict(text, attn_pooler_heads=4),
        text_cfg=dict(text, embed_cls=True, output_tokens=True),
        vision_cfg=dict(image, **pool),
    )
    torch.nn.init.normal_(model.text_decoder.text_projection, std=32**-0.5)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)
    heads = dict(text_heads=4, image_heads=image_width // 8, pooler_heads=4)
    return model.to(getattr(torch, dtype)).eval(), heads


def losses(torch, open_clip, model, images, ids):
    """(outputs, contrastive loss, caption loss), weighted 1 and 2."""
    out = model(images, ids)
    if out["image_features"].ndim == 3:
        out["image_features"] = out["image_features"].squeeze(1)
    return out, open_clip.CoCaLoss(caption_loss_weight=2.0, clip_loss_weight=1.0)(**out, output_dict=True)


def batch(torch, dtype):
    ids = torch.randint(1, 97, (3, CONTEXT))
    lengths = torch.tensor([CONTEXT, 9, 4])
    for row, n in zip(ids, lengths, strict=True):
        row[n:] = 0
    return torch.randn(3, 3, 16, 16, dtype=getattr(torch, dtype)), ids, lengths


def moved(torch, model, path, told, dtype):
    torch.save(model.state_dict(), path)
    ours = pretrained.load_pretrained(path, "coca", **told).to(dtype)
    ours.load_state_dict(pretrained.read(path, "coca", **told).arrays)  # again, in full precision
    return ours


POOLERS = {  # open_clip's setting, width of the image tower, ours
    "shared": (True, 48, "shared"),
    "shared, equal widths": (True, 32, "shared"),
    "parallel": ("parallel", 32, "parallel"),
    "cascade": ("cascade", 32, "cascade"),
}


@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("pooler", POOLERS)
def test_coca_agrees(torch, open_clip_models, tmp_path, dtype, agree, agree_in_gradients, pooler, shifted):
    setting, width, own = POOLERS[pooler]
    model, heads = build(torch, open_clip_models, setting, width, dtype)
    model.text.correct_cls_mask = not shifted
    ours = moved(torch, model, tmp_path / "w.pt", dict(heads, pooler=own, shifted_mask=shifted), dtype)
    images, ids, lengths = batch(torch, dtype)
    theirs, their_losses = losses(torch, open_clip_models, model, images, ids)
    sum(their_losses.values()).backward()
    out = ours({"image": images.numpy(), "text": ids.numpy(), "lengths": lengths.numpy()})
    out["loss"].backward()
    agree(out["image_embedding"], theirs["image_features"])
    agree(out["text_embedding"], theirs["text_features"])
    counted = torch.arange(CONTEXT - 1) < lengths[:, None] - 1
    agree(out["logits"], theirs["logits"][counted])
    agree(out["contrastive_loss"], their_losses["contrastive_loss"])
    agree(out["caption_loss"] * 2.0, their_losses["caption_loss"])
    agree_in_gradients(ours, model, coca_names.rules("open_clip", ours.config))


def test_shorter_batches_texts_and_captions_are_those_of_a_full_context(torch, open_clip_models, tmp_path):
    model, heads = build(torch, open_clip_models, True, 48, "float64")
    ours = moved(torch, model, tmp_path / "w.pt", heads, "float64")
    images, ids, lengths = batch(torch, "float64")
    with torch.no_grad():
        text = model.encode_text(ids).numpy()
        logits = model(images, ids, output_labels=False)["logits"].numpy()
    short = ids[1:, :9].numpy()
    assert np.abs(ours.encode_text(short, lengths[1:].numpy()).numpy() - text[1:]).max() < 1e-12
    decoded = ours.decode(short, ours.look(images[1:].numpy())[0]).numpy()
    for row, n in enumerate(lengths[1:]):  # decoding knows no pads, for what is generated has none
        assert np.abs(decoded[row, :n] - logits[row + 1, :n]).max() < 1e-11

    memory = ours.look(images.numpy())[0]
    captions = ours.generate(images.numpy(), max_tokens=5)
    for i, caption in enumerate(captions):  # greedy, and the cache changes nothing
        tokens = [ours.config.start_token]
        for token in caption:
            best = ours.decode(np.array([tokens]), memory[i : i + 1]).numpy()[0, -1].argmax()
            assert token == best
            tokens.append(token)


def test_coca_goes_back(torch, open_clip_models, tmp_path):
    for setting, width, own in POOLERS.values():
        model, heads = build(torch, open_clip_models, setting, width, "float32")
        ours = moved(torch, model, tmp_path / "w.pt", dict(heads, pooler=own), "float32")
        pretrained.export(ours, tmp_path / "back.safetensors", "open_clip")
        back = {name: torch.tensor(a) for name, a in load_safetensors(tmp_path / "back.safetensors").items()}
        assert all(torch.equal(back[name], t) for name, t in model.state_dict().items())
        model.load_state_dict(back)


def test_a_folder_of_open_clip_tells_its_heads(torch, open_clip_models, tmp_path):
    model, heads = build(torch, open_clip_models, True, 48, "float32")
    torch.save(model.state_dict(), tmp_path / "open_clip_pytorch_model.bin")
    image = dict(width=48, layers=2, head_width=8, attn_pooler_heads=4)
    told = {"model_cfg": {"text_cfg": {"heads": 4}, "vision_cfg": image}, "preprocess_cfg": {"mean": [0.5, 0.4, 0.3]}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(told))
    config = pretrained.read(tmp_path, "coca").config
    assert {name: getattr(config, name) for name in heads} == heads
    assert config.image_mean == (0.5, 0.4, 0.3)


@pytest.mark.parametrize("name, preset, parameters", [
    ("coca_ViT-B-32", "vit_b_32", 253_560_065),
    ("coca_ViT-L-14", "vit_l_14", 638_450_177),
])  # fmt: skip
def test_names_shapes_and_counts_of_the_published_sizes(torch, open_clip_models, name, preset, parameters):
    config = {key: value for key, value in open_clip_models.get_model_config(name).items() if key != "custom_text"}
    with torch.device("meta"):
        peer = open_clip_models.CoCa(**config)
    theirs = {n: tuple(t.shape) for n, t in peer.state_dict().items()}
    config = getattr(open_clip_coca.Config, preset)()
    model = open_clip_coca.OpenCLIPCoCa(config, Unallocated())
    assert model.num_parameters() == parameters
    small = {n: np.broadcast_to(np.int8(0), a.shape) for n, a in model.state_dict().items()}
    assert {n: a.shape for n, a in to_theirs(coca_names.rules("open_clip", config), small).items()} == theirs
    hollow = {n: np.broadcast_to(np.int8(0), shape) for n, shape in theirs.items()}
    told = coca_names.sizes(*coca_names.recognise(hollow))
    assert open_clip_coca.Config(**told) == config
