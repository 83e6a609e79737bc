"""The page's book without a browser: every named step is in it, each number is the model's own, nothing is fetched."""

import json
import re
import time

import numpy as np
import pytest
from PIL import Image

from minivl import cli, models
from minivl.explain import page
from minivl.explain.ablation import silenced
from minivl.explain.book import as_json, piece_name
from minivl.explain.example import at_times, find_example
from minivl.explain.looks import sites
from minivl.explain.pack import once, pack, unpack
from minivl.explain.record import record
from minivl.pages.named_steps import PACKAGE, named_steps, short
from minivl.run import Run, load

from .conftest import MODELS

_TOWERS = [PACKAGE / "nn" / name for name in ("vit.py", "resnet.py", "transformer.py", "attention.py")]


def comments(book):
    return {step["comment"] for step in book["steps"] if "comment" in step}


# ---- the steps -------------------------------------------------------------------------------------------------------


def model_files():
    return [PACKAGE / "models" / f"{name}.py" for name in sorted({model for model, _, _ in MODELS.values()})]


@pytest.mark.parametrize(
    "path", [*model_files(), *_TOWERS, PACKAGE / "losses.py", PACKAGE / "ops/attention.py"], ids=short
)
def test_every_named_line_is_reached_by_a_page(made, path):
    reached = set().union(*(comments(book) for _, book in made.values()))
    for step in named_steps(path):
        assert f"{short(path)}:{step.line}" in reached, f"{step.place} {step.title!r} is in no page"


def test_every_model_that_names_steps_has_a_page_here():
    named = {path.stem for path in (PACKAGE / "models").glob("*.py") if named_steps(path)}
    assert named <= {model for model, _, _ in MODELS.values()}, "add it to MODELS in conftest.py"


def test_the_order_is_that_of_the_numbers(made):
    for _, book in made.values():
        place = {step["key"]: i for i, step in enumerate(book["steps"])}
        assert len(place) == len(book["steps"]), "keys are different"
        for before, after in book["map"]:
            assert place[before] < place[after], f"{after} uses what {before} makes"


def test_layers_of_a_stack_are_one_step_and_two_passes_are_two(made):
    steps = {step["key"]: step for step in made["mammut"][1]["steps"]}
    roots = [step for step in steps.values() if step["depth"] == 0 and step["kind"] == "attention"]
    assert [site["name"] for site in made["mammut"][1]["sites"]].count("decoder.blocks.*.attend") == 2
    assert len(roots) == 3, "the picture, pass A, pass B"
    looks = [
        step for step in steps.values() if step["title"].startswith("Tokens look") and step["parent"] == roots[1]["key"]
    ]
    assert [variant["layer"] for variant in looks[0]["variants"]] == ["0", "1"]


def test_every_step_has_a_formula_a_place_a_shape_and_numbers(made):
    for name, (_, book) in made.items():
        for step in book["steps"]:
            if step["kind"] in ("overview", "training"):
                continue
            told = f"{name}: {step['key']}"
            assert step["math"].startswith("<math") and "\\" not in re.sub(r"<[^>]*>", "", step["math"]), told
            assert step["code"]["lines"] and any(hot for _, _, hot in step["code"]["lines"]), told
            assert (PACKAGE.parent / step["code"]["file"]).exists() and "{" not in step["lead"], told
            for variant in step["variants"] if step["kind"] not in ("mask", "heads") else []:
                assert variant["axes"] or "value" in variant, told
                assert all(letter != "?" for letter, _ in variant["axes"]), told


def test_the_source_shown_is_the_source(made):
    for _, book in made.values():
        for step in book["steps"]:
            code = step["code"]
            lines = (PACKAGE.parent / code["file"]).read_text(encoding="utf-8").splitlines() if code else []
            for number, html, _ in code["lines"] if code else []:
                shown = re.sub(r"<[^>]*>", "", html).replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
                assert number == 0 or shown.strip() == lines[number - 1].strip()
                assert "#:" not in shown


# ---- the numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODELS)
def test_what_is_packed_is_the_models_own(made, name):
    book, told = made[name]
    for t, kept in enumerate(book.records):
        last = t == len(book.records) - 1
        for i, site in enumerate(sites(kept)):
            for layer, look in enumerate(site.looks):
                for part in ("weights", "scores") + (("q", "k", "v") if last else ()):
                    packed = told["arrays"][f"look/{i}/{layer}/{part}" + ("" if last else f"@{t}")]
                    assert np.abs(unpack(packed) - getattr(look, part)).max() <= packed["error"] * 1.01 + 1e-7
                np.testing.assert_allclose(look.weights @ look.v, look.mixed, atol=2e-5)
    for step in told["steps"]:
        for variant in step["variants"] if "comment" in step else []:
            if "name" in variant:
                assert len(variant["rows"]) == told["arrays"][f"out/{variant['name']}"]["shape"][0]


def test_attention_is_what_the_layer_itself_tells(made):
    """Where words look, through the pooler's answers at the patches: the page's numbers against the model's method."""
    book, told = made["coca"]
    batch = book.found.batch
    want = book.model.where_words_look(batch["image"], batch["text"], batch["lengths"])[0]
    site = next(i for i, s in enumerate(told["sites"]) if s["name"].endswith("attend_memory"))
    pooler, layer = told["sites"][site]["through"]
    looks = [unpack(told["arrays"][f"look/{site}/{i}/weights"]).mean(0) for i in range(told["sites"][site]["layers"])]
    answers = unpack(told["arrays"][f"look/{pooler}/{layer}/weights"]).mean(0)
    np.testing.assert_allclose(np.mean(looks, axis=0) @ answers, want, atol=2e-3)


def test_sums_come_out_as_the_model_had_them(made):
    """The forms of sums that are simple enough to say twice; the others a browser works out, see test_browser.py."""
    for _, book in made.values():
        counted = 0
        for sum in (s for step in book["steps"] for variant in step["variants"] for s in variant.get("three", ())):
            a, b, x = (unpack(v) if isinstance(v, dict) else v for v in (sum.get(name) for name in "abx"))
            if sum["form"] == "dot":
                got = float(np.dot(a, b)) * sum["times"] + sum["plus"]
            elif sum["form"] == "layernorm":
                got = (x[sum["i"]] - x.mean()) / np.sqrt(x.var() + sum["eps"]) * sum["weight"] + sum["bias"]
            elif sum["form"] == "nll":
                got = np.log(np.exp(np.asarray(x) - np.max(x)).sum()) + np.max(x) - x[sum["i"]]
            elif sum["form"] == "parts":
                got = np.sum([share for _, share in sum["a"]])
            elif sum["form"] == "binary":
                got = {"+": a + b, "−": a - b, "×": a * b, "÷": a / b if b else 0}[sum["sign"]]
            else:
                continue
            counted += 1
            assert np.isclose(got, sum["value"], rtol=1e-4, atol=2e-5), sum
        assert counted > 30


def test_losses_and_their_terms(made):
    book, told = made["coca"]
    step = next(step for step in told["steps"] if step["kind"] == "choices")
    for t, some in enumerate(step["choices"]):
        count, rest = some["others"]
        total = sum(row["term"] for row in some["rows"]) + rest
        assert np.isclose(total / some["n"], told["times"][t]["losses"]["caption_loss"], rtol=1e-4)
        assert len(some["rows"]) == told["example"]["length"] - 1 and len(some["rows"]) + count == some["n"]
        for row, word in zip(some["rows"], told["example"]["words"][1:], strict=False):
            assert told["pieces"][row["truth"]] == word and np.isclose(row["term"], -np.log(row["p"]), rtol=1e-4)
    step = next(step for step in told["steps"] if step["kind"] == "pairs")
    np.testing.assert_array_equal(unpack(told["arrays"][f"pairs/{step['key']}"]), book.last.result["similarity"].data)


@pytest.mark.parametrize("name", ["coca", "mammut"])
def test_the_captioning_loss_has_a_step_for_its_scores_and_one_for_its_terms(made, name):
    book, told = made[name]
    chosen = next(step for step in told["steps"] if step["kind"] == "choices")
    scores, terms = (step for step in told["steps"] if step["parent"] == chosen["key"])
    assert (scores["kind"], terms["kind"]) == ("logits", "terms")
    for t, (some, whole) in enumerate(zip(terms["terms"], chosen["choices"], strict=True)):
        logits = book.records[t].result["logits"].data[: len(some["rows"])].astype(np.float64)  # of the first text
        target = book.found.batch["text"][0, 1 : len(logits) + 1]
        for row, z, true, said in zip(some["rows"], logits, target, whole["rows"], strict=True):
            assert np.isclose(row["score"], z[true], rtol=1e-5)
            assert np.isclose(row["term"], np.log(np.exp(z).sum()) - z[true], rtol=1e-5, atol=1e-5)
            assert told["pieces"][row["truth"]] == piece_name(book.model.tokenizer, int(true))
            assert row["term"] == said["term"], "both steps say the same"
        total = sum(row["term"] for row in some["rows"]) + some["others"][1]
        assert np.isclose(total / some["n"], told["times"][t]["losses"]["caption_loss"], rtol=1e-4)
    assert [sum["form"] for sum in terms["variants"][0]["three"]] == ["mean", "nll", "nll"]
    assert [sum["form"] for sum in scores["variants"][0]["three"]] == ["dot"] * 3


# ---- the way back ----------------------------------------------------------------------------------------------------


def test_gradients_are_those_of_the_loss(made):
    """Along the way from the picture, the loss changes as the gradients of the record say it does."""
    book, _ = made["coca"]
    kept, batch = book.last, book.found.batch
    way = np.random.default_rng(0).standard_normal(batch["image"].shape).astype(np.float32)
    step = 1e-2
    ahead, behind = (book.model({**batch, "image": batch["image"] + s * way})["loss"].item() for s in (step, -step))
    expected = float((kept.grads[kept.pictures.number] * way).sum())
    assert np.isclose((ahead - behind) / (2 * step), expected, rtol=0.05)


def test_shares_of_a_gradient_add_up_to_it(made):
    for book, _ in made.values():
        kept = book.last
        for call in kept.calls:
            if call.out.number in kept.parts:
                shares = [share for _, share in kept.parts[call.out.number]]
                np.testing.assert_allclose(sum(shares), kept.grads[call.out.number], rtol=1e-4, atol=1e-7)


def test_each_loss_for_itself_adds_up_to_the_whole(made):
    book, told = made["coca"]
    kept = book.last
    number = next(i for i, call in enumerate(kept.calls) if call.op == "patch_embed")
    whole = kept.grads[kept.calls[number].out.number]
    parts = [
        r.grads[r.calls[number].out.number] * kept.grads[kept.result[name].number] for name, r in book.by_loss.items()
    ]
    assert set(book.by_loss) == {"contrastive_loss", "caption_loss"}
    np.testing.assert_allclose(sum(parts), whole, rtol=1e-3, atol=1e-7)


def test_nothing_comes_back_to_pads(made):
    for name in ("coca", "clip", "mammut"):
        _, told = made[name]
        words = unpack(told["arrays"]["words"])
        length = told["example"]["length"]
        assert len(words) > length and (words[length:] == 0).all() and (words[:length] > 0).any()


# ---- heads, time, tokens, masks --------------------------------------------------------------------------------------


def test_a_silenced_head_is_one_whose_way_out_is_closed(made):
    book, told = made["coca"]
    attend = book.model.vit.transformer.blocks[1].attend
    D, weight = attend.out.weight.shape[0] // attend.H, attend.out.weight
    kept = weight.data.copy()
    try:
        weight.data = kept.copy()
        weight.data[D : 2 * D] = 0
        closed = book.model(book.found.batch)["loss"].item()
    finally:
        weight.data = kept
    assert np.isclose(silenced(book.model, book.found.batch, 1, 1), closed, rtol=1e-5)
    assert np.isclose(told["sites"][0]["changes"][1][1], closed - book.last.loss.item(), rtol=1e-2, atol=1e-5)
    assert np.isclose(book.model(book.found.batch)["loss"].item(), book.last.loss.item(), rtol=1e-6), "nothing is left"


def test_the_slider_begins_with_the_untrained_model_and_ends_with_the_finished_one(runs):
    times = at_times(Run(runs["coca"]))
    assert [(step, label) for step, label, _ in times] == [
        *((0, "untrained"), (2, "after 2 steps"), (4, "finished, 4 steps"))
    ]
    finished = load(runs["coca"]).state_dict()
    assert all(np.array_equal(array, finished[name]) for name, array in times[-1][2].state_dict().items())
    assert any(not np.array_equal(array, finished[name]) for name, array in times[0][2].state_dict().items())
    first = Run(runs["coca"]).read_log()[0]["loss"]
    batch = find_example(times[0][2], "scenes").batch
    assert abs(times[0][2](batch)["loss"].item() - first) < 0.5 * first, "as bad as the first step of training"


def test_rows_are_called_by_what_they_are(made):
    _, told = made["coca"]
    names = {site["name"]: site for site in told["sites"]}

    def kinds(ids):
        return [told["tokens"][id][:2] for id in ids]

    patches, words = names["vit.transformer.blocks.*.attend"], names["unimodal.blocks.*.attend"]
    assert kinds(patches["keys"]) == [["patch", f"patch {n + 1}"] for n in range(16)]
    assert [name for _, name in kinds(words["keys"])] == [*told["example"]["words"], "[CLS]"]
    assert kinds(names["caption_pooler.attend"]["queries"])[3] == ["learned", "question 4"]
    assert kinds(names["contrastive_pooler.attend"]["queries"]) == [["learned", "the question"]]
    assert names["multimodal.blocks.*.attend_memory"]["keys"] == names["caption_pooler.attend"]["queries"]
    clip = {site["name"]: site for site in made["clip"][1]["sites"]}["image_encoder.transformer.blocks.*.attend"]
    assert [made["clip"][1]["tokens"][id][1] for id in clip["queries"]][:2] == ["[CLS]", "patch 1"]


@pytest.mark.parametrize(
    ("name", "masks"),
    [
        ("coca", [["causal", "class_token_last"], ["causal", "padding"]]),
        ("clip", [["causal"]]),
        ("mammut", [["padding"], ["causal"]]),
    ],
)
def test_a_mask_is_told_by_the_functions_that_it_is_made_of(made, name, masks):
    _, told = made[name]
    found = [{part["name"] for part in mask["parts"]} for mask in told["masks"]]
    assert len(found) == len(masks) and all(set(some) <= names for some, names in zip(masks, found, strict=True))
    for i, mask in enumerate(told["masks"]):
        whole = unpack(told["arrays"][f"mask/{i}"])
        parts = [unpack(told["arrays"][f"mask/{i}/{p}"]) for p in range(len(mask["parts"]))]
        np.testing.assert_array_equal(np.logical_and.reduce(parts), whole)
        assert not whole.all(), "something is forbidden"
    steps = [step for step in told["steps"] if step["kind"] == "mask"]
    assert len(steps) == len(masks) and all("masks." in str(step["code"]["lines"]) for step in steps)


def test_recording_leaves_the_model_as_it_was(made):
    book, _ = made["coca"]
    assert all(tensor.grad is None for tensor in book.model.parameters())
    from minivl import masks

    assert masks.causal.__name__ == "causal"


def test_a_model_that_runs_other_ops_is_refused(made):
    book, other = made["coca"][0], made["clip"][0]
    with pytest.raises((ValueError, IndexError)):
        record(other.model, other.found.batch, like=book.last)


# ---- the file --------------------------------------------------------------------------------------------------------


def test_the_page_asks_nothing_of_anybody(made):
    for _, book in made.values():
        text = page([book])
        assert not re.search(r"https?:|//cdn|@import|src=[\"']?(?!data:)[a-z/]|url\(", text.replace('"src"', ""))
        assert "{{" not in text.split("<script", 1)[0]


def test_a_text_that_is_markup_stays_text(made):
    _, book = made["coca"]
    nasty = {**book, "example": {**book["example"], "text": "</script><script>alert(1)</script> {{style}}"}}
    text = page([nasty])
    assert text.count("</script>") == page([book]).count("</script>")
    inside = text.split('<script type="application/json" id="book">')[1].split("</script>")[0]
    assert json.loads(inside)["books"][0]["example"]["text"] == nasty["example"]["text"]


def test_what_a_page_holds_twice_is_written_once_and_found_by_its_number(made):
    a, b = pack(np.arange(6.0), "f4"), pack(np.ones((2, 2)), "f4")
    whole = once({"books": [{"arrays": {"x": a, "y": b}, "steps": [{"three": [{"a": a, "b": [1.0]}]}]}]})
    assert whole["shared"] == [a["data"]]
    assert whole["books"][0] == {
        "arrays": {"x": {**a, "data": 0}, "y": b},
        "steps": [{"three": [{"a": {**a, "data": 0}, "b": [1.0]}]}],
    }
    for _, book in made.values():
        packed = once({"books": [book]})
        for name, array in packed["books"][0]["arrays"].items():
            data = array["data"] if isinstance(array["data"], str) else packed["shared"][array["data"]]
            assert {**array, "data": data} == book["arrays"][name]
        found = re.findall(r'"data":"([^"]{8,})"', as_json(packed))
        assert len(found) == len(set(found)), "what is there twice stands in the shared list"


def test_a_tiny_model_of_each_paper_fits_in_a_megabyte(made, runs, tmp_path):
    """The sizes of `Config.tiny()`, untrained but for a step, with as many moments of the training as a page shows."""
    from minivl.explain.book import Book
    from minivl.train import Settings, train

    for model in ("coca", "mammut"):
        settings = Settings(steps=5, batch_size=2, checkpoint_every=1, keep=0)
        train(model, data="scenes:64", out=tmp_path / model, settings=settings, quiet=True)
        run = Run(tmp_path / model)
        times = at_times(run)
        assert len(times) == 6
        size = len(page([Book(run, times, find_example(times[-1][2], "scenes")).build()]).encode())
        assert size <= 1_000_000, f"{model}: {size} bytes"


def test_writing_a_page_costs_a_few_dozen_passes(made, runs):
    book, _ = made["coca"]

    def seconds(work):
        before = time.process_time()
        work()
        return time.process_time() - before

    one = min(seconds(lambda: record(book.model, book.found.batch)) for _ in range(3))
    from .conftest import book_of

    whole = seconds(lambda: page([book_of(runs["coca"]).build()]))
    assert whole < 150 * one, f"{whole / one:.0f} passes"


# ---- the command -----------------------------------------------------------------------------------------------------


def test_the_command_takes_a_run_or_a_name_with_a_run(runs, tmp_path, capsys, monkeypatch):
    picture = tmp_path / "picture.png"
    Image.new("RGB", (50, 40), (20, 120, 220)).save(picture)
    out = tmp_path / "page.html"
    assert cli.main(["explain", str(runs["coca"]), "--out", str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"wrote {out}, ")
    options = ["--image", str(picture), "--text", "a blue square", "--run", str(runs["clip"]), "--quiz"]
    assert cli.main(["explain", "clip", *options, "--out", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert "a blue square" in text and '"quiz":true' in text
    monkeypatch.chdir(tmp_path)
    (tmp_path / "minivl-demo").symlink_to(runs["coca"])
    assert cli.main(["explain", "--out", str(out)]) == 0, "alone it explains the demo"
    assert cli.main(["explain", "coca", "--image", str(picture), "--out", str(out)]) == 0, "the model writes the text"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["clip"], 1, "no trained clip is known: minivl train clip"),
        (["RUN", "--text", "word " * 50], 1, "tokens, must have 1 to 30"),
        (["RUN", "--text", " "], 1, "--text is empty"),
        (["RUN", "--image", "missing.png"], 1, "no file 'missing.png'"),
        (["clip", "--run", "RUN"], 1, "is a coca, not a clip"),
        (["CLIP", "--image", "PICTURE"], 1, "CLIP writes no captions: say --text"),
        (["RUN", "--out", "page.txt"], 2, "must end in .html"),
        (["nowhere"], 1, "nowhere is no run"),
        ([], 1, "there is no run minivl-demo here: minivl demo makes one"),
    ],
)
def test_errors_are_one_line(runs, tmp_path, capsys, monkeypatch, words, code, said):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save("picture.png")
    places = {"RUN": str(runs["coca"]), "CLIP": str(runs["clip"]), "PICTURE": "picture.png"}
    assert cli.main(["explain", *(places.get(word, word) for word in words)]) == code
    told = capsys.readouterr()
    assert told.err.count("\n") == 1 and said in told.err and not (tmp_path / "explain.html").exists()


def test_json_is_safe_to_stand_in_a_page():
    assert json.loads(as_json({"a": "</script>&<!--"})) == {"a": "</script>&<!--"} and "<" not in as_json({"a": "<"})


def test_names_of_models_are_known():
    assert all(models.find(model) for model, _, _ in MODELS.values())
