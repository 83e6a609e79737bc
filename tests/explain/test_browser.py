"""The page in a real browser: keys, links, sliders, what it decodes, what it asks of the network, and who can use it.

They need Chromium, Playwright to drive it (`pip install playwright`), and for the accessibility test npm.
"""

import json
import time

import numpy as np
import pytest

from minivl.explain.pack import unpack

pytestmark = pytest.mark.browser


@pytest.fixture
def opened(chromium):
    """opened(path, hash) -> a page that is ready; at the end it must have asked for and complained of nothing."""
    contexts, complaints = [], []

    def open_page(path, hash="", dark=False, size=(1360, 900)):
        scheme = "dark" if dark else "light"
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else complaints.append(r.url))
        page.goto(f"file://{path}{hash}")
        page.wait_for_function("window.explain && window.explain.ready")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


def where(page):
    return page.evaluate("window.explain.state.step")


def go(page, key, more=""):
    """To a step by its link. Asked every 20 ms: by frames, of which a busy machine draws few, it took half a minute."""
    page.evaluate("link => { location.hash = link; }", f"step={key}{more}")
    page.wait_for_function("key => window.explain.state.step === key", arg=key, polling=20)


def title(page):
    return page.locator("h1").inner_text()


def test_keys_go_through_the_walk(opened, coca_page, coca_book):
    page, roots = opened(coca_page), [s["key"] for s in coca_book["steps"] if s["depth"] == 0]
    assert where(page) == "overview"
    for key in ("ArrowRight", " ", "j"):
        page.keyboard.press(key)
    assert where(page) == roots[3]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("k")
    assert where(page) == roots[1]
    page.keyboard.press("End")
    assert where(page) == roots[-1] and page.locator("#next").is_disabled()
    page.keyboard.press("Home")
    assert where(page) == "overview" and page.locator("#back").is_disabled()


def test_every_step_is_reached_by_keys_alone(opened, coca_page, coca_book):
    page, seen = opened(coca_page), []
    for _ in range(3 * len(coca_book["steps"])):
        here = where(page)
        if here in seen:
            break
        seen.append(here)
        assert title(page)
        page.keyboard.press("ArrowDown")  # into the step, if it has an inside
        if where(page) == here:
            page.keyboard.press("ArrowRight")
    assert set(seen) == {s["key"] for s in coca_book["steps"]}


def test_digits_choose_heads_and_brackets_layers_and_the_link_keeps_them(opened, coca_page, coca_book):
    step = next(s for s in coca_book["steps"] if s["kind"] == "attention" and len(s["sites"][0]["layers"][0]) > 1)
    page = opened(coca_page, f"#step={step['key']}")
    page.keyboard.press("2")
    page.keyboard.press("]")
    page.keyboard.press(".")
    assert page.locator("output[for=head]").inner_text().startswith("2 of")
    assert page.locator("output[for=layer]").inner_text().startswith("2 of")
    link = page.evaluate("location.hash")
    assert "head=2" in link and "layer=2" in link and "query=" in link
    again = opened(coca_page, link)
    for part in ("head", "layer", "query"):
        selector = f"output[for={part}]"
        assert again.locator(selector).inner_text() == page.locator(selector).inner_text()
    page.keyboard.press("0")
    assert page.locator("output[for=head]").inner_text() == "mean of all"


def test_the_slider_over_training_changes_what_is_seen(opened, coca_page, coca_book):
    step = next(s for s in coca_book["steps"] if s["kind"] == "choices")
    page = opened(coca_page, f"#step={step['key']}")
    last = page.locator("main table").first.inner_text()
    page.keyboard.press("-")
    assert page.locator("main table").first.inner_text() != last
    assert f"time={coca_book['times'][-2]['step']}" in page.evaluate("location.hash")


def test_arrow_keys_on_a_slider_move_the_slider(opened, coca_page, coca_book):
    step = next(s for s in coca_book["steps"] if s["kind"] == "attention")
    page = opened(coca_page, f"#step={step['key']}")
    page.locator("#head").focus()
    page.keyboard.press("ArrowRight")
    assert where(page) == step["key"] and page.locator("output[for=head]").inner_text().startswith("1 of")
    assert page.evaluate("document.activeElement.id") == "head", "the focus stays"


def test_question_mark_shows_the_keys(opened, coca_page):
    page = opened(coca_page)
    page.keyboard.press("?")
    assert page.locator("#help").is_visible() and "the next step" in page.locator("#help").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()


def test_the_page_decodes_what_was_packed(opened, coca_page, coca_book):
    page = opened(coca_page)
    for name, packed in coca_book["arrays"].items():
        base, _, time = name.partition("@")
        got = page.evaluate(
            "([name, t]) => { const a = window.explain.array(name, t); return [a.shape, [...a.data]]; }",
            [base, int(time) if time else len(coca_book["times"]) - 1],
        )
        want = unpack(packed)
        assert tuple(got[0]) == want.shape
        np.testing.assert_allclose(np.array(got[1]).reshape(want.shape), want, rtol=1e-6, atol=1e-7, err_msg=name)


def test_every_sum_agrees_with_the_model(opened, all_pages):
    for path, book in all_pages:
        page = opened(path)
        for step in book["steps"]:
            for layer in range(max(1, len(step["variants"]))):
                go(page, step["key"], f"&layer={layer + 1}")
                assert page.locator(".sums .off").count() == 0, page.locator(".sums").inner_text()
                if step["kind"] not in ("overview", "versus", "training"):
                    assert page.locator(".sums > li").count() == min(3, _possible(step)), step["key"]


def _possible(step):
    """How many numbers a step has: a loss that is one number times a constant has fewer than three."""
    variant = step["variants"][0]
    return len(variant["three"]) if "value" in variant or step["kind"] == "backward" else 3


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_nobody_is_left_out(opened, all_pages, axe, dark):
    """axe-core finds no violation in any step of any model's page."""
    for path, book in all_pages:
        page = opened(path, dark=dark)
        page.evaluate(axe)
        for step in book["steps"]:
            go(page, step["key"])
            found = page.evaluate(
                "axe.run(document, {resultTypes: ['violations'], preload: false}).then(r => r.violations)"
            )
            told = [(v["id"], [n["html"][:200] for n in v["nodes"][:3]]) for v in found]
            assert not told, f"{step['key']}: {json.dumps(told, indent=1)}"
        page.close()


@pytest.mark.parametrize("size", [(360, 740), (820, 1000), (1900, 1000)], ids=["phone", "tablet", "desk"])
def test_nothing_sticks_out_sideways(opened, coca_page, coca_book, size):
    page = opened(coca_page, size=size)
    for step in coca_book["steps"]:
        go(page, step["key"])
        over = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        inner = page.evaluate("(m => m.scrollWidth - m.clientWidth)(document.querySelector('main'))")
        assert over <= 0 and inner <= 0, f"{step['key']}: {over}, {inner}"


def test_the_quiz_asks_before_it_shows(opened, quiz_page):
    page = opened(quiz_page, "#step=mask-1")
    assert page.locator(".quiz").count() == 1 and page.locator("#why").count() == 0
    page.locator(".quiz .answers button").first.click()
    assert page.locator("#why").count() == 1 and "of 1 right" in page.locator(".quiz").inner_text()


def test_two_models_can_be_switched(opened, versus_page):
    page = opened(versus_page)
    first = page.locator("#model").inner_text()
    page.keyboard.press("v")
    assert page.locator("#model").inner_text() != first and "model=2" in page.evaluate("location.hash")
    page.keyboard.press("End")
    assert where(page) == "versus" and page.locator("main .card").count() >= 2


def test_print_shows_the_whole_walk(opened, coca_page, coca_book):
    page = opened(coca_page)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".sheet").count() == sum(step["depth"] == 0 for step in coca_book["steps"])
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator(".sheet").count() == 0 and where(page) == "overview"


def test_it_opens_and_says_how_soon(chromium, coca_page):
    """Reported, not asserted: the time from the address to a page that answers keys (run it with -s)."""
    seconds = []
    for _ in range(6):
        page, started = chromium.new_page(), time.perf_counter()
        page.goto(f"file://{coca_page}")
        page.wait_for_function("window.explain && window.explain.ready")
        seconds.append(time.perf_counter() - started)
        page.close()
    print(f"\nopened in {np.median(seconds[1:]):.2f} s, median of five ({min(seconds):.2f} to {max(seconds):.2f})")
