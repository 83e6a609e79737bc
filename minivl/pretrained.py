"""Published weights: read from the files they were published in, as a model or as a run; and written so again.

    model = minivl.weights.load_pretrained("ViT-B-32.pt", "clip", tokenizer="bpe_simple_vocab_16e6.txt.gz")
    minivl import ViT-B-32.pt --as clip --tokenizer bpe_simple_vocab_16e6.txt.gz --out RUN

A file is .safetensors, what torch.save wrote, or a TorchScript archive as OpenAI publishes; a folder is one of Hugging
Face's, with its config.json, vocab.json and merges.txt, or open_clip's with open_clip_config.json. Sizes are read from
the shapes of the tensors; the few things that shapes do not tell come from the folder or from `changes`.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from . import models
from .array import to_device
from .nn import Unallocated
from .run import Run
from .settings import presets
from .tokenizers import ByteLevelBPE
from .tokenizers.files import read_clip
from .weights import WeightsError, clip_names, coca_names, load_safetensors, load_torch, save_safetensors
from .weights.names import to_ours, to_theirs

_FILES = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors", "open_clip_pytorch_model.bin")
_NAMES = {"clip": ("clip", clip_names), "coca": ("open_clip_coca", coca_names)}  # --as -> the model, its name map


@dataclass
class Published:
    """Weights as they were found, under our names, and what is known of their model."""

    file: Path
    layout: str
    model: str
    config: object
    preset: str
    arrays: dict


def load_pretrained(path, model, *, tokenizer=None, device="cpu", **changes):
    """A model with published weights, ready for use. Each tensor is copied once, from the mapped file into the model.

    path       a file, or a folder
    model      "clip" or "coca" (open_clip's)
    tokenizer  CLIP's bpe_simple_vocab_16e6.txt.gz; not needed for a folder with merges.txt, nor for pictures alone
    changes    fields of the model's Config that the file does not tell: text_heads=4, quick_gelu=False
    raises     WeightsError that lists what is missing, unexpected or misshapen, or says why a file cannot be read
    """
    found = read(path, model, **changes)
    _, Model = models.find(found.model)
    built = Model(found.config, Unallocated())
    built.load_state_dict(found.arrays)
    built.tokenizer = find_tokenizer(path, tokenizer, found.config, needed=False)
    return built.eval().to(device)


def import_run(path, model, out, *, tokenizer=None, **changes):
    """Writes published weights as the run `out`, which `minivl.load` and all commands take. Returns what was found.

    The numbers stay as precise as they are in the file: half precision takes half the place.
    """
    run = Run(out)
    run.check_free()
    found = read(path, model, **changes)
    words = find_tokenizer(path, tokenizer, found.config, needed=True)
    about = {"model": found.model, "preset": found.preset, "data": f"published as {found.file.name}"}
    run.create(words, {**about, "config": asdict(found.config), "settings": {}, "layout": found.layout})
    try:
        save_safetensors(run.model_path, found.arrays)
    except BaseException:
        run.discard()
        raise
    return found


def export(model, path, layout):
    """Writes the weights of a model under the names of another program: what `read` reads.

    layout   of a CLIP: "openai" (open_clip too) or "huggingface"; of open_clip's CoCa: "open_clip"
    """
    names = {name: names for name, names in _NAMES.values()}.get(type(model).__module__.rpartition(".")[2])
    if names is None:
        raise WeightsError(f"a {type(model).__name__} has no other names than ours: save_safetensors writes it")
    arrays = {name: to_device(array, "cpu") for name, array in model.state_dict().items()}
    save_safetensors(path, to_theirs(names.rules(layout, model.config), arrays))


def model_of(name):
    """(Config, model class) of what is published as `name`: "clip" or "coca"."""
    if name not in _NAMES:
        raise WeightsError(f"no published weights are known for model {name!r}, must be one of: {', '.join(_NAMES)}")
    return models.find(_NAMES[name][0])


def read(path, model, **changes):
    """`Published` of a file or folder: recognised, measured, and under our names; nothing of it is copied yet."""
    Config, Model = model_of(model)
    file, (name, names) = _file_of(path), _NAMES[model]
    try:
        layout, tensors = names.recognise(_tensors_of(file))
        config = Config.tiny(**{**names.sizes(layout, tensors), **_told_by_folder(path, layout), **changes})
        shapes = {own: array.shape for own, array in Model(config, Unallocated()).state_dict().items()}
        arrays = to_ours(names.rules(layout, config), tensors, shapes)
    except WeightsError as error:
        raise error if str(error).startswith(str(file)) else WeightsError(f"{file}: {error}") from None
    preset = next((known for known in presets(Config) if getattr(Config, known)() == config), "imported")
    return Published(file, layout, name, config, preset, arrays)


def _file_of(path):
    path = Path(path)
    if not path.is_dir():
        return path
    for name in _FILES:
        if (path / name).exists():
            return path / name
    raise WeightsError(f"{path}: a folder without weights, which are called {', '.join(_FILES)}")


def _tensors_of(file):
    with open(file, "rb") as opened:
        start = opened.read(32)
    if start.startswith(b"version https://git-lfs"):
        raise WeightsError(f"{file}: stands for a file that was not fetched (Git LFS): git lfs pull fetches it")
    return load_safetensors(file) if start[8:9] == b"{" else load_torch(file)


# ---- what shapes do not tell -----------------------------------------------------------------------------------------


def _told_by_folder(path, layout):
    """Fields of Config from the folder's config: heads, the GELU, and how pictures are prepared."""
    path = Path(path)
    if layout == "huggingface":
        told = _json(path / "config.json")
        return (_huggingface_config(told) if told else {}) | _preparation(path / "preprocessor_config.json")
    told = _json(path / "open_clip_config.json")
    return _open_clip_config(told) if told else {}


def _huggingface_config(told):
    if told.get("model_type") != "clip":
        raise WeightsError(f"config.json is of model_type {told.get('model_type')!r}, must be 'clip'")
    text, image = told.get("text_config") or {}, told.get("vision_config") or {}
    acts = {part.get("hidden_act", "quick_gelu") for part in (text, image)}
    if len(acts) > 1 or acts - {"quick_gelu", "gelu"}:
        raise WeightsError(f"config.json: hidden_act {sorted(acts)}, must be one for both towers: quick_gelu or gelu")
    epsilon = {part.get("layer_norm_eps", 1e-5) for part in (text, image)}
    if epsilon != {1e-5}:
        raise WeightsError(f"config.json: layer_norm_eps {sorted(epsilon)}, must be 1e-5")
    heads = dict(text_heads=text.get("num_attention_heads", 8), image_heads=image.get("num_attention_heads", 12))
    return {**heads, "quick_gelu": acts == {"quick_gelu"}}


def _open_clip_config(told):
    model, pictures = told.get("model_cfg") or {}, told.get("preprocess_cfg") or {}
    text, image = model.get("text_cfg") or {}, model.get("vision_cfg") or {}
    found = {"quick_gelu": bool(model.get("quick_gelu", False))}
    if "heads" in text:
        found["text_heads"] = text["heads"]
    if isinstance(image.get("width"), int) and isinstance(image.get("layers"), int):
        found["image_heads"] = image["width"] // image.get("head_width", 64)
    if "attn_pooler_heads" in image:
        found["pooler_heads"] = image["attn_pooler_heads"]
    return found | {f"image_{name}": tuple(pictures[name]) for name in ("mean", "std") if name in pictures}


def _preparation(path):
    told = _json(path)
    return {name: tuple(told[name]) for name in ("image_mean", "image_std") if name in told}


def _json(path):
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise WeightsError(f"{path}: is not JSON: {error}") from None
    if not isinstance(told, dict):
        raise WeightsError(f"{path}: must be an object")
    return told


# ---- the vocabulary --------------------------------------------------------------------------------------------------


def find_tokenizer(path, tokenizer, config, needed):
    """CLIP's tokenizer from the file given, or from merges.txt in the folder `path`; None where nobody needs one."""
    own = Path(path) / "merges.txt"
    if tokenizer is None and not own.exists():
        if needed:
            raise WeightsError(f"{path} has no merges.txt: say --tokenizer bpe_simple_vocab_16e6.txt.gz (CLIP's file)")
        return None
    words = ByteLevelBPE.from_clip(tokenizer or own)
    if tokenizer is None and (told := _json(Path(path) / "vocab.json")):
        ids = {token: i for i, token in enumerate(read_clip(own)[0])}
        if ids != told:
            other = sorted(ids.items() ^ told.items())[:3]
            raise WeightsError(f"{path}: vocab.json does not number the tokens as CLIP does, see {other}")
    if words.vocab_size != config.vocabulary:
        raise WeightsError(f"{tokenizer or own}: {words.vocab_size} tokens, the model has {config.vocabulary}")
    return words
