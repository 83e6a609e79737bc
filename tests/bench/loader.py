"""How many pictures a second the loader gives, beside PyTorch's DataLoader: python tests/bench/loader.py [--quick]

Both read the same shards with the same reader, decode and crop with the same functions, make the same numbers of the
captions, and give the same batches: what differs is who does it. PyTorch has two processes, minivl two threads; batches
come to one process, which does nothing with them. In turns, A B A B; a number is the median of the rounds, in pictures
a second. Neither keeps decoded pictures from one epoch to the next. PyTorch comes with the peers extra.
"""

import argparse
import io
import itertools
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from minivl.array import keep_freed_memory  # noqa: E402
from minivl.data.batches import Batches, to_images  # noqa: E402
from minivl.data.image import normalise, resize_and_crop  # noqa: E402
from minivl.data.shards import ShardWriter, decode_image, read_shards, shard_paths  # noqa: E402
from minivl.data.sources import ShardSource  # noqa: E402

CASES = [  # what, stored as, stored size, model's size, batch
    ("photographs of 500 x 375, JPEG", "JPEG", (500, 375), 224, 64),
    ("photographs of 320 x 240, JPEG", "JPEG", (320, 240), 224, 64),
    ("drawings of 64 x 64, PNG", "PNG", (64, 64), 64, 256),
    ("drawings of 32 x 32, PNG", "PNG", (32, 32), 32, 256),
]
CONTEXT = 32


def tokenizer(texts, length):
    """Letters as numbers: cheap, and the same for both."""
    ids = np.zeros((len(texts), length), np.int64)
    lengths = np.array([min(len(text), length) for text in texts], np.int64)
    for row, text, n in zip(ids, texts, lengths, strict=True):
        row[:n] = np.frombuffer(text.encode("ascii", "replace")[:n], np.uint8)
    return ids, lengths


def write(folder, kind, size, count):
    """Shards of pictures with the detail of photographs, or with the flat areas of drawings."""
    random = np.random.default_rng(0)
    with ShardWriter(folder, per_shard=max(16, count // 8)) as out:
        for k in range(count):
            rough = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
            method = Image.Resampling.BICUBIC if kind == "JPEG" else Image.Resampling.NEAREST
            picture = np.asarray(Image.fromarray(rough).resize(size, method)).astype(np.int16)
            if kind == "JPEG":
                picture = picture + random.integers(-14, 15, picture.shape, dtype=np.int16)
            file = io.BytesIO()
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(file, kind)
            out.write(f"{k:06d}", file.getvalue(), [f"picture number {k} of {count}"])
    return folder


# ---- the two ---------------------------------------------------------------------------------------------------------


def ours(folder, size, batch, count):
    source = ShardSource(shard_paths(folder), shuffle_buffer=256)
    with Batches(source, tokenizer, batch, CONTEXT, size, workers=2, cache_bytes=0) as batches:
        yield from (len(b["image"]) for b in batches)


def theirs(folder, size, batch, count):
    import torch

    class Shards(torch.utils.data.IterableDataset):
        """Each worker has every second shard, in the order of the epoch, and shuffles in a buffer."""

        def __iter__(self):
            worker = torch.utils.data.get_worker_info()
            for epoch in itertools.count():
                random = np.random.default_rng([epoch, worker.id])
                paths = shard_paths(folder)[worker.id :: worker.num_workers]
                buffer = []
                for example in read_shards([paths[k] for k in random.permutation(len(paths))]):
                    buffer.append(example)
                    if len(buffer) > 128:
                        k = int(random.integers(len(buffer)))
                        buffer[k], buffer[-1] = buffer[-1], buffer[k]
                        yield self.made(buffer.pop(), random)
                for k in random.permutation(len(buffer)):
                    yield self.made(buffer[k], random)

        def made(self, example, random):
            caption = example.captions[random.integers(len(example.captions))]
            return np.asarray(resize_and_crop(decode_image(example.image), size)), caption, example.key

    def collate(rows):
        images = normalise(to_images([picture for picture, *_ in rows]))
        ids, lengths = tokenizer([caption for _, caption, _ in rows], CONTEXT)
        tensors = {
            "image": torch.from_numpy(images),
            "text": torch.from_numpy(ids),
            "lengths": torch.from_numpy(lengths),
        }
        return {**tensors, "key": [key for *_, key in rows]}

    loader = torch.utils.data.DataLoader(Shards(), batch, num_workers=2, collate_fn=collate)
    yield from (len(b["image"]) for b in loader)


def rate(loader, folder, size, batch, count, seconds):
    """Pictures a second, after the first batches; at least `count` pictures and `seconds` long."""
    rows = loader(folder, size, batch, count)
    for _ in range(6):
        next(rows)
    done, begin = 0, time.perf_counter()
    while done < count or time.perf_counter() - begin < seconds:
        done += next(rows)
    took = time.perf_counter() - begin
    rows.close()
    return done / took


def compare(case, quick, rounds=5):
    what, kind, stored, size, batch = case
    batch, count, seconds = (8, 16, 0.0) if quick else (batch, 2 * batch, 4.0)
    loaders = [ours] if not installed() else [ours, theirs]
    with tempfile.TemporaryDirectory() as folder:
        write(folder, kind, stored, 64 if quick else 1024)
        rates = [
            [rate(loader, folder, size, batch, count, seconds) for loader in loaders]
            for _ in range(1 if quick else rounds)
        ]
    middle = [statistics.median(column) for column in zip(*rates, strict=True)]
    cells = [f"{what}, batches of {batch} x {size} x {size}", *(f"{m:,.0f}" for m in middle)]
    if len(loaders) == 2:
        ratios = [a / b for a, b in rates]
        cells += [f"{statistics.median(ratios):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"]
    return f"| {' | '.join(cells)} |"


def installed():
    import importlib.util

    return importlib.util.find_spec("torch") is not None


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="small cases, one round: to see that it runs")
    quick = parser.parse_args(arguments).quick
    keep_freed_memory()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    head = ["what", "minivl", *(["PyTorch", "ratio", "spread"] if installed() else [])]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for case in CASES:
        print(compare(case, quick), flush=True)


if __name__ == "__main__":
    main()
