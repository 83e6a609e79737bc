"""The command line: what README shows, in processes of its own; every error is one line, and its exit code is right."""

import argparse
import importlib
import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from minivl import __version__, array, cli, doctor


def one_line(capsys, code, *arguments):
    """The one line on standard error of a command that fails."""
    try:
        got = cli.main([str(argument) for argument in arguments])
    except SystemExit as end:
        got = end.code
    told = capsys.readouterr()
    assert got == code, told.err
    lines = [line for line in told.err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1 and lines[0].startswith("minivl") and told.out == "", told
    return lines[0]


# ---- what README shows ----------------------------------------------------------------------------------------------


def test_train_evaluate_caption_and_retrieve(command, shards, small, tmp_path):
    (tmp_path / "emoji").symlink_to(shards)
    steps = ("--steps", 3, "--out", "run")
    code, out, err = command("train", "coca", "--data", "emoji/google", "--preset", "tiny", *small, *steps)
    assert code == 0 and out == "wrote run; next: minivl evaluate run --data emoji/google --task retrieval\n"
    assert all(part in err for part in ("3/3", "loss ", " images/s", "<00:00")), "a bar with loss, speed and time left"
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        *("checkpoint-00000003.safetensors", "log.jsonl", "model.safetensors", "run.json", "tokenizer.json")
    ]

    labels = ("--labels", "Animals & Nature,Food & Drink", "--gallery", "emoji/google", "--json", "figures.json")
    code, out, err = command("evaluate", "run", "--data", "emoji/twitter", "--task", "retrieval", *labels)
    assert (code, err) == (0, "")
    assert "image_to_text R@1: " in out and "nearest_neighbour R@1: 1.0000" in out
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["data"] == "emoji/twitter" and figures["image_to_text"]["candidates"] == 12

    code, out, err = command("retrieve", "run", "a red circle", "--data", "emoji/twitter", "--top", 4)
    assert (code, err) == (0, "") and out.endswith("wrote retrieved.png\n") and out.count("\n") == 5
    with Image.open(tmp_path / "retrieved.png") as sheet:
        assert sheet.width > 4 * 128

    code, out, err = command("caption", "run", "retrieved.png", "missing.png", "figures.json", "retrieved.png")
    assert code == 1 and out.count("retrieved.png: ") == 2
    assert len(err.splitlines()) == 2 and "no file 'missing.png'" in err and "'figures.json' cannot be used" in err


def test_what_is_not_said_again_is_as_it_was(capsys, shards, small, tmp_path):
    arguments = ["--data", str(shards / "google"), *small, "--steps", "4", "--set", "image_mean=0.1,0.2,0.3"]
    assert cli.main(["train", "coca", *arguments, "--out", f"{tmp_path}/run"]) == 0
    assert cli.main(["train", "coca", "--out", f"{tmp_path}/run", "--resume", "--set", "workers=2", "--strict"]) == 0
    assert cli.main(["train", "coca", *arguments, "--out", f"{tmp_path}/run", "--resume"]) == 0
    capsys.readouterr()
    line = one_line(capsys, 1, "train", "coca", "--out", tmp_path / "run", "--resume", "--steps", 5)
    assert line.endswith("/run was begun with steps=4, and can only be resumed so")
    assert cli.main(["train", "coca", *arguments, "--out", f"{tmp_path}/new", "--resume"]) == 0
    assert f"{tmp_path}/new holds no run yet: this begins it" in capsys.readouterr().out


def test_several_sets_are_mixed(capsys, shards, small, tmp_path):
    sets = ["--data", f"{shards}/google", "--data", "scenes:9", "--set", "mix=3,1", "--set", "batch_of=turns"]
    words = ["train", "coca", *small, "--steps", "2", "--out", f"{tmp_path}/run"]
    assert cli.main([*words, *sets]) == cli.main([*words, "--resume"]) == 0
    assert f"next: minivl evaluate {tmp_path}/run --data {shards}/google --task" in capsys.readouterr().out
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"] == [f"{shards}/google", "scenes:9"]


@pytest.mark.parametrize("task", ["caption", "zeroshot", "frozen"])
def test_tasks(capsys, task, small_run, shards, tmp_path):
    figures = tmp_path / "figures.json"
    assert (
        cli.main(["evaluate", str(small_run), "--data", f"{shards}/google", "--task", task, "--json", f"{figures}"])
        == 0
    )
    names = {"caption": "exactly_right", "zeroshot": "top1", "frozen": "accuracy"}
    assert f"{names[task]}: " in capsys.readouterr().out
    assert 0 <= json.loads(figures.read_text())[names[task]] <= 1


def test_broken_examples_are_counted_and_strict_stops(capsys, small_run, shards, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for path in shards.glob("twitter-*.tar"):
        (data / path.name).write_bytes(path.read_bytes()[: None if "00000" in path.name else 1500])
    evaluate = ["evaluate", str(small_run), "--data", str(data), "--task", "retrieval"]
    assert cli.main(evaluate) == 0
    told = capsys.readouterr()
    assert told.err.startswith("warning: skipped 1: 1 x truncated tar (first: ") and "candidates: 8" in told.out
    assert "truncated tar" in one_line(capsys, 1, *evaluate, "--strict")


# ---- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("widht=3", "did you mean width?"),
        ("width", "must be NAME=VALUE"),
        ("colour=red", "minivl train coca --list shows them all"),
        ("steps=many", "must be a whole number"),
        ("lr=fast", "must be a number"),
        ("strict=maybe", "must be true or false"),
        ("image_mean=0.5", "must be 3 numbers, as 0.5,0.5,0.5"),
        ("image_mean=a,b,c", "must be 3 numbers, as 0.5,0.5,0.5"),
        ("lr=-1", "lr is -1.0, must be above 0"),
        ("heads=3", "width 16 is not divisible by 3 heads"),
        ("schedule=exp", "must be one of: cosine, linear, constant"),
    ],
)
def test_wrong_settings(capsys, tmp_path, shards, small, setting, said):
    arguments = ("train", "coca", "--data", shards / "google", *small, "--out", tmp_path / "run", "--set", setting)
    assert said in one_line(capsys, 2, *arguments)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", "coca", "--out", "RUN"], 1, "holds a run already: go on with --resume, or choose another --out"),
        (["train", "blip", "--out", "NEW"], 2, "model 'blip' is unknown, must be one of: clip, coca"),
        (["train", "coca", "--out", "NEW", "--preset", "huge"], 2, "preset is 'huge', must be one of: tiny, drawings"),
        (["train", "coca", "--out", "NEW", "--steps", "0"], 2, "'0' must be a whole number of at least 1"),
        (["train", "coca", "--out", "NEW", "--data", "NEW"], 1, "data: no shards at"),
        (["train", "coca", "--out", "FILE", "--data", "scenes:3"], 1, "is a file"),
        (["train", "coca", "--out", "FILE/run", "--data", "scenes:3", "--steps", "1"], 1, "FILE: Not a directory"),
        (["train", "coca"], 2, "required: --out (minivl train --help)"),
        (["evaluate", "NEW", "--task", "caption"], 1, "NEW is no run, it has no run.json; minivl train coca --out"),
        (["evaluate", "RUN", "--task", "sing"], 2, "argument --task: invalid choice: 'sing'"),
        (["evaluate", "RUN", "--task", "caption", "--views", "2"], 2, "--views is for --task retrieval, not caption"),
        (["evaluate", "RUN", "--task", "caption", "--gallery", "x"], 2, "--gallery is for --task retrieval"),
        (["evaluate", "RUN", "--task", "retrieval", "--beams", "2"], 2, "--beams is for --task caption"),
        (["evaluate", "RUN", "--task", "retrieval", "--json", "NEW/f.json"], 2, "there is no such folder"),
        (["evaluate", "RUN", "--task", "retrieval", "--limit", "-3"], 2, "must be a whole number of at least 1"),
        (["evaluate", "RUN", "--task", "retrieval", "--split", "test"], 1, "split"),
        (["evaluate", "RUN", "--task", "frozen"], 1, "one label each"),
        (["caption", "RUN", "FILE"], 1, "cannot be used as a picture"),
        (["caption", "NEW", "FILE"], 1, "is no run"),
        (["retrieve", "RUN", ""], 1, "TEXT has 0 tokens, must have 1 to 30 for this model"),
        (["retrieve", "RUN", "word " * 50], 1, "must have 1 to 30 for this model"),
        (["retrieve", "RUN", "x", "--out", "x.xyz"], 2, "must end in .png, .jpg or another format"),
        (["retrieve", "RUN", "x", "--out", "x.psd"], 2, "must end in .png"),
        (["retrieve", "RUN", "x", "--limit", "3", "--out", "NEW/x.png"], 1, "NEW/x.png: No such file or directory"),
        (["sing"], 2, "invalid choice: 'sing'"),
        ([], 2, "required: COMMAND (minivl --help)"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else None,
)
def test_errors_are_one_line(capsys, tmp_path, small_run, arguments, code, said):
    (tmp_path / "FILE").write_text("not a picture")
    places = {"RUN": small_run, "NEW": tmp_path / "NEW", "FILE": tmp_path / "FILE"}
    words = [str(places[word]) if word in places else word for word in arguments]
    words = [word.replace("NEW/", f"{tmp_path}/NEW/").replace("FILE/", f"{tmp_path}/FILE/") for word in words]
    assert said.replace("FILE:", f"{tmp_path}/FILE/run:") in one_line(capsys, code, *words).replace(
        f"{tmp_path}/NEW", "NEW"
    ).replace(f"{tmp_path}/FILE:", "FILE:")
    assert not (tmp_path / "NEW").exists()


def test_cuda_without_cupy_says_how_to_get_it_and_leaves_no_run(capsys, tmp_path, small, small_run):
    if array.cupy_installed():
        pytest.skip("CuPy is installed here")
    train = ("train", "coca", *small, "--data", "scenes:9", "--out", tmp_path / "run", "--device", "cuda")
    assert "pip install" in one_line(capsys, 1, *train)
    assert not (tmp_path / "run").exists()
    assert "pip install" in one_line(capsys, 1, "evaluate", small_run, "--task", "caption", "--device", "cuda")


def test_debug_shows_where_an_error_came_from(tmp_path):
    with pytest.raises(ValueError, match="is no run"):
        cli.main(["--debug", "caption", str(tmp_path), "x.png"])


def test_a_reader_that_goes_away_is_no_error(small_run):
    images = ["--limit", "30", "--task", "retrieval"]
    process = subprocess.Popen(
        [sys.executable, "-m", "minivl.cli", "evaluate", small_run, *images],
        cwd=os.path.dirname(os.path.dirname(cli.__file__)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )
    process.stdout.close()
    told = process.stderr.read()
    assert (process.wait(), told) == (0, b"")


# ---- help, and the doctor --------------------------------------------------------------------------------------------


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0 and capsys.readouterr().out == f"minivl {__version__}\n"


@pytest.mark.parametrize("command", [[], ["demo"], ["train"], ["evaluate"], ["caption"], ["retrieve"], ["doctor"]])
def test_every_command_has_help(capsys, command):
    with pytest.raises(SystemExit) as end:
        cli.main([*command, "--help"])
    told = capsys.readouterr().out
    assert end.value.code == 0
    assert told.startswith(f"usage: minivl {' '.join(command)}") and "None" not in told


def test_every_argument_is_explained():
    todo = [cli._parser()]
    while todo:
        for action in todo.pop()._actions:
            assert action.help or action.choices, action.dest
            if isinstance(action, argparse._SubParsersAction):
                todo += action.choices.values()


def test_list_prints_every_setting_with_its_default(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["train", "coca", "--list"])
    told = capsys.readouterr().out
    assert end.value.code == 0
    for line in ("checkpoint_every: int = 500  # steps", "width: int = 96", "average: float = 0.0"):
        assert line in told


def test_bench_runs_the_benchmark_of_the_checkout(command):
    code, out, err = command("bench", "gpu", "--only", "no such case")
    assert code == 1 and out == "" and "--only: got 'no such case', must be in one of: layernorm" in err
    code, out, _ = command("bench", "cpu", "--help")
    assert code == 0 and "--alone" in out


def test_bench_without_a_checkout_says_so(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(cli, "__file__", str(tmp_path / "minivl" / "cli.py"))
    assert cli.main(["bench", "cpu"]) == 1
    assert "minivl bench runs in a checkout of the source: there is no" in capsys.readouterr().err


def test_doctor_finds_what_is_there(capsys):
    assert cli.main(["doctor"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("minivl        " + __version__)
    assert {line.split()[0] for line in told.splitlines()} >= {"Python", "NumPy", "cores", "GPU", "C++", "npm", "cupy"}


def test_doctor_survives_a_machine_that_has_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MINIVL_THREADS", "several")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: (_ for _ in ()).throw(
        importlib.metadata.PackageNotFoundError(name)
    ))  # fmt: skip
    told = doctor.report()
    assert "none: kernels cannot be run on the CPU" in told and "pip install 'minivl[data]'" in told
    assert "MINIVL_THREADS: got 'several'" in told and "pip install 'minivl[peers]'" in told


def test_doctor_survives_programs_and_drivers_that_are_broken(monkeypatch, tmp_path):
    for name, text in (("g++", "no program"), ("npm", "#!/bin/sh\nexit 3\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def broken(*_):
        raise AttributeError("driver of another age")

    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.setattr(array, "cupy_installed", lambda: True)
    monkeypatch.setattr(array, "to_device", broken)
    told = doctor.report()
    assert "g++ does not run" in told and "npm does not say its version" in told and "driver of another age" in told
