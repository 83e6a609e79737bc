"""Training: batches in, weights out, in a folder that a killed run can be resumed from.

model(batch)["loss"].backward(), clip, step: the loop is `_steps`. Around it stand what a loop needs to be trusted:
a log, checkpoints, the same bits after a resume, and a stop that names the step when a loss is not finite.
"""

import json
import time
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from . import models, optim
from .array import to_device
from .data import Batches, open_source
from .data.augment import Augment
from .run import Run, RunError, description_of, model_weights
from .tokenizers import ByteLevelBPE
from .trace import AnomalyError, detect_anomaly
from .weights import save_safetensors


@dataclass
class Settings:
    """How a model is trained. Numbers of steps and pictures, not of epochs."""

    steps: int = 1000
    batch_size: int = 64
    accumulate: int = 1  # batches whose gradients are added up for one step
    optimizer: str = "adamw"  # or "adafactor" (CoCa's), "sgd"
    lr: float = 1e-3
    warmup: int = 100  # steps
    schedule: str = "cosine"  # or "linear", "constant"
    weight_decay: float = 0.05
    clip: float = 1.0  # the global norm that gradients are scaled down to
    average: float = 0.0  # decay of a running mean of the weights, which the run then ends with; 0: none
    augment: float = 0.0  # strength of the random changes to pictures; 0: none
    label_fraction: float = 0.0  # share of the pictures whose text is a prompt of their labels
    bpe_vocabulary: int = 512  # tokens to train, at most
    seed: int = 0
    checkpoint_every: int = 500  # steps
    keep: int = 2  # checkpoints; 0: all
    workers: int = 1  # threads that prepare batches
    strict: bool = False  # the first broken example is an error
    detect_anomaly: bool = False  # look at every number, and name the op where the first NaN is born


_SCHEDULES = {"cosine": optim.warmup_cosine, "linear": optim.warmup_linear, "constant": optim.warmup_constant}
_OPTIMIZERS = {"adamw": optim.AdamW, "adafactor": optim.Adafactor, "sgd": optim.SGD}
_WHERE = "--set detect_anomaly=true names the op where it began"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after a checkpoint was written."""


def train(model_name, *, data, out, preset="tiny", settings=None, config=None, resume=False, device="cpu", quiet=False):
    """Trains a model and returns it. The folder `out` then holds the run.

    model_name   "coca"
    data         "scenes", or shards: see minivl.data.open_source
    preset       the Config to start from, "tiny" or a size of the paper
    settings     Settings
    config       dict of changes to the preset
    resume       go on where the run in `out` stopped; it ends with the bits of an uninterrupted one
    raises       RunError: `out` holds a run and resume is False, or holds another run than this one
                 FloatingPointError naming the step: the loss or a gradient is not finite
                 Interrupted: Ctrl-C, after a checkpoint
    """
    settings = Settings() if settings is None else settings
    _check(settings)
    run = Run(out)
    source = open_source(data, seed=settings.seed, strict=settings.strict)
    if resume and run.description_path.exists():
        _check_same_run(run, model_name, settings, data, preset, config or {})
    else:
        _prepare(run, model_name, source, data, preset, settings, config or {})
    model = run.build(np.random.default_rng(settings.seed)).to(device)
    _steps(model, source, run, settings, device, quiet)
    return model


def _prepare(run, model_name, source, data, preset, settings, changes):
    """A new run: its vocabulary is learned from the captions, then the folder is written, the description last."""
    if run.description_path.exists():
        raise RunError(f"{run.path} holds a run already: go on with --resume, or choose another --out")
    Config, _ = models.find(model_name)
    if not hasattr(Config, preset):
        raise ValueError(f"preset {preset!r} is unknown for {model_name}")
    captions = [c for example, _ in zip(source.examples(), range(20_000), strict=False) for c in example.captions]
    tokenizer = ByteLevelBPE.train(captions, settings.bpe_vocabulary)
    run.path.mkdir(parents=True, exist_ok=True)
    tokenizer.save(run.path)
    config = getattr(Config, preset)(**{"vocabulary": tokenizer.vocab_size, **changes})
    run.create(**description_of(model_name, config, settings, data, preset))


def _check_same_run(run, model_name, settings, data, preset, changes):
    """A resumed run must be the one that was begun; only how long, how often and how it is watched may change."""
    told = run.describe()
    wanted = description_of(model_name, models.find(model_name)[0](**told["config"]), settings, data, preset)
    free = {"checkpoint_every", "keep", "workers", "detect_anomaly"}
    different = [k for k in ("model", "data", "preset") if told[k] != wanted[k]]
    different += [k for k, v in wanted["settings"].items() if k not in free and told["settings"].get(k) != v]
    different += [k for k, v in changes.items() if _plain(told["config"].get(k)) != _plain(v)]
    if different:
        raise RunError(f"{run.path} cannot be resumed with another {', '.join(different)}: it must be as it was begun")


def _plain(value):
    return list(value) if isinstance(value, tuple) else value


def _check(s):
    for name in ("steps", "batch_size", "accumulate", "checkpoint_every", "workers", "bpe_vocabulary"):
        if getattr(s, name) < 1:
            raise ValueError(f"{name} is {getattr(s, name)}, must be at least 1")
    if s.schedule not in _SCHEDULES or s.optimizer not in _OPTIMIZERS:
        choices = f"{', '.join(_SCHEDULES)}; optimizer is {s.optimizer!r} of {', '.join(_OPTIMIZERS)}"
        raise ValueError(f"schedule is {s.schedule!r} of {choices}")
    if not 0 <= s.label_fraction <= 1:
        raise ValueError(f"label_fraction is {s.label_fraction}, must be between 0 and 1")


def _steps(model, source, run, s, device, quiet):
    """From the newest checkpoint, or from the beginning, to the last step."""
    named = list(model.named_parameters())
    optimizer = _OPTIMIZERS[s.optimizer](
        optim.decay_groups(named, s.weight_decay), lr=s.lr, weight_decay=s.weight_decay
    )
    average = optim.WeightAverage([p for _, p in named], s.average) if s.average else None

    def state():
        parts = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        parts |= {"average": average.state_dict()} if average else {}
        return {f"{part}/{name}": to_device(a, "cpu") for part, arrays in parts.items() for name, a in arrays.items()}

    begin, arrays = run.newest_checkpoint()
    if arrays is not None:
        model.load_state_dict(_part(arrays, "model"))
        optimizer.load_state_dict(_part(arrays, "optimizer"))
        if average:
            average.load_state_dict(_part(arrays, "average"))
    run.cut_log(begin)

    c = model.config
    pictures = dict(context_length=c.context, image_size=c.image_size, mean=c.image_mean, std=c.image_std)
    batches = Batches(
        source, model.tokenizer, s.batch_size, seed=s.seed, workers=s.workers, start_step=begin * s.accumulate,
        augment=Augment().scaled(s.augment) if s.augment else None,
        caption=_caption_or_labels(s.label_fraction), **pictures,
    )  # fmt: skip
    watch = detect_anomaly if s.detect_anomaly else nullcontext
    done = begin
    with batches, open(run.log_path, "a", encoding="utf-8") as log, _bar(s.steps, begin, quiet) as bar:
        try:
            for step in range(begin, s.steps):
                started = time.perf_counter()
                with watch():
                    out = _gradients(model, batches, s, step, device)
                norm = _clip(named, s.clip, step)
                optimizer.lr = _SCHEDULES[s.schedule](step, s.lr, s.warmup, s.steps)
                optimizer.step()
                if average:
                    average.update()
                done = step + 1
                seconds = time.perf_counter() - started
                line = {"step": done, **out, "lr": optimizer.lr, "grad_norm": norm, "seconds": round(seconds, 4)}
                line["images_per_second"] = round(s.batch_size * s.accumulate / seconds, 1)
                log.write(json.dumps(line) + "\n")
                log.flush()
                bar.set_postfix_str(f"loss {out['loss']:.3f}, {line['images_per_second']:.0f} images/s", refresh=False)
                bar.update()
                if done % s.checkpoint_every == 0 or done == s.steps:
                    run.save_checkpoint(done, state(), s.keep)
        except KeyboardInterrupt:
            run.save_checkpoint(done, state(), s.keep)
            raise Interrupted(f"stopped after step {done} of {s.steps}; go on with --resume") from None
    source.problems.warn()
    final = model_weights(state())
    save_safetensors(run.model_path, final, {"step": str(s.steps)})
    model.load_state_dict(final)


def _gradients(model, batches, s, step, device):
    """Adds up the gradients of one step's batches in the parameters; returns the mean of each loss, as numbers."""
    model.zero_grad()
    means = {}
    random = np.random.default_rng([s.seed, step]) if getattr(model.config, "dropout", 0) else None
    for _ in range(s.accumulate):
        batch = next(batches)
        batch = {k: to_device(v, device) if isinstance(v, np.ndarray) else v for k, v in batch.items()}
        out = model(batch, random=random)
        for name, value in out.items():
            if name.endswith("loss"):
                means[name] = means.get(name, 0.0) + value.item() / s.accumulate
        if not np.isfinite(out["loss"].item()):
            raise FloatingPointError(f"step {step + 1}: the loss is {out['loss'].item()}; {_WHERE}")
        try:
            (out["loss"] * (1 / s.accumulate)).backward()
        except AnomalyError as error:
            raise AnomalyError(f"step {step + 1}: {error}") from None
    return means


def _clip(named, most, step):
    try:
        return optim.clip_grad_norm(named, most)
    except FloatingPointError as error:
        raise FloatingPointError(f"step {step + 1}: {error}; {_WHERE}") from None


def _caption_or_labels(fraction):
    """The text of an example: one of its captions, or now and then a prompt of its labels (CoCa, sec. 4.1)."""
    from .models.coca import label_prompt

    def caption(example, random):
        info = example.info
        labels = info.get("labels") or ([info["label"]] if info.get("label") else [])
        if fraction and labels and random.random() < fraction:
            return label_prompt(labels, random)
        return example.captions[random.integers(len(example.captions))]

    return caption


def _part(arrays, part):
    return {name[len(part) + 1 :]: a for name, a in arrays.items() if name.startswith(part + "/")}


def _bar(steps, begin, quiet):
    return tqdm(total=steps, initial=begin, unit="step", disable=quiet, smoothing=0.1, mininterval=0.5)
