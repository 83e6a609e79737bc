"""Training: the same bits however often it was stopped, and on however many threads; and what it says when it stops."""

import collections
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import minivl.train
from minivl import AnomalyError
from minivl.data import DataError
from minivl.models import coca
from minivl.run import Run, RunError
from minivl.train import SettingError, Settings, Training, presets, train

CONFIG = dict(width=16, heads=2, image_layers=1, unimodal_layers=1, multimodal_layers=1, caption_queries=4)
# Everything that is drawn at random, and everything that a checkpoint has to hold.
ALL = dict(batch_size=4, accumulate=2, augment=0.5, label_fraction=0.3, average=0.9, warmup=3)
ARGUMENTS = [f"{name}={value}" for name, value in {**CONFIG, **ALL, "dropout": 0.1, "checkpoint_every": 3}.items()]
ROOT = Path(__file__).parent.parent


def go(out, data, steps=6, config=None, **settings):
    """Trains the very small model in this process."""
    options = {name: settings.pop(name) for name in ("resume", "preset") if name in settings}
    settings = Settings(steps=steps, **{"batch_size": 4, "checkpoint_every": 3, **settings})
    return train("coca", data=data, out=out, settings=settings, config=CONFIG | (config or {}), quiet=True, **options)


def small_model():
    return coca.CoCa(coca.Config.tiny(**CONFIG), np.random.default_rng(0))


def result(run):
    """What two equal runs have in common: the bits of the weights, and the log but for the times."""
    times = {"seconds", "images_per_second"}
    log = [{k: v for k, v in line.items() if k not in times} for line in Run(run).read_log()]
    return (Path(run) / "model.safetensors").read_bytes(), log


@pytest.fixture(scope="module")
def data(shards, tmp_path_factory):
    """google's shards, and one with a picture that is none and an example without caption."""
    folder = tmp_path_factory.mktemp("broken")
    for path in shards.glob("google-*.tar"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "bad.png").write_bytes(b"\x89PNG and no more")
    (folder / "bad.txt").write_text("a red thing")
    with tarfile.open(folder / "google-99999.tar", "w") as tar:
        tar.add(folder / "bad.png", "bad.png")
        tar.add(folder / "bad.txt", "bad.txt")
        tar.add(folder / "bad.png", "worse.png")
    return folder / "google"


# ---- the same bits ---------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bits_on_any_number_of_threads(tmp_path, data, monkeypatch, small_chunks):
    for name, threads, workers in (("a", "1", 1), ("b", "2", 3)):
        monkeypatch.setenv("MINIVL_THREADS", threads)
        go(tmp_path / name, data, workers=workers, config={"dropout": 0.1}, **ALL)
    go(tmp_path / "c", data, seed=1, config={"dropout": 0.1}, **ALL)
    assert result(tmp_path / "a") == result(tmp_path / "b")
    assert result(tmp_path / "a")[0] != result(tmp_path / "c")[0]


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "sgd"])
def test_a_run_that_broke_off_goes_on_with_the_same_bits(tmp_path, data, optimizer, monkeypatch):
    options = dict(steps=8, optimizer=optimizer, config={"dropout": 0.1}, **ALL)
    go(tmp_path / "whole", data, **options)
    step = Training.step

    def breaks(self, batches):
        if self.done == 5:
            raise RuntimeError("broken off")
        return step(self, batches)

    monkeypatch.setattr(Training, "step", breaks)
    with pytest.raises(RuntimeError, match="broken off"):
        go(tmp_path / "run", data, **options)
    monkeypatch.setattr(Training, "step", step)
    with open(tmp_path / "run" / "log.jsonl", "a") as log:
        log.write('{"step": 6, "loss": 1.2')
    (tmp_path / "run" / "checkpoint-00000006.safetensors.partial").write_bytes(b"half")
    go(tmp_path / "run", data, resume=True, **options)
    assert result(tmp_path / "run") == result(tmp_path / "whole")
    assert not list((tmp_path / "run").glob("*.part*"))


@pytest.mark.parametrize("batch_of", ["all", "one"])
def test_a_run_on_several_sets_goes_on_with_the_same_bits(tmp_path, data, batch_of, monkeypatch):
    sets, options = [data, "scenes:30"], dict(steps=6, mix="1,2", batch_of=batch_of)
    go(tmp_path / "whole", sets, **options)
    step = Training.step

    def breaks(self, batches):
        if self.done == 4:
            raise RuntimeError("broken off")
        return step(self, batches)

    monkeypatch.setattr(Training, "step", breaks)
    with pytest.raises(RuntimeError, match="broken off"):
        go(tmp_path / "run", sets, **options)
    monkeypatch.setattr(Training, "step", step)
    go(tmp_path / "run", sets, resume=True, **options)
    assert result(tmp_path / "run") == result(tmp_path / "whole")
    assert Run(tmp_path / "run").describe()["data"] == [str(data), "scenes:30"]
    with pytest.raises(RunError, match="begun with mix=1,2"):
        go(tmp_path / "run", sets, resume=True, **{**options, "mix": "2,1"})


def start(out, data, steps, *more, program=("-m", "minivl.cli"), **options):
    """`minivl train` in a process of its own, which does not ignore Ctrl-C even if we do."""
    sets = [part for setting in ARGUMENTS for part in ("--set", setting)]
    words = ["train", "coca", "--data", data, "--steps", steps, "--out", out, *sets, "--resume", *more]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *program, *map(str, words)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **options,
    )


# KILL="replace 2": kills itself just before the second time that a file gets its name.
SUICIDE = """
import os, signal, sys
import minivl.cli, minivl.weights.safetensors
function, left = os.environ["KILL"].split()
module = minivl.weights.safetensors if function == "_as_bytes" else os
call, left = getattr(module, function), int(left)
def deadly(*arguments, **options):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return call(*arguments, **options)
setattr(module, function, deadly)
sys.exit(minivl.cli.main())
"""


def killed_until_done(out, data, steps, kills, monkeypatch):
    """How many starts it took, the first ones killed at `kills`."""
    for n, kill in enumerate([*kills, "fsync 0"]):
        monkeypatch.setenv("KILL", kill)
        process = start(out, data, steps, program=("-c", SUICIDE))
        _, told = process.communicate(timeout=120)
        if process.returncode == 0:
            return n + 1
        assert process.returncode == -signal.SIGKILL, told


def whole(out, data, steps):
    process = start(out, data, steps)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    return result(out)


def test_kill_9_while_something_is_written(tmp_path, data, monkeypatch):
    # Before run.json has its name; in the second checkpoint; before an old one is deleted (the first is swept up).
    kills = ["replace 2", "_as_bytes 400", "unlink 2"]
    assert killed_until_done(tmp_path / "run", data, 8, kills, monkeypatch) == 4
    assert result(tmp_path / "run") == whole(tmp_path / "whole", data, 8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "counts"),
    [
        ("fsync", [1, 2, 4, 5, 5, 3]),
        ("replace", [1, 2, 3, 4, 2]),
        ("unlink", [1, 2, 2, 1]),
        ("_as_bytes", [50, 400, 1, 700]),
    ],
)
def test_kill_9_at_every_kind_of_moment(tmp_path, data, function, counts, monkeypatch):
    kills = [f"{function} {count}" for count in counts]
    assert killed_until_done(tmp_path / "run", data, 20, kills, monkeypatch) == len(kills) + 1
    assert result(tmp_path / "run") == whole(tmp_path / "whole", data, 20)


@pytest.mark.slow
def test_kill_9_at_random_times(tmp_path, data):
    dice = random.Random(0)
    wanted = whole(tmp_path / "whole", data, 150)
    for trial in range(2):
        out, kills = tmp_path / f"times{trial}", 0
        while True:
            process = start(out, data, 150)
            try:
                process.communicate(timeout=dice.uniform(0.4, 1.4) if kills < 8 else 120)
                break
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                kills += 1
        assert process.returncode == 0 and kills
        assert result(out) == wanted


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------


def wait_for(path, lines, process):
    """Until the log has so many lines."""
    for _ in range(3000):
        if path.exists() and path.read_text().count("\n") >= lines:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.01)
    raise AssertionError("no log")


def default_ctrl_c():
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_ctrl_c_leaves_a_run_that_goes_on_with_the_same_bits(tmp_path, data):
    out = tmp_path / "run"
    process = start(out, data, 40, preexec_fn=default_ctrl_c)
    wait_for(out / "log.jsonl", 5, process)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    [last] = [line for line in told.splitlines() if line.startswith("minivl:")]
    step, _ = Run(out).newest_checkpoint()
    assert last == f"minivl: stopped after step {step} of 40; go on with --resume" and 5 <= step < 40
    assert "Traceback" not in told and len(Run(out).read_log()) == step
    assert whole(out, data, 40) == whole(tmp_path / "whole", data, 40)


@pytest.mark.slow
def test_many_ctrl_c_lose_nothing(tmp_path, data):
    wanted = whole(tmp_path / "whole", data, 40)
    for trial in range(4):
        out = tmp_path / f"run{trial}"
        process = start(out, data, 40, preexec_fn=default_ctrl_c)
        wait_for(out / "log.jsonl", 5 + trial, process)
        for _ in range(4):
            process.send_signal(signal.SIGINT)
            time.sleep(0.005 * trial)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 130, told
        assert whole(out, data, 40) == wanted


def test_a_second_ctrl_c_stops_at_once():
    stop = minivl.train._CtrlC()
    with stop:
        stop._ask()
        assert stop.asked
        with pytest.raises(KeyboardInterrupt, match="--resume"):
            stop._ask()


def test_ctrl_c_is_left_as_it_was(tmp_path, data):
    before = signal.getsignal(signal.SIGINT)
    go(tmp_path / "run", data, steps=1)
    assert signal.getsignal(signal.SIGINT) is before
    other = threading.Thread(target=go, args=(tmp_path / "thread", data), kwargs={"steps": 1})
    other.start()
    other.join()
    assert Run(tmp_path / "thread").model_path.exists(), "training works outside the main thread"


# ---- what stops a run ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_loss_that_is_not_finite_stops_with_the_step(tmp_path, data):
    with pytest.raises(FloatingPointError, match=r"^step [23]: .*detect_anomaly"):
        go(tmp_path / "run", data, lr=1e30, warmup=0, clip=0, optimizer="sgd")
    with pytest.raises(AnomalyError, match=r"^step [23]: forward: .*\.py:\d+ in "):
        go(tmp_path / "watched", data, lr=1e30, warmup=0, clip=0, optimizer="sgd", detect_anomaly=True)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_fails_in_its_first_step_leaves_no_run(tmp_path, data):
    with pytest.raises(FloatingPointError, match=r"^step 1: "):
        go(tmp_path / "run", data, config={"image_std": (0.0, 0.0, 0.0)})
    assert not (tmp_path / "run").exists()
    go(tmp_path / "run", data, steps=1)


def test_strict_makes_the_first_broken_example_an_error(tmp_path, data, capsys):
    with pytest.raises(DataError, match="bad|worse"):
        go(tmp_path / "run", data, strict=True)
    go(tmp_path / "run", data)
    told = capsys.readouterr().err
    assert "warning: skipped 2" in told and "1 x no caption" in told and "1 x broken picture" in told


def test_empty_shards_are_an_error_and_leave_no_run(tmp_path):
    tarfile.open(tmp_path / "empty.tar", "w").close()
    with pytest.raises(DataError, match="no example"):
        go(tmp_path / "run", tmp_path / "empty.tar")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", -1),
        ("workers", 0),
        ("lr", 0.0),
        ("lr", float("nan")),
        ("weight_decay", -1.0),
        ("clip", float("inf")),
        ("average", 1.0),
        ("label_fraction", 1.5),
        ("schedule", "cosin"),
        ("optimizer", "adam"),
        ("batch_of", "some"),
        ("mix", "large"),
        ("mix", "3;1"),
        ("seed", -1),
        ("keep", -1),
        ("questions_each", 0),
    ],
)
def test_settings_that_cannot_be(name, value):
    with pytest.raises(SettingError, match=f"^{name} is "):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"preset": "width"}, "preset is 'width', must be one of: tiny, drawings, base, large, giant"),
        ({"config": {"width": 0}}, "width is 0"),
        ({"config": {"heads": 3}}, "not divisible by 3 heads"),
        ({"config": {"patch": 5}}, "patch 5"),
        ({"config": {"vocabulary": 9}}, "vocabulary comes from the tokenizer"),
        ({"bpe_vocabulary": 9}, "at least"),
        ({"questions": 0.5, "questions_each": 2}, "questions_each is 2, must be 1 for coca: it answers no questions"),
    ],
)
def test_models_that_cannot_be_leave_no_run(tmp_path, data, options, said):
    with pytest.raises(SettingError, match=said):
        go(tmp_path / "run", data, **options)
    assert not (tmp_path / "run").exists()


def test_weights_must_be_as_many_as_the_sets(tmp_path, data):
    with pytest.raises(ValueError, match="2 positive numbers"):
        go(tmp_path / "run", [data, "scenes:9"], mix="1,2,3")
    assert not (tmp_path / "run").exists()


def test_a_run_is_not_trained_over_and_not_resumed_as_another(tmp_path, data, shards):
    go(tmp_path / "run", data, steps=2)
    with pytest.raises(RunError, match="holds a run already: go on with --resume, or choose another --out"):
        go(tmp_path / "run", data, steps=2)
    with pytest.raises(RunError, match=r"begun with lr=0.001, width=16, and can only be resumed so"):
        go(tmp_path / "run", data, steps=2, lr=0.5, resume=True, config={"width": 32})
    with pytest.raises(RunError, match="begun with data="):
        go(tmp_path / "run", shards, steps=2, resume=True)
    before = result(tmp_path / "run")
    go(tmp_path / "run", data, steps=2, resume=True, workers=2, checkpoint_every=1, keep=0)
    assert result(tmp_path / "run") == before


def test_a_disk_that_is_full_is_said_and_the_run_goes_on_later(tmp_path, data):
    """A limit on the size of files stands in for the full disk: the checkpoint is larger, run.json and log are not."""
    resource = pytest.importorskip("resource")

    def small_files():
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    out = tmp_path / "run"
    process = start(out, data, 4, preexec_fn=small_files)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert told.splitlines()[-1].endswith("/run cannot be written: File too large; mend it, then go on with --resume")
    assert sorted(path.name for path in out.iterdir()) == ["log.jsonl", "run.json", "tokenizer.json"]
    assert whole(out, data, 4) == whole(tmp_path / "whole", data, 4)


# ---- what a step is --------------------------------------------------------------------------------------------------


def test_accumulated_batches_count_as_one_step(tmp_path, data):
    """The caption loss is a mean over words, so that halves of a batch agree with the whole only on equal lengths."""
    go(tmp_path / "run", data, steps=4, accumulate=3)
    assert [line["step"] for line in Run(tmp_path / "run").read_log()] == [1, 2, 3, 4]


def test_the_log_tells_losses_rate_norm_and_speed(tmp_path, data):
    go(tmp_path / "run", data, steps=10, warmup=4)
    log = Run(tmp_path / "run").read_log()
    assert set(log[0]) == {
        *("step", "loss", "contrastive_loss", "caption_loss", "lr", "grad_norm", "seconds", "images_per_second")
    }
    assert [line["lr"] for line in log[:2]] == [5e-4, 1e-3], "the warm-up takes a fifth of the steps at most"
    weighted = log[0]["contrastive_loss"] + 2 * log[0]["caption_loss"]
    assert np.isclose(log[0]["loss"], weighted)


def test_gradients_are_left_alone_without_clip(tmp_path, data):
    go(tmp_path / "clipped", data, steps=2, clip=1.0, optimizer="sgd", lr=0.1)
    go(tmp_path / "free", data, steps=2, clip=0.0, optimizer="sgd", lr=0.1)
    clipped, free = (Run(tmp_path / name).read_log() for name in ("clipped", "free"))
    assert clipped[0]["grad_norm"] == free[0]["grad_norm"] > 2
    assert clipped[1]["loss"] != free[1]["loss"]


def test_the_text_is_a_caption_the_first_caption_or_a_prompt_of_labels():
    class Example:
        captions, info = ["red circle", "a circle that is red"], {"label": "Food"}

    def told(**settings):
        training = Training(small_model(), Settings(**settings))
        random = np.random.default_rng(0)
        return collections.Counter(training.caption(Example, random) for _ in range(200))

    assert 70 < told()["red circle"] < 130
    assert told(first_caption=1.0) == {"red circle": 200}
    prompts = told(label_fraction=0.5)
    assert set(prompts) == {*Example.captions, "a photo of the Food"} and 70 < prompts["a photo of the Food"] < 130


def test_changes_to_pictures_grow_over_four_fifths_of_a_run():
    training = Training(small_model(), Settings(steps=100, augment=1.0, augment_begin=0.0))
    images = np.random.default_rng(0).random((4, 3, 16, 16), dtype=np.float32)
    moved = [
        np.abs(training.augment(images, np.random.default_rng(0), step) - images).mean() for step in (0, 40, 80, 99)
    ]
    assert moved[0] < 1e-6 < moved[1] < moved[2] == moved[3]


def test_the_presets_of_a_model_are_its_class_methods():
    assert presets(coca.Config) == ["tiny", "drawings", "base", "large", "giant"]


def test_data_may_be_a_path_or_a_list(tmp_path, shards):
    go(tmp_path / "run", [shards / "google", shards / "twitter"], steps=1)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"] == [
        str(shards / "google"),
        str(shards / "twitter"),
    ]


def test_a_model_learns(tmp_path, data):
    go(tmp_path / "run", data, steps=60, lr=3e-3, warmup=5, batch_size=8)
    log = Run(tmp_path / "run").read_log()
    assert log[-1]["caption_loss"] < 0.6 * log[0]["caption_loss"]


# ---- beginning with another run's weights ----------------------------------------------------------------------------


def test_a_run_that_begins_with_anothers_weights(tmp_path, small_run, shards):
    """A model of clips from one of pictures, as MaMMUT has it: what fits is taken over, the tubes are new."""
    sizes = dict(width=16, heads=2, image_heads=2, image_layers=1, layers=2, cross_layers=1)
    settings = Settings(steps=2, batch_size=4, checkpoint_every=2)
    still = train("mammut", data="scenes:20", out=tmp_path / "still", settings=settings, config=sizes, quiet=True)
    model = minivl.train._begun("mammut", Run(tmp_path / "still"), settings, {"frames": 16})
    kept, weights = still.state_dict(), model.state_dict()
    fresh = weights.keys() - kept.keys()
    assert kept.keys() < weights.keys() and fresh and all(name.startswith("video.") for name in fresh)
    assert all(np.array_equal(weights[name], kept[name]) for name in kept)
    assert model.tokenizer.encode("a red circle") == still.tokenizer.encode("a red circle")
    options = dict(data="moving:20", out=tmp_path / "clips", settings=settings, config={"frames": 16}, quiet=True)
    clips = train("mammut", **options, begin=tmp_path / "still")
    assert clips.config.frames == 16 and Run(tmp_path / "clips").describe()["begin"] == str(tmp_path / "still")
    with pytest.raises(RunError, match="was begun with begin="):
        train("mammut", **options, resume=True)
    with pytest.raises(SettingError, match="is a run of coca, must be one of mammut"):
        train("mammut", data="moving:20", out=tmp_path / "no", settings=settings, begin=small_run, quiet=True)
