"""Files as PyTorch writes them, and CLIP as others build it: random weights in, the same numbers out, both ways."""

import json

import numpy as np
import pytest

from minivl import pretrained
from minivl.models import clip
from minivl.nn import Unallocated
from minivl.weights import clip_names, load_safetensors, load_torch
from minivl.weights.names import to_theirs

pytestmark = pytest.mark.peer

# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def net(torch):
    """A module of several kinds of layer, with its batch norm's statistics no longer at 0 and 1."""
    torch.manual_seed(0)
    layers = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(), torch.nn.Linear(4 * 36, 5)
    net = torch.nn.Sequential(*layers, torch.nn.MultiheadAttention(8, 2))
    net[1](net[0](torch.randn(2, 3, 8, 8)))
    return net


def assert_same(arrays, state):
    assert set(arrays) == set(state)
    for name, tensor in state.items():
        assert np.array_equal(arrays[name], tensor.numpy()), name
        assert arrays[name].dtype == tensor.numpy().dtype


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("half", [False, True])
def test_a_state_dict(torch, net, tmp_path, protocol, half):
    state = {name: t.half() if half and t.is_floating_point() else t for name, t in net.state_dict().items()}
    torch.save(state, tmp_path / "w.pt", pickle_protocol=protocol)
    assert_same(load_torch(tmp_path / "w.pt"), state)
    torch.save(net.state_dict(), tmp_path / "w.pt", pickle_protocol=protocol)  # an OrderedDict, with its notes
    assert_same(load_torch(tmp_path / "w.pt"), net.state_dict())


def test_torchscript_archives_scripted_and_traced(torch, net, tmp_path):
    body = net[:4].eval()
    for half in (False, True):
        body = body.half() if half else body
        scripted = torch.jit.script(body)
        traced = torch.jit.trace(body.float(), torch.randn(1, 3, 8, 8)) if not half else scripted
        for archive in (scripted, traced):
            torch.jit.save(archive, tmp_path / "a.pt")
            assert_same(load_torch(tmp_path / "a.pt"), body.state_dict())
    body.float()


def test_views_shared_storages_and_every_dtype(torch, tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    tensors = {"base": base, "transposed": base.T, "strided": base[1::2, ::3], "row": base[2], "empty": base[:0]}
    tensors |= {"stretched": base[0].expand(3, 6), "scalar": torch.tensor(2.5), "parameter": torch.nn.Parameter(base)}
    kinds = ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "complex64"]
    tensors |= {kind: base.to(getattr(torch, kind)) for kind in kinds}
    torch.save({"state_dict": tensors, "epoch": 3, "shape": base.shape, "lr": [0.1, None]}, tmp_path / "w.pt")
    arrays = load_torch(tmp_path / "w.pt")
    assert_same(arrays, {f"state_dict.{name}": t.detach() for name, t in tensors.items()})
    assert np.shares_memory(arrays["state_dict.base"], arrays["state_dict.transposed"])


def test_bfloat16(torch, tmp_path):
    x = torch.randn(5, 7).bfloat16()
    torch.save({"x": x, "t": x.T}, tmp_path / "w.pt")
    arrays = load_torch(tmp_path / "w.pt")
    assert np.array_equal(arrays["x"], x.float().numpy()) and np.array_equal(arrays["t"], x.float().numpy().T)


def test_a_trainers_checkpoint(torch, net, tmp_path):
    optimizer = torch.optim.AdamW(net.parameters())
    sum(p.sum() for p in net.parameters()).backward()
    optimizer.step()
    torch.save({"epoch": 1, "state_dict": net.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "w.pt")
    arrays = load_torch(tmp_path / "w.pt")
    assert arrays["optimizer.state.0.exp_avg"].shape == (4, 3, 3, 3)
    inside = {name.removeprefix("state_dict."): a for name, a in arrays.items() if name.startswith("state_dict.")}
    assert_same(inside, net.state_dict())


def test_what_is_no_tensor_is_refused_by_name(torch, net, tmp_path):
    torch.save(net, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"asks for torch\.nn\.modules\.container\.Sequential"):
        load_torch(tmp_path / "w.pt")
    torch.save(net.state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"before PyTorch 1\.6"):
        load_torch(tmp_path / "w.pt")


# ---- CLIP ------------------------------------------------------------------------------------------------------------

TEXT = dict(context_length=16, vocab_size=99, width=32, heads=4, layers=2)
VIT = dict(image_size=16, layers=2, width=32, head_width=8, patch_size=8)
RESNET = dict(image_size=64, layers=[2, 1, 1, 1], width=16, head_width=8)


def batch(torch, size, dtype):
    """Pictures, and texts that end with the highest id, which is how the peers find their end; pads are 0."""
    ids = torch.randint(1, 97, (3, 16))
    lengths = torch.tensor([16, 9, 4])
    for row, n in zip(ids, lengths, strict=True):
        row[n - 1], row[n:] = 98, 0
    return torch.randn(3, 3, size, size, dtype=getattr(torch, dtype)), ids, lengths


def shake(torch, model):
    """Random weights everywhere: what starts as 0 or 1 would hide mistakes."""
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)


@pytest.fixture(params=["vit", "vit_exact_gelu", "resnet", "huggingface"])
def peer(request, torch, dtype):
    """(layout, model, changes that the file does not tell)"""
    torch.manual_seed(0)
    if request.param == "huggingface":
        transformers = request.getfixturevalue("transformers")
        tower = dict(hidden_size=32, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
        text = dict(tower, vocab_size=99, max_position_embeddings=16, eos_token_id=98, bos_token_id=97, pad_token_id=1)
        config = transformers.CLIPConfig(
            text_config=text, vision_config=dict(tower, image_size=16, patch_size=8), projection_dim=24
        )
        layout, model, told = "huggingface", transformers.CLIPModel(config), dict(text_heads=4, image_heads=4)
    else:
        open_clip = request.getfixturevalue("open_clip_models")
        quick = request.param != "vit_exact_gelu"
        image = RESNET if request.param == "resnet" else VIT
        model = open_clip.model.CLIP(embed_dim=24, vision_cfg=image, text_cfg=TEXT, quick_gelu=quick)
        heads = 64 if request.param == "resnet" else 4
        layout, told = "openai", dict(text_heads=4, image_heads=heads, quick_gelu=quick)
    shake(torch, model)
    return layout, model.to(getattr(torch, dtype)).eval(), told


def moved(torch, peer, tmp_path, dtype):
    layout, model, told = peer
    torch.save(model.state_dict(), tmp_path / "w.pt")
    ours = pretrained.load_pretrained(tmp_path / "w.pt", "clip", **told)
    found = pretrained.read(tmp_path / "w.pt", "clip", **told)
    assert found.layout == layout and found.preset == "imported"
    ours.to(dtype)
    ours.load_state_dict(found.arrays)  # again, for loading was in single precision
    return ours


def their_outputs(torch, peer, images, ids):
    """(image features, text features, scale, logits, loss), features of length 1"""
    layout, model, _ = peer
    if layout == "huggingface":
        out = model(input_ids=ids, pixel_values=images, return_loss=True)
        return out.image_embeds, out.text_embeds, model.logit_scale.exp(), out.logits_per_image, out.loss
    image, text, scale = model(images, ids)[:3]
    logits = scale * image @ text.T
    labels, entropy = torch.arange(len(ids)), torch.nn.functional.cross_entropy
    return image, text, scale, logits, (entropy(logits, labels) + entropy(logits.T, labels)) / 2


@pytest.mark.parametrize("training", [False, True])
def test_clip_agrees_with_its_peers(torch, peer, tmp_path, dtype, agree, agree_in_gradients, training):
    layout, model, _ = peer
    ours = moved(torch, peer, tmp_path, dtype)
    if training:  # of consequence for batch normalisation alone
        model.train()
        ours.train()
    images, ids, lengths = batch(torch, ours.config.image_size, dtype)
    image, text, _, logits, loss = their_outputs(torch, peer, images, ids)
    loss.backward()
    out = ours({"image": images.numpy(), "text": ids.numpy(), "lengths": lengths.numpy()})
    out["loss"].backward()
    agree(out["image_embedding"], image)
    agree(out["text_embedding"], text)
    agree(out["similarity"], logits)
    agree(out["loss"], loss)
    agree_in_gradients(ours, model, clip_names.rules(layout, ours.config))
    if training and ours.config.image_encoder == "resnet":
        agree(ours.state_dict()["image_encoder.norm1.running_var"], model.visual.bn1.running_var)
        agree(ours.state_dict()["image_encoder.stages.0.blocks.1.norm3.running_mean"],
              model.visual.layer1[1].bn3.running_mean)  # fmt: skip


def test_clip_goes_back_to_its_peers(torch, peer, tmp_path):
    layout, model, _ = peer
    ours = moved(torch, peer, tmp_path, "float32")
    pretrained.export(ours, tmp_path / "back.safetensors", layout)
    back = load_safetensors(tmp_path / "back.safetensors")
    state = {name: t.float() for name, t in model.state_dict().items() if "num_batches" not in name}
    assert set(back) == {name for name in state if not name.endswith("position_ids")}
    for name, found in back.items():
        assert np.array_equal(found, state[name].numpy()), name
    model.float().load_state_dict({name: torch.tensor(a) for name, a in back.items()}, strict=layout == "huggingface")


def test_a_folder_of_hugging_face_tells_its_heads(torch, transformers, tmp_path):
    tower = dict(hidden_size=32, intermediate_size=128, num_hidden_layers=1, num_attention_heads=2, hidden_act="gelu")
    config = transformers.CLIPConfig(
        text_config=dict(tower, vocab_size=99, max_position_embeddings=16, eos_token_id=98),
        vision_config=dict(tower, image_size=16, patch_size=8, num_attention_heads=8),
        projection_dim=24,
    )
    model = transformers.CLIPModel(config).eval()
    model.save_pretrained(tmp_path)
    ours = pretrained.load_pretrained(tmp_path, "clip")
    assert (ours.config.text_heads, ours.config.image_heads, ours.config.quick_gelu) == (2, 8, False)
    images, ids, lengths = batch(torch, 16, "float32")
    with torch.no_grad():
        out = model(input_ids=ids, pixel_values=images)
    image = ours.encode_image(images.numpy()).numpy()
    text = ours.encode_text(ids.numpy(), lengths.numpy()).numpy()
    assert np.abs(image - out.image_embeds.numpy()).max() < 1e-5
    assert np.abs(text - out.text_embeds.numpy()).max() < 1e-5
    told = json.loads((tmp_path / "config.json").read_text())
    told["vision_config"]["layer_norm_eps"] = 1e-6
    (tmp_path / "config.json").write_text(json.dumps(told))
    with pytest.raises(ValueError, match="layer_norm_eps"):
        pretrained.load_pretrained(tmp_path, "clip")


PUBLISHED = {
    "ViT-B-32": clip.Config.vit_b_32(),
    "ViT-B-16": clip.Config.vit_b_16(),
    "ViT-L-14": clip.Config.vit_l_14(),
    "RN50": clip.Config.rn50(),
    "RN101": clip.Config.rn101(),
    "RN50x4": clip.Config.rn50x4(),
    "RN50x16": clip.Config.rn50x16(),
    "RN50x64": clip.Config.rn50x64(),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_of_the_published_sizes(torch, open_clip_models, name):
    config = {key: value for key, value in open_clip_models.get_model_config(name).items() if key != "custom_text"}
    with torch.device("meta"):
        peer = open_clip_models.model.CLIP(**config)
    theirs = {n: tuple(t.shape) for n, t in peer.state_dict().items() if not n.endswith("num_batches_tracked")}
    model = clip.CLIP(PUBLISHED[name], Unallocated())
    rules = clip_names.rules("openai", PUBLISHED[name])
    small = {n: np.broadcast_to(np.int8(0), a.shape) for n, a in model.state_dict().items()}
    assert {n: a.shape for n, a in to_theirs(rules, small).items()} == theirs
