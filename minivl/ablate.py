"""A paper's ablations in miniature: train each variant, a few seeds of it, and say whether the paper's finding holds.

    minivl ablate mammut --only objectives --seeds 0,1,2 --out FOLDER

What is compared stands in ablations.py, as plain data. A run is a folder of FOLDER, named by its recipe, by what is
changed, and by its seed; two ablations that need the same run share it. Stopped at any moment, the same command goes on
where it stood: runs that are finished are read, one that broke off is resumed, and figures are kept beside the weights.

A verdict compares the same seeds of two variants, pair by pair: the mean of the differences, beside twice its standard
error. Three seeds are few, and a verdict says no more than they do.
"""

import json
import time
from dataclasses import fields
from pathlib import Path

import numpy as np

from . import models
from .ablations import ABLATIONS, RECIPES
from .data.moving import DIRECTIONS
from .evaluate import TEMPLATES, answering, captioning, open_examples, retrieval, zeroshot
from .metrics.caption_words import words
from .run import Run, load, write_beside
from .settings import Settings
from .train import train


def ablate(model_name, out, only=None, seeds=(0, 1, 2), tell=print):
    """Trains what is not trained yet, prints a table and verdicts for each ablation; returns them as plain data."""
    known = {ablation.name: ablation for ablation in ABLATIONS[model_name]}
    if unknown := set(only or ()) - set(known):
        raise ValueError(f"--only {unknown.pop()}: must be one of: {', '.join(known)}")
    results = []
    for ablation in known.values():
        if only and ablation.name not in only:
            continue
        measures = [m for claim in ablation.claims for m in (claim.measure, claim.against) if m]
        measures = list(dict.fromkeys(measures))
        found = {label: [] for label in ablation.variants}
        for seed in seeds:  # seed by seed: whoever stops early has whole comparisons
            for label, changes in ablation.variants.items():
                recipe = RECIPES[model_name][ablation.recipe]
                run = trained(model_name, recipe, ablation.recipe, changes, seed, out, tell)
                found[label].append(figures(run, measures, tell))
        results.append(judged(ablation, found, measures, len(seeds)))
        tell(*table(ablation, results[-1], measures), sep="\n")
    write_beside(Path(out) / f"{model_name}.json", json.dumps(results, indent=2) + "\n")
    return results


# ---- a run -----------------------------------------------------------------------------------------------------------


def trained(model_name, recipe, recipe_name, changes, seed, out, tell=print):
    """The finished run of a variant, trained where it is not yet."""
    name = ",".join([model_name, recipe_name, *(f"{k}={v}" for k, v in sorted(changes.items())), f"seed={seed}"])
    run = Run(Path(out) / name.replace(" ", "_").replace("/", ":"))
    if run.model_path.exists():
        return run
    wanted = {**recipe, **changes, "seed": seed}
    data, preset = wanted.pop("data"), wanted.pop("preset", "tiny")
    of_training = {field.name for field in fields(Settings)}
    of_model = {field.name for field in fields(models.find(model_name)[0])}
    settings = Settings(**{k: v for k, v in wanted.items() if k in of_training}, keep=1, checkpoint_every=200)
    config = {k: v for k, v in wanted.items() if k in of_model - of_training}
    started = time.perf_counter()
    options = dict(data=data, out=run.path, preset=preset, settings=settings, config=config)
    train(model_name, **options, resume=True, quiet=True)
    tell(f"{name}: {settings.steps} steps, {time.perf_counter() - started:.0f} s")
    return run


def figures(run, measures, tell=print):
    """{measure: value} of a finished run, with its parameters and seconds; what was measured before is read."""
    path = run.path / "figures.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if missing := [measure for measure in measures if measure not in known]:
        model, data = load(run.path), run.describe()["data"]
        known["parameters"] = model.num_parameters()
        known["seconds"] = float(np.sum([line["seconds"] for line in run.read_log()]))
        for group in dict.fromkeys(measure.partition(":")[0] for measure in missing):
            known |= MEASURES[group](model, data)
        write_beside(path, json.dumps(known) + "\n")
        tell("   ", "   ".join(f"{measure} {known[measure]:.3f}" for measure in measures))
    return known


def _retrieval(model, data):
    scores = retrieval(model, open_examples(model, data, limit=150))
    both = [scores[way]["R@1"] for way in ("image_to_text", "text_to_image")]
    return {"R@1": float(np.mean(both))}


def _zeroshot(model, data):
    """Which thing is in a picture, by its name alone, or by the mean of several prompts of it."""
    examples = open_examples(model, data, limit=150)
    one, many = (zeroshot(model, examples, templates)["top1"] for templates in (("{}",), TEMPLATES))
    return {"zero-shot:one prompt": one, "zero-shot:six prompts": many}


def _captions(model, data):
    return {"captions": captioning(model, open_examples(model, data, limit=150))["exactly_right"]}


def _motion(model, data):
    """The share of captions that tell all directions of a clip in their order, whatever else they say."""
    examples = open_examples(model, data, limit=150)
    told, true = captioning(model, examples)["captions"], [some[0] for some in examples["captions"]]
    told, true = ([[w for w in words(text) if w in DIRECTIONS] for text in texts] for texts in (told, true))
    return {"motion": float(np.mean([a == b for a, b in zip(told, true, strict=True)]))}


def _answers(model, data):
    return {"vqa": answering(model, open_examples(model, data, limit=150))["exact_match"]}


MEASURES = {"R@1": _retrieval, "captions": _captions, "motion": _motion, "vqa": _answers, "zero-shot": _zeroshot}


# ---- what it says ----------------------------------------------------------------------------------------------------


def judged(ablation, found, measures, seeds):
    """The table and the verdicts of an ablation, as plain data."""
    rows = {}
    for label, runs in found.items():
        values = {measure: [run[measure] for run in runs] for measure in measures}
        rows[label] = {
            "parameters": runs[0]["parameters"],
            "seconds": float(np.mean([run["seconds"] for run in runs])),
            **{measure: {"each": each, **_mean_and_spread(each)} for measure, each in values.items()},
        }
    verdicts = []
    for claim in ablation.claims:
        better = rows[claim.better][claim.measure]["each"]
        worse = rows[claim.worse][claim.against or claim.measure]["each"]
        said, difference, noise = verdict(better, worse, claim.margin)
        verdicts.append({**vars(claim), "difference": difference, "noise": noise, "verdict": said})
    return {"name": ablation.name, "seeds": seeds, "rows": rows, "verdicts": verdicts}


def verdict(better, worse, margin=0.0):
    """("holds" | "does not hold" | "within noise", mean difference, twice its standard error), seed by seed.

    "does not hold": the opposite is beyond the noise. One seed has no noise to compare with: "one seed".
    """
    difference = np.asarray(better, np.float64) - np.asarray(worse, np.float64)
    mean = float(difference.mean())
    if len(difference) < 2:
        return "one seed", mean, None
    noise = float(2 * difference.std(ddof=1) / np.sqrt(len(difference)))
    beyond = mean - margin
    return "holds" if beyond > noise else "does not hold" if beyond < -noise else "within noise", mean, noise


def _mean_and_spread(values):
    return {"mean": float(np.mean(values)), "spread": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0}


def table(ablation, result, measures):
    """The lines of an ablation: a row for each variant, then the claims and what became of them."""
    width = max(len(label) for label in ablation.variants) + 2
    yield f"\n{ablation.name}: {ablation.asks}   ({result['seeds']} seed{'s' * (result['seeds'] > 1)})"
    yield "".join(["", " " * width, *(f"{m:>24}" for m in measures), f"{'parameters':>12}{'seconds':>9}   the paper"])
    for label, row in result["rows"].items():
        cells = (f"{row[m]['mean']:.3f} +- {row[m]['spread']:.3f}" for m in measures)
        size = f"{row['parameters']:>12,}{row['seconds']:>9.0f}   {ablation.paper.get(label, '')}"
        yield f"{label:<{width}}" + "".join(f"{cell:>24}" for cell in cells) + size
    for v in result["verdicts"]:
        beyond = f" - {-v['margin']:g}" if v["margin"] < 0 else ""
        noise = "" if v["noise"] is None else f" +- {v['noise']:.3f}"
        claim = f"{v['better']} above {v['worse']}{beyond} in {v['measure']}"
        claim = f"{v['measure']} above {v['against']}" if v["against"] else claim
        yield f"  {claim}: {v['verdict'].upper()} ({v['difference']:+.3f}{noise})"
