"""Figures of a trained model: against models that know everything or nothing; what is said of data that will not do."""

import json
import tarfile

import numpy as np
import pytest

import minivl
from minivl import Tensor
from minivl.data import DataError
from minivl.evaluate import (
    _views,
    answering,
    captioning,
    embed_images,
    embed_texts,
    gallery_of,
    labels_of,
    open_examples,
    retrieval,
    zeroshot,
)
from minivl.frozen import frozen, training_rows
from minivl.train import Settings, train


@pytest.fixture(scope="module")
def model(small_run):
    return minivl.load(small_run)


@pytest.fixture(scope="module")
def google(model, shards):
    return open_examples(model, shards / "google")


class Oracle:
    """Knows each picture by heart: its embedding, and that of its first caption, is one axis; its classes likewise."""

    def __init__(self, model, examples):
        self.config, self.tokenizer, self.examples = model.config, model.tokenizer, examples
        self.parameters = model.parameters
        self.names = sorted({label for info in examples["info"] for label in labels_of(info)})

    def places(self, name, rows):
        return [next(i for i, own in enumerate(self.examples[name]) if (own == row).all()) for row in rows]

    def encode_image(self, images):
        return Tensor(np.eye(len(self.examples["image"]))[self.places("image", images)])

    def encode_text(self, text, lengths):
        return Tensor(np.eye(len(self.examples["text"]))[self.places("text", text)])

    def generate(self, images):
        return [self.examples["captions"][i][-1].upper() + " " for i in self.places("image", images)]

    def zeroshot_classifier(self, names, templates):
        own = [labels_of(info) for info in self.examples["info"]]
        return Tensor(np.array([[name in some for name in names] for some in own], np.float64))


def test_who_knows_everything_has_full_marks(model, google):
    oracle = Oracle(model, google)
    scores = retrieval(oracle, google)
    assert scores["image_to_text"]["R@1"] == scores["text_to_image"]["R@1"] == 1
    assert scores["image_to_text"]["chance"] == pytest.approx(1 / 12)
    found = captioning(oracle, google, batch_size=5)
    assert found["exactly_right"] == 1 and found["pictures"] == 12, "any of its captions is right, in any case"
    assert zeroshot(oracle, google) == {"top1": 1.0, "top5": 1.0, "chance": 0.5, "classes": 2}


def test_embeddings_do_not_depend_on_the_batch(model, google):
    whole, parts = (embed_images(model, google["image"], batch_size=n) for n in (12, 5))
    assert np.allclose(whole, parts, atol=1e-6)
    whole, parts = (embed_texts(model, google["text"], google["lengths"], batch_size=n) for n in (12, 5))
    assert np.allclose(whole, parts, atol=1e-6)


def test_views_are_the_picture_and_slightly_moved_copies(model, google):
    images = google["image"][:2]
    same, *moved = _views(model, images, 4)
    assert (same == images).all() and len(moved) == 3
    for copy in moved:
        assert copy.shape == images.shape and copy.dtype == np.float32
        assert 1e-3 < np.abs(copy - images).mean() < 0.5, "a little"
    again = list(_views(model, images, 4))
    assert all((a == b).all() for a, b in zip([same, *moved], again, strict=True)), "the same at every call"
    one, many = (embed_images(model, images, views=n) for n in (1, 4))
    assert not np.array_equal(one, many) and np.allclose(np.linalg.norm(many, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("info", "labels"),
    [
        ({"labels": ["a", "b"], "label": "c"}, ["a", "b"]),
        ({"label": "c"}, ["c"]),
        ({"label": 0}, ["0"]),
        ({"label": ""}, []),
        ({"label": None}, []),
        ({"labels": "abc", "label": "d"}, ["d"]),
        ({"labels": [{"no": 1}]}, []),
        ({}, []),
    ],
)
def test_labels_are_strings_whatever_the_json_holds(info, labels):
    assert labels_of(info) == labels


def test_examples_are_chosen_by_label_split_and_number(model, shards):
    assert len(open_examples(model, shards / "google", labels=["Food & Drink"])["key"]) == 6
    assert open_examples(model, shards / "google", split="val")["key"] == ["0003", "0007", "0011"]
    assert open_examples(model, shards / "google", limit=5, batch_size=2)["key"] == [f"{n:04d}" for n in range(5)]
    with pytest.raises(DataError, match=r"google, labels \['food'\]: .*no example"):
        open_examples(model, shards / "google", labels=["food"])
    with pytest.raises(DataError, match="split 'test'"):
        open_examples(model, shards / "google", split="test")


def test_scenes_have_splits_and_no_labels(model):
    assert len(open_examples(model, "scenes", limit=7)["scenes"]) == 7
    assert len(open_examples(model, "scenes:5", split="held-out")["image"]) == 5
    assert len(captioning(model, open_examples(model, "scenes:9", limit=4))["right"]) == 4
    with pytest.raises(ValueError, match="not sorted by label"):
        open_examples(model, "scenes", labels=["red"])
    with pytest.raises(ValueError, match="split"):
        open_examples(model, "scenes", split="test")


def test_the_gallery_holds_the_other_hand(model, google, shards):
    others = open_examples(model, shards / "twitter", limit=3)
    gallery = gallery_of(model, others, shards / "google")
    assert (gallery == google["image"][:3]).all()
    scores = retrieval(model, others, gallery)
    assert scores["nearest_neighbour"]["candidates"] == 3
    others["captions"][1] = ["a cat"]
    with pytest.raises(ValueError, match=r"no picture of 'a cat' \(1 missing in all\)"):
        gallery_of(model, others, shards / "google")


def test_the_gallery_of_scenes_is_drawn_anew(model):
    scenes = open_examples(model, "scenes", limit=4)
    gallery = gallery_of(model, scenes)
    assert gallery.shape == scenes["image"].shape and (gallery != scenes["image"]).any(axis=(1, 2, 3)).all()


def test_broken_examples_are_counted_or_an_error(model, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    (tmp_path / "bad.txt").write_text("a red thing")
    minivl_picture = np.zeros((8, 8, 3), np.uint8)
    from PIL import Image

    Image.fromarray(minivl_picture).save(tmp_path / "good.png")
    (tmp_path / "good.cls").write_text("3")
    with tarfile.open(tmp_path / "set.tar", "w") as tar:
        for name in ("bad.png", "bad.txt", "good.png", "good.cls"):
            tar.add(tmp_path / name, name)
    with pytest.raises(DataError, match="bad: picture: not a readable"):
        open_examples(model, tmp_path / "set.tar", strict=True)
    with pytest.raises(DataError, match="no caption"):
        open_examples(model, tmp_path / "set.tar")
    capsys.readouterr()
    examples = open_examples(model, tmp_path / "set.tar", need_caption=False)
    assert examples["key"] == ["good"] and labels_of(examples["info"][0]) == ["3"]
    assert capsys.readouterr().err.startswith("warning: skipped 1: 1 x broken picture")


def test_classes_need_labels(model, google):
    nameless = {**google, "info": [{}] + google["info"][1:]}
    with pytest.raises(ValueError, match="1 of 12 have none"):
        zeroshot(model, nameless)
    with pytest.raises(ValueError, match="one label each; 0000 has another number"):
        frozen(model, nameless)


# ---- frozen features -------------------------------------------------------------------------------------------------


def test_frozen_features_tell_apart_what_is_easy(model):
    """Red or green pictures: any encoder keeps the colour."""
    random, n = np.random.default_rng(0), 60
    colour = random.integers(2, size=n)
    image = random.normal(0, 0.1, (n, 3, 32, 32)).astype(np.float32)
    image[np.arange(n), colour] += 1
    info = [{"label": ("red", "green")[c], "split": ("train", "val")[i % 3 == 0]} for i, c in enumerate(colour)]
    before = {name: a.copy() for name, a in model.state_dict().items()}
    found = frozen(model, {"image": image, "info": info, "key": [str(i) for i in range(n)]}, steps=60)
    assert found["accuracy"] > 0.9 and found["chance"] == 0.5 and found["classes"] == 2
    assert (found["trained_on"], found["judged_by"]) == (40, 20)
    assert all((a == before[name]).all() for name, a in model.state_dict().items()), "frozen is frozen"
    assert all(p.grad is None for p in model.parameters())


def test_frozen_features_of_noise_tell_nothing(model):
    random, n = np.random.default_rng(0), 200
    image = random.normal(0, 1, (n, 3, 32, 32)).astype(np.float32)
    info = [{"label": int(c)} for c in random.integers(2, size=n)]
    found = frozen(model, {"image": image, "info": info, "key": [str(i) for i in range(n)]}, steps=30)
    assert 0.2 < found["accuracy"] < 0.8 and found["trained_on"] + found["judged_by"] == n


def test_pictures_are_kept_apart_by_split_or_by_key():
    keys = [str(i) for i in range(500)]
    split = training_rows({"key": keys[:3], "info": [{"split": "train"}, {"split": "val"}, {}]})
    assert split.tolist() == [True, False, False]
    rows = training_rows({"key": keys, "info": [{}] * 500})
    assert 0.75 < rows.mean() < 0.85
    again = training_rows({"key": keys[::-1], "info": [{"split": "train"}] * 500})
    assert (again[::-1] == rows).all(), "where a picture goes depends on its key alone"


# ---- answers, and clips


class Answers:
    """Says what it was told to say, whatever it is asked."""

    def __init__(self, model, told):
        self.config, self.parameters, self.told, self.asked = model.config, model.parameters, iter(told), []

    def answer(self, images, questions):
        assert len(images) == len(questions)
        self.asked += list(questions)
        return [next(self.told) for _ in questions]


def questions(*rows):
    return {"questions": [{"question": q, "answers": a, "kind": kind} for q, a, kind in rows]}


def test_answers_are_right_word_for_word_and_kinds_are_counted_apart(model):
    one = questions(("where?", ["left"], "place"), ("how many?", ["2"], "number"))
    two = questions(("where?", ["left"], "place"), ("where now?", ["right"], "place"), ("what?", ["a", "b"], "thing"))
    examples = {"image": np.zeros((3, 3, 32, 32), np.float32), "info": [one, {}, two]}
    knows = Answers(model, [" LEFT ", "3", "left", "up", "B"])
    found = answering(knows, examples, batch_size=2)
    assert knows.asked == ["where?", "how many?", "where?", "where now?", "what?"]
    assert (found["exact_match"], found["questions"]) == (0.6, 5) and found["commonest"] == pytest.approx(4 / 5)
    place, number, thing = (found["by_kind"][kind] for kind in ("place", "number", "thing"))
    assert (place["exact_match"], place["commonest"], place["questions"]) == (pytest.approx(2 / 3),) * 2 + (3,)
    assert number["exact_match"] == 0 and thing["exact_match"] == 1 and found["accuracy"] is None


def test_of_ten_answers_three_must_agree(model):
    ten = ["red"] * 2 + ["blue"] * 7 + ["green"]
    examples = {"image": np.zeros((1, 3, 32, 32), np.float32), "info": [questions(*[("what?", ten, "all")] * 4)]}
    found = answering(Answers(model, ["red", "blue", "green", "black"]), examples)
    assert found["accuracy"] == pytest.approx((0.6 + 1 + 0.3 + 0) / 4)  # as metrics.vqa counts


def test_who_cannot_answer_and_what_asks_nothing(model, google):
    with pytest.raises(ValueError, match="CoCa answers no questions"):
        answering(model, google)
    with pytest.raises(ValueError, match="these examples have no questions"):
        answering(Answers(model, []), google)


@pytest.fixture(scope="module")
def clips_run(tmp_path_factory):
    """MaMMUT after a few steps on moving scenes. Not to be written to."""
    out = tmp_path_factory.mktemp("runs") / "moving"
    config = dict(width=16, heads=2, image_heads=2, image_layers=1, layers=2, cross_layers=1)
    settings = Settings(steps=4, batch_size=4, questions=0.5, checkpoint_every=4)
    train("mammut", data="moving:20", preset="moving", out=out, settings=settings, config=config, quiet=True)
    return out


def test_clips_are_measured_as_pictures_are(clips_run):
    model = minivl.load(clips_run)
    examples = open_examples(model, "moving", limit=8)
    assert examples["image"].shape == (8, 3, 16, 32, 32) and examples["scenes"] is None
    scores = retrieval(model, examples)
    assert scores["image_to_text"]["candidates"] == 8
    assert captioning(model, examples)["pictures"] == 8
    found = answering(model, examples)
    assert {"direction", "thing"} <= set(found["by_kind"]) and len(found["answers"]) == found["questions"]
    log = [json.loads(line) for line in (clips_run / "log.jsonl").read_text().splitlines()]
    assert {"contrastive_loss" in line for line in log} == {True, False}, "batches of captions and of questions"


def test_a_model_of_pictures_sees_the_middle_frame_of_a_clip(model):
    examples = open_examples(model, "moving", limit=4)
    assert examples["image"].shape == (4, 3, 32, 32)
    assert retrieval(model, examples)["image_to_text"]["candidates"] == 4
