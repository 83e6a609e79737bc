"""A run: the folder that training writes and everything else reads.

    RUN/run.json                      model, its Config, the training settings, the data: enough to start over
    RUN/tokenizer.json                the vocabulary
    RUN/log.jsonl                     one line a step: losses, learning rate, gradient norm, images/s
    RUN/checkpoint-00000500.safetensors   weights, optimiser, step: enough to go on
    RUN/model.safetensors             the weights at the end (averaged over time, where the run asks for it)

Every file is written beside its place and then renamed: whenever a run is killed, each file is whole.
"""

import json
import os
import re
from dataclasses import asdict
from pathlib import Path

import numpy as np

from . import models
from .tokenizers import ByteLevelBPE
from .weights import WeightsError, load_safetensors, read_header, save_safetensors

_CHECKPOINT = re.compile(r"checkpoint-(\d{8})\.safetensors")


class RunError(ValueError):
    """A folder that is not a run, or not the run that it should be."""


class Run:
    """The folder `path` of a training run."""

    def __init__(self, path):
        self.path = Path(path)

    # ---- what the run is -----------------------------------------------------------------------------------------

    def create(self, **description):
        """Makes the folder and writes what the run is: model, preset, config, settings, data."""
        if self.description_path.exists():
            raise RunError(f"{self.path} holds a run already: go on with --resume, or choose another --out")
        self.path.mkdir(parents=True, exist_ok=True)
        write_beside(self.description_path, json.dumps(description, indent=2) + "\n")

    @property
    def description_path(self):
        return self.path / "run.json"

    def describe(self):
        """The description, as a dict; RunError where there is none."""
        try:
            return json.loads(self.description_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"{self.path} is no run: it has no run.json (minivl train ... --out {self.path})") from None
        except ValueError as error:
            raise RunError(f"{self.description_path} is not JSON: {error}") from None

    def build(self, random=None):
        """A model as the run describes it, with the run's tokenizer and fresh weights."""
        description = self.describe()
        Config, Model = models.find(description["model"])
        try:
            config = Config(**description["config"])
        except TypeError as error:
            raise RunError(f"{self.description_path}: config does not fit {description['model']}: {error}") from None
        model = Model(config, np.random.default_rng(0) if random is None else random)
        model.tokenizer = ByteLevelBPE.load(self.path)
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
        return path

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

    @property
    def log_path(self):
        return self.path / "log.jsonl"

    def read_log(self):
        """The lines of the log as dicts, up to the first that is broken off."""
        lines = []
        if self.log_path.exists():
            for line in self.log_path.read_text(encoding="utf-8").splitlines():
                try:
                    lines.append(json.loads(line))
                except ValueError:
                    break
        return lines

    def cut_log(self, step):
        """Takes out the lines of steps after `step`: a resumed run writes them again."""
        lines = [json.dumps(line) + "\n" for line in self.read_log() if line["step"] <= step]
        write_beside(self.log_path, "".join(lines))

    # ---- the result ----------------------------------------------------------------------------------------------

    @property
    def model_path(self):
        return self.path / "model.safetensors"

    def weights(self):
        """Name -> array: the final weights, or those of the newest checkpoint while the run goes on."""
        if self.model_path.exists():
            return load_safetensors(self.model_path)
        step, arrays = self.newest_checkpoint()
        if arrays is None:
            raise RunError(f"{self.path} has no weights yet: the run was stopped before its first checkpoint")
        return model_weights(arrays)


def model_weights(arrays):
    """The model's part of a checkpoint: the average over time where there is one, else the weights of the last step."""
    average = {name.removeprefix("average/"): a for name, a in arrays.items() if name.startswith("average/")}
    last = {name.removeprefix("model/"): a for name, a in arrays.items() if name.startswith("model/")}
    return {name: average.get(str(i), a) for i, (name, a) in enumerate(last.items())}


def load(path, device="cpu"):
    """The trained model of the run in folder `path`, ready for use: `minivl.load(RUN).encode_image(pictures)`."""
    run = Run(path)
    model = run.build()
    model.load_state_dict(run.weights())
    return model.to(device)


def write_beside(path, text):
    """Writes a text file under another name and renames it: readers see the old text or the new one, never half."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with open(beside, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def description_of(model_name, config, settings, data, preset):
    """What run.json holds."""
    return {"model": model_name, "preset": preset, "data": data, "config": asdict(config), "settings": asdict(settings)}
