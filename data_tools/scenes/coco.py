"""Boxes and masks of a set of scenes as COCO's JSON, for tools that read nothing else.

    {"info", "licenses", "images": [{"id", "file_name", "width", "height"}], "categories": [{"id", "name"}],
     "annotations": [{"id", "image_id", "category_id", "bbox": [x, y, w, h], "area", "segmentation": RLE, "iscrowd"}]}

The pictures themselves stay in the shards; file_name is the name there.
"""

import json
import os
from pathlib import Path

from tqdm import tqdm

from minivl.data.shards import read_shards


def export(folder, prefix, licence):
    """Writes folder/PREFIX-SPLIT.coco.json for each split of the shards; the paths, in order."""
    images, things = {}, {}
    for example in tqdm(read_shards(f"{folder}/{prefix}", strict=True), f"{prefix}.coco.json", leave=False):
        split = example.info["split"]
        some = images.setdefault(split, [])
        found = example.info["objects"]
        height, width = found[0]["segmentation"]["size"]
        some.append({"id": len(some) + 1, "file_name": f"{example.key}.png", "width": width, "height": height})
        things.setdefault(split, []).extend((len(some), thing) for thing in found)
    names = sorted({thing["label"] for every in things.values() for _, thing in every})
    categories = {name: number for number, name in enumerate(names, 1)}
    paths = []
    for split in images:
        content = {
            "info": {"description": f"{prefix}, {split}, made by data_tools.scenes"},
            "licenses": [{"id": 1, "name": licence}],
            "images": images[split],
            "categories": [{"id": number, "name": name} for name, number in categories.items()],
            "annotations": [_annotation(n, *pair, categories) for n, pair in enumerate(things[split], 1)],
        }
        paths.append(Path(folder, f"{prefix}-{split}.coco.json"))
        part = paths[-1].with_name(f".{paths[-1].name}.part")
        part.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
        os.replace(part, paths[-1])
    return paths


def _annotation(number, image, thing, categories):
    kept = {name: thing[name] for name in ("bbox", "area", "segmentation")}
    return {"id": number, "image_id": image, "category_id": categories[thing["label"]], "iscrowd": 0, **kept}
