"""The command line: `minivl demo`, `minivl train`, `minivl evaluate`, ... Each command is one function below.

An error is one line that says what to do. Exit codes: 0 done, 1 it did not work, 2 the command line was not understood,
130 stopped by Ctrl-C.
"""

import argparse
import dataclasses
import inspect
import io
import json
import signal
import sys
import warnings
from pathlib import Path

from . import __version__

# What a user can bring about; anything else is our mistake, and shows its traceback.
_EXPECTED = (ValueError, OSError, ModuleNotFoundError, FloatingPointError, MemoryError)


class UsageError(ValueError):
    """A command line that cannot be understood: exit code 2."""


def main(arguments=None):
    """Runs one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code = options.command(options) or 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as stop:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # on the way out, another Ctrl-C changes nothing
        return _told(f"\nminivl: {stop}" if str(stop) else "\nminivl: stopped", 130)
    except BrokenPipeError:  # the reader of our output has seen enough
        return 0
    except _EXPECTED as error:
        if options.debug:
            raise
        from .settings import SettingError

        return _told(f"minivl: {_one_line(error)}", 2 if isinstance(error, (UsageError, SettingError)) else 1)


def _told(line, code):
    print(line, file=sys.stderr)
    return code


def _one_line(error):
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"not enough memory: {error or 'choose a smaller batch or model'}"
    return " ".join(str(error).split()) or type(error).__name__


class _Parser(argparse.ArgumentParser):
    """Its errors are one line too."""

    def error(self, message):
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help)\n")


# ---- what there is to say --------------------------------------------------------------------------------------------


def _parser():
    parser = _Parser(
        prog="minivl",
        description="Vision-language models from scratch, to be read.",
        epilog="Begin with: minivl demo. Each command has its own --help.",
    )
    parser.add_argument("--version", action="version", version=f"minivl {__version__}")
    parser.add_argument("--debug", action="store_true", help="show where an error came from")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", parser_class=_Parser)

    def command(name, function, help, example=None):
        text = {"help": help, "description": f"{help[0].upper()}{help[1:]}.", "epilog": example}
        sub = commands.add_parser(name, formatter_class=argparse.RawDescriptionHelpFormatter, **text)
        sub.set_defaults(command=function)
        return sub

    sub = command("demo", demo, "train CoCa on drawn scenes for two minutes, and see what it learned")
    sub.add_argument("--out", default="minivl-demo", metavar="RUN", help="folder of the run (default: %(default)s)")
    sub.add_argument("--steps", type=_count, metavar="N", help="train for so many steps instead; for a first look, 100")

    _add_train(command)
    _add_evaluate(command)

    sub = command("caption", caption, "describe pictures", "Example: minivl caption RUN one.png two.jpg")
    _add_run(sub)
    sub.add_argument("images", metavar="IMAGE", nargs="+", help="PNG, JPEG, WebP or what else Pillow reads")
    sub.add_argument("--beams", type=_count, default=1, metavar="N", help="beam search instead of greedy")

    example = 'Example: minivl retrieve RUN "a red apple" --data emoji/twitter'
    sub = command("retrieve", retrieve, "find the pictures that fit a text, and write them on a contact sheet", example)
    _add_run(sub)
    sub.add_argument("text", metavar="TEXT", help="what to look for")
    _add_data(sub, "scenes")
    sub.add_argument("--top", type=_count, default=12, metavar="N", help="how many pictures (default: %(default)s)")
    sub.add_argument("--limit", type=_count, metavar="N", help="search only the first N pictures")
    sub.add_argument("--out", default="retrieved.png", metavar="FILE", help="the sheet (default: %(default)s)")

    _add_explain(command)
    _add_pages(command)
    _add_import(command)
    _add_ladder(command)
    _add_ablate(command)
    _add_exercises(command)
    _add_bench(command)
    command("doctor", doctor, "say what minivl finds on this machine")
    return parser


def _add_train(command):
    example = "Example: minivl train coca --data emoji/google --set width=192 --steps 2000 --out run"
    sub = command("train", train, "train a model; what is killed or stopped by Ctrl-C goes on with --resume", example)
    sub.add_argument("model", help="clip, coca or mammut")
    _add_data(sub, None, "; given several times, they are mixed (--set mix=..., batch_of=...)", action="append")
    sub.add_argument("--preset", metavar="SIZE", help="tiny (the default), or a size of the paper, as base")
    sub.add_argument("--from", dest="begin", metavar="RUN", help="begin with the weights and vocabulary of another run")
    sub.add_argument("--steps", type=_count, metavar="N", help="how many updates of the weights (default: 1000)")
    sub.add_argument("--out", required=True, metavar="RUN", help="folder to write")
    sub.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="change a setting; --list shows all of them"
    )
    sub.add_argument(
        "--resume", action="store_true", help="go on where the run in --out stopped, as it was begun; or begin it"
    )
    sub.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to compute (default: cpu)")
    sub.add_argument("--list", action=_ListSettings, nargs=0, help="print all settings and their defaults, and end")


def _add_bench(command):
    example = "Examples: minivl bench cpu --quick; minivl bench gpu --only attention"
    sub = command("bench", bench, "measure minivl beside PyTorch, in a checkout of its source", example)
    sub.add_argument(
        "where", choices=("cpu", "gpu"), help="steps and ops on the cpu; kernels on a gpu, counted without"
    )
    sub.add_argument(
        "arguments", metavar="...", nargs=argparse.REMAINDER, help="--quick, --only NAME and others; --help tells all"
    )


def _add_ladder(command):
    example = "Examples: minivl ladder softmax; minivl ladder report softmax_1_naive"
    sub = command(
        "ladder", ladder, "climb from a simple CUDA kernel to a fast one, and see what each rung gains", example
    )
    sub.add_argument(
        "name", metavar="NAME", nargs="?", help="a ladder, or 'report'; without it, all ladders are listed"
    )
    sub.add_argument("kernel", metavar="KERNEL", nargs="?", help="after 'report': what its lines ask of memory")
    sub.add_argument("--device", choices=("cpu", "cuda"), help="cuda times the kernels (default: where there is a GPU)")


def _add_exercises(command):
    example = "Example: minivl exercise get ex03 my-ex03; cd my-ex03; pytest"
    sub = command("exercise", exercise, "learn by writing parts of minivl, with tests that say what is wrong", example)
    text = "list; get, a folder to work in; check, what it earns; submit, the file to hand in"
    sub.add_argument("action", choices=("list", "get", "check", "submit"), help=text)
    sub.add_argument("id", metavar="ID", nargs="?", help="get: which exercise")
    sub.add_argument("folder", metavar="DIR", nargs="?", help="get: the new folder; check, submit: here, if not given")
    sub.add_argument("--hint", metavar="PART", help="check: the next hint for a part, as ex03.b")

    example = "Example: minivl grade ex03 submissions --out scores --seed 7"
    sub = command("grade", grade, "judge a folder of submissions: CSV, a page a student, Gradescope's JSON", example)
    sub.add_argument("id", metavar="ID", help="the exercise")
    sub.add_argument(
        "submissions", metavar="SUBMISSIONS", help="folder with a .zip or a folder for each student, or one .zip"
    )
    sub.add_argument("--out", required=True, metavar="SCORES", help="folder to write")
    sub.add_argument("--seed", type=int, default=0, help="of all random numbers (default: %(default)s)")
    sub.add_argument("--lenient", action="store_true", help="judge also answers that use more than they need")


def _add_evaluate(command):
    example = "Example: minivl evaluate RUN --data emoji/twitter --task retrieval --gallery emoji/google"
    sub = command("evaluate", evaluate, "measure a trained model, beside chance", example)
    _add_run(sub)
    _add_data(sub, "scenes")
    tasks = "retrieval, caption, zeroshot, vqa: questions about pictures or clips, or frozen: a classifier on features"
    names = ("retrieval", "caption", "zeroshot", "vqa", "frozen")
    sub.add_argument("--task", required=True, choices=names, help=tasks)
    sub.add_argument(
        "--split", help="of the data; scenes have val (the default) and held-out; of shards, all if not given"
    )
    sub.add_argument("--labels", help="only examples with one of these labels, separated by commas")
    sub.add_argument("--limit", type=_count, metavar="N", help="at most so many examples (default: 100 scenes; all)")
    sub.add_argument("--gallery", metavar="DATA", help="retrieval: other pictures of the same, for the pixel baseline")
    sub.add_argument("--views", type=_count, default=1, metavar="N", help="retrieval: average over N moved copies")
    sub.add_argument("--beams", type=_count, default=1, metavar="N", help="caption: beam search instead of greedy")
    sub.add_argument("--json", metavar="FILE", help="write the figures there too")
    sub.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="where to compute (default: cpu)")


def _add_explain(command):
    example = 'Example: minivl explain RUN --image cat.png --text "a cat" --out cat.html'
    text = "write one page that walks through a forward and backward pass of a trained model, number by number"
    sub = command("explain", explain, text, example)
    text = "folder of a trained model, or its name, as coca (default: minivl-demo, which minivl demo makes)"
    sub.add_argument("model", metavar="MODEL", nargs="?", default="minivl-demo", help=text)
    sub.add_argument("--image", metavar="FILE", help="the picture (default: one that training never showed)")
    sub.add_argument("--text", help="what it shows (default: what its data say, or else what the model writes)")
    sub.add_argument("--run", metavar="RUN", help="folder of the run, where MODEL is a name")
    sub.add_argument("--vs", metavar="RUN", help="a second trained model, to compare with on the same example")
    sub.add_argument("--quiz", action="store_true", help="the page asks before it shows")
    sub.add_argument("--out", default="explain.html", metavar="FILE", help="the page (default: %(default)s)")


def _add_pages(command):
    text = "write the source side by side with its prose, the tutorials and the mask atlas, as a site to read offline"
    sub = command("pages", pages, text)
    sub.add_argument("--out", default="site", metavar="FOLDER", help="folder to write (default: %(default)s)")


def _add_import(command):
    example = "Example: minivl import ViT-B-32.pt --as clip --tokenizer bpe_simple_vocab_16e6.txt.gz --out RUN"
    sub = command("import", import_, "make a run of published weights: of OpenAI, open_clip or Hugging Face", example)
    sub.add_argument("file", metavar="FILE", help=".pt, .bin, .safetensors, or a folder with config.json beside them")
    sub.add_argument("--as", dest="model", required=True, choices=("clip", "coca"), help="what it is the weights of")
    sub.add_argument("--out", required=True, metavar="RUN", help="folder to write")
    text = "CLIP's bpe_simple_vocab_16e6.txt.gz (default: merges.txt in the folder FILE)"
    sub.add_argument("--tokenizer", metavar="FILE", help=text)
    text = "what the weights do not tell, as quick_gelu=false for the models that open_clip trained without it"
    sub.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help=text)


def _add_ablate(command):
    example = "Example: minivl ablate mammut --only objectives --seeds 0,1,2 --out ablations"
    sub = command(
        "ablate", ablate, "train a paper's ablations in miniature, and say which of its findings hold", example
    )
    sub.add_argument("model", help="clip, coca or mammut")
    sub.add_argument("--only", metavar="NAMES", help="of the ablations, separated by commas (default: all of them)")
    sub.add_argument("--seeds", default="0,1,2", metavar="LIST", help="one run of each variant for each (%(default)s)")
    sub.add_argument("--out", required=True, metavar="FOLDER", help="of the runs; what is there is not trained again")


def _add_run(sub):
    sub.add_argument("run", metavar="RUN", help="folder of a trained model")


def _add_data(sub, default, more="", action="store"):
    text = '"scenes" (the default), "moving" (clips), or WebDataset shards: a folder, a .tar, a prefix, or a pattern'
    sub.add_argument("--data", default=default, action=action, help=text + more)
    sub.add_argument("--strict", action="store_true", help="stop at the first broken example, rather than count them")


def _count(text):
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at least 1")
    return int(text)


class _ListSettings(argparse.Action):
    """--list: prints what --set can change, as the source says it, and ends."""

    def __call__(self, parser, namespace, values, option=None):
        from . import models
        from .settings import Settings

        Config, _ = models.find(namespace.model or "coca")
        for title, kind in (("training", Settings), (f"{namespace.model or 'coca'}, --preset tiny", Config)):
            names = {field.name for field in dataclasses.fields(kind)}
            lines = [line.strip() for line in inspect.getsource(kind).splitlines()]
            print(f"{title}:", *(f"  {line}" for line in lines if line.partition(":")[0] in names), sep="\n")
        parser.exit()


# ---- commands --------------------------------------------------------------------------------------------------------


def demo(options):
    from .demo import demo

    demo(options.out, options.steps)


def train(options):
    from . import models
    from .run import Run
    from .settings import Settings, from_words
    from .train import train

    warnings.simplefilter("ignore", RuntimeWarning)  # of NumPy, on overflow: training looks at every loss itself
    if options.model not in models.NAMES:
        raise UsageError(f"model {options.model!r} is unknown, must be one of: {', '.join(models.NAMES)}")
    settings, changes = from_words(options.set, models.find(options.model)[0])
    settings |= {"steps": options.steps} if options.steps else {}
    settings |= {"strict": True} if options.strict else {}
    run, told = Run(options.out), {}
    if options.resume and run.exists():  # what is not said again is as it was
        told = run.describe()
        known = {field.name for field in dataclasses.fields(Settings)}
        settings = {name: value for name, value in told["settings"].items() if name in known} | settings
    elif options.resume:
        print(f"{options.out} holds no run yet: this begins it")
    data = options.data or told.get("data", "scenes")
    preset = options.preset or told.get("preset", "tiny")
    begin = options.begin or told.get("begin")
    more = dict(config=changes, begin=begin, resume=options.resume, device=options.device)
    train(options.model, data=data, out=options.out, preset=preset, settings=Settings(**settings), **more)
    data = data if isinstance(data, str) else data[0]
    print(f"wrote {options.out}; next: minivl evaluate {options.out} --data {data} --task retrieval")


def evaluate(options):
    from . import load
    from .evaluate import answering, captioning, gallery_of, open_examples, retrieval, zeroshot
    from .frozen import frozen

    for name, task in (("gallery", "retrieval"), ("views", "retrieval"), ("beams", "caption")):
        if getattr(options, name) not in (None, 1) and options.task != task:
            raise UsageError(f"--{name} is for --task {task}, not {options.task}")
    if options.json and not Path(options.json).absolute().parent.is_dir():
        raise UsageError(f"--json {options.json}: there is no such folder")
    model = load(options.run, options.device)
    labels = [label.strip() for label in options.labels.split(",")] if options.labels else None
    with_captions = options.task in ("retrieval", "caption")
    examples = open_examples(
        model,
        options.data,
        options.split,
        labels,
        options.limit,
        strict=options.strict,
        need_caption=with_captions,
    )
    if options.task == "retrieval":
        wanted = options.gallery or examples["scenes"] is not None
        gallery = gallery_of(model, examples, options.gallery, labels) if wanted else None
        result = retrieval(model, examples, gallery, options.views)
    elif options.task == "caption":
        result = captioning(model, examples, beams=options.beams)
    else:
        result = {"zeroshot": zeroshot, "vqa": answering, "frozen": frozen}[options.task](model, examples)
    print(*_lines(result), sep="\n")
    if options.json:
        from .run import write_beside

        said = ("run", "data", "task", "split", "labels", "limit", "gallery")
        about = {name: getattr(options, name) for name in said}
        write_beside(options.json, json.dumps({**about, **result}, indent=2, ensure_ascii=False) + "\n")


def ablate(options):
    from .ablate import ablate
    from .ablations import ABLATIONS

    warnings.simplefilter("ignore", RuntimeWarning)
    if options.model not in ABLATIONS:
        raise UsageError(f"model {options.model!r} has no ablations, must be one of: {', '.join(ABLATIONS)}")
    seeds = [_count_or_0(word) for word in options.seeds.split(",")]
    ablate(options.model, options.out, options.only.split(",") if options.only else None, seeds)


def _count_or_0(text):
    if not (text.isascii() and text.isdigit()):
        raise UsageError(f"--seeds: {text!r} must be a whole number")
    return int(text)


def caption(options):
    from . import load
    from .evaluate import captioner

    model, code = load(options.run), 0
    generate = captioner(model)
    for path in options.images:
        try:
            picture = model.preprocess(path)
        except (ValueError, OSError) as error:  # the others are still worth describing
            code = _told(f"minivl: {_one_line(error)}", 1)
            continue
        print(f"{path}: {generate(picture[None], beams=options.beams)[0]}")
    return code


def retrieve(options):
    from PIL import Image

    from . import load
    from .data.image import contact_sheet, denormalise, to_picture
    from .evaluate import embed_images, open_examples
    from .run import write_beside
    from .tensor import no_grad

    Image.init()
    kind = Image.EXTENSION.get(Path(options.out).suffix.lower())
    if kind not in Image.SAVE:
        raise UsageError(f"--out {options.out}: must end in .png, .jpg or another format that Pillow writes")
    model = load(options.run)
    tokens, room = len(model.tokenizer.encode(options.text)), model.config.context - 2
    if not 0 < tokens <= room:
        raise ValueError(f"TEXT has {tokens} tokens, must have 1 to {room} for this model")
    found = open_examples(model, options.data, limit=options.limit, strict=options.strict, need_caption=False)
    with no_grad():
        score = embed_images(model, found["image"]) @ model.encode_text([options.text]).numpy()[0]
    best = score.argsort()[::-1][: options.top]
    c = model.config
    tiles = [to_picture(denormalise(found["image"][i], c.image_mean, c.image_std)) for i in best]
    titles = [f"{score[i]:.2f}  {found['caption'][i]}" for i in best]
    file = io.BytesIO()
    sheet = contact_sheet(tiles, titles, heading=f"{options.text}: the {len(best)} of {len(score)}")
    sheet.save(file, kind)
    write_beside(options.out, file.getvalue())
    for i in best[:5]:
        print(f"{score[i]:.3f}  {found['key'][i]}  {found['caption'][i]}")
    print(f"wrote {options.out}")


def explain(options):
    from .explain import explain

    if Path(options.out).suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {options.out}: must end in .html")
    run = {"run": options.run, "versus": options.vs}
    path, size = explain(options.model, options.image, options.text, **run, quiz=options.quiz, out=options.out)
    print(f"wrote {path}, {size / 1e6:.2f} MB: open it in a browser; it needs no network")


def pages(options):
    from .pages.site import write_site

    written = write_site(options.out)
    size = sum(path.stat().st_size for path in written)
    print(f"wrote {len(written)} files, {size / 1e6:.1f} MB; begin with {Path(options.out) / 'index.html'}")


def import_(options):
    from .pretrained import import_run, model_of
    from .settings import from_words

    training, changes = from_words(options.set, model_of(options.model)[0])
    if training:
        raise UsageError(f"--set {next(iter(training))}: is of training, and nothing is trained here")
    found = import_run(options.file, options.model, options.out, tokenizer=options.tokenizer, **changes)
    numbers = sum(array.size for array in found.arrays.values())
    print(f"{found.file}: {found.model}, {found.preset}, {numbers:,} numbers under the names of {found.layout}")
    print(f"wrote {options.out}; next: minivl evaluate {options.out} --data scenes --task retrieval")


def ladder(options):
    from .kernels import KernelError, NoCompiler
    from .ladder import names, show

    if (options.name == "report") != (options.kernel is not None):
        raise UsageError("say either: minivl ladder NAME, or: minivl ladder report KERNEL")
    if options.name is None:
        lines = names()
    elif options.kernel:
        lines = show.report(options.kernel)
    else:
        lines = show.climb(options.name, options.device)
    try:
        for line in lines:
            print(line, flush=True)
    except (KernelError, NoCompiler) as error:
        raise ValueError(str(error)) from error


def exercise(options):
    from . import exercises
    from .exercises.report import result_lines

    action, id, folder = options.action, options.id, options.folder
    if action == "list":
        for sheet in exercises.all_sheets().values():
            points = sum(part.points for part in exercises.handout.part_titles(sheet))
            print(f"{sheet.id}  {points:2} points  {sheet.title}")
        print("next: minivl exercise get ex01 my-ex01")
    elif action == "get":
        if not folder:
            raise UsageError("say which exercise, and a new folder: minivl exercise get ID DIR")
        sheet = exercises.get(id, folder)
        print(f"wrote {folder}: {sheet.title}\nnext: cd {folder}, read README.md, and run pytest")
    elif folder:
        raise UsageError(f"minivl exercise {action} takes one folder, got {id} and {folder}")
    elif action == "submit":
        print(f"wrote {exercises.submit(id or '.')}")
    elif options.hint:
        print(*exercises.hint(id or ".", options.hint), sep="\n")
    else:
        print(*result_lines(exercises.check(id or ".")), sep="\n")


def grade(options):
    from .exercises import grade

    def told(student, result):
        print(f"{student}: {result.score} of {result.points}{'  ' + result.note if result.note else ''}", flush=True)

    results = grade(options.id, options.submissions, options.out, options.seed, lenient=options.lenient, told=told)
    pages = "1 page" if len(results) == 1 else f"{len(results)} pages"
    print(f"wrote {options.out}: scores.csv, {pages}, gradescope/")


def bench(options):
    import runpy

    file = Path(__file__).parent.parent / "tests" / "bench" / f"{options.where}.py"
    if not file.exists():
        raise FileNotFoundError(f"minivl bench runs in a checkout of the source: there is no {file}")
    sys.argv[:] = [str(file), *options.arguments]
    runpy.run_path(str(file), run_name="__main__")


def doctor(options):
    from .doctor import report

    print(report())


def _lines(result, before=""):
    """Lines of a result, nested dicts joined by a space; long lists are left to --json."""
    for name, value in result.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{before}{name} ")
        elif isinstance(value, float):
            yield f"{before}{name}: {value:.4f}"
        elif value is not None and not isinstance(value, list):
            yield f"{before}{name}: {value}"


if __name__ == "__main__":
    sys.exit(main())
