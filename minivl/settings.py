"""What can be set: how a model is trained, and on the command line `--set NAME=VALUE` for that and for its Config."""

import difflib
import math
import re
from dataclasses import asdict, dataclass, fields

from . import optim
from .data.mix import BATCHES, WEIGHTS

SCHEDULES = {"cosine": optim.warmup_cosine, "linear": optim.warmup_linear, "constant": optim.warmup_constant}
OPTIMIZERS = {"adamw": optim.AdamW, "adafactor": optim.Adafactor, "sgd": optim.SGD}


class SettingError(ValueError):
    """A setting that cannot be what it was set to."""


@dataclass
class Settings:
    """How a model is trained. Numbers of steps and pictures, not of epochs.   SettingError: a value that cannot be."""

    steps: int = 1000
    batch_size: int = 64
    accumulate: int = 1  # batches whose gradients are added up for one step
    optimizer: str = "adamw"  # or "adafactor" (CoCa's), "sgd"
    beta2: float = 0.98  # memory of AdamW's second moment; Adafactor has the paper's 0.999
    lr: float = 1e-3
    warmup: int = 100  # steps of rising lr, a fifth of all at most
    schedule: str = "cosine"  # or "linear", "constant"
    weight_decay: float = 0.05
    clip: float = 1.0  # the global norm that gradients are scaled down to; 0: they are left as they are
    average: float = 0.0  # decay of a running mean of the weights, which the run then ends with; 0: none
    augment: float = 0.0  # strength of the random changes to pictures; 0: none
    augment_begin: float = -1.0  # their strength at first, which then rises over four fifths of the run; -1: the same
    split: str = "train"  # of the data, where its examples name one; "all": every example
    labels: str = ""  # train only on examples with one of these labels, separated by commas
    first_caption: float = 0.0  # share of the pictures whose text is their first caption; else one drawn from all
    mix: str = "size"  # of several sets, how often each is met: by "size", "sqrt" (its root), "even", or numbers: 3,1
    batch_of: str = "all"  # of several sets; "one": each batch is of one, drawn; "turns": they take turns
    label_fraction: float = 0.0  # share of the pictures whose text is a prompt of their labels
    questions: float = 0.0  # share of the batches that are of questions and answers, where the data has some
    questions_each: int = 1  # that are asked of each picture of such a batch, or as many as it has
    bpe_vocabulary: int = 512  # tokens to learn, at most
    seed: int = 0
    checkpoint_every: int = 500  # steps
    keep: int = 2  # checkpoints; 0: all
    workers: int = 1  # threads that prepare batches
    strict: bool = False  # the first broken example is an error
    detect_anomaly: bool = False  # look at every number, and name the op where the first NaN is born

    def __post_init__(self):
        for names, least, most in (
            (("steps", "batch_size", "accumulate", "checkpoint_every", "workers", "questions_each"), 1, math.inf),
            (("warmup", "seed", "keep", "weight_decay", "clip", "augment"), 0, math.inf),
            (("label_fraction", "first_caption", "questions"), 0, 1),
        ):
            for name in names:
                if not least <= getattr(self, name) <= most or not math.isfinite(getattr(self, name)):
                    wanted = f"at least {least}" if most == math.inf else f"from {least} to {most}"
                    raise SettingError(f"{name} is {getattr(self, name)}, must be {wanted}")
        numbers = re.fullmatch(r"\d+(\.\d+)?(,\d+(\.\d+)?)*", self.mix)
        if self.mix not in WEIGHTS and not numbers:
            raise SettingError(f"mix is {self.mix!r}, must be {', '.join(WEIGHTS)}, or numbers as 3,1")
        if not 0 < self.lr < math.inf:
            raise SettingError(f"lr is {self.lr}, must be above 0")
        for name in ("average", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise SettingError(f"{name} is {getattr(self, name)}, must be at least 0 and below 1")
        for name, known in (("schedule", SCHEDULES), ("optimizer", OPTIMIZERS), ("batch_of", BATCHES)):
            if getattr(self, name) not in known:
                raise SettingError(f"{name} is {getattr(self, name)!r}, must be one of: {', '.join(known)}")


def presets(Config):
    """Names of the sizes that a model has: the class methods of its Config."""
    return [name for name, value in vars(Config).items() if isinstance(value, classmethod)]


def check_sizes(config):
    """SettingError where a number of a Config is too small for any model."""
    for name, value in asdict(config).items():
        least = 2 if name == "context" else 0 if name.endswith(("_layers", "_queries", "_token")) else 1
        if type(value) is int and value < least:
            raise SettingError(f"{name} is {value}, must be at least {least}")


def from_words(pairs, Config):
    """--set NAME=VALUE: (changes to Settings, changes to Config), each value as the field's type."""
    kinds = [{f.name: f for f in fields(kind)} for kind in (Settings, Config)]
    found = {}, {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        place = next((i for i, known in enumerate(kinds) if name in known), None)
        if place is None or not equals:
            near = difflib.get_close_matches(name, [*kinds[0], *kinds[1]], 1)
            hint = f"did you mean {near[0]}?" if near and place is None else "minivl train coca --list shows them all"
            raise SettingError(f"--set {pair}: must be NAME=VALUE with the name of a setting; {hint}")
        found[place][name] = _value(pair, text, kinds[place][name].default)
    return found


def _value(pair, text, default):
    """`text` as what `default` is."""
    try:
        if isinstance(default, bool):
            return {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}[text.lower()]
        if isinstance(default, tuple):
            return tuple(type(n)(word) for n, word in zip(default, text.split(","), strict=True))
        return type(default)(text)
    except (ValueError, KeyError):
        if isinstance(default, tuple):
            wanted = f"{len(default)} numbers, as {','.join(map(str, default))}"
        else:
            wanted = {bool: "true or false", int: "a whole number", float: "a number"}[type(default)]
        raise SettingError(f"--set {pair}: must be {wanted}") from None
