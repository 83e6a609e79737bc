"""Makes metrics.json: small cases, and what pycocotools, pycocoevalcap and VQA's evaluation code give. Needs the peers.

    python tests/golden/make_metrics.py

tests/metrics compares it with ours, without those packages.
"""

import json
import sys
from itertools import islice
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "peers"))

import metric_cases as cases  # noqa: E402

detection = [
    {"kind": kind, "truth": truth, "found": found, "scores": cases.coco_scores(truth, found, kind)}
    for kind, truth, found in cases.small_worlds(seed=0, count=16)
]
captions = [
    {"references": references, "captions": captions, "scores": cases.caption_peer_scores(references, captions)}
    for references, captions in islice(cases.caption_worlds(seed=0, count=40), 30)
]
answers = list(cases.answer_worlds(seed=0, count=60))
official = cases.vqa_evaluation(answers)
vqa = [
    {
        "truth": truth,
        "found": found,
        "accuracy": official.evalQA[k] / 100,
        "normalised": official.processDigitArticle(official.processPunctuation(found.replace("\n", " ").strip())),
    }
    for k, (truth, found) in enumerate(answers)
]
words = cases.java_words(cases.written_captions(seed=0, count=60))
frozen = {"detection": detection, "captions": captions, "vqa": vqa, "words": words}
lines = (f"{json.dumps(name)}: {json.dumps(some, ensure_ascii=False)}" for name, some in frozen.items())
(HERE / "metrics.json").write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
