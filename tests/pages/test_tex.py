"""Formulas: every one of the sources becomes MathML; what is outside the subset is refused by name."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from minivl.pages.named_steps import PACKAGE, named_steps, step_at
from minivl.pages.tex import TexError, mathml

FILES = sorted(path for path in PACKAGE.rglob("*.py") if named_steps(path))


def shape(tex):
    """MathML as nested tuples, without attributes: easier to compare."""

    def told(node):
        return (node.tag, *(map(told, node) if len(node) else [node.text]))

    return told(ElementTree.fromstring(mathml(tex).replace("&#x2061;", "")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_formula_of_the_sources_renders(path):
    for step in named_steps(path):
        text = mathml(step.tex, block=True)
        ElementTree.fromstring(text.replace("&#x2061;", ""))
        assert "\\" not in text and "{" not in re.sub(r"<mo[^>]*>\{</mo>", "", text), step
        assert step.title and step.first <= step.last


def test_fractions_roots_scripts_and_words():
    assert shape(r"\frac{a}{2}") == ("math", ("mfrac", ("mi", "a"), ("mn", "2")))
    assert shape(r"x_i^2") == ("math", ("msubsup", ("mi", "x"), ("mi", "i"), ("mn", "2")))
    assert shape(r"\sqrt{D}") == ("math", ("msqrt", ("mi", "D")))
    assert shape(r"\mathrm{no pads}") == ("math", ("mi", "no pads"))
    assert shape(r"f'") == ("math", ("msup", ("mi", "f"), ("mo", "′")))
    assert shape(r"x^{a+b}")[1][2] == ("mrow", ("mi", "a"), ("mo", "+"), ("mi", "b"))


def test_sums_have_their_limits_below_and_above():
    assert shape(r"\sum_{i=1}^n x_i")[1][1][0] == "munderover"
    assert shape(r"\max_j x_j")[1][1][1][0] == "munder"
    assert shape(r"\log_2 x")[1][1][1][0] == "msub"


def test_functions_stand_apart_from_what_they_take():
    assert "mspace" in mathml(r"\log P") and "mspace" not in mathml(r"\log(P)")


def test_tables_and_fences():
    cases = shape(r"\begin{cases} 1 & i = j \\ -1 & \text{else} \end{cases}")
    assert cases[1][1] == ("mo", "{") and cases[1][2][0] == "mtable" and len(cases[1][2]) == 3
    assert shape(r"\left( \frac{a}{b} \right)")[1][1] == ("mo", "(")
    assert shape(r"\lVert x \rVert")[1][1] == ("mo", "‖")


def test_signs_of_html_are_escaped():
    assert "&lt;" in mathml("a < b") and "&amp;" in mathml(r"a \& b")


@pytest.mark.parametrize(
    ("tex", "said"),
    [
        (r"\frc{a}{b}", r"unknown command \frc"),
        (r"\frac{a}", "ends too early"),
        ("a}", "unexpected }"),
        ("{a", "ends too early"),
        ("x_a_b", "two _"),
        (r"\begin{tikz}\end{tikz}", "unknown environment tikz"),
        (r"\begin{cases} a \end{matrix}", r"another \end"),
        (r"\mathcal{Q}", r"no letter \mathcal{Q}"),
        (r"\mathrm x", "braces"),
        (r"\left( a", "ends too early"),
        ("^2", "nothing stands before ^"),
    ],
)
def test_what_is_not_understood_is_named(tex, said):
    with pytest.raises(TexError, match=re.escape(said)) as error:
        mathml(tex)
    assert repr(tex) in str(error.value), "the formula stands in the message"


def test_a_step_ends_where_its_lines_end(tmp_path):
    file = tmp_path / "model.py"
    file.write_text(
        "def forward(x):\n"
        "    #: First | a\n"
        "    y = x\n"
        "    if y:\n"
        "        #: Within | b\n"
        "        y = 2\n"
        "    y = 3\n"
        "    #: Up to a blank line | c | d\n"
        "    y = 4\n"
        "\n"
        "    return y\n"
    )
    steps = named_steps(file)
    assert [(s.title, s.tex, s.first, s.last) for s in steps] == [
        *(("First", "a", 3, 4), ("Within", "b", 6, 6), ("Up to a blank line", "c | d", 9, 9))
    ]
    assert step_at(file, 6).title == "Within" and step_at(file, 7) is None and step_at(file, 11) is None
    file = tmp_path / "other.py"
    file.write_text("#: No formula\nx = 1\n")
    with pytest.raises(ValueError, match="other.py:1: '#: No formula' must be '#: Title | TeX'".replace("|", r"\|")):
        named_steps(file)
