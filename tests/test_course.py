"""What a teacher takes from tutorials/course: a note for each tutorial, links that lead somewhere, offline slides."""

import html
import importlib.util
import re
from pathlib import Path

import pytest

from minivl.exercises import all_sheets

COURSE = Path(__file__).parent.parent / "tutorials" / "course"
TUTORIALS = sorted(COURSE.parent.glob("[0-9][0-9]_*.py"))
PAGES = sorted(COURSE.rglob("*.md"))


def loaded(path):
    spec = importlib.util.spec_from_file_location("course_slides", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


slides = loaded(COURSE / "slides.py")


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda p: p.stem)
def test_every_tutorial_has_a_note(path):
    note = (COURSE / "notes" / f"{path.stem[:2]}.md").read_text(encoding="utf-8")
    assert path.name in note, "it links to its tutorial"
    parts = re.split(r"^## ", note, flags=re.MULTILINE)[1:]
    assert [part.partition("\n")[0] for part in parts] == [
        "Script (90 minutes)",
        "Usual misconceptions",
        "Questions, with answers",
        "Draw",
    ]
    script, misconceptions, questions, draw = (part.partition("\n")[2].strip() for part in parts)
    assert int(re.findall(r"^\| *\d+-(\d+) *\|", script, re.M)[-1]) == 90
    assert len(re.findall(r"^\d\. ", misconceptions, re.M)) == 3
    assert len(re.findall(r"^- \*.+\?\*", questions, re.M)) >= 2
    assert draw


def test_there_is_no_note_without_a_tutorial():
    assert {path.stem for path in (COURSE / "notes").glob("*.md")} == {path.stem[:2] for path in TUTORIALS}


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(COURSE)))
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if not target.startswith(("https://", "#")):
            assert (path.parent / target.partition("#")[0]).exists(), f"{path.name} links to {target}"


def test_the_syllabus_names_every_tutorial_and_only_exercises_that_there_are():
    text = (COURSE / "syllabus.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\bex\d\d\b", text)) <= set(all_sheets())
    for part in text.split("## ")[2:]:
        if "weeks" in part.partition("\n")[0]:
            named = set(re.findall(r"\[(\d\d)\]", part))
            assert named >= {path.stem[:2] for path in TUTORIALS}, "a plan leaves a tutorial out"


def words(text):
    """The letters and digits of Markdown or HTML, without their marks."""
    return re.sub(r"[\W_]+", "", html.unescape(re.sub(r"<[^>]*>", "", text)))


def test_slides_hold_every_tagged_cell_and_need_no_network():
    page = slides.page(TUTORIALS)
    tagged = [text for path in TUTORIALS for text in slides.slides_of(path.read_text(encoding="utf-8"))]
    written = sum(path.read_text(encoding="utf-8").count("# %% [slide]") for path in TUTORIALS)
    assert len(tagged) == written == page.count("<section") >= 10
    got = words(page)
    for text in tagged:
        assert words(re.sub(r"^```\w*$", "", text, flags=re.M)) in got, text
    assert not re.search(r"https?:|//[a-z]|\bsrc=|<link|@import|url\(", page)
    assert len(set(re.findall(r'<section id="([^"]+)"', page))) == written


def test_a_fence_is_kept_as_it_is():
    made = slides.as_html("## Title\n\n```c\nif (i < n) a[i] = 1;\n    b;\n```\n\nafter")
    assert "<pre><code>if (i &lt; n) a[i] = 1;\n    b;\n</code></pre>" in made and "after" in made


def test_slides_of_nothing_are_refused(tmp_path):
    path = tmp_path / "01_none.py"
    path.write_text("# %% [markdown]\n# # 01\n", encoding="utf-8")
    with pytest.raises(ValueError, match="no tutorial"):
        slides.page([path])
