"""Batches: the same bits whatever the number of threads and wherever one starts, and no thread that hangs or stays."""

import gc
import io
import itertools
import tarfile
import threading
import time

import numpy as np
import pytest
from PIL import Image

from minivl.data.batches import Batches, Prefetch, eval_batches
from minivl.data.image import normalise, to_array
from minivl.data.scenes import captions, describes, draw, scene
from minivl.data.shards import DataError, ShardWriter, decode_image
from minivl.data.sources import ScenesSource, ShardSource, open_source
from minivl.tokenizers import ByteLevelBPE


def tokenizer(texts, context_length):
    """Characters as ids, enough for these tests."""
    ids = np.zeros((len(texts), context_length), np.int64)
    lengths = np.array([min(len(text), context_length) for text in texts], np.int64)
    for row, text, n in zip(ids, texts, lengths, strict=True):
        row[:n] = [ord(c) for c in text[:n]]
    return ids, lengths


def make(source, batch_size=4, **options):
    return Batches(source, tokenizer, batch_size, context_length=60, image_size=16, **options)


def first(n, source, batch_size=4, **options):
    with make(source, batch_size, **options) as batches:
        return list(itertools.islice(batches, n))


def assert_equal(some, others):
    assert len(some) == len(others)
    for a, b in zip(some, others, strict=True):
        assert a.keys() == b.keys()
        for name in a:
            if isinstance(a[name], np.ndarray):
                assert a[name].dtype == b[name].dtype
                np.testing.assert_array_equal(a[name], b[name])
            else:
                assert a[name] == b[name], name


def shake(images, random, step):
    return np.clip(images + random.normal(0, 0.1, images.shape).astype(np.float32), 0, 1)


def write_shards(folder, n=25, per_shard=8, broken=()):
    """n examples with their number as a grey level; `broken` ones have half a picture."""
    with ShardWriter(folder, per_shard=per_shard) as out:
        for k in range(n):
            file = io.BytesIO()
            pixels = np.random.default_rng(k).integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(file, "PNG")
            content = file.getvalue()[:700] if k in broken else file.getvalue()
            out.write(f"k{k:03d}", content, [f"caption {k}", f"again {k}"], {"split": "val" if k % 5 == 4 else "train"})
    return folder


@pytest.fixture
def shards(tmp_path):
    return write_shards(tmp_path / "set")


@pytest.fixture(autouse=True)
def no_thread_left_behind():
    yield
    gc.collect()
    left = [thread for thread in threading.enumerate() if thread.name == "minivl-prefetch"]
    assert not left, left


# ---- what a batch is


def test_a_batch_has_the_promised_arrays():
    [batch] = first(1, ScenesSource(0, "train", 50), mean=(0.5,) * 3, std=(0.25,) * 3)
    assert batch["image"].shape == (4, 3, 16, 16) and batch["image"].dtype == np.float32
    assert batch["image"].flags.c_contiguous and batch["text"].flags.c_contiguous
    longest = max(len(c) for c in batch["caption"])  # no further pads: they would only cost time
    assert batch["text"].shape == (4, longest) and batch["text"].dtype == batch["lengths"].dtype == np.int64
    assert batch["lengths"].tolist() == [len(c) for c in batch["caption"]]
    assert len(set(batch["key"])) == 4 and batch["epoch"] == 0
    assert all(info["labels"] for info in batch["info"])


def test_picture_caption_and_key_of_a_batch_belong_together():
    with Batches(ScenesSource(3, "val", 50), tokenizer, 8, 60, 32) as batches:
        for batch in itertools.islice(batches, 10):
            for key, image, caption in zip(batch["key"], batch["image"], batch["caption"], strict=True):
                s = scene(3, "val", int(key.rpartition("-")[2]))
                assert s.key == key and describes(caption, s)
                np.testing.assert_array_equal(image, normalise(to_array(draw(s))))


def test_captions_are_chosen_anew_in_each_epoch():
    chosen = [c for batch in first(60, ScenesSource(0, "train", 4)) for c in batch["caption"]]
    possible = {c for i in range(4) for c in captions(scene(0, "train", i))}
    assert set(chosen) == possible


def test_the_caption_may_be_made_from_the_labels():
    def prompt(example, random):
        return "a photo of " + ", ".join(random.permutation(example.info["labels"]))

    [batch] = first(1, ScenesSource(0, "train", 20), caption=prompt)
    assert all(c.startswith("a photo of ") for c in batch["caption"])


# ---- the same bits


@pytest.mark.parametrize("workers", [2, 3, 5])
def test_any_number_of_workers_makes_the_same_batches(shards, workers):
    for data in ("scenes:30", shards):
        alone = first(12, open_source(data), augment=shake)
        assert_equal(alone, first(12, open_source(data), augment=shake, workers=workers))


@pytest.mark.parametrize("start", [1, 2, 5, 6, 7, 19])
def test_starting_at_a_step_gives_what_the_uninterrupted_run_gives_there(shards, start):
    # 20 or 30 examples in batches of 4 or 7: batches cross epochs' borders, and starts fall on both sides of one.
    for data, size in (("scenes:30", 4), (shards, 4), (shards, 7)):
        whole = first(22, open_source(data, shuffle_buffer=6), size, augment=shake)
        rest = first(22 - start, open_source(data, shuffle_buffer=6), size, augment=shake, start_step=start, workers=2)
        assert_equal(whole[start:], rest)


def test_the_seed_changes_order_captions_and_augmentation_on_its_own():
    source = ScenesSource(0, "train", 30)
    a, b = first(1, source, augment=shake, seed=0)[0], first(1, source, augment=shake, seed=1)[0]
    assert a["key"] == b["key"] and a["caption"] != b["caption"] and not np.array_equal(a["image"], b["image"])
    keys = {tuple(first(1, ScenesSource(seed, "train", 30))[0]["key"]) for seed in (0, 1)}
    assert len(keys) == 2


def test_starting_late_decodes_nothing_before(shards, monkeypatch):
    decoded = []
    monkeypatch.setattr("minivl.data.batches.decode_image", lambda data: decoded.append(data) or decode_image(data))
    with make(open_source(shards), start_step=500) as batches:
        batch = next(batches)
        assert batches.step == 501
    assert len(decoded) <= 4 * 4 and batch["epoch"] == 500 * 4 // 20


@pytest.mark.parametrize("data", ["scenes:30", "shards"])
def test_every_epoch_has_each_example_once_in_another_order(shards, data):
    source = open_source(shards if data == "shards" else data, shuffle_buffer=6)
    n = source.length()
    keys = [key for batch in first(3 * n // 5, source, 5) for key in batch["key"]]
    epochs = [keys[k * n : (k + 1) * n] for k in range(3)]
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert all(sorted(epoch) == sorted(epochs[0]) and len(set(epoch)) == n for epoch in epochs)


def test_the_cache_changes_nothing_and_spares_later_epochs_the_decoding(shards, monkeypatch):
    decoded = []
    monkeypatch.setattr("minivl.data.batches.decode_image", lambda data: decoded.append(data) or decode_image(data))
    cached = first(20, open_source(shards), augment=shake)
    assert len(decoded) == 20
    decoded.clear()
    assert_equal(cached, first(20, open_source(shards), augment=shake, cache_bytes=0))
    assert len(decoded) >= 80
    decoded.clear()
    assert_equal(cached, first(20, open_source(shards), augment=shake, cache_bytes=5 * 16 * 16 * 3))
    assert 20 < len(decoded) <= 4 * (20 + 3) - 5


def test_two_shards_with_the_same_keys_keep_their_own_pictures(tmp_path):
    for name, grey in (("a", 0), ("b", 255)):
        with ShardWriter(tmp_path, prefix=name) as out:
            out.write("0", Image.new("L", (16, 16), grey), [name])
    batches = first(6, open_source(tmp_path), 2)
    assert {(c, i.max() > 0) for b in batches for c, i in zip(b["caption"], b["image"], strict=True)} == {
        ("a", False),
        ("b", True),
    }


# ---- sources


def test_splits_of_shards_and_examples_that_name_none(tmp_path, shards):
    assert open_source(shards, "train").length() == 20 and open_source(shards, "val").length() == 5
    assert ShardSource(open_source(shards).paths).length() == 25
    assert open_source(shards, "val", keep=lambda info: False).length() == 0
    with ShardWriter(tmp_path / "free") as out:
        out.write("0", Image.new("L", (8, 8)), ["c"])
    assert open_source(tmp_path / "free", "val").length() == open_source(tmp_path / "free", "train").length() == 1


def test_the_stored_order_and_the_shuffle_buffer(shards):
    source = open_source(shards, shuffle_buffer=1000)
    stored = [example.key for example in source.examples()]
    assert stored == sorted(stored) and len(stored) == 20
    displacement = []
    for buffer in (1, 1000):
        keys = [example.key for example in open_source(shards, shuffle_buffer=buffer).examples(0)]
        assert sorted(keys) == stored
        displacement.append(sum(a > b for a, b in itertools.pairwise(keys)))
    assert displacement[0] <= 3 < displacement[1], "a buffer of one keeps the order within each of the four shards"


def test_a_small_set_is_read_once_and_a_large_one_is_streamed(shards, monkeypatch):
    def keys(source):
        return [[example.key for example in source.examples(epoch)] for epoch in (0, 1, None)]

    small = open_source(shards, shuffle_buffer=6)
    monkeypatch.setattr("minivl.data.sources._KEEP_BYTES", 25_000)  # room for one of the four shards
    large = open_source(shards, shuffle_buffer=6)
    expected = keys(large)
    assert keys(small) == expected
    for path in shards.glob("*.tar"):
        path.unlink()
    assert keys(small) == expected
    assert 0 < len(list(large.examples())) < 20


def test_distinct_scenes_are_candidates_for_retrieval():
    plain = [example.captions[0] for example in open_source("scenes:100", "val", distinct=True).examples()]
    assert len(set(plain)) == 100


@pytest.mark.parametrize("data", ["scenes:", "scenes:0", "scenes:-3", "scenes:many", "scenes:1.5"])
def test_a_bad_number_of_scenes_is_named(data):
    with pytest.raises(DataError, match=f"data: '{data}' must be scenes or scenes:COUNT"):
        open_source(data)


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(ValueError, match="split: 'test'"):
        open_source("scenes", "test")
    with pytest.raises(DataError, match="no shards"):
        open_source(tmp_path / "nothing")
    with pytest.raises(ValueError, match="shuffle_buffer: 0"):
        open_source(write_shards(tmp_path / "set", 2), shuffle_buffer=0)
    for name in ("workers", "batch_size"):
        with pytest.raises(ValueError, match=f"{name} 0"):
            make(ScenesSource(0), **{name: 0})


# ---- what goes wrong


def test_broken_pictures_are_counted_once_and_replaced_without_moving_the_others(tmp_path):
    good = first(25, open_source(write_shards(tmp_path / "good")))
    source = open_source(write_shards(tmp_path / "bad", broken=(3, 10, 11)))
    batches = first(25, source, workers=3)
    assert source.problems == {"broken picture": 3}
    assert "k003" in source.problems.first["broken picture"] or "k01" in source.problems.first["broken picture"]
    for a, b in zip(good, batches, strict=True):
        for slot, key in enumerate(a["key"]):
            assert b["key"][slot] == key or key in ("k003", "k010", "k011")
        assert not {"k003", "k010", "k011"} & set(b["key"]) and b["image"].shape == a["image"].shape
    again = open_source(tmp_path / "bad")
    assert_equal(batches[9:], first(16, again, start_step=9))


def test_strict_makes_the_first_broken_picture_an_error_that_names_it(tmp_path):
    source = open_source(write_shards(tmp_path / "bad", broken=(3,)), strict=True)
    with pytest.raises(DataError, match="k003: picture"):
        first(25, source)


def test_a_truncated_tar_is_counted_once_however_many_epochs(shards):
    path = sorted(shards.glob("*.tar"))[-1]
    path.write_bytes(path.read_bytes()[:-12_000])
    source = open_source(shards, "train")
    assert len(first(40, source)) == 40
    assert source.problems == {"truncated tar": 1}
    with pytest.raises(DataError, match="truncated"):
        first(40, open_source(shards, "train", strict=True))


def test_a_source_without_a_good_example_is_an_error_and_no_hang(tmp_path):
    with tarfile.open(tmp_path / "empty.tar", "w"):
        pass
    bad = write_shards(tmp_path / "bad", 6, broken=range(6))
    for source in (open_source(tmp_path / "empty.tar"), open_source(bad, "no such split")):
        for start in (0, 5):
            with pytest.raises(DataError, match="no example to read"):
                first(1, source, start_step=start)
        with pytest.raises(DataError, match="no example to read"):
            list(eval_batches(source, tokenizer, 4, 60, 16))
    with pytest.raises(DataError, match="batch 0: none of 68 examples in a row could be decoded; skipped 5: 5 x"):
        first(1, open_source(bad))
    with pytest.raises(DataError, match="no example to read; skipped 5"):
        list(eval_batches(open_source(bad), tokenizer, 4, 60, 16))


def test_an_error_in_a_thread_comes_out_of_next_at_its_step():
    def at_ninth(images, random, step):
        at_ninth.calls += 1
        if at_ninth.calls == 9:
            raise ZeroDivisionError("in augment")
        return images

    at_ninth.calls = 0
    with make(ScenesSource(0, "train", 30), augment=at_ninth) as batches:
        for _ in range(8):
            next(batches)
        with pytest.raises(ZeroDivisionError, match="in augment"):
            next(batches)


def test_an_error_of_the_reader_comes_after_the_items_before_it_and_stays():
    def items():
        yield from range(5)
        raise OSError("disk gone")

    prefetch = Prefetch(items(), lambda x: x * x, workers=3)
    assert [next(prefetch) for _ in range(5)] == [0, 1, 4, 9, 16]
    for _ in range(2):
        with pytest.raises(OSError, match="disk gone"):
            next(prefetch)
    prefetch.close()


def test_prefetch_keeps_the_order_ends_and_stays_within_its_bound():
    def slow(x):
        started.append(x)
        time.sleep(0.002 * (x % 3))
        return x

    started = []
    prefetch = Prefetch(iter(range(30)), slow, workers=4, ahead=6)
    deadline = time.monotonic() + 5
    while len(started) < 6 and time.monotonic() < deadline:
        time.sleep(0.005)
    time.sleep(0.05)
    assert sorted(started) == list(range(6)), "nobody runs further ahead than the bound"
    assert list(prefetch) == list(range(30))
    prefetch.close()


def test_close_ends_the_threads_at_once_and_twice_is_fine():
    batches = make(ScenesSource(0, "train", 500), workers=4)
    next(batches)
    started = time.monotonic()
    batches.close()
    batches.close()
    assert time.monotonic() - started < 5
    with pytest.raises(RuntimeError, match="closed"):
        next(batches)


def test_an_interrupt_inside_the_with_block_ends_the_threads():
    with pytest.raises(KeyboardInterrupt), make(ScenesSource(0, "train", 500), workers=2) as batches:
        next(batches)
        raise KeyboardInterrupt


# ---- evaluation


def test_eval_batches_are_one_ordered_pass(shards):
    batches = list(eval_batches(open_source(shards), tokenizer, 6, 60, 16))
    assert [len(b["key"]) for b in batches] == [6, 6, 6, 2]
    assert batches[-1]["image"].shape == (2, 3, 16, 16) and batches[-1]["text"].shape == (2, 60)
    keys = [key for b in batches for key in b["key"]]
    assert keys == sorted(keys) and len(keys) == 20
    assert batches[0]["captions"][1] == ["caption 1", "again 1"] and batches[0]["caption"][1] == "caption 1"
    limited = list(eval_batches(open_source(shards), tokenizer, 6, 60, 16, limit=8))
    assert_equal(limited[:1], batches[:1])
    assert [len(b["key"]) for b in limited] == [6, 2]


def test_eval_batches_skip_and_count_broken_pictures_or_raise(tmp_path):
    bad = write_shards(tmp_path / "bad", broken=(3, 10))
    source = open_source(bad)
    assert sum(len(b["key"]) for b in eval_batches(source, tokenizer, 6, 60, 16)) == 18
    assert source.problems == {"broken picture": 2}
    with pytest.raises(DataError, match="k003"):
        list(eval_batches(open_source(bad, strict=True), tokenizer, 6, 60, 16))


def test_pictures_with_a_label_alone(tmp_path):
    with tarfile.open(tmp_path / "labels.tar", "w") as tar:
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, "PNG")
        for name, content in (("0.png", file.getvalue()), ("0.cls", b"cat")):
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))
    [batch] = eval_batches(open_source(tmp_path / "labels.tar", need_caption=False), tokenizer, 4, 60, 16)
    assert batch["info"] == [{"label": "cat"}] and batch["caption"] == [""] and batch["captions"] == [[]]


def test_throughput_is_printed(capsys):
    with Batches(ScenesSource(0, "train", 640), tokenizer, 64, 60, 32, augment=shake) as batches:
        rates = []
        for _ in range(2):
            started = time.perf_counter()
            for _ in range(10):
                next(batches)
            rates.append(640 / (time.perf_counter() - started))
    with capsys.disabled():
        print(f"\n  pictures in batches: {rates[0]:.0f} a second drawn, {rates[1]:.0f} a second from the cache")


# ---- clips and questions


def strip(frames, size=8):
    """A strip whose frame f is of the grey level 10 f."""
    pixels = np.repeat(10 * np.arange(frames, dtype=np.uint8), size)[:, None, None]
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.broadcast_to(pixels, (frames * size, size, 3)))).save(file, "PNG")
    return file.getvalue()


def write_clips(folder, frames=12, told=12, asked=True):
    asked = (
        {"questions": [{"question": f"q{k}", "answers": ["yes", "no"], "kind": "k"} for k in range(3)]} if asked else {}
    )
    with ShardWriter(folder, per_shard=8) as out:
        for k in range(6):
            out.write(f"k{k}", strip(frames), [f"caption {k}"], {"frames": told, **asked})
    return folder


@pytest.mark.parametrize(("frames", "shown"), [(12, range(12)), (4, (1, 4, 7, 10)), (3, (2, 6, 10)), (1, (6,))])
def test_clips_are_strips_of_which_frames_are_taken_evenly(tmp_path, frames, shown):
    [batch] = first(1, open_source(write_clips(tmp_path / "c")), frames=frames, mean=(0, 0, 0), std=(1, 1, 1))
    F = () if frames == 1 else (frames,)
    assert batch["image"].shape == (4, 3, *F, 16, 16) and batch["image"].flags.c_contiguous
    grey = batch["image"].reshape(4, 3, frames, -1)
    np.testing.assert_allclose(
        grey, np.broadcast_to(np.reshape(10 * np.array(shown) / 255, (-1, 1)), grey.shape), atol=1e-6
    )
    [same] = eval_batches(open_source(tmp_path / "c"), tokenizer, 6, 60, 16, (0, 0, 0), (1, 1, 1), frames=frames)
    np.testing.assert_array_equal(same["image"][:4], batch["image"])


def test_clips_are_normalised_by_channel(tmp_path):
    [batch] = first(1, open_source(write_clips(tmp_path / "c")), frames=12, mean=(0.1, 0.2, 0.3), std=(1, 2, 4))
    first_frame = batch["image"][0, :, 0, 0, 0]
    np.testing.assert_allclose(first_frame, [-0.1, -0.1, -0.075], atol=1e-6)


def test_a_strip_that_its_frames_do_not_divide_is_a_broken_picture(tmp_path):
    source = open_source(write_clips(tmp_path / "c", told=7))
    with pytest.raises(DataError, match="could be decoded"):
        first(1, source, frames=4)
    assert source.problems == {"broken clip": 6}


def test_random_changes_are_for_pictures(tmp_path):
    with pytest.raises(ValueError, match="augment: the random changes are those of pictures"):
        first(1, open_source(write_clips(tmp_path / "c")), frames=4, augment=shake)


class Letters:
    """The tokenizer of this file, with `encode`."""

    def __call__(self, texts, context_length):
        return tokenizer(texts, context_length)

    def encode(self, text):
        return [ord(c) for c in text]


def test_batches_of_questions(tmp_path):
    source = open_source(write_clips(tmp_path / "c"))
    with Batches(source, Letters(), 4, 60, 16, questions=0.5) as batches:
        several = list(itertools.islice(batches, 12))
    asked = [batch for batch in several if "question" in batch]
    assert 2 <= len(asked) <= 10 and all("given" not in batch for batch in several if "question" not in batch)
    for batch in asked:
        assert batch["caption"] == [f"{q} {a}" for q, a in zip(batch["question"], batch["answer"], strict=True)]
        assert batch["given"].tolist() == [1 + len(q) for q in batch["question"]]
    assert {q for batch in asked for q in batch["question"]} == {"q0", "q1", "q2"}
    assert {a for batch in asked for a in batch["answer"]} == {"yes", "no"}
    with Batches(source, Letters(), 4, 60, 16, questions=0.5, start_step=5) as batches:
        assert_equal(list(itertools.islice(batches, 4)), several[5:9])


def test_several_questions_of_each_picture(tmp_path):
    source = open_source(write_clips(tmp_path / "c"))
    options = dict(questions=0.5, frames=4)
    with Batches(source, Letters(), 4, 60, 16, questions_each=2, **options) as batches:
        several = list(itertools.islice(batches, 12))
    with Batches(source, Letters(), 4, 60, 16, **options) as batches:
        single = list(itertools.islice(batches, 12))
    assert ["question" in batch for batch in several] == ["question" in batch for batch in single]
    for batch, one in zip(several, single, strict=True):
        np.testing.assert_array_equal(batch["image"], one["image"])
        if "question" not in batch:
            assert_equal([batch], [one])
            continue
        assert len(batch["text"]) == len(batch["question"]) == len(batch["given"]) == len(batch["same"]) == 8
        assert batch["asked_of"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and "asked_of" not in one
        assert all(q != other for q, other in zip(batch["question"][::2], batch["question"][1::2], strict=True))
        assert batch["caption"] == [f"{q} {a}" for q, a in zip(batch["question"], batch["answer"], strict=True)]
        assert batch["given"].tolist() == [1 + len(q) for q in batch["question"]]
    with Batches(source, Letters(), 4, 60, 16, questions_each=2, start_step=5, workers=3, **options) as batches:
        assert_equal(list(itertools.islice(batches, 4)), several[5:9])


def test_of_a_picture_that_has_fewer_questions_all_are_asked(tmp_path):
    with ShardWriter(tmp_path / "c") as out:
        for k in range(4):
            asked = [{"question": f"q{j} of {k}", "answers": [str(j)]} for j in range(1 + k)]
            out.write(f"k{k}", strip(1), [f"caption {k}"], {"questions": asked})
    with Batches(open_source(tmp_path / "c"), Letters(), 4, 60, 16, questions=1.0, questions_each=3) as batches:
        batch = next(batches)
    numbers = [int(key[1:]) for key in batch["key"]]
    assert batch["asked_of"].tolist() == [i for i, k in enumerate(numbers) for _ in range(min(3, 1 + k))]
    assert len(set(batch["question"])) == len(batch["question"]) == 1 + 2 + 3 + 3
    for i, question, answer in zip(batch["asked_of"], batch["question"], batch["answer"], strict=True):
        assert question == f"q{answer} of {numbers[i]}"
    with pytest.raises(ValueError, match="questions_each 0.*must be at least 1"):
        Batches(open_source(tmp_path / "c"), Letters(), 4, 60, 16, questions=1.0, questions_each=0)


def test_without_questions_they_cannot_be_asked(tmp_path):
    source = open_source(write_clips(tmp_path / "c", asked=False))
    with (
        pytest.raises(DataError, match="k[0-5]: it has no questions; leave the setting `questions` at 0"),
        Batches(source, Letters(), 4, 60, 16, questions=1.0) as batches,
    ):
        next(batches)


@pytest.mark.parametrize("data", ["scenes", "moving"])
def test_a_question_is_the_beginning_of_its_text_in_tokens_too(data):
    """So that what is given in training is the prompt in use."""
    examples = list(itertools.islice(open_source(data).examples(), 40))
    asked = [q for e in examples for q in e.info["questions"]]
    words = ByteLevelBPE.train([f"{q['question']} {q['answers'][0]}" for q in asked], 400)
    for q in asked:
        whole, question = (words.encode(text) for text in (f"{q['question']} {q['answers'][0]}", q["question"]))
        assert whole[: len(question)] == question and words.decode(whole[len(question) :]).strip() == q["answers"][0]
