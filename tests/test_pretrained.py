"""Published weights become models and runs: files and folders as they are published, small and random."""

import json

import numpy as np
import pytest

import minivl
from minivl import cli, pretrained
from minivl.models import clip
from minivl.models.open_clip_coca import Config as CoCaConfig
from minivl.models.open_clip_coca import OpenCLIPCoCa
from minivl.run import Run, RunError
from minivl.tokenizers import ByteLevelBPE
from minivl.weights import WeightsError, clip_names, load_pretrained, load_safetensors, save_safetensors
from minivl.weights.names import to_theirs

WORDS = [
    "a red circle",
    "a blue square",
    "a picture of a drawing",
    "there is a photo of the circle",
    "the green square",
]
HEADS = dict(text_heads=2, image_heads=2)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    """A file of merges as CLIP publishes, of some 540 tokens."""
    path = tmp_path_factory.mktemp("words") / "bpe_simple_vocab.txt.gz"
    special = ("<|startoftext|>", "<|endoftext|>")
    ByteLevelBPE.train(WORDS * 3, 540, special, flavour="clip").to_clip(path)
    return path


@pytest.fixture(scope="module")
def model(words):
    """A small CLIP."""
    config = clip.Config(
        **HEADS, embedding=12, image_size=16, patch=8, image_width=16, image_layers=1, context=20, text_width=16,
        text_layers=1, vocabulary=ByteLevelBPE.from_clip(words).vocab_size,
    )  # fmt: skip
    return clip.CLIP(config, np.random.default_rng(0)).eval()


def embeddings(model, words):
    images = np.random.default_rng(1).standard_normal((2, 3, 16, 16)).astype(np.float32)
    text, lengths = ByteLevelBPE.from_clip(words)(["a red circle", "the square"], model.config.context)
    return model.encode_image(images).numpy(), model.encode_text(text, lengths).numpy()


@pytest.fixture
def file(model, tmp_path):
    """With OpenAI's names."""
    pretrained.export(model, tmp_path / "clip.safetensors", "openai")
    return tmp_path / "clip.safetensors"


@pytest.fixture
def folder(model, tmp_path, words):
    """As Hugging Face has it."""
    folder = tmp_path / "clip"
    folder.mkdir()
    pretrained.export(model, folder / "model.safetensors", "huggingface")
    tower = dict(num_attention_heads=2, hidden_act="quick_gelu")
    (folder / "config.json").write_text(json.dumps(dict(model_type="clip", text_config=tower, vision_config=tower)))
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.5, 0.4, 0.3], "image_std": [1, 1, 1]})
    )
    tokenizer = ByteLevelBPE.from_clip(words)
    tokenizer.to_clip(folder / "merges.txt")
    ids = pretrained.read_clip(folder / "merges.txt")[0]
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(ids)}))
    return folder


@pytest.fixture(params=["file", "folder"])
def published(request):
    return request.getfixturevalue(request.param)


def options(published, words):
    return {} if published.is_dir() else dict(tokenizer=words, **HEADS)


def test_a_model_comes_out_as_it_went_in(published, model, words):
    for load in (load_pretrained, minivl.load_pretrained):
        found = load(published, "clip", **options(published, words))
        assert not found.training and found.tokenizer.vocab_size == model.config.vocabulary
        for ours, theirs in zip(embeddings(found, words), embeddings(model, words), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    assert found.config.image_mean == ((0.5, 0.4, 0.3) if published.is_dir() else model.config.image_mean)
    found.log_scale.data += 1  # its arrays are its own, and can be trained


def test_a_run_comes_out_and_can_be_evaluated(published, model, words, shards, tmp_path, capsys):
    out = tmp_path / "run"
    said = [] if published.is_dir() else ["--tokenizer", words, "--set", "text_heads=2", "--set", "image_heads=2"]
    assert cli.main([*map(str, ["import", published, "--as", "clip", "--out", out, *said])]) == 0
    line = capsys.readouterr().out.splitlines()
    assert line[0].startswith(str(published)) and "clip, imported, " in line[0] and "minivl evaluate" in line[1]
    loaded = minivl.load(out)
    for ours, theirs in zip(embeddings(loaded, words), embeddings(model, words), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for task in ("retrieval", "zeroshot"):
        assert cli.main(["evaluate", str(out), "--data", str(shards / "google"), "--task", task]) == 0
    assert (
        cli.main(["retrieve", str(out), "a red circle", "--data", str(shards), "--out", str(tmp_path / "r.png")]) == 0
    )
    assert (tmp_path / "r.png").exists()


def test_half_precision_stays_half_in_the_run_and_is_single_in_the_model(model, words, tmp_path):
    pretrained.export(model, tmp_path / "w", "openai")
    save_safetensors(tmp_path / "half", {n: a.astype(np.float16) for n, a in load_safetensors(tmp_path / "w").items()})
    found = pretrained.import_run(tmp_path / "half", "clip", tmp_path / "run", tokenizer=words, **HEADS)
    assert found.preset == "imported" and found.layout == "openai"
    assert {a.dtype for a in load_safetensors(tmp_path / "run" / "model.safetensors").values()} == {np.dtype("f2")}
    loaded = minivl.load(tmp_path / "run")
    assert {p.dtype for p in loaded.parameters()} == {np.dtype("f4")}
    assert np.abs(embeddings(loaded, words)[0] - embeddings(model, words)[0]).max() < 1e-2


def test_a_published_size_is_called_by_its_name(tmp_path):
    """A ViT-B/32, but for its depth and vocabulary: it would be 600 MB."""
    config = clip.Config.vit_b_32(image_layers=1, text_layers=1, vocabulary=9, start_token=7, end_token=8)
    state = clip.CLIP(config, minivl.nn.Unallocated()).state_dict()
    half = {name: array.astype("f2") for name, array in state.items()}
    save_safetensors(tmp_path / "w", to_theirs(clip_names.rules("openai", config), half))
    found = pretrained.read(tmp_path / "w", "clip")
    assert found.config == config and found.preset == "imported"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clip.Config, "vit_b_32", classmethod(lambda cls: config))
        assert pretrained.read(tmp_path / "w", "clip").preset == "vit_b_32"


def test_coca_of_open_clip(words, tmp_path):
    config = CoCaConfig(
        vocabulary=ByteLevelBPE.from_clip(words).vocab_size, image_size=16, width=16, image_width=32, text_heads=2,
        image_heads=2, pooler_heads=2,
    )  # fmt: skip
    coca = OpenCLIPCoCa(config, np.random.default_rng(0))
    pretrained.export(coca, tmp_path / "w", "open_clip")
    heads = dict(HEADS, pooler_heads=2)
    pretrained.import_run(tmp_path / "w", "coca", tmp_path / "run", tokenizer=words, **heads)
    loaded = minivl.load(tmp_path / "run")
    for ours, theirs in zip(embeddings(loaded, words), embeddings(coca, words), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    end = config.vocabulary - 1
    assert (loaded.config.start_token, loaded.config.end_token) == (end - 1, end)
    assert all(isinstance(text, str) for text in loaded.generate(np.zeros((1, 3, 16, 16), np.float32), max_tokens=3))


# ---- what cannot be --------------------------------------------------------------------------------------------------


def test_faults_of_files_are_named(model, words, tmp_path):
    pretrained.export(model, tmp_path / "w", "openai")
    tensors = dict(load_safetensors(tmp_path / "w"))
    del tensors["ln_final.bias"]
    save_safetensors(tmp_path / "missing", tensors)
    with pytest.raises(WeightsError, match=r"missing: weights do not fit: 1 missing: ln_final\.bias$"):
        load_pretrained(tmp_path / "missing", "clip", **HEADS)
    (tmp_path / "lfs").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(WeightsError, match=r"stands for a file that was not fetched \(Git LFS\)"):
        load_pretrained(tmp_path / "lfs", "clip")
    (tmp_path / "old.pt").write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    with pytest.raises(WeightsError, match=r"before PyTorch 1\.6"):
        load_pretrained(tmp_path / "old.pt", "clip")
    with pytest.raises(WeightsError, match="a folder without weights, which are called model.safetensors"):
        load_pretrained(tmp_path, "clip")
    with pytest.raises(FileNotFoundError):
        load_pretrained(tmp_path / "nothing", "clip")
    with pytest.raises(WeightsError, match="for model 'blip', must be one of: clip, coca"):
        load_pretrained(tmp_path / "w", "blip")
    with pytest.raises(WeightsError, match="no CoCa of open_clip; its tensors are called"):
        load_pretrained(tmp_path / "w", "coca")


@pytest.mark.parametrize(
    "config, message",
    [
        ({"model_type": "blip"}, "config.json is of model_type 'blip', must be 'clip'"),
        (
            {"model_type": "clip", "text_config": {"hidden_act": "gelu"}},
            r"hidden_act \['gelu', 'quick_gelu'\], must be",
        ),
        ({"model_type": "clip", "text_config": {"layer_norm_eps": 1e-6}}, "layer_norm_eps"),
        ([], "config.json: must be an object"),
    ],
)
def test_faults_of_folders_are_named(folder, config, message):
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=message):
        load_pretrained(folder, "clip")
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match="config.json: is not JSON"):
        load_pretrained(folder, "clip")


def test_a_vocabulary_that_is_not_the_models_is_refused(published, model, words, tmp_path):
    other = tmp_path / "other.txt"
    ByteLevelBPE.train(WORDS, 520, ("<|startoftext|>", "<|endoftext|>"), flavour="clip").to_clip(other)
    said = {} if published.is_dir() else HEADS
    with pytest.raises(WeightsError, match=f"tokens, the model has {model.config.vocabulary}"):
        pretrained.import_run(published, "clip", tmp_path / "run", tokenizer=other, **said)
    assert not (tmp_path / "run").exists()


def test_the_vocabulary_of_a_folder_is_checked_and_of_a_file_asked_for(file, folder, tmp_path):
    told = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps({token: i + 1 for token, i in told.items()}))
    with pytest.raises(WeightsError, match="vocab.json does not number the tokens as CLIP does"):
        load_pretrained(folder, "clip")
    assert load_pretrained(file, "clip", **HEADS).tokenizer is None  # pictures need none
    with pytest.raises(WeightsError, match="say --tokenizer bpe_simple_vocab_16e6.txt.gz"):
        pretrained.import_run(file, "clip", tmp_path / "run", **HEADS)


def test_a_run_is_not_written_over_and_a_failure_leaves_none(published, words, tmp_path, monkeypatch, capsys):
    out, said = tmp_path / "run", options(published, words)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pretrained, "save_safetensors", full)
    with pytest.raises(OSError, match="No space"):
        pretrained.import_run(published, "clip", out, **said)
    assert not out.exists()
    monkeypatch.undo()
    pretrained.import_run(published, "clip", out, **said)
    with pytest.raises(RunError, match="holds a run already"):
        pretrained.import_run(published, "clip", out, **said)
    assert Run(out).describe()["model"] == "clip"
    assert cli.main(["import", str(published), "--as", "clip", "--out", str(tmp_path / "x"), "--set", "lr=1"]) == 2
    assert "--set lr: is of training, and nothing is trained here" in capsys.readouterr().err


def test_only_what_has_other_names_is_exported(model, tmp_path):
    with pytest.raises(WeightsError, match="a Linear has no other names than ours"):
        pretrained.export(minivl.nn.Linear(2, 3, np.random.default_rng(0)), tmp_path / "w", "openai")
    with pytest.raises(WeightsError, match="layout 'onnx' is unknown for CLIP, must be 'openai' or 'huggingface'"):
        pretrained.export(model, tmp_path / "w", "onnx")
