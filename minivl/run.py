"""A run: the folder that training writes and everything else reads.

    RUN/run.json                      model, its Config, the training settings, the data: enough to start over
    RUN/tokenizer.json                the vocabulary
    RUN/log.jsonl                     one line a step: losses, learning rate, gradient norm, images/s
    RUN/checkpoint-00000500.safetensors   weights, optimiser, step: enough to go on
    RUN/model.safetensors             the weights at the end (averaged over time, where the run asks for it)

Every file is written beside its place and then renamed: whenever a run is killed, each file is whole. Only the log
grows line by line; its last line may be half a line, and is then taken out on resuming.
"""

import itertools
import json
import os
import re
from contextlib import suppress
from pathlib import Path

import numpy as np

from . import models
from .nn import Unallocated
from .tokenizers import ByteLevelBPE
from .weights import WeightsError, load_safetensors, read_header, save_safetensors

_CHECKPOINT = re.compile(r"checkpoint-(\d{8,})\.safetensors")
_DESCRIPTION = {"model": str, "preset": str, "data": (str, list), "config": dict, "settings": dict}


class RunError(ValueError):
    """A folder that is not a run, or not the run that it should be."""


class Run:
    """The folder `path` of a training run."""

    def __init__(self, path):
        self.path = Path(path)
        self.description_path = self.path / "run.json"
        self.log_path = self.path / "log.jsonl"
        self.model_path = self.path / "model.safetensors"

    # ---- what the run is -----------------------------------------------------------------------------------------

    def exists(self):
        return self.description_path.exists()

    def check_free(self):
        """RunError where the folder cannot take a new run."""
        if self.exists():
            raise RunError(f"{self.path} holds a run already: go on with --resume, or choose another --out")
        if self.checkpoints() or self.model_path.exists():
            raise RunError(f"{self.path} holds weights of a run but no run.json: choose another --out")
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file: --out must be a folder, or a name that is free")

    def create(self, tokenizer, description):
        """Makes the folder; run.json comes last, so that a folder with one has everything that a run begins with."""
        self.check_free()
        self.path.mkdir(parents=True, exist_ok=True)
        tokenizer.save(self.path)
        write_beside(self.description_path, json.dumps(description, indent=2) + "\n")

    def discard(self):
        """Takes back what `create` made, as long as there is no checkpoint."""
        if not self.checkpoints():
            for name in ("run.json", "log.jsonl", "tokenizer.json"):
                (self.path / name).unlink(missing_ok=True)
            with suppress(OSError):  # other people's files are in it
                self.path.rmdir()

    def describe(self):
        """The description, as a dict; RunError where there is none."""
        try:
            told = json.loads(self.description_path.read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError):
            how = "minivl train coca --out RUN makes one"
            raise RunError(f"{self.path} is no run, it has no run.json; {how}") from None
        except ValueError as error:
            raise RunError(f"{self.description_path} is not JSON: {error}") from None
        for name, kind in _DESCRIPTION.items():
            if not isinstance(told, dict) or not isinstance(told.get(name), kind):
                raise RunError(f"{self.description_path} does not describe a run: it has no {name!r}, or a broken one")
        return told

    def build(self, random=None):
        """A model as the run describes it, with the run's tokenizer and fresh weights."""
        description = self.describe()
        Config, Model = models.find(description["model"])
        try:
            config = Config(**description["config"])
        except TypeError as error:
            raise RunError(f"{self.description_path}: config does not fit {description['model']}: {error}") from None
        model = Model(config, np.random.default_rng(0) if random is None else random)
        try:
            model.tokenizer = ByteLevelBPE.load(self.path)
        except FileNotFoundError:
            raise RunError(f"{self.path} is not whole: it has no tokenizer.json") from None
        return model

    # ---- checkpoints ---------------------------------------------------------------------------------------------

    def checkpoints(self):
        """{step: path} of the checkpoints, in the order of their steps."""
        found = {int(m[1]): p for p in self.path.glob("checkpoint-*") if (m := _CHECKPOINT.fullmatch(p.name))}
        return dict(sorted(found.items()))

    def save_checkpoint(self, step, arrays, keep):
        """Writes the state after `step` steps and deletes all but the `keep` newest (0: deletes none)."""
        path = self.path / f"checkpoint-{step:08d}.safetensors"
        save_safetensors(path, arrays, {"step": str(step)})
        for old in list(self.checkpoints().values())[:-keep] if keep else []:
            old.unlink()

    def newest_checkpoint(self):
        """(step, arrays) of the newest checkpoint that is whole; (0, None) where there is none."""
        for step, path in reversed(self.checkpoints().items()):
            try:
                read_header(path)
            except WeightsError:
                continue  # not ours: what this class writes is whole or not there
            return step, load_safetensors(path)
        return 0, None

    # ---- the log -------------------------------------------------------------------------------------------------

    def read_log(self):
        """The lines of the log as dicts, up to the first that is broken off."""
        if not self.log_path.exists():
            return []
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return list(itertools.takewhile(bool, map(_log_line, text.splitlines())))

    def rewind(self, step):
        """Makes the folder what it was after `step`: later lines of the log go, and what a kill left half-written."""
        lines = [json.dumps(line) + "\n" for line in self.read_log() if line["step"] <= step]
        write_beside(self.log_path, "".join(lines))
        for pattern in ("*.part", "*.partial"):
            for stray in self.path.glob(pattern):
                stray.unlink(missing_ok=True)

    # ---- the result ----------------------------------------------------------------------------------------------

    def weights(self):
        """Name -> array: the final weights, or those of the newest checkpoint while the run goes on."""
        if self.model_path.exists():
            return load_safetensors(self.model_path)
        step, arrays = self.newest_checkpoint()
        if arrays is None:
            raise RunError(f"{self.path} has no weights yet: it was stopped before its first checkpoint; --resume it")
        return model_weights(arrays)


def model_weights(arrays):
    """The model's part of a checkpoint: the average over time where there is one, else the weights of the last step."""
    return part_of(arrays, "average") or part_of(arrays, "model")


def part_of(arrays, part):
    """{name: array} of what stands in `arrays` as part/name."""
    return {name.removeprefix(part + "/"): a for name, a in arrays.items() if name.startswith(part + "/")}


def _log_line(text):
    """A line of the log as a dict; None if it is not whole."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None


def load(path, device="cpu"):
    """The trained model of the run in folder `path`, ready for use: `minivl.load(RUN).encode_image(pictures)`."""
    run = Run(path)
    model = run.build(Unallocated())  # its weights come from the file, and none are drawn before
    model.load_state_dict(run.weights())
    return model.eval().to(device)


def write_beside(path, content):
    """Writes text or bytes under another name and renames it: readers see the old file or the new one, never half."""
    path = Path(path)
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with open(beside, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException as error:
        with suppress(OSError):
            beside.unlink()
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        raise
