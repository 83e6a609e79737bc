"""Ablations: verdicts on figures made by hand, and one that is really trained, stopped and gone on with."""

import json

import numpy as np
import pytest

from minivl import ablate as room
from minivl.ablate import ablate, verdict
from minivl.ablations import ABLATIONS, RECIPES, Ablation, Claim
from minivl.models import find
from minivl.settings import Settings, from_words


@pytest.mark.parametrize(
    ("better", "worse", "margin", "said"),
    [
        ([0.9, 0.8, 0.7], [0.5, 0.4, 0.3], 0, "holds"),
        ([0.5, 0.4, 0.3], [0.9, 0.8, 0.7], 0, "does not hold"),
        ([0.9, 0.1, 0.5], [0.5, 0.4, 0.3], 0, "within noise"),
        ([0.9, 0.9, 0.9], [0.9, 0.9, 0.9], 0, "within noise"),
        ([0.9, 0.9, 0.9], [0.92, 0.92, 0.92], -0.03, "holds"),
        ([0.9, 0.9, 0.9], [0.95, 0.95, 0.95], -0.03, "does not hold"),
        ([0.9], [0.5], 0, "one seed"),
    ],
)
def test_verdicts(better, worse, margin, said):
    got, difference, noise = verdict(better, worse, margin)
    assert got == said and difference == pytest.approx(np.mean(better) - np.mean(worse))
    if len(better) > 1:
        d = np.subtract(better, worse)
        assert noise == pytest.approx(2 * d.std(ddof=1) / len(d) ** 0.5)


def test_pairs_of_seeds_are_compared_not_heaps():
    """Seeds that differ much among themselves, and each by the same from its twin."""
    assert verdict([0.1, 0.5, 0.9], [0.05, 0.46, 0.84])[0] == "holds"


@pytest.mark.parametrize("model", ABLATIONS)
def test_every_ablation_is_one_that_can_be_trained_and_measured(model):
    Config, _ = find(model)
    names = [a.name for a in ABLATIONS[model]]
    assert len(set(names)) == len(names) and all(name.isascii() and " " not in name for name in names)
    for a in ABLATIONS[model]:
        assert set(a.paper) <= set(a.variants)
        for claim in a.claims:
            assert {claim.better, claim.worse} <= set(a.variants)
            assert {m.partition(":")[0] for m in (claim.measure, claim.against) if m} <= set(room.MEASURES)
        for changes in a.variants.values():
            wanted = {**RECIPES[model][a.recipe], **changes}
            words = [f"{k}={v}" for k, v in wanted.items() if k not in ("data", "preset")]
            settings, config = from_words(words, Config)
            Settings(**settings), getattr(Config, wanted.get("preset", "tiny"))(**config)


SMALL = dict(
    data="scenes:20", steps=2, batch_size=4, width=16, heads=2, image_heads=2, image_layers=1, layers=2, cross_layers=1
)
MINI = Ablation(
    name="mini",
    asks="whether it runs",
    recipe="small",
    variants={"focal": {}, "softmax": {"contrast": "softmax"}},
    claims=(Claim("focal", "softmax", "R@1"), Claim("focal", "softmax", "captions", margin=-0.03)),
    paper={"focal": "82.4"},
)


def test_runs_are_trained_once_and_measured_once(tmp_path, monkeypatch):
    monkeypatch.setitem(RECIPES, "mammut", {"small": SMALL})
    monkeypatch.setitem(ABLATIONS, "mammut", (MINI,))
    told = []
    result = ablate("mammut", tmp_path, seeds=(0, 1), tell=lambda *lines, sep=" ": told.extend(lines))
    runs = sorted(p.name for p in tmp_path.iterdir() if p.is_dir())
    assert runs == [f"mammut,small,{c}seed={s}" for c in ("contrast=softmax,", "") for s in (0, 1)]
    assert json.loads((tmp_path / "mammut.json").read_text()) == json.loads(json.dumps(result))
    [mini] = result
    assert mini["seeds"] == 2 and set(mini["rows"]["focal"]) == {"parameters", "seconds", "R@1", "captions"}
    assert [v["verdict"] for v in mini["verdicts"]] and len(mini["rows"]["focal"]["R@1"]["each"]) == 2
    text = "\n".join(map(str, told))
    assert "mini: whether it runs   (2 seeds)" in text and "82.4" in text
    assert "focal above softmax - 0.03 in captions: " in text

    def never(*_, **__):
        raise AssertionError("trained or measured again")

    monkeypatch.setattr(room, "train", never)
    monkeypatch.setattr(room, "load", never)
    again = ablate("mammut", tmp_path, seeds=(0, 1), tell=lambda *lines, **_: None)
    assert again == result


def test_an_ablation_that_there_is_not(tmp_path):
    with pytest.raises(ValueError, match="--only colours: must be one of: objectives, cross-attention"):
        ablate("mammut", tmp_path, only=["colours"])
