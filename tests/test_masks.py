"""Every mask against the drawing in its own docstring."""

import inspect
import re
import textwrap

import numpy as np
import pytest

from minivl import masks

FUNCTIONS = [f for name, f in vars(masks).items() if inspect.isfunction(f) and name != "draw"]
CALL = re.compile(r"^( *)((\w+)\(.*\))( +)(?=[x.])")


def drawings(function):
    """Pairs (call, drawing) of a docstring: the call, and to its right and below it, at one column, the mask."""
    found, column = [], None
    for line in inspect.getdoc(function).splitlines():
        start = CALL.match(line)
        if start and start[3] == function.__name__:
            column = start.end()
            found.append((start[2], [line[column:]]))
        elif column and (not line.strip() or (not line[:column].strip() and set(line.strip()) <= set("x. "))):
            found[-1][1].append(line[column:])
        else:
            column = None
    return [(call, "\n".join(lines).strip("\n")) for call, lines in found]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_the_drawing_is_the_mask(function):
    drawn = drawings(function)
    assert drawn, f"{function.__name__} draws no mask in its docstring"
    for call, drawing in drawn:
        mask = eval(call, vars(masks))
        assert mask.dtype == bool
        assert masks.draw(mask) == drawing, f"{call}\n{masks.draw(mask)}\nis not what the docstring draws:\n{drawing}"


def test_the_parser_of_drawings_sees_what_is_there():
    def fake():
        """Text.

        fake(1, 2)   x .
                     . x

                     x x
                     . .

        More text, in which fake(3) is mentioned.

        fake([2], 2)   x
        """

    assert drawings(fake) == [("fake(1, 2)", "x .\n. x\n\nx x\n. ."), ("fake([2], 2)", "x")]


def drawn(text):
    return textwrap.dedent(text).strip()


def test_and():
    assert masks.draw(masks.causal(3) & masks.padding([2, 3], 3)) == drawn("""
        x . .
        x x .
        x x .

        x . .
        x x .
        x x x
    """)


def test_or():
    assert masks.draw(masks.causal(4) | masks.block(2, 2)) == drawn("""
        x x . .
        x x . .
        x x x x
        x x x x
    """)


def test_shapes():
    assert masks.padding([1, 2, 3], 5).shape == (3, 1, 1, 5)
    assert masks.class_token_last([1, 2], 5).shape == (2, 1, 6, 6)
    assert masks.bidirectional(2, 5).shape == (2, 5)
    assert (masks.causal(3) & masks.padding([1, 2], 3)).shape == (2, 1, 3, 3)
    assert masks.causal(2, 3).shape == (2, 5)


@pytest.mark.parametrize("T", range(4))
def test_edges(T):
    assert (masks.prefix(0, T) == masks.causal(T)).all() and masks.prefix(T, 0).all()
    assert (masks.block(T) == masks.bidirectional(T)).all()
    assert (masks.causal(1, T) == masks.bidirectional(1, T + 1)).all()
    assert not masks.padding([0], T).any() and masks.padding([T], T).all()


def test_generating_token_by_token_sees_what_the_whole_would():
    whole = masks.causal(6)
    for past in range(6):
        np.testing.assert_array_equal(masks.causal(6 - past, past), whole[past:])


@pytest.mark.parametrize("make", [masks.padding, masks.class_token_last])
def test_lengths_are_checked(make):
    with pytest.raises(ValueError, match="lengths from 1 to 4, must be in 0 to T = 3"):
        make([1, 4], 3)
    with pytest.raises(ValueError, match="lengths from -1 to 2"):
        make([-1, 2], 3)
    with pytest.raises(TypeError, match=r"lengths must be integers \(B,\), got float64 \(2,\)"):
        make(np.array([1.0, 2.0]), 3)
    with pytest.raises(TypeError, match=r"got bool \(1, 2\)"):
        make(np.ones((1, 2), bool), 2)
