"""The command line: `minivl demo`, `minivl train`, `minivl evaluate`, ... Each command is one function below.

An error is one line that says what to do. Exit codes: 0 done, 1 it did not work, 2 the command line was not understood,
130 stopped by Ctrl-C.
"""

import argparse
import dataclasses
import difflib
import json
import sys
from pathlib import Path

# What a user can bring about; anything else is our mistake, and shows its traceback.
_EXPECTED = (ValueError, OSError, ModuleNotFoundError, FloatingPointError)


def main(arguments=None):
    """Runs one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except KeyboardInterrupt as stop:
        print(f"\nminivl: {stop}" if str(stop) else "\nminivl: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 0
    except _EXPECTED as error:
        if options.debug:
            raise
        print(f"minivl: {' '.join(str(error).split()) or type(error).__name__}", file=sys.stderr)
        return 1
    return 0


def _parser():
    parser = argparse.ArgumentParser(prog="minivl", description="Vision-language models from scratch, to be read.")
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name, function, help):
        sub = commands.add_parser(name, help=help, description=help)
        sub.set_defaults(command=function)
        return sub

    sub = command("demo", demo, "train CoCa on drawn scenes for two minutes, and see what it learned")
    sub.add_argument("--out", default="minivl-demo", help="folder of the run (default: %(default)s)")
    sub.add_argument("--steps", type=int, help="train for so many steps instead; for a first look, 100")

    sub = command("train", train, "train a model")
    sub.add_argument("model", help="coca")
    sub.add_argument("--data", default="scenes", help='"scenes", or a folder, file or prefix of WebDataset shards')
    sub.add_argument("--preset", default="tiny", help="size to start from: tiny, or a size of the paper")
    sub.add_argument("--steps", type=int, help="how many updates of the weights")
    sub.add_argument("--out", required=True, metavar="RUN", help="folder to write")
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting; see --list")
    sub.add_argument("--resume", action="store_true", help="go on where the run in --out stopped")
    sub.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    sub.add_argument("--list", action=_ListSettings, nargs=0, help="print all settings and their defaults")

    sub = command("evaluate", evaluate, "measure a trained model")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("--data", default="scenes", help='"scenes" or shards')
    sub.add_argument("--task", required=True, choices=("retrieval", "caption", "zeroshot"))
    sub.add_argument("--split", help="of the data; for scenes val (the default) or held-out")
    sub.add_argument("--labels", help="only examples with one of these labels, separated by commas")
    sub.add_argument("--limit", type=int, help="at most so many examples (default: 100 scenes, or all of the shards)")
    sub.add_argument("--gallery", help="retrieval: shards with another picture of each thing, for the pixel baseline")
    sub.add_argument("--views", type=int, default=1, help="retrieval: average over so many shifted copies of a picture")
    sub.add_argument("--beams", type=int, default=1, help="caption: beam search instead of greedy")
    sub.add_argument("--json", metavar="FILE", help="write the figures there too")
    sub.add_argument("--device", default="cpu", choices=("cpu", "cuda"))

    sub = command("caption", caption, "describe pictures")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("images", metavar="IMAGE", nargs="+")
    sub.add_argument("--beams", type=int, default=1)

    sub = command("retrieve", retrieve, "find the pictures that fit a text; writes a contact sheet")
    sub.add_argument("run", metavar="RUN")
    sub.add_argument("text", metavar="TEXT")
    sub.add_argument("--data", default="scenes", help='"scenes" or shards')
    sub.add_argument("--top", type=int, default=12, help="how many pictures (default: %(default)s)")
    sub.add_argument("--limit", type=int, help="search only so many pictures")
    sub.add_argument("--out", default="retrieved.png", help="the contact sheet (default: %(default)s)")

    command("doctor", doctor, "what minivl finds on this machine")
    return parser


class _ListSettings(argparse.Action):
    """--list: prints what --set can change, and ends."""

    def __call__(self, parser, namespace, values, option=None):
        from . import models
        from .train import Settings

        Config, _ = models.find(namespace.model or "coca")
        for title, kind in (("training", Settings), (f"{namespace.model or 'coca'}", Config)):
            print(f"{title}:")
            for field in dataclasses.fields(kind):
                print(f"  {field.name} = {field.default}")
        parser.exit()


# ---- commands ------------------------------------------------------------------------------------------------------


def demo(options):
    from .demo import demo

    demo(options.out, options.steps)


def train(options):
    from . import models
    from .train import Settings, train

    Config, _ = models.find(options.model)
    settings, changes = _split_settings(options.set, Settings, Config)
    if options.steps is not None:
        settings["steps"] = options.steps
    train(
        options.model,
        data=options.data,
        out=options.out,
        preset=options.preset,
        settings=Settings(**settings),
        config=changes,
        resume=options.resume,
        device=options.device,
    )
    print(f"wrote {options.out}; next: minivl evaluate {options.out} --data {options.data} --task retrieval")


def evaluate(options):
    from . import load
    from .evaluate import captioning, gallery_of, open_examples, retrieval, zeroshot

    model = load(options.run, options.device)
    labels = options.labels.split(",") if options.labels else None
    examples = open_examples(model, options.data, options.split, labels, options.limit)
    if options.task == "retrieval":
        wanted = options.gallery or examples["scenes"] is not None
        gallery = gallery_of(model, examples, options.gallery, labels) if wanted else None
        result = retrieval(model, examples, gallery, options.views)
    elif options.task == "caption":
        result = captioning(model, examples, beams=options.beams)
    else:
        result = zeroshot(model, examples)
    for line in _told(result):
        print(line)
    if options.json:
        from .run import write_beside

        about = {"run": options.run, "data": options.data, "task": options.task, "split": options.split}
        write_beside(Path(options.json), json.dumps({**about, **result}, indent=2, ensure_ascii=False) + "\n")


def caption(options):
    import numpy as np

    from . import load

    model = load(options.run)
    for path in options.images:
        print(f"{path}: {model.generate(np.stack([model.preprocess(path)]), beams=options.beams)[0]}")


def retrieve(options):
    from . import load
    from .data.image import contact_sheet, denormalise, to_picture
    from .evaluate import embed, open_examples
    from .tensor import no_grad

    model = load(options.run)
    examples = open_examples(model, options.data, limit=options.limit)
    pictures, _ = embed(model, examples)
    with no_grad():
        score = pictures @ model.encode_text([options.text]).numpy()[0]
    best = score.argsort()[::-1][: options.top]
    c = model.config
    tiles = [to_picture(denormalise(examples["image"][i], c.image_mean, c.image_std)) for i in best]
    titles = [f"{score[i]:.2f}  {examples['caption'][i]}" for i in best]
    contact_sheet(tiles, titles, heading=f"{options.text}: the {len(best)} of {len(score)}").save(options.out)
    for i in best[:5]:
        print(f"{score[i]:.3f}  {examples['key'][i]}  {examples['caption'][i]}")
    print(f"wrote {options.out}")


def doctor(options):
    from .doctor import report

    print(report())


# ---- what the commands share ---------------------------------------------------------------------------------------


def _split_settings(pairs, Settings, Config):
    """--set NAME=VALUE: (changes to Settings, changes to Config), each value as the field's type."""
    kinds = [{f.name: f for f in dataclasses.fields(kind)} for kind in (Settings, Config)]
    found = {}, {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        place = next((i for i, fields in enumerate(kinds) if name in fields), None)
        if place is None or not equals:
            near = difflib.get_close_matches(name, [*kinds[0], *kinds[1]], 1)
            hint = f"; did you mean {near[0]}?" if near else "; minivl train coca --list --out . prints them all"
            raise ValueError(f"--set {pair}: must be NAME=VALUE with the name of a setting{hint}")
        found[place][name] = _value(pair, text, kinds[place][name].default)
    return found


def _value(pair, text, default):
    """`text` as what `default` is."""
    if isinstance(default, bool):
        if text.lower() not in ("true", "false", "1", "0", "yes", "no"):
            raise ValueError(f"--set {pair}: must be true or false")
        return text.lower() in ("true", "1", "yes")
    if isinstance(default, tuple):
        return tuple(float(n) for n in text.split(","))
    try:
        return type(default)(text)
    except ValueError:
        raise ValueError(
            f"--set {pair}: must be {'a whole number' if isinstance(default, int) else 'a number'}"
        ) from None


def _told(result, before=""):
    """Lines of a result, nested dicts joined by a space; long lists are left to --json."""
    for name, value in result.items():
        if isinstance(value, dict):
            yield from _told(value, f"{before}{name} ")
        elif isinstance(value, float):
            yield f"{before}{name}: {value:.4f}"
        elif not isinstance(value, list):
            yield f"{before}{name}: {value}"


if __name__ == "__main__":
    sys.exit(main())
