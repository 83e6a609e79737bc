"""Small trained models of each paper, and their pages."""

import pytest

from minivl.explain import page
from minivl.explain.book import Book, build
from minivl.explain.example import at_times, find_example, find_run
from minivl.run import Run
from minivl.train import Settings, train

COCA = dict(width=32, heads=2, image_layers=2, unimodal_layers=1, multimodal_layers=2, caption_queries=4)
CLIP = dict(image_width=32, image_heads=2, image_layers=2, text_width=32, text_heads=2, text_layers=2, embedding=16)
MAMMUT = dict(width=32, image_heads=2, heads=2, image_layers=1, layers=2, cross_layers=1)
TUBES = "2x8x8/2x16x16@0x0x0 4x16x16/4x16x16@0x0x0"
CLIPS = {**MAMMUT, "patch": 16, "frames": 4, "frame_stride": 2, "tubes": TUBES}
MODELS = {
    "coca": ("coca", "tiny", COCA),
    "clip": ("clip", "tiny", CLIP),
    "clip-resnet-sigmoid": ("clip", "tiny_resnet", {**CLIP, "image_width": 8, "loss": "sigmoid"}),
    "mammut": ("mammut", "tiny", MAMMUT),
    "mammut-clips": ("mammut", "moving", CLIPS),
}


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """{name: folder} of runs of four steps, with all their checkpoints."""
    folder, found = tmp_path_factory.mktemp("explained"), {}
    for name, (model, preset, config) in MODELS.items():
        settings = Settings(steps=4, batch_size=4, checkpoint_every=2, keep=0, bpe_vocabulary=300)
        data = "moving:24" if preset == "moving" else "scenes:24"
        train(model, data=data, out=folder / name, preset=preset, settings=settings, config=config, quiet=True)
        found[name] = folder / name
    return found


def book_of(run):
    """A Book that is not built yet."""
    times = at_times(Run(run))
    return Book(Run(run), times, find_example(times[-1][2], Run(run).describe()["data"]))


@pytest.fixture(scope="session")
def made(runs):
    """{name: (Book, the dict that its page holds)}"""
    books = {name: book_of(run) for name, run in runs.items()}
    return {name: (book, book.build()) for name, book in books.items()}


@pytest.fixture(scope="session")
def coca_book(made):
    return made["coca"][1]


@pytest.fixture(scope="session")
def all_pages(made, tmp_path_factory):
    """[(path, book)] of every model's page."""
    folder, found = tmp_path_factory.mktemp("pages"), []
    for name, (_, told) in made.items():
        path = folder / f"{name}.html"
        path.write_text(page([told]), encoding="utf-8")
        found.append((path, told))
    return found


@pytest.fixture(scope="session")
def coca_page(all_pages):
    return all_pages[0][0]


@pytest.fixture(scope="session")
def quiz_page(coca_book, tmp_path_factory):
    path = tmp_path_factory.mktemp("quiz") / "quiz.html"
    path.write_text(page([coca_book], quiz=True), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def versus_page(runs, tmp_path_factory):
    path = tmp_path_factory.mktemp("versus") / "versus.html"
    path.write_text(page(build(find_run(runs["coca"]), versus=find_run(runs["mammut"]))), encoding="utf-8")
    return path
