"""Fixtures that several tests share."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minivl import array

ROOT = Path(__file__).parent.parent


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture
def small_chunks(monkeypatch):
    """Arrays of a few numbers are cut and spread over threads as large ones are otherwise."""
    monkeypatch.setattr(array, "CHUNK_BYTES", 64)
    monkeypatch.setattr(array, "PRODUCT_FLOPS", 16)
    monkeypatch.setenv("MINIVL_THREADS", "3")


@pytest.fixture(scope="session")
def chromium():
    """A browser without a window; the tests that ask for it carry the mark `browser`."""
    api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    """The text of axe-core, which finds what keeps people out of a page; npm brings it."""
    if shutil.which("npm") is None:
        pytest.skip("no npm here, which brings axe-core")
    folder = tmp_path_factory.mktemp("axe")
    install = ["npm", "install", "--prefix", folder, "axe-core"]
    got = subprocess.run(install, capture_output=True, text=True, timeout=120)
    if got.returncode:
        pytest.skip(f"axe-core cannot be had: {got.stderr.splitlines()[-1:]}")
    return (folder / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


# ---- small data and a small run, for the tests of training, evaluation and the commands ------------------------------

SMALL = {  # --set NAME=VALUE of a model that trains in a blink
    "width": 16,
    "heads": 2,
    "image_layers": 1,
    "unimodal_layers": 1,
    "multimodal_layers": 1,
    "caption_queries": 4,
    "batch_size": 4,
}


@pytest.fixture(scope="session")
def small():
    """The arguments --set ... of a very small model."""
    return [part for name, value in SMALL.items() for part in ("--set", f"{name}={value}")]


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """A folder with google-*.tar and twitter-*.tar: 12 things with 2 labels, drawn by two hands."""
    from PIL import Image, ImageDraw

    from minivl.data.shards import ShardWriter

    folder = tmp_path_factory.mktemp("shards")
    colours = ["red", "green", "blue", "black", "orange", "purple"]
    for hand, vendor in enumerate(("google", "twitter")):
        with ShardWriter(folder, per_shard=8, prefix=vendor) as out:
            for n in range(12):
                colour, shape = colours[n // 2], ("circle", "square")[n % 2]
                picture = Image.new("RGB", (24, 24), "white")
                draw = ImageDraw.Draw(picture)
                box = (3 + hand, 3, 20, 20 - hand)
                (draw.ellipse if n % 2 == 0 else draw.rectangle)(box, fill=colour)
                label = "Food & Drink" if n % 2 else "Animals & Nature"
                info = {"label": label, "split": "val" if n % 4 == 3 else "train"} if not hand else {"label": label}
                out.write(f"{n:04d}", picture, [f"{colour} {shape}", f"a {shape}"], info)
    return folder


@pytest.fixture
def command(tmp_path):
    """Runs a command in a process of its own: command("train", "coca", ...) -> (exit code, stdout, stderr)."""

    def run(*arguments, cwd=tmp_path, program=("-m", "minivl.cli"), **environment):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **environment}
        done = subprocess.run(
            [sys.executable, *program, *map(str, arguments)],
            cwd=cwd,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture(scope="session")
def small_run(tmp_path_factory, shards):
    """The folder of a finished run on google's shards. Not to be written to."""
    from minivl.train import Settings, train

    out = tmp_path_factory.mktemp("runs") / "run"
    config = {name: value for name, value in SMALL.items() if name != "batch_size"}
    settings = Settings(steps=6, batch_size=4, checkpoint_every=4, average=0.9)
    train("coca", data=shards / "google", out=out, settings=settings, config=config, quiet=True)
    return out
