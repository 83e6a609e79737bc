"""Mixes: shares as asked for, batches of one kind, the same order from any start, and memory that does not grow."""

import itertools
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from minivl.data.batches import Batches
from minivl.data.mix import Mix, by_kind, open_mix
from minivl.data.shards import KINDS, DataError, Example, ShardWriter, kind_of
from minivl.data.sources import ScenesSource, ShardSource, Source, open_source


class Numbers(Source):
    """Examples a0, a1, ... a(n-1), shuffled in each epoch."""

    def __init__(self, name, count, seed=0):
        super().__init__(seed, strict=False)
        self.name, self.count = name, count

    def __str__(self):
        return self.name

    def length(self):
        return self.count

    def examples(self, epoch=None):
        order = range(self.count) if epoch is None else self._random(epoch).permutation(self.count)
        return (Example(f"{self.name}{n}", b"", [f"caption {n}"]) for n in order)


def keys(rows, n):
    return [example.key for _, example in itertools.islice(rows, n)]


def names(rows, n):
    return "".join(key[0] for key in keys(rows, n))


def tokenizer(texts, context_length):
    ids = np.zeros((len(texts), context_length), np.int64)
    return ids, np.array([min(len(text), context_length) for text in texts], np.int64)


def batches(source, **options):
    return Batches(source, tokenizer, 4, context_length=30, image_size=8, **options)


@pytest.fixture
def kinds(tmp_path):
    """Shards with five kinds of examples, in no order: 8 with text, 6 with a label, 5 alone, 7 texts, 4 clips."""
    grey = Image.new("RGB", (8, 8), "grey")
    strip = Image.new("RGB", (8, 24), "grey")
    made = [(f"p{n}", grey, [f"caption {n}"], {"label": "x"}) for n in range(8)]
    made += [(f"l{n}", grey, None, {"label": 0}) for n in range(6)]
    made += [(f"i{n}", grey, None, {}) for n in range(5)]
    made += [(f"t{n}", None, [f"text {n}"], {}) for n in range(7)]
    made += [(f"c{n}", strip, [f"it moves {n}"], {"frames": 3}) for n in range(4)]
    with ShardWriter(tmp_path / "kinds", per_shard=9) as out:
        for k in np.random.default_rng(0).permutation(len(made)):
            out.write(*made[k])
    return tmp_path / "kinds"


# ---- shares


@pytest.mark.parametrize(
    "weights, share", [("size", 0.9), ("sqrt", 0.75), ("even", 0.5), ([1, 4], 0.2), (np.array([2.0, 1.0]), 2 / 3)]
)
def test_examples_come_as_often_as_the_weights_say(weights, share):
    row = names(Mix([Numbers("a", 900), Numbers("b", 100)], weights).stream(), 20_000)
    assert row.count("a") / len(row) == pytest.approx(share, abs=0.015)


def test_each_source_goes_through_its_own_epochs():
    mix = Mix([Numbers("a", 7), Numbers("b", 3)], "even")
    row = list(itertools.islice(mix.stream(), 200))
    for name, count in (("a", 7), ("b", 3)):
        own = [(epoch, example.key) for epoch, example in row if example.key.startswith(name)]
        for epoch in range(len(own) // count):
            assert {key for e, key in own if e == epoch} == {f"{name}{n}" for n in range(count)}


def test_batches_of_one_source_at_a_time():
    mix = Mix([Numbers("a", 30), Numbers("b", 30), Numbers("c", 30)], [2, 1, 1], "one")
    row = [names(window, 9) for window in itertools.islice(mix.windows(0, 4, 5), 2000)]
    assert set(row) == {"a" * 9, "b" * 9, "c" * 9}, "the spares are of the same source"
    assert Counter(row)["a" * 9] / len(row) == pytest.approx(0.5, abs=0.03)


def test_sources_take_turns():
    sources = [Numbers("a", 30), Numbers("b", 10), Numbers("c", 20)]

    def row(weights):
        return "".join(
            names(window, 1) for window in itertools.islice(Mix(sources, weights, "turns").windows(0, 4, 0), 12)
        )

    assert row("even") == "abcabcabcabc"
    assert Counter(row("size")) == {"a": 6, "b": 2, "c": 4} and "aaa" not in row("size")


def test_a_batch_of_all_holds_several_sources():
    [window] = itertools.islice(Mix([Numbers("a", 50), Numbers("b", 50)]).windows(0, 30, 2), 1)
    assert len(window) == 32 and set(names(window, 30)) == {"a", "b"}


def test_one_pass_has_every_example_once_and_begins_with_all_sources():
    mix = Mix([Numbers("a", 5), Numbers("b", 2), Numbers("c", 3)])
    found = [example.key for example in mix.examples()]
    assert found == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "c2", "a3", "a4"]
    assert sorted(example.key for example in mix.examples(4)) == sorted(found) and mix.length() == 10


# ---- the same from any start


@pytest.mark.parametrize("batch_of", ["all", "one", "turns"])
@pytest.mark.parametrize("start", [1, 6, 300, 1023, 1024, 2500])
def test_a_row_begun_anywhere_is_the_rest_of_the_row(batch_of, start):
    mix = Mix([Numbers("a", 40), Numbers("b", 9), Mix([Numbers("c", 4), Numbers("d", 5)])], "sqrt", batch_of, seed=3)
    whole = list(itertools.islice(mix.windows(0, 3, 2), start + 5))
    assert list(itertools.islice(mix.windows(start, 3, 2), 5)) == whole[start:]
    assert keys(mix.stream(start), 20) == keys(mix.stream(), start + 20)[start:]


def test_another_seed_is_another_row():
    rows = [names(Mix([Numbers("a", 9), Numbers("b", 9)], seed=seed).stream(), 50) for seed in (0, 0, 1)]
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.parametrize("batch_of", ["one", "turns"])
def test_batches_resume_in_mid_epoch_whatever_the_workers(kinds, batch_of):
    def mix():
        return Mix(list(by_kind(ShardSource([*kinds.glob("*.tar")])).values()), "even", batch_of, seed=1)

    with batches(mix(), workers=3, frames=3) as run:
        whole = list(itertools.islice(run, 14))
    with batches(mix(), start_step=9, frames=3) as run:
        for before, after in zip(whole[9:], run, strict=False):
            assert before.keys() == after.keys() and before["key"] == after["key"]
            for name in before.keys() & {"image", "text"}:
                np.testing.assert_array_equal(before[name], after[name])


# ---- kinds


def test_a_source_is_parted_by_kind(kinds):
    parts = by_kind(open_source(kinds))
    assert {kind: part.length() for kind, part in parts.items()} == {
        "clip-text": 4, "image": 5, "image-text": 8, "labelled": 6, "text": 7,
    }  # fmt: skip
    assert set(parts) <= set(KINDS)
    for kind, part in parts.items():
        found = list(part.examples(0))
        assert {kind_of(example) for example in found} == {kind}
        assert len({example.key for example in found}) == part.length() == len(found)


def test_a_batch_holds_what_its_kind_has(kinds):
    mix = Mix(list(by_kind(open_source(kinds)).values()), batch_of="turns")
    with batches(mix, frames=3) as run:
        found = {batch["kind"]: batch for batch in itertools.islice(run, 30)}
    assert set(found) == {"clip-text", "image", "image-text", "labelled", "text"}
    assert all(("image" in batch) == (kind != "text") for kind, batch in found.items())
    assert all(("text" in batch) == kind.endswith("text") for kind, batch in found.items())
    assert found["clip-text"]["image"].shape == (4, 3, 3, 8, 8) and found["image"]["image"].shape == (4, 3, 8, 8)
    assert {info["label"] for info in found["labelled"]["info"]} == {0}


def test_kinds_that_do_not_make_a_batch_are_named(kinds):
    mix = Mix([open_source(kinds, kind="text"), open_source(kinds, kind="image-text")])
    with batches(mix) as run, pytest.raises(DataError, match="image-text and text do not .*by_kind"):
        next(run)
    strips = Mix([open_source(kinds, kind="clip-text"), open_source(kinds, kind="image-text")], "even")
    with batches(strips) as run:  # of a clip its middle frame: that is a picture
        assert next(run)["image"].shape == (4, 3, 8, 8)
    with batches(strips, frames=3) as run, pytest.raises(DataError, match="clip-text and image-text"):
        list(itertools.islice(run, 20))


def test_text_alone_and_pictures_alone_are_skipped_where_they_were_not_asked_for(kinds):
    source = open_source(kinds)
    assert sorted({key[0] for key in keys(source.stream(), 50)}) == ["c", "p"]
    assert source.problems["no picture"] == 7 and source.problems["no caption"] == 11


def test_drawn_scenes_are_of_one_kind():
    scenes = ScenesSource(0, "val", 20)
    assert by_kind(scenes) == {"image-text": scenes}
    with pytest.raises(ValueError, match="has no 'text'; it has image-text"):
        scenes.of_kind("text")


# ---- opening, counting, refusing


def test_a_list_of_sets_is_a_mix(shards):
    mix = open_mix([shards / "google", shards / "twitter", "scenes:30"], None, weights="4,1,1", batch_of="one")
    assert mix.shares.tolist() == pytest.approx([4 / 6, 1 / 6, 1 / 6]) and mix.length() == 54
    assert {source.shuffle_buffer for source in mix.sources[:2]} == {2048 // 3}
    assert isinstance(open_mix(["scenes:9"]), ScenesSource)


def test_what_is_skipped_in_any_source_is_counted_once_for_all(tmp_path):
    for name in "ab":
        with ShardWriter(tmp_path / name) as out:
            out.write("good", Image.new("RGB", (4, 4)), ["text"])
            out.write("bad", None, ["no picture"])
    mix = open_mix([tmp_path / "a", tmp_path / "b"])
    list(itertools.islice(mix.stream(), 50))
    assert mix.problems == {"no picture": 2}


@pytest.mark.parametrize(
    "arguments, words",
    [
        (([],), "sources: none"),
        (([Numbers("a", 1)], "large"), "weights: 'large'"),
        (([Numbers("a", 1)], [1, 2]), "1 positive numbers"),
        (([Numbers("a", 1), Numbers("b", 1)], [1, 0]), "2 positive numbers"),
        (([Numbers("a", 1)], "even", "some"), "batch_of: 'some'; it must be one of all, one, turns"),
    ],
)
def test_a_mix_that_cannot_be_is_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        Mix(*arguments)


def test_weights_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="weights: '3;1'"):
        open_mix(["scenes:9", "scenes:9"], weights="3;1")


def test_memory_does_not_grow_with_the_sets(tmp_path, monkeypatch):
    """Six times the examples, almost the same peak."""
    monkeypatch.setattr("minivl.data.sources._KEEP_BYTES", 0)

    def peak(n):
        noise = np.random.default_rng(0).integers(0, 255, (n, 24, 24, 3), dtype=np.uint8)
        for name in "ab":
            with ShardWriter(tmp_path / f"{name}{n}", per_shard=10) as out:
                for k in range(n):
                    out.write(f"{k}", Image.fromarray(noise[k]), ["words"] if k % 3 else None)
        del noise
        sources = [open_source(tmp_path / f"{name}{n}", shuffle_buffer=4) for name in "ab"]
        mix = Mix([part for source in sources for part in by_kind(source).values()], "sqrt", "one")
        tracemalloc.start()
        with batches(mix, cache_bytes=0) as run:
            for _ in itertools.islice(run, n // 4):
                pass
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(20)  # modules are loaded
    assert peak(360) < 1.4 * peak(60)
