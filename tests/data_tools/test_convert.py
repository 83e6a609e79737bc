"""Published sets become shards: what is whole comes out as it was, what is broken is counted, a stop does no harm."""

import io
import json
import pickle
import tarfile

import numpy as np
import published
import pytest
from PIL import Image

from data_tools import convert
from minivl.data import rle
from minivl.data.batches import Batches
from minivl.data.shard_writer import described
from minivl.data.shards import DataError, ShardWriter, decode_image, read_shards
from minivl.data.sources import open_source
from minivl.metrics import detection_scores


def made(words, out, *more):
    """Runs the command; {key: Example} of what it wrote, and its entry in dataset.json."""
    assert convert.main([*words, "--out", str(out), *more]) == 0
    prefix = more[more.index("--prefix") + 1] if "--prefix" in more else words[0]
    examples = read_shards(out, strict=True, need_caption=False)
    return {example.key: example for example in examples}, described(out, prefix)


@pytest.mark.parametrize("name", published.SETS)
def test_what_is_whole_comes_out_and_what_is_broken_is_counted(name, tmp_path, capsys):
    words, expected, counted = published.write(name, tmp_path / "in")
    found, entry = made(words, tmp_path / "out")
    assert {key: example.captions for key, example in found.items()} == expected
    assert all(min(decode_image(example.image).size) > 8 for example in found.values())
    assert entry["skipped"] == counted and entry["examples"] == len(expected)
    assert entry["licence"] and entry["source"] == words[0]
    assert all(len(digest) == 64 for digest in entry["recipe"]["files"].values())
    told = capsys.readouterr().err
    assert f"skipped {sum(counted.values())}" in told and all(f"{n} x {kind}" in told for kind, n in counted.items())


@pytest.mark.parametrize("name", ["COCO captions", "Visual Genome", "RefCOCO", "table"])
def test_a_set_that_is_there_is_not_made_twice_and_a_changed_file_is(name, tmp_path, capsys):
    words, expected, _ = published.write(name, tmp_path / "in")
    made(words, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    capsys.readouterr()
    made(words, tmp_path / "out")
    assert f"there already: {len(expected)} examples" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    made(words, tmp_path / "out", "--size", "16")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} != before


def test_a_stop_at_any_record_and_the_same_command_again_give_the_same_bytes(tmp_path, monkeypatch):
    for n in range(9):
        published.picture(tmp_path / "in" / f"{n}.jpg", (20 * n, 0, 99))
    (tmp_path / "in" / "4.jpg").write_bytes(b"broken")
    reader, write = convert.READERS["folder"], ShardWriter.write

    def run(out):
        return convert.convert("folder", reader, out, per_shard=2, images=tmp_path / "in")

    run(tmp_path / "whole")
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    for stop in range(8):
        left = [stop]

        def stops(self, *arguments, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return write(self, *arguments)

        out = tmp_path / f"out{stop}"
        with monkeypatch.context() as patch:
            patch.setattr(ShardWriter, "write", stops)
            with pytest.raises(KeyboardInterrupt):
                run(out)
        assert described(out, "folder") is None
        assert run(out) == {"broken picture": 1}
        assert {path.name: path.read_bytes() for path in out.iterdir()} == whole


# ---- what is in the records


def test_objects_of_coco_have_boxes_masks_and_names(tmp_path):
    words, *_ = published.write("COCO instances", tmp_path / "in")
    found, entry = made(words, tmp_path / "out")
    bowl, crowd = found["000000000009"].info["objects"]
    assert bowl["label"] == "bowl" and bowl["bbox"] == [12, 9, 12, 9] and bowl["iscrowd"] == 0
    square = np.zeros((36, 48), bool)
    square[9:18, 12:24] = True
    assert bowl["segmentation"] == rle.encode(square) and rle.area(crowd["segmentation"]) == 36 * 24
    assert crowd["iscrowd"] == 1 and found["000000000009"].info["labels"] == ["bowl", "person"]
    assert found["000000000025"].info == {"image_id": 25, "split": "val", "objects": [], "labels": []}
    truth = {key: example.info["objects"] for key, example in found.items()}
    perfect = {key: [{**o, "score": 1} for o in some if not o["iscrowd"]] for key, some in truth.items()}
    for kind in ("bbox", "segm"):
        assert detection_scores(truth, perfect, kind)["AP"] == pytest.approx(1)
    assert entry["splits"] == {"val": 2} and entry["fields"] == ["image_id", "labels", "objects", "split"]


def test_captions_and_objects_of_coco_together_and_masks_left_out(tmp_path):
    captions, *_ = published.write("COCO captions", tmp_path / "in")
    instances, *_ = published.write("COCO instances", tmp_path / "in")
    found, _ = made([*captions, *instances[3:]], tmp_path / "out", "--no-masks", "--prefix", "both", "--split", "mine")
    one = found["000000000009"]
    assert len(one.captions) == 2 and one.info["split"] == "mine"
    assert [o["label"] for o in one.info["objects"]] == ["bowl", "person", "bowl"]  # a broken mask is not looked at
    assert not any("segmentation" in o for o in one.info["objects"])


def test_questions_of_vqa_have_ten_answers_and_make_batches(tmp_path):
    words, *_ = published.write("VQA v2", tmp_path / "in")
    found, _ = made(words, tmp_path / "out")
    [example] = found.values()
    assert example.info["questions"] == [
        {"id": n, "question": q, "answers": ["net"] * 9 + ["cage"], "kind": "other", "type": kind}
        for n, q, kind in (
            (458752000, "What is this photo taken looking through?", "what is this"),
            (458752001, "What position is this man playing?", "what"),
        )
    ]

    class Words:
        def __call__(self, texts, length):
            return np.zeros((len(texts), length), np.int64), np.full(len(texts), length)

        def encode(self, text):
            return text.split()

    source = open_source(tmp_path / "out", need_caption=False)
    with Batches(source, Words(), 2, 9, 16, questions=1.0) as batches:
        batch = next(batches)
    assert batch["image"].shape == (2, 3, 16, 16) and set(batch["answer"]) <= {"net", "cage"}


def test_visual_genome_has_a_graph(tmp_path):
    words, *_ = published.write("Visual Genome", tmp_path / "in")
    found, _ = made(words, tmp_path / "out")
    info = found["1"].info
    assert info["regions"][0] == {"phrase": "the clock is green in colour", "bbox": [2, 7, 12, 13]}
    assert {o["id"]: o["label"] for o in info["objects"]} == {1058498: "clock", 1058508: "trees", 5046: "shade"}
    assert info["objects"][0]["attributes"] == ["green", "tall"] and info["objects"][0]["bbox"] == [4, 5, 20, 10]
    assert info["relations"] == [
        {"subject": 1058498, "predicate": "beside", "object": 1058508},
        {"subject": 5046, "predicate": "beside", "object": 1058508},
    ]
    assert info["questions"] == [{"question": "What color is the clock?", "answers": ["Green."], "kind": "what"}]


@pytest.mark.parametrize("name", ["RefCOCO", "RefCOCO, Python 2", "RefCOCO, JSON"])
def test_phrases_of_refcoco_fit_objects(name, tmp_path):
    words, *_ = published.write(name, tmp_path / "in")
    found, entry = made(words, tmp_path / "out")
    info = found["COCO_train2014_000000581857-train"].info
    assert info["expressions"] == [
        {"object": 1719310, "phrases": ["navy blue shirt", "woman back in blue"]},
        {"object": 1719311, "phrases": ["bowl"]},
    ]
    assert [o["label"] for o in info["objects"]] == ["person", "bowl"] and rle.area(
        info["objects"][0]["segmentation"]
    ) == 108
    assert entry["splits"] == {"testA": 1, "train": 1}


class Hostile:
    def __reduce__(self):
        import os

        return os.system, ("echo run > /tmp/this-must-not-be",)


def test_a_hostile_pickle_is_refused_by_name(tmp_path, capsys):
    words, *_ = published.write("RefCOCO", tmp_path / "in")
    refs = published.refs()
    refs[1]["split"] = Hostile()
    (tmp_path / "in" / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))
    assert convert.main([*words, "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err
    assert "system" in told and "nothing of it was run" in told and not described(tmp_path / "out", "refcoco")


def test_a_clip_is_a_strip_of_evenly_spaced_frames(tmp_path):
    words, *_ = published.write("MSR-VTT", tmp_path / "in")
    found, _ = made(words, tmp_path / "out", "--size", "18")
    clip = found["video0"]
    assert clip.info == {"frames": 4, "video_id": "video0", "split": "val", "category": 9}
    strip = np.asarray(decode_image(clip.image)).reshape(4, 18, 24, 3)
    assert np.allclose(strip[:, 1, 1, 0], [20, 80, 140, 200], atol=6), "frames 1, 4, 7, 10: frame10 comes after frame9"


def test_folders_are_labels_and_other_formats_become_png(tmp_path):
    words, *_ = published.write("folder", tmp_path / "in")
    found, _ = made(words, tmp_path / "out", "--split", "test")
    assert found["dog-two"].info == {"split": "test", "label": "dog", "labels": ["dog"]}
    assert found["alone"].info == {"split": "test"} and found["alone"].image.startswith(b"\x89PNG")
    assert open_source(tmp_path / "out", "test").kinds() == {"image": 1, "image-text": 1, "labelled": 2}


def test_files_are_stored_as_they_are_unless_a_size_is_given(tmp_path):
    words, *_ = published.write("Flickr30k", tmp_path / "in")
    stored, _ = made(words, tmp_path / "as-they-are")
    small, _ = made(words, tmp_path / "small", "--size", "12")
    original = (tmp_path / "in" / "flickr30k-images" / "10002456.jpg").read_bytes()
    assert stored["10002456"].image == original
    with Image.open(io.BytesIO(small["10002456"].image)) as picture:
        assert picture.size == (16, 12) and picture.format == "JPEG"


# ---- files and options that cannot be


def test_two_pictures_of_one_name_both_come_out(tmp_path):
    for folder in ("a", "a-b"):
        published.picture(tmp_path / "in" / folder / ("b-1.jpg" if folder == "a" else "1.jpg"))
    found, _ = made(["folder", "--images", str(tmp_path / "in")], tmp_path / "out")
    assert sorted(found) == ["a-b-1", "a-b-1-2"]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("captions_val2017.json", b'{"images": [{"id": 1, "fil', "about character 12: "),
        ("captions_val2017.json", b"[1, 2] 3", "something follows"),
        ("captions_val2017.json", b'"text"', "a list or an object"),
        ("captions_val2017.json", b'{"images": [\xff]}', "cannot be read"),
        ("captions_val2017.json", b"[" * 100_000, "cannot be read"),
        ("captions_val2017.json", b'{"images": [' + b"9" * 5000 + b"]}", "cannot be read"),
        ("captions_val2017.json", b"", "a list or an object"),
        ("captions_val2017.json", b'{"images": [], "annotations": []}', "not one record"),
    ],
)
def test_a_file_that_is_broken_as_a_whole_is_one_line(name, content, words, tmp_path, capsys):
    command, *_ = published.write("COCO captions", tmp_path)
    (tmp_path / name).write_bytes(content)
    assert convert.main([*command, "--out", str(tmp_path / "out")]) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith("convert: ") and words in told, told


@pytest.mark.parametrize(
    "words, said",
    [
        (["coco", "--images", "."], "give --captions, --instances or both"),
        (["folder", "--images", "nowhere"], "nowhere: there is no such file or folder"),
        (["folder", "--images", ".", "--size", "0"], "--size 0: it must be"),
        (["visual-genome", "--images", ".", "--annotations", "."], "must hold image_data.json"),
        (["table", "--images", ".", "--table", "odd.csv"], "name one of them with --image-column"),
    ],
)
def test_what_cannot_be_done_is_one_line(words, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n")
    assert convert.main([*words, "--out", "out"]) == 1
    assert said in capsys.readouterr().err and not (tmp_path / "out" / "dataset.json").exists()


def test_every_set_has_a_reader_a_licence_and_help(capsys):
    assert set(convert.READERS) == set(convert.LICENCES) == set(convert._PATHS)
    for name in convert.READERS:
        with pytest.raises(SystemExit) as stop:
            convert.main([name, "--help"])
        assert stop.value.code == 0 and "--out" in capsys.readouterr().out


def test_the_shards_are_ordinary_tars(tmp_path):
    words, *_ = published.write("Karpathy", tmp_path / "in")
    made(words, tmp_path / "out")
    with tarfile.open(tmp_path / "out" / "flickr30k-00000.tar") as tar:
        name = "COCO_val2014_000000391895"
        assert tar.getnames() == [f"{name}.jpg", f"{name}.json", f"{name}.txt"]
        assert json.load(tar.extractfile(f"{name}.json")) == {"split": "test", "image_id": 391895}


def test_pictures_that_are_too_large_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(convert, "MAX_PICTURE", 700)
    published.picture(tmp_path / "in" / "small.png")
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "in" / "large.png")
    found = convert.convert("folder", convert.READERS["folder"], tmp_path / "out", images=tmp_path / "in")
    assert found == {"too large": 1}
    with pytest.raises(DataError, match="too many pixels|more than"):
        convert._strip([Image.new("RGB", (9000, 9000))] * 2, 9000)
