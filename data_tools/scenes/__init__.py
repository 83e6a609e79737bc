"""Scenes from one record: captions, questions, boxes, masks, graphs, clips and episodes that all say the same thing.

    nouns.py         what things are called, in five languages        record.py      things, scenes, where a is from b
    cutouts.py       shapes, stamps and emoji as sprites              compose.py     what is in a scene, and where
    backgrounds.py   what is behind it, and what stands out           grammar.py     articles, cases, plurals
    captions.py      a caption, five paraphrases, translations        questions.py   with answers nobody can guess
    regions.py       descriptions, and phrases that fit one thing     clips.py       what no single frame gives away
    episodes.py      examples of a class, and a query                 examples.py    the JSON of an example
    coco.py          COCO's JSON

Read in this order: record, compose, grammar, questions. The command is in `__main__.py`.
"""
