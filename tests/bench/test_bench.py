"""The benchmark runs, writes what can be read, and compares what is equal. Never how fast anything is."""

import cases
import cpu
import engines
import numpy as np
import pytest
import runner
import with_arrays
import with_minivl

from minivl import kernels

ENCODER = cases.case_of("encoder", cases.SMALL_ENCODER)


def tables(text):
    """Every table of a Markdown text, as a list of rows of cells."""
    found, inside = [], False
    for line in text.splitlines():
        if line.startswith("|") and line.endswith("|"):
            found += [] if inside else [[]]
            found[-1].append([cell.strip() for cell in line.strip("|").split("|")])
        inside = line.startswith("|")
    return found


@pytest.mark.slow
def test_a_quick_run_writes_its_tables(command, tmp_path):
    sections = [part for name in cpu.SECTIONS for part in ("--only", name)]
    code, out, err = command(
        "--quick", "--alone", *sections, "--out", tmp_path, program=(cpu.__file__,), OPENBLAS_CORETYPE=""
    )
    assert code == 0, err
    text = (tmp_path / "cpu.md").read_text(encoding="utf-8")
    assert text.strip() in out and [path.name for path in tmp_path.iterdir()] == ["cpu.md"]
    assert len(tables(text)) == len(cpu.SECTIONS)
    for head, rule, *rows in tables(text):
        assert rows and all(len(row) == len(head) == len(rule) for row in rows)
        for row in rows:
            cells = [cell for name, cell in zip(head, row, strict=True) if name not in (head[0], "engine", "wanted")]
            cells = [cell.removesuffix(" %").replace(",", "") for cell in cells]
            assert all(np.isfinite(float(number)) for cell in cells for number in cell.split())
    for name in ("NumPy", "cores", "threads", "OPENBLAS_CORETYPE is not set"):
        assert name in text


def test_the_loss_of_a_step_is_that_of_the_plain_model():
    loss, _ = with_minivl.prepare(ENCODER)()
    np.testing.assert_allclose(loss, with_arrays.encoder_loss_in_numpy(ENCODER), rtol=1e-5)


@pytest.mark.parametrize("model", cases.MODELS)
def test_a_step_trains(model):
    step = with_minivl.prepare({"kind": "train", "model": model, "size": "small"})
    losses = [float(step()[0]) for _ in range(10)]
    assert losses[9] < 0.9 * losses[0]


@pytest.mark.parametrize("model", cases.MODELS)
def test_inference_gives_the_loss_that_training_begins_with(model):
    train, infer = (with_minivl.prepare({"kind": kind, "model": model, "size": "small"}) for kind in ("train", "infer"))
    first = train()[0]
    np.testing.assert_allclose([infer()[0], infer()[0]], first, rtol=1e-6)


@pytest.mark.parametrize("model", ["CoCa", "MaMMUT"])
def test_a_text_is_generated_to_the_end_of_the_context(model):
    """And so is as long in every engine."""
    batch, config = cases.MODELS[model]["small"]
    [texts] = with_minivl.prepare({"kind": "generate", "model": model, "size": "small"})()
    assert texts.shape == (batch, config.context - 1)


def test_engines_that_disagree_are_not_compared():
    class Wrong:
        name = "wrong"

        def ask(self, **request):
            return {"results": [1.001, 2.0]}

    class Right:
        name = "right"

        def ask(self, **request):
            return {"results": [1.0, 2.0]}

    with pytest.raises(RuntimeError, match=r"wrong computes 1.001, right 1.0"):
        engines.time_each([Right(), Wrong()], ENCODER, 1, 0.01)


def test_a_process_with_bad_luck_does_not_decide():
    class Moody:
        name, life = "moody", 0

        def renew(self):
            self.life += 1

        def ask(self, **request):
            return {"times": [[3.0, 2.0, 2.5][self.life]] * 4} if "seconds" in request else {"results": [1.0]}

    assert engines.time_each([Moody()], ENCODER, 2, 0.01, lives=3)["moody"][0] == 2.0
    assert engines.time_each([Moody()], ENCODER, 2, 0.01)["moody"][0] == 3.0


def test_what_goes_wrong_in_an_engine_is_told():
    engine = engines.Engine("minivl")
    try:
        with pytest.raises(RuntimeError, match="minivl: KeyError: 'no such op'"):
            engine.ask(prepare=cases.case_of("no such op", cases.SIZES["small"]))
        assert engine.ask(prepare=ENCODER)["results"]  # and it goes on
    finally:
        engine.close()


def test_without_pytorch_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(engines, "installed", lambda name: name == "minivl")
    cpu.main(["--quick", "--only", "encoder"])
    printed = capsys.readouterr()
    assert printed.err == cpu.ADVICE + "\n"
    assert "minivl" in printed.out and "PyTorch:" not in printed.out


def test_a_fitted_exponent_and_the_spread():
    assert cpu.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    assert engines.spread([1, 2, 3, 4, 5]) == pytest.approx(1)
    assert [cpu.number(x) for x in (0.01234, 12.34, 1234.5)] == ["0.0123", "12.3", "1,234"]


@pytest.mark.parametrize("name", cases.OPS)
def test_every_op_gives_its_output_and_the_gradients_of_what_is_learned(name):
    sizes = cases.SIZES["small"]
    arrays = cases.op_inputs(name, **sizes)
    results = with_minivl.prepare(cases.case_of(name, sizes))()
    shapes = [a.shape for a, wanted in zip(arrays, cases.learned(name, arrays), strict=True) if wanted]
    assert [a.shape for a in results[0 if name == "AdamW" else 1 :]] == shapes
    assert all(np.isfinite(a).all() and np.abs(a).max() > 0 for a in results)


def test_a_ratio_is_judged_by_its_target():
    bench = cpu.Bench.__new__(cpu.Bench)
    bench.judged = []
    assert bench.beside("a", [0.9, 1.0], 0.95) == ["0.90", "0.95, met"]
    assert bench.beside("b", [0.96, 1.0], 0.95) == ["0.96", "0.95, not met"]
    assert bench.beside("c", [3, 1], None) == ["3.00", ""] and bench.beside("d", [3], 1) == []
    assert bench.judge("e", [2.0, 1.2], (2, 1)) == "2.00 and 1.00, not met"
    assert bench.judged == [("a: 0.90", True), ("b: 0.96", False), ("e: 2.00 and 1.20", False)]


def test_the_targets_are_those_of_cases_that_exist():
    assert cases.wanted({"kind": "train", "model": "CLIP", "size": "tiny"}) == 0.95
    assert cases.wanted(cases.case_of("gelu", {})) == 1 and cases.wanted(ENCODER) is None
    assert set(cases.WANTED["op"]) <= set(cases.OPS) and set(cases.WANTED_GROWTH) <= set(cases.GROWING)


def test_memory_of_a_larger_batch_is_larger():
    small, large = (cases.case_of("encoder", dict(cases.SMALL_ENCODER, batch=n)) for n in (64, 256))
    (_, less), (whole, more) = engines.peak_memory("minivl", small), engines.peak_memory("minivl", large)
    assert less < more < whole


@pytest.mark.peer
def test_every_case_is_equal_in_pytorch(capsys):
    pytest.importorskip("torch")
    sections = ("coca", "clip", "mammut", "encoder", "ops")
    cpu.main(["--quick", *(part for name in sections for part in ("--only", name))])  # raises where results differ
    assert len(tables(capsys.readouterr().out)) == len(sections)


@pytest.mark.peer
def test_metrics_are_compared_where_they_are_equal(capsys):
    pytest.importorskip("pycocotools")
    pytest.importorskip("pycocoevalcap.cider.cider")
    import metrics

    metrics.main(["--quick"])  # raises where results differ
    [[head, rule, *rows]] = tables(capsys.readouterr().out)
    assert len(rows) == len(metrics.CASES) and all(len(row) == len(head) == len(rule) for row in rows)


@pytest.mark.skipif(kernels.compiler() is None, reason="there is no C++ compiler here")
@pytest.mark.parametrize("mode", ["fast", "check"])
def test_the_costs_of_the_runner_are_found(mode):
    found = runner.costs(mode, threads=256, times=4, rounds=1)
    assert [unit for _, _, unit in found] == ["us", "ns", "ns", "ns", "ns"]
    assert all(np.isfinite(number) for _, number, _ in found)


def test_the_loader_is_timed_and_gives_batches(capsys, monkeypatch):
    import loader

    monkeypatch.setattr(loader, "installed", lambda: False)  # with PyTorch: the peer test below
    monkeypatch.setattr(loader, "CASES", loader.CASES[2:3])
    loader.main(["--quick"])
    [[head, rule, row]] = tables(capsys.readouterr().out)
    assert len(head) == len(rule) == len(row) == 2 and float(row[1].replace(",", "")) > 0


@pytest.mark.peer
def test_both_loaders_give_each_picture_as_often(tmp_path):
    pytest.importorskip("torch")
    import loader

    loader.write(tmp_path, "PNG", (16, 16), 32)
    for one in (loader.ours, loader.theirs):
        rows = one(tmp_path, 16, 8, 32)
        assert [next(rows) for _ in range(12)] == [8] * 12
        rows.close()
