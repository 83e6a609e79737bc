"""The training curve of `minivl demo`, kept beside the code: whoever trains it can see whether theirs is right.

    minivl demo --out minivl-demo && python -m minivl.curve minivl-demo     # writes it anew, when the recipe changes

The first line of the file holds what run.json says of the run, each other line the losses of one step: of the first
ten steps, and then of every twentieth. Another processor rounds otherwise; the first steps still agree to a thousandth,
later ones as two runs do that began a hair's breadth apart.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

from .run import Run, write_beside
from .settings import Settings

PATH = Path(__file__).with_name("expected_demo_curve.jsonl")
_LOSSES = ("loss", "contrastive_loss", "caption_loss")


def write(run, path=PATH):
    """Keeps the curve of `run`, a folder or a Run."""
    run = run if isinstance(run, Run) else Run(run)
    lines = [run.describe()]
    for line in run.read_log():
        if line["step"] <= 10 or line["step"] % 20 == 0:
            lines.append({"step": line["step"], **{name: round(line[name], 5) for name in _LOSSES}})
    write_beside(path, "".join(json.dumps(line) + "\n" for line in lines))


def read(path=PATH):
    """(the description of the run, its lines) as dicts"""
    description, *lines = map(json.loads, path.read_text(encoding="utf-8").splitlines())
    return _whole(description), lines


def _whole(description):
    """With all settings: what was none when the run was made is as it is by default."""
    return {**description, "settings": asdict(Settings()) | description["settings"]}


def compare(run, path=PATH):
    """One line of text: how the curve of `run` lies beside the expected one. None where it is another recipe's."""
    expected, lines = read(path)
    told, log = _whole(run.describe()), {line["step"]: line for line in run.read_log()}
    both = [(line, log[line["step"]]) for line in lines if line["step"] in log]
    if not both or any(told[name] != expected[name] for name in ("model", "data", "config", "settings")):
        return None
    apart = max(abs(got["loss"] / want["loss"] - 1) for want, got in both[:5])
    verdict = "as expected" if apart < 1e-3 else f"NOT as expected: the first steps are {100 * apart:.1f} % apart"
    want, got = both[-1]
    return f"training curve: {verdict}; step {want['step']}: loss {got['loss']:.3f}, expected {want['loss']:.3f}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m minivl.curve RUN")
    write(sys.argv[1])
    print(f"wrote {PATH}")
