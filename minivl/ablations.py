"""What is compared by `minivl ablate`, as plain data: each model's recipes, and what its paper found.

A recipe is what all variants of an ablation have in common: data, preset, and what --set can set. They are as small as
still shows a difference. The figures of the papers stand beside the table in the papers' own units.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Claim:
    """What the paper found: `better` is above `worse` in `measure` by the margin; -0.03: at most so far below."""

    better: str
    worse: str
    measure: str
    margin: float = 0.0
    against: str = ""  # another measure of `worse`, where one run is measured in two ways


@dataclass(frozen=True)
class Ablation:
    name: str
    asks: str  # in a line, with what the paper reports
    recipe: str  # what all variants have in common, by its name in RECIPES
    variants: dict  # label -> {setting: value}, as --set has them
    claims: tuple
    paper: dict  # label -> the paper's own figures, in its own units


# The plainest caption alone, and backgrounds near 0: both are learned much sooner than otherwise.
_SCENES = dict(data="scenes", first_caption=1.0, centred=True, batch_size=48, lr=3e-3, warmup=50)
_SMALL = dict(width=64, layers=2, cross_layers=1, contrastive_weight=0.2)

# Of a single thing, which turns half-way; captions tell both directions.
_TURNING = dict(data="turning", preset="moving", batch_size=48, lr=2e-3, warmup=40, schedule="constant")

RECIPES = {
    "mammut": {
        "scenes": dict(_SCENES, **_SMALL, steps=400),
        # A softmax finds more than focal loss at this batch size; an average of the weights, for the rate never falls.
        "scenes, longer": dict(_SCENES, **_SMALL, contrast="softmax", schedule="constant", average=0.99, steps=1800),
        "scenes and questions": dict(
            _SCENES, width=64, layers=4, contrastive_weight=0.2, questions=0.5, steps=500, batch_size=32
        ),
        "turning": dict(_TURNING, width=48, layers=2, cross_layers=1, contrastive_weight=0.0, steps=300),
    },
    "coca": {"scenes": dict(_SCENES, width=64, unimodal_layers=2, multimodal_layers=2, steps=400)},
    "clip": {"scenes": dict(_SCENES, image_width=64, text_width=64, image_layers=2, steps=400)},
}

_MAMMUT = (
    Ablation(
        name="objectives",
        asks="one decoder for both objectives loses little of what either has alone",
        recipe="scenes, longer",
        # With one loss a step takes 0.61 to 0.66 and 0.79 of the time; as many more steps are as long as those of both.
        variants={
            "both": {},
            "contrast": {"caption_weight": 0.0, "steps": 2900},
            "captions": {"contrastive_weight": 0.0, "steps": 2280},
        },
        claims=(
            Claim("both", "contrast", "R@1", margin=-0.03),
            Claim("both", "captions", "captions", margin=-0.03),
        ),
        paper={
            "both": "COCO image to text 54.3, VQA 71.7",
            "contrast": "COCO image to text 54.8, VQA 63.5",
            "captions": "VQA 69.9",
        },
    ),
    Ablation(
        name="cross-attention",
        asks="more cross-attention layers help questions, not retrieval",
        recipe="scenes and questions",
        variants={"1": {"cross_layers": 1}, "2": {}, "4": {"cross_layers": 4}},
        claims=(
            Claim("4", "1", "vqa"),
            Claim("2", "1", "vqa"),
            Claim("2", "1", "R@1"),
            Claim("2", "4", "R@1"),
        ),
        paper={
            "1": "COCO image to text 55.3, VQA 68.7",
            "2": "COCO image to text 56.6, VQA 70.8",
            "4": "COCO image to text 55.7, VQA 71.5",
        },
    ),
    Ablation(
        name="pass",
        asks="the pass that compares should see all words from everywhere",
        recipe="scenes",
        variants={"bidirectional": {}, "causal": {"contrast_pass": "causal"}},
        claims=(Claim("bidirectional", "causal", "R@1"), Claim("bidirectional", "causal", "captions", margin=-0.03)),
        paper={"bidirectional": "Flickr image to text 82.4", "causal": "Flickr image to text 78.1"},
    ),
    Ablation(
        name="loss",
        asks="focal loss, pair by pair, in place of a softmax over the batch",
        recipe="scenes",
        variants={"focal": {}, "softmax": {"contrast": "softmax"}},
        claims=(Claim("focal", "softmax", "R@1"),),
        paper={},
    ),
    Ablation(
        name="tubes",
        asks="what video needs: tubes beside the patches, a fixed position, a gate between it and the learned one",
        recipe="turning",
        variants={
            "full": {},
            "no gate": {"gated": False},
            "no fixed position": {"fixed_position": False},
            "no tubes": {"tubes": ""},
            "one frame": {"frames": 1},
        },
        claims=(
            Claim("full", "no gate", "motion"),
            Claim("full", "no fixed position", "motion"),
            Claim("full", "no tubes", "motion"),
            Claim("full", "one frame", "motion"),
        ),
        paper={"full": "42.1", "no gate": "41.8", "no fixed position": "41.5", "no tubes": "40.3"},
    ),
)

_COCA = (
    Ablation(
        name="objectives",
        asks="captioning and contrast together are worth more than either",
        recipe="scenes",
        variants={"both": {}, "contrast": {"caption_weight": 0.0}, "captions": {"contrastive_weight": 0.0}},
        claims=(Claim("both", "contrast", "R@1"), Claim("both", "captions", "captions")),
        paper={
            "both": "ImageNet zero-shot 71.6, VQA 69.0",
            "contrast": "ImageNet zero-shot 70.7, VQA 59.2",
            "captions": "VQA 68.9",
        },
    ),
    Ablation(
        name="unimodal",
        asks="how many of the decoder's layers do not see the picture; here of 4, in the paper 3, 6, 9 of 12",
        recipe="scenes",
        variants={
            "1": {"unimodal_layers": 1, "multimodal_layers": 3},
            "2": {},
            "3": {"unimodal_layers": 3, "multimodal_layers": 1},
        },
        claims=(Claim("2", "1", "R@1"), Claim("2", "3", "R@1"), Claim("2", "3", "captions")),
        paper={"1": "ImageNet zero-shot 70.2", "2": "71.6", "3": "71.4"},
    ),
    Ablation(
        name="pooler",
        asks="the contrastive pooler looks at the captioning pooler's answers, not at the patches",
        recipe="scenes",
        variants={"cascade": {}, "parallel": {"pooler": "parallel"}},
        claims=(Claim("cascade", "parallel", "R@1"),),
        paper={"cascade": "ImageNet zero-shot 71.6", "parallel": "71.2"},
    ),
)

_CLIP = (
    Ablation(
        name="prompts",
        asks="a class is better named by the mean of several prompts than by its bare name",
        recipe="scenes",
        variants={"CLIP": {}},
        claims=(Claim("CLIP", "CLIP", "zero-shot:six prompts", against="zero-shot:one prompt"),),
        paper={},
    ),
)

ABLATIONS = {"mammut": _MAMMUT, "coca": _COCA, "clip": _CLIP}
