"""Thousands of damaged files through every reader: python tests/fuzz/fuzz.py [--seed 0] [--count 10000] [--only TARGET]

Case n of a target is made of (seed, target, n) alone, so that what is found can be made again: --only TARGET --case N.
Each must end within seconds, in bounded memory, with a result or with the error that the reader promises; what is then
written must be readable. Files of published sets are those of tests/data_tools/published.py.
"""

import argparse
import contextlib
import io
import json
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import warnings
import zlib
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "data_tools"), str(HERE.parents[1])]

import numpy as np  # noqa: E402
import published  # noqa: E402
from mutations import mutated  # noqa: E402
from PIL import Image  # noqa: E402

from data_tools import convert  # noqa: E402
from data_tools.readers.json_items import items  # noqa: E402
from minivl.data import rle  # noqa: E402
from minivl.data.shards import DataError, ShardWriter, decode_image, read_shards  # noqa: E402
from minivl.metrics import caption_scores, detection_scores, vqa_scores  # noqa: E402
from minivl.weights.fit import WeightsError  # noqa: E402
from minivl.weights.pickle_machine import read as read_pickle  # noqa: E402
from minivl.weights.safetensors import load_safetensors, save_safetensors  # noqa: E402
from minivl.weights.torch_file import load_torch  # noqa: E402

SECONDS = 20  # a case may take; the machine may be busy
MEMORY = 3 << 30  # bytes of address space of the whole process
GOLDEN = HERE.parent / "golden"


class Hang(Exception):
    """A case took too long."""


# ---- targets: each makes its files in a folder and gives a function that runs one case ------------------------------


def convert_target(name):
    """One file of a published set is damaged, and the set converted; the shards must then be good."""

    def made(folder):
        words, *_ = published.write(name, folder / "in")
        files = sorted(path for path in (folder / "in").rglob("*") if path.is_file())
        texts = [path for path in files if path.suffix.lower() not in (".jpg", ".png", ".webp", ".gif", ".bmp")]
        originals = {path: path.read_bytes() for path in files}

        def case(random):
            some = texts if texts and random.random() < 0.8 else files
            path = some[random.integers(len(some))]
            path.write_bytes(mutated(originals[path], random, path.name))
            out = folder / "out"
            more = ["--size", "8"] if random.random() < 0.2 else []
            try:
                with contextlib.redirect_stderr(io.StringIO()) as told:
                    code = convert.main([*words, "--out", str(out), *more])
                if code == 0:
                    for example in read_shards(out, strict=True, need_caption=False):
                        check_picture(example.image)
                else:
                    lines = [line for line in told.getvalue().splitlines() if line.startswith("convert: ")]
                    assert code == 1 and len(lines) == 1 and len(lines[0]) < 2000, told.getvalue()
            finally:
                path.write_bytes(originals[path])
                shutil.rmtree(out, ignore_errors=True)

        return case

    return made


def check_picture(content):
    try:
        decode_image(content)
    except DataError as error:
        assert len(str(error)) < 1000


def shards(folder):
    """A damaged tar: what is read of it are examples, in either way of reading."""
    with ShardWriter(folder / "set", per_shard=6) as out:
        for n, form in enumerate(("PNG", "JPEG", "WEBP", "PNG", "JPEG", "PNG")):
            picture = io.BytesIO()
            Image.new("RGB", (9 + n, 7), (30 * n, 99, 0)).save(picture, form)
            out.write(f"k{n}", picture.getvalue(), [f"caption {n}", "é"], {"labels": ["x"], "split": "train", "n": [n]})
    original = (folder / "set" / "shard-00000.tar").read_bytes()
    path = folder / "damaged.tar"

    def case(random):
        content = mutated(original, random)
        path.write_bytes(zlib.compress(content, wbits=31) if random.random() < 0.1 else content)
        found = list(read_shards([path], need_caption=bool(random.integers(2))))
        assert all(isinstance(e.key, str) and isinstance(e.info, dict) and e.image for e in found)
        for example in found:
            json.dumps([example.key, example.captions, example.info], ensure_ascii=False)
            check_picture(example.image)
        assert len(list(read_shards([path], start=1))) == max(0, len(list(read_shards([path]))) - 1)
        with contextlib.suppress(DataError):
            list(read_shards([path], strict=True))

    return case


def pictures(folder):
    """Damaged PNG, JPEG, WebP of several modes, and the formats that conversion takes too."""
    originals = []
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (21, 34, 4), dtype=np.uint8), "RGBA")
    for form, modes in {
        "PNG": ["RGB", "RGBA", "P", "LA", "I;16", "1"],
        "JPEG": ["RGB", "L", "CMYK"],
        "WEBP": ["RGB"],
    }.items():
        for mode in modes:
            out = io.BytesIO()
            picture = Image.new("I;16", (20, 9), 4000) if mode == "I;16" else noise.convert("RGB").convert(mode)
            picture.save(out, form)
            originals.append(out.getvalue())
    for form in ("GIF", "BMP", "TIFF"):
        out = io.BytesIO()
        noise.convert("RGB").save(out, form)
        originals.append(out.getvalue())
    originals.append(vast_png(200_000, 200_000))

    def case(random):
        content = mutated(originals[random.integers(len(originals))], random)
        check_picture(content)
        with contextlib.suppress(DataError):
            convert._decoded(content)

    return case


def vast_png(width, height):
    """A PNG that claims many pixels and has none."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def json_files(folder):
    path = folder / "file.json"
    whole = {"a": [1, 2.5, "x", {"b": [None, True]}], "wanted": [{"id": n, "t": "é" * n} for n in range(9)], "c": {}}
    original = json.dumps(whole, ensure_ascii=False).encode()

    def case(random):
        path.write_bytes(mutated(original, random, path.name))
        with contextlib.suppress(DataError):
            list(items(path, "wanted", "a"))

    return case


def masks(folder):
    made = np.random.default_rng(0).random((4, 12, 15)) < 0.5
    coded = [*rle.encode(made), {"size": [3, 4], "counts": [2, 3, 7]}]
    outlines = [[[1, 1, 9, 1.5, 8, 9.25, 2, 7]], [[0, 0, 5, 0, 5, 5], [2, 2, 9, 2, 9, 9, 2.5, 9]]]
    original = json.dumps([coded, outlines]).encode()

    def case(random):
        try:
            changed = json.loads(mutated(original, random, "masks.json"))
        except (ValueError, RecursionError):
            return
        masks, outlines = changed if isinstance(changed, list) and len(changed) == 2 else (changed, changed)
        for work in (rle.area, rle.box, rle.decode, rle.union):
            for one in (masks, *(masks if isinstance(masks, list) else [])):
                with contextlib.suppress(DataError):
                    work(one)
        for one in outlines if isinstance(outlines, list) else [outlines]:
            with contextlib.suppress(DataError):
                rle.from_polygons(one, (12, 15))

    return case


def captions(folder):
    """Words of any characters in captions and answers: scores are numbers from 0 on."""
    text = "A dog's bowl isn't (quite) 3,000.5 cm. wide; U.S. «x» 'em—no? yes! 1/2 a/c http://a.b/c e.g. Mr. O'Neil…"
    original = text.encode()

    def case(random):
        texts = [mutated(original, random).decode("utf-8", ["replace", "surrogateescape"][k % 2]) for k in range(4)]
        scores = caption_scores({1: texts[:2], 2: [texts[2]]}, {1: texts[3], 2: texts[0]})
        assert all(np.isfinite(score) and score >= 0 for score in scores.values())
        assert 0 <= vqa_scores({1: texts}, {1: texts[0]})["accuracy"] <= 1

    return case


def detections(folder):
    truth = {str(i): [{"category_id": 1, "bbox": [i, 2, 9, 9], "iscrowd": 0, "area": 81}] * 2 for i in range(3)}
    found = {str(i): [{"category_id": 1, "bbox": [i, 2.5, 9, 9], "score": 0.5}] for i in range(3)}
    original = json.dumps([truth, found]).encode()

    def case(random):
        changed = mutated(original, random, "found.json") if random.random() < 0.9 else original
        try:
            truth, found = json.loads(changed)
        except (ValueError, TypeError, RecursionError):
            return
        with contextlib.suppress(ValueError):
            scores = detection_scores(truth, found)
            assert -1 <= scores["AP"] <= 1

    return case


def weights(folder):
    """safetensors, PyTorch's two kinds of file, and pickles alone."""
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.zeros((0, 2), np.int64),
        "c": np.ones(3, np.float16),
    }
    save_safetensors(folder / "w.safetensors", arrays, {"step": "1"})
    readers = {
        folder / "w.safetensors": load_safetensors,
        GOLDEN / "torch_save.pt": load_torch,
        GOLDEN / "torch_script.pt": load_torch,
    }
    originals = {path: path.read_bytes() for path in readers}
    pickled = published.of_python_2(published.refs()) + b"."

    def case(random):
        if random.random() < 0.3:
            with contextlib.suppress(WeightsError):
                read_pickle(mutated(pickled, random), "refs", names=False)
            return
        path = list(readers)[random.integers(len(readers))]
        damaged = folder / f"damaged{path.suffix}"
        damaged.write_bytes(mutated(originals[path], random))
        with contextlib.suppress(WeightsError):
            for array in dict(readers[path](damaged)).values():
                np.asarray(array).sum()

    return case


TARGETS = {f"convert {name}": convert_target(name) for name in published.SETS}
TARGETS |= {"shards": shards, "pictures": pictures, "json": json_files, "masks": masks}
TARGETS |= {"captions": captions, "detections": detections, "weights": weights}
CHEAP = {"shards": 4, "pictures": 4, "json": 3, "masks": 2, "weights": 2}  # times as many cases as of the others


# ---- running ---------------------------------------------------------------------------------------------------------


def run(name, numbers, seed):
    """Runs cases of a target; [(number, error)] of those that failed."""

    def hung(*_):
        raise Hang(f"more than {SECONDS} s")

    failed = []
    target = list(TARGETS).index(name)
    before = signal.signal(signal.SIGALRM, hung)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        case = TARGETS[name](Path(folder))
        for number in numbers:
            signal.alarm(SECONDS)
            try:
                case(np.random.default_rng([seed, target, number]))
            except Exception as error:
                failed.append((number, error))
            finally:
                signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    return failed


def shares(count):
    """{target: its number of cases}, about `count` in all."""
    parts = {name: CHEAP.get(name, 1) for name in TARGETS}
    return {name: -(-count * part // sum(parts.values())) for name, part in parts.items()}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10_000, help="cases of all targets together")
    parser.add_argument("--only", choices=TARGETS, metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--case", type=int, metavar="N", help="this one only, and its traceback")
    chosen = parser.parse_args(arguments)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    bad = 0
    for name, count in shares(chosen.count).items():
        if chosen.only not in (None, name):
            continue
        numbers = range(count) if chosen.case is None else [chosen.case]
        begin = time.perf_counter()
        failed = run(name, numbers, chosen.seed)
        took = time.perf_counter() - begin
        print(f"{name}: {len(numbers)} cases, {len(failed)} failed, {took:.0f} s", flush=True)
        for number, error in failed[:5]:
            print(f"  --only {name!r} --seed {chosen.seed} --case {number}: {type(error).__name__}: {str(error)[:200]}")
        if chosen.case is not None and failed:
            raise failed[0][1]
        bad += len(failed)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20)
    print(f"{bad} failed; at most {used:.2f} GB of memory")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
