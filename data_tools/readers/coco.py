"""COCO: captions_*.json and instances_*.json, of one split each, or both at once.

    {"images": [{"id": 9, "file_name": "000000000009.jpg", "height": 480, "width": 640}, ...],
     "annotations": [{"image_id": 9, "id": 661611, "caption": "Closeup of bins of food ..."}, ...]}

    {"images": [...], "categories": [{"id": 51, "name": "bowl", "supercategory": "kitchen"}, ...],
     "annotations": [{"image_id": 9, "id": 1038967, "category_id": 51, "bbox": [x, y, w, h], "area": 120057.1,
                      "iscrowd": 0, "segmentation": [[x, y, ...], ...] or {"counts": ..., "size": [h, w]}}, ...]}

A record has the captions, and info: image_id, split, labels, and objects as minivl.metrics.detection_scores takes them:
id, label, category_id, bbox, area, iscrowd, segmentation (as run lengths, whatever it was before).
"""

import json

from data_tools.readers.json_items import items
from data_tools.readers.record import DataError, Record, good, inside, key_of, listed_box, sentence, split_of, take
from minivl.data import rle


def read(images, problems, captions=None, instances=None, split=None, masks=True):
    """images: the folder of the pictures   captions, instances: the JSON files, at least one   masks: keep them"""
    files = [path for path in (captions, instances) if path]
    if not files:
        raise DataError("coco: give --captions, --instances or both", "bad file")
    pictures, names = {}, {}
    for path in files:
        for field, item in items(path, "images", "categories"):
            try:
                item = item if isinstance(item, dict) else {}
                known = pictures if field == "images" else names
                kept = {name: item.get(name) for name in ("file_name", "height", "width", "name")}
                known[take(item, "id", int, f"{path.name}: {field}")] = kept
            except DataError as error:
                problems.add(error)
    said = _by_picture(captions, pictures, problems, _caption) if captions else {}
    seen = {}
    if instances:
        seen = _by_picture(instances, pictures, problems, lambda a, p, where: _object(a, p, where, names, masks))
    split = split or split_of(files[0])

    def record(number):
        where = f"{files[0].name}: image {number}"
        name = take(pictures[number], "file_name", str, where)
        info = {"image_id": number, "split": split}
        if instances:
            objects = [json.loads(text) for text in seen.get(number, ())]
            info |= {"objects": objects, "labels": list(dict.fromkeys(o["label"] for o in objects))}
        if captions and number not in said:
            raise DataError(f"{where}: it has no caption", "no caption")
        return Record(key_of(name.rpartition(".")[0] or name), inside(images, name, where), said.get(number), info)

    return good((lambda number=number: record(number) for number in pictures), problems), len(pictures)


def _by_picture(path, pictures, problems, make):
    """{image_id: what `make` makes of each of its annotations}"""
    found = {}
    for _, item in items(path, "annotations"):
        try:
            where = f"{path.name}: annotation {str(item.get('id') if isinstance(item, dict) else item)[:20]}"
            number = take(item, "image_id", int, where)
            if number not in pictures:
                raise DataError(f"{where}: image {number} is not in the list of images", "no picture")
            found.setdefault(number, []).append(make(item, pictures[number], where))
        except DataError as error:
            problems.add(error)
    return found


def _caption(annotation, picture, where):
    return sentence(annotation.get("caption"), where)


def _object(annotation, picture, where, names, masks):
    """An object, as text: a hundred thousand of them take a tenth of the memory so."""
    category = take(annotation, "category_id", int, where)
    if category not in names:
        raise DataError(f"{where}: category {category} is not in the list of categories", "bad record")
    made = {
        "id": take(annotation, "id", int, where),
        "category_id": category,
        "label": sentence(names[category].get("name"), where),
        "bbox": listed_box(annotation, "bbox", where),
        "area": take(annotation, "area", float, where),
        "iscrowd": int(bool(annotation.get("iscrowd"))),
    }
    if masks and annotation.get("segmentation"):
        made["segmentation"] = mask_of(annotation["segmentation"], picture, where)
    return json.dumps(made)


def mask_of(segmentation, picture, where):
    """Outlines or run lengths of any form  ->  run lengths as text"""
    size = [take(picture, side, int, where) for side in ("height", "width")]
    try:
        if isinstance(segmentation, list):
            return rle.from_polygons(segmentation, size)
        mask = rle.union([segmentation])
    except DataError as error:
        raise DataError(f"{where}: {error}", error.kind) from error
    if mask["size"] != size:
        raise DataError(f"{where}: its mask is {mask['size']}, the picture {size}", "bad mask")
    return mask
