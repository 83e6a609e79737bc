"""Runs: what a folder must hold, what is said when it does not, and that nothing is ever half a file."""

import json
import os

import numpy as np
import pytest

import minivl
from minivl.run import Run, RunError, model_weights, write_beside
from minivl.weights import load_safetensors, save_safetensors


def arrays(value):
    return {"model/w": np.full(3, value, np.float32)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no run.json"),
        ("{", "not JSON"),
        ("[]", "does not describe a run"),
        ('{"model": "coca"}', "no 'preset'"),
        ('{"model": "coca", "preset": "tiny", "data": "scenes", "config": [], "settings": {}}', "no 'config'"),
    ],
)
def test_what_is_no_run_is_said_in_one_line(tmp_path, content, said):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(RunError, match=said) as error:
        Run(tmp_path).build()
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_a_file_is_no_run(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="no run.json"):
        Run(tmp_path / "file").describe()
    with pytest.raises(RunError, match="is a file"):
        Run(tmp_path / "file").check_free()


def test_an_unknown_config_entry_and_a_lost_tokenizer_are_errors(tmp_path, small_run):
    told = json.loads((small_run / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(told))
    with pytest.raises(RunError, match="no tokenizer.json"):
        Run(tmp_path).build()
    told["config"]["depth"] = 3
    (tmp_path / "run.json").write_text(json.dumps(told))
    with pytest.raises(RunError, match="depth"):
        Run(tmp_path).build()


def test_weights_without_a_description_are_not_written_over(tmp_path):
    Run(tmp_path).save_checkpoint(5, arrays(0), keep=2)
    with pytest.raises(RunError, match="another --out"):
        Run(tmp_path).check_free()


def test_the_newest_checkpoints_are_kept(tmp_path):
    run = Run(tmp_path)
    for step in (5, 10, 15):
        run.save_checkpoint(step, arrays(step), keep=2)
    assert list(run.checkpoints()) == [10, 15]
    run.save_checkpoint(20, arrays(20), keep=0)
    assert list(run.checkpoints()) == [10, 15, 20]
    step, found = run.newest_checkpoint()
    assert step == 20 and (found["model/w"] == 20).all()


def test_a_checkpoint_that_is_cut_off_is_passed_over(tmp_path):
    run = Run(tmp_path)
    run.save_checkpoint(5, arrays(5), keep=0)
    run.save_checkpoint(10, arrays(10), keep=0)
    newest = run.checkpoints()[10]
    newest.write_bytes(newest.read_bytes()[:-4])
    assert run.newest_checkpoint()[0] == 5


@pytest.mark.parametrize("end", ['{"step": 3, "lo', "\0\0\0\0", "7\n", '{"loss": 2}\n', "\ufffd\n", ""])
def test_the_log_is_read_up_to_its_first_broken_line(tmp_path, end):
    run = Run(tmp_path)
    run.log_path.write_text('{"step": 1}\n{"step": 2}\n' + end, encoding="utf-8")
    assert [line["step"] for line in run.read_log()] == [1, 2]


def test_rewinding_cuts_the_log_and_sweeps_what_a_kill_left(tmp_path):
    run = Run(tmp_path)
    run.log_path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    for name in ("run.json.17.part", "checkpoint-00000004.safetensors.partial"):
        (tmp_path / name).touch()
    run.rewind(2)
    assert run.log_path.read_text() == '{"step": 1}\n{"step": 2}\n'
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


def test_a_failing_write_leaves_the_old_file_and_nothing_beside_it(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    path = tmp_path / "figures.json"
    write_beside(path, "old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space") as error:
        write_beside(path, b"new")
    assert error.value.filename == str(path)
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_run_without_weights_says_so(tmp_path, small_run):
    for name in ("run.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((small_run / name).read_bytes())
    with pytest.raises(RunError, match="no weights yet"):
        minivl.load(tmp_path)


def test_an_unfinished_run_loads_its_averaged_weights_by_name(tmp_path, small_run):
    newest = Run(small_run).checkpoints()[6]
    for name in ("run.json", "tokenizer.json", newest.name):
        (tmp_path / name).write_bytes((small_run / name).read_bytes())
    unfinished, finished = minivl.load(tmp_path).state_dict(), minivl.load(small_run).state_dict()
    assert all((unfinished[name] == a).all() for name, a in finished.items())
    checkpoint = load_safetensors(newest)
    assert any((checkpoint[f"model/{name}"] != a).any() for name, a in finished.items()), "the average is not the last"


def test_the_model_of_a_checkpoint_without_average_is_that_of_its_last_step():
    assert list(model_weights({"model/b": 1, "model/a": 2, "optimizer/0.mean": 3})) == ["b", "a"]
    assert model_weights({"model/a": 1, "average/a": 2}) == {"a": 2}


def test_the_description_comes_last_and_goes_first(tmp_path, monkeypatch):
    class Tokenizer:
        def save(self, folder):
            assert not (folder / "run.json").exists()
            (folder / "tokenizer.json").touch()

    run = Run(tmp_path / "deep" / "run")
    run.create(Tokenizer(), {"model": "coca"})
    with pytest.raises(RunError, match="--resume"):
        run.create(Tokenizer(), {})
    run.discard()
    assert not run.path.exists()


def test_a_run_with_a_checkpoint_is_not_discarded(tmp_path):
    run = Run(tmp_path)
    run.description_path.touch()
    save_safetensors(tmp_path / "checkpoint-00000001.safetensors", arrays(1))
    run.discard()
    assert run.exists()


# ---- minivl.load(RUN), as README shows it ----------------------------------------------------------------------------


def test_a_loaded_model_takes_pictures_and_strings(small_run, shards):
    from PIL import Image

    model = minivl.load(small_run)
    picture = model.preprocess(Image.new("RGB", (50, 30), "red"))
    assert picture.shape == (3, 32, 32) and picture.dtype == np.float32
    with minivl.no_grad():
        image = model.encode_image(np.stack([picture, picture])).numpy()
        text = model.encode_text(["red circle", "a square", "blue square"]).numpy()
    assert image.shape == (2, 16) and text.shape == (3, 16)
    assert np.allclose(np.linalg.norm(text, axis=1), 1, atol=1e-6)
    [caption] = model.generate(picture[None])
    assert isinstance(caption, str)
