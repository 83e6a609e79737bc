"""Training: batches in, weights out, in a folder that a killed run can be resumed from.

One step is `Training.step`: model(batch)["loss"].backward(), clip, update. Around it stands what a loop needs to be
trusted: a log, checkpoints, the same bits after a resume, and a stop that names the step when a loss is not finite.
"""

import json
import math
import os
import signal
import sys
import threading
import time
from contextlib import nullcontext
from dataclasses import asdict

import numpy as np
from tqdm import tqdm

from . import models, optim
from .array import device_of, keep_freed_memory, to_device
from .data import Batches, open_mix
from .data.augment import Augment
from .evaluate import labels_of
from .models.coca import label_prompt
from .nn import Unallocated
from .run import Run, RunError, model_weights, part_of
from .settings import OPTIMIZERS, SCHEDULES, SettingError, Settings, check_sizes, presets
from .tokenizers import ByteLevelBPE
from .trace import AnomalyError, detect_anomaly
from .weights import save_safetensors

_CAPTIONS = 20_000  # that the vocabulary is learned from, at most
_FREE = {"checkpoint_every", "keep", "workers", "strict", "detect_anomaly"}  # a run may be resumed with others of these
_WHERE = "--set detect_anomaly=true names the op where it began"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after a checkpoint was written."""


def train(
    model_name,
    *,
    data,
    out,
    preset="tiny",
    settings=None,
    config=None,
    begin=None,
    resume=False,
    device="cpu",
    quiet=False,
):
    """Trains a model and returns it. The folder `out` then holds the run.

    model_name   "clip", "coca" or "mammut"
    data         "scenes", "moving", or shards: see minivl.data.open_source; or a list of these, mixed
    preset       the Config to start from, "tiny" or a size of the paper
    settings     Settings
    config       dict of changes to the preset
    begin        a run whose vocabulary, Config and weights this one begins with, to be changed by `config` and trained;
                 what it has no weights for, as tubes of a model of pictures, is drawn anew
    resume       go on where the run in `out` stopped, or begin it; it ends with the bits of an uninterrupted one
    raises       SettingError: a preset, a setting or a change that cannot be
                 RunError: `out` holds a run and resume is False, or holds another run than this one
                 FloatingPointError naming the step: the loss or a gradient is not finite
                 Interrupted: Ctrl-C, after a checkpoint
    """
    settings = Settings() if settings is None else settings
    if settings.questions_each > 1 and not hasattr(models.find(model_name)[1], "answer"):
        told = f"questions_each is {settings.questions_each}, must be 1 for {model_name}"
        raise SettingError(f"{told}: it answers no questions")
    sets = [str(part) for part in (data if isinstance(data, (list, tuple)) else [data])]
    data = sets[0] if len(sets) == 1 else sets
    run = Run(out)
    wanted = {label.strip() for label in settings.labels.split(",") if label.strip()}
    keep = (lambda info: bool(wanted & set(labels_of(info)))) if wanted else None
    split = None if settings.split == "all" else settings.split
    chosen = {"strict": settings.strict, "keep": keep, "need_caption": settings.questions < 1}
    source = open_mix(sets, split, settings.seed, weights=settings.mix, batch_of=settings.batch_of, **chosen)
    about = {"model": model_name, "preset": preset, "data": data, "settings": asdict(settings)}
    about |= {"begin": str(begin)} if begin else {}
    if resume and run.exists():
        _check_same_run(run, about, config or {})
        model = run.build(np.random.default_rng(settings.seed)).to(device)
    else:
        run.check_free()
        if begin:
            model = _begun(model_name, Run(begin), settings, config or {}).to(device)
        else:
            model = _new_model(model_name, preset, source, settings, config or {}).to(device)
        run.create(model.tokenizer, {**about, "config": asdict(model.config)})
    keep_freed_memory()
    training = Training(model, settings)
    try:
        step, arrays = run.newest_checkpoint()
        if arrays is not None:
            training.load_state(step, arrays)
        run.rewind(step)
        _to_the_end(training, source, run, quiet)
        weights = model_weights(training.state())
        save_safetensors(run.model_path, weights, {"step": str(settings.steps)})
    except (ValueError, ArithmeticError, MemoryError):
        if training.done == 0:  # what does not work at all leaves no run in the way of the next attempt
            run.discard()
        raise
    except OSError as error:
        raise RunError(f"{run.path} cannot be written: {error.strerror}; mend it, then go on with --resume") from error
    finally:
        source.problems.warn()
    model.load_state_dict(weights)
    return model.eval()


def _new_model(model_name, preset, source, settings, changes):
    """A model of fresh weights, and the vocabulary that it learns from the captions."""
    Config, Model = models.find(model_name)
    if preset not in presets(Config):
        raise SettingError(f"preset is {preset!r}, must be one of: {', '.join(presets(Config))}")
    captions = []
    for example in source.examples():
        captions += example.captions
        if settings.questions:
            captions += [f"{q['question']} {a}" for q in example.info.get("questions", ()) for a in q["answers"]]
        if len(captions) >= _CAPTIONS:
            break
    try:
        tokenizer = ByteLevelBPE.train(captions, settings.bpe_vocabulary)
        from_tokenizer = {
            "vocabulary": tokenizer.vocab_size,
            "pad_token": tokenizer.pad_id,
            "start_token": tokenizer.start_id,
            "end_token": tokenizer.end_id,
        }
        if clash := set(from_tokenizer) & set(changes):
            raise ValueError(f"{clash.pop()} comes from the tokenizer; set bpe_vocabulary instead")
        config = getattr(Config, preset)(**from_tokenizer, **changes)
        check_sizes(config)
        model = Model(config, np.random.default_rng(settings.seed))
    except ValueError as error:
        raise SettingError(str(error)) from error
    model.tokenizer = tokenizer
    return model


def _begun(model_name, run, settings, changes):
    """A model with the vocabulary and the weights of a run, as far as they fit; the rest of it is fresh."""
    told, (Config, Model) = run.describe(), models.find(model_name)
    if told["model"] != model_name:
        raise SettingError(f"{run.path} is a run of {told['model']}, must be one of {model_name}")
    before = run.build(Unallocated())
    before.load_state_dict(run.weights())
    kept = before.state_dict()
    try:
        config = Config(**{**told["config"], **changes})
        check_sizes(config)
        model = Model(config, np.random.default_rng(settings.seed))
    except ValueError as error:
        raise SettingError(str(error)) from error
    fresh = model.state_dict()
    same = {name: kept[name] for name in fresh if name in kept and kept[name].shape == fresh[name].shape}
    model.load_state_dict({**fresh, **same})
    model.tokenizer = before.tokenizer
    return model


def _check_same_run(run, about, changes):
    """A resumed run must be the one that was begun; only how often it is saved and how it is watched may change."""
    told = run.describe()
    different = [f"{k}={told.get(k)}" for k in ("model", "data", "preset", "begin") if told.get(k) != about.get(k)]
    begun = asdict(Settings()) | told["settings"]  # what was no setting then was as it is by default
    for kept, wanted in ((begun, about["settings"]), (told["config"], changes)):
        for name in wanted.keys() - _FREE:
            value = list(wanted[name]) if isinstance(wanted[name], tuple) else wanted[name]
            if kept.get(name) != value:
                different.append(f"{name}={kept.get(name)}")
    if different:
        raise RunError(f"{run.path} was begun with {', '.join(sorted(different))}, and can only be resumed so")


class Training:
    """A run between two steps: what a checkpoint holds (weights, optimiser, average), and how it moves on by a step."""

    def __init__(self, model, settings):
        s = self.settings = settings
        self.model, self.done = model, 0
        self.named = list(model.named_parameters())
        self.kept = [*self.named, *model.named_buffers()]
        model.train()
        groups = optim.decay_groups(self.named, s.weight_decay)
        betas = {"betas": (0.9, s.beta2)} if s.optimizer == "adamw" else {}
        self.optimizer = OPTIMIZERS[s.optimizer](groups, lr=s.lr, weight_decay=s.weight_decay, **betas)
        self.average = optim.WeightAverage([p for _, p in self.kept], s.average) if s.average else None
        self.device = device_of(self.named[0][1].data)

    def state(self):
        """{"model/NAME", "optimizer/...", "average/NAME": array}, on the CPU."""
        parts = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.average:
            parts["average"] = {name: a for (name, _), a in zip(self.kept, self.average.average, strict=True)}
            parts["averaged"] = {"updates": self.average.updates}
        return {f"{part}/{name}": to_device(a, "cpu") for part, arrays in parts.items() for name, a in arrays.items()}

    def load_state(self, done, arrays):
        """Takes over the state after `done` steps: the next step has the bits that it would have had."""
        self.done = done
        self.model.load_state_dict(part_of(arrays, "model"))
        self.optimizer.load_state_dict(part_of(arrays, "optimizer"))
        if self.average:
            average = part_of(arrays, "average")
            by_number = {str(i): average[name] for i, (name, _) in enumerate(self.kept)}
            self.average.load_state_dict({**part_of(arrays, "averaged"), **by_number})

    def batches(self, source):
        """The batches from the present step on."""
        s, c = self.settings, self.model.config
        return Batches(
            source,
            self.model.tokenizer,
            s.batch_size,
            c.context,
            c.image_size,
            c.image_mean,
            c.image_std,
            seed=s.seed,
            augment=self.augment if s.augment else None,
            workers=s.workers,
            start_step=self.done * s.accumulate,
            caption=self.caption,
            frames=getattr(c, "frames", 1),
            questions=s.questions,
            questions_each=s.questions_each,
        )

    def augment(self, images, random, batch):
        """Random changes, whose strength grows: early on there is most to learn from what the pictures show."""
        s = self.settings
        begin = s.augment if s.augment_begin < 0 else s.augment_begin
        risen = min(1.0, batch / (0.8 * s.steps * s.accumulate))
        return Augment().scaled(begin + (s.augment - begin) * risen)(images, random)

    def caption(self, example, random):
        """The text to learn from: one of the captions or, now and then, a prompt of the labels (CoCa, sec. 4.1)."""
        s, labels = self.settings, labels_of(example.info)
        if s.label_fraction and labels and random.random() < s.label_fraction:
            return label_prompt(labels, random)
        if s.first_caption and random.random() < s.first_caption:
            return example.captions[0]
        return example.captions[random.integers(len(example.captions))]

    def step(self, batches):
        """One update of the weights. -> a line for the log: losses, learning rate, gradient norm, times"""
        s, started = self.settings, time.perf_counter()
        try:
            with detect_anomaly() if s.detect_anomaly else nullcontext():
                losses = self._gradients(batches)
            norm = optim.clip_grad_norm(self.named, s.clip or math.inf)
        except AnomalyError as error:
            raise AnomalyError(f"step {self.done + 1}: {error}") from None
        except FloatingPointError as error:
            raise FloatingPointError(f"step {self.done + 1}: {error}; {_WHERE}") from None
        self.optimizer.lr = SCHEDULES[s.schedule](self.done, s.lr, min(s.warmup, s.steps // 5), s.steps)
        self.optimizer.step()
        self.model.after_step()
        if self.average:
            self.average.update()
        self.done += 1
        seconds = time.perf_counter() - started
        speed = {"seconds": round(seconds, 4), "images_per_second": round(s.batch_size * s.accumulate / seconds, 1)}
        return {"step": self.done, **losses, "lr": self.optimizer.lr, "grad_norm": norm, **speed}

    def _gradients(self, batches):
        """Adds up the gradients of one step's batches in the parameters. -> the mean of each loss, as numbers"""
        s, means = self.settings, {}
        self.model.zero_grad()
        self.model.before_step(self.done / s.steps)
        random = np.random.default_rng([s.seed, self.done])
        for _ in range(s.accumulate):
            batch = next(batches)
            # Lengths, and who belongs to whom, tell where to look: they stay, and are asked without a wait for the GPU.
            batch |= {k: to_device(batch[k], self.device) for k in ("image", "text")}
            out = self.model(batch, random=random)
            for name, value in out.items():
                if name.endswith("loss"):
                    means[name] = means.get(name, 0.0) + value.item() / s.accumulate
            if not math.isfinite(out["loss"].item()):
                raise FloatingPointError(f"the loss is {out['loss'].item()}")
            (out["loss"] * (1 / s.accumulate)).backward()
        return means


def _to_the_end(training, source, run, quiet):
    """The steps that are left, each with its line in the log; checkpoints; Ctrl-C only ever between two steps."""
    s = training.settings
    bar = tqdm(total=s.steps, initial=training.done, unit="step", disable=quiet, smoothing=0.1, mininterval=0.5)
    with _CtrlC() as stop, training.batches(source) as batches, open(run.log_path, "a") as log, bar:
        while training.done < s.steps:
            line = training.step(batches)
            log.write(json.dumps(line) + "\n")
            log.flush()
            bar.set_postfix_str(f"loss {line['loss']:.3f}, {line['images_per_second']:.0f} images/s", refresh=False)
            bar.update()
            if training.done % s.checkpoint_every == 0 or training.done == s.steps or stop.asked:
                os.fsync(log.fileno())  # a checkpoint must never be ahead of the log, not even after a power cut
                run.save_checkpoint(training.done, training.state(), s.keep)
            if stop.asked and training.done < s.steps:
                raise Interrupted(f"stopped after step {training.done} of {s.steps}; go on with --resume")


class _CtrlC:
    """Inside, the first Ctrl-C only asks: the step is finished, so that its checkpoint is of whole steps. The second
    ends the program where it stands; the newest checkpoint is still there."""

    def __init__(self):
        self.asked, self.before = False, None

    def __enter__(self):
        # Only the main thread may do this; and whoever started us with Ctrl-C switched off (nohup) keeps it so.
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self.before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_):
        if self.before is not None:
            signal.signal(signal.SIGINT, self.before)

    def _ask(self, *_):
        if self.asked:
            raise KeyboardInterrupt("stopped at once; --resume goes on from the newest checkpoint")
        self.asked = True
        print("\nstopping after this step; Ctrl-C again stops at once", file=sys.stderr)
