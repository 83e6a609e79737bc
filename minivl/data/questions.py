"""Questions about the built-in scenes, with the answers that their record gives: colour, shape, relation, number."""

from .scenes import COLOURS, SHAPES

_OTHER = {"left": "right", "right": "left", "above": "below", "below": "above"}
_WHERE = {"left": "left of", "right": "right of", "above": "above", "below": "below"}


def questions(scene):
    """[{"question", "answers", "kind"}] of a `minivl.data.scenes.Scene`; every question has one answer."""
    asked = [("how many things are there?", str(len(scene.items)), "number")]
    shapes, colours = [item.shape for item in scene.items], [item.colour for item in scene.items]
    for item in scene.items:
        if shapes.count(item.shape) == 1:
            asked.append((f"what colour is the {item.shape}?", item.colour, "colour"))
        if colours.count(item.colour) == 1:
            asked.append((f"what shape is the {item.colour} thing?", item.shape, "shape"))
    labels = scene.labels
    asked.append((f"is there a {labels[0]}?", "yes", "yes or no"))
    asked.append((f"is there a {_absent(labels)}?", "no", "yes or no"))
    relation = "left" if scene.across else "above"
    for one, other in zip(labels, labels[1:], strict=False):
        if one != other:
            asked.append((f"what is {_WHERE[_OTHER[relation]]} the {one}?", other, "relation"))
            asked.append((f"what is {_WHERE[relation]} the {other}?", one, "relation"))
            asked.append((f"where is the {one} from the {other}?", relation, "place"))
            asked.append((f"where is the {other} from the {one}?", _OTHER[relation], "place"))
    return [{"question": q, "answers": [a], "kind": kind} for q, a, kind in asked]


def _absent(labels):
    """What is not there: the first thing in its next colour, or in its next shape."""
    colour, shape = labels[0].split()
    colours, shapes = list(COLOURS), list(SHAPES)
    for k in range(1, len(colours)):
        other = f"{colours[(colours.index(colour) + k) % len(colours)]} {shape}"
        if other not in labels:
            return other
    return f"{colour} {shapes[(shapes.index(shape) + 1) % len(shapes)]}"
