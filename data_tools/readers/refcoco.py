"""RefCOCO, RefCOCO+ and RefCOCOg: phrases that fit one object of a picture of COCO and no other.

    refs(unc).p      a pickle of [{"ref_id": 0, "ann_id": 1719310, "image_id": 581857, "category_id": 1, "split":
                     "train", "file_name": "COCO_train2014_000000581857_16.jpg", "sent_ids": [0, 1, 2],
                     "sentences": [{"sent_id": 0, "sent": "navy blue shirt", "raw": ..., "tokens": [...]}, ...]}, ...]
    instances.json   the annotations (ann_id), in COCO's form

A pickle is a program, and nothing here runs it: the machine that reads pickles of weights reads this one too, with
no name allowed at all. The same list as JSON (refs(unc).json) is read too. A record is a picture with the phrases of
one split, in info: objects as in coco.py, and expressions: object (its id), phrases.
"""

import json

from data_tools.readers import coco
from data_tools.readers.json_items import items
from data_tools.readers.record import DataError, Record, good, inside, key_of, sentence, take
from minivl.weights.fit import WeightsError
from minivl.weights.pickle_machine import read as read_pickle

_LARGEST, _MOST_STEPS = 1 << 27, 1 << 26  # bytes and instructions of a pickle
_MOST_PHRASES = 1 << 22  # RefCOCO has 142,000; a list that is in a pickle once may be meant a million times


def read(images, problems, refs, instances, masks=True):
    """images: the folder of COCO's train2014   refs: refs(unc).p and the like, or JSON   instances: instances.json"""
    objects, pictures, names = {}, {}, {}
    for field, item in items(instances, "images", "categories", "annotations"):
        if isinstance(item, dict) and isinstance(item.get("id"), int):
            {"images": pictures, "categories": names, "annotations": objects}[field][item["id"]] = (
                json.dumps(item) if field == "annotations" else item
            )
    groups, total = {}, 0
    for ref in _refs(refs):
        try:
            where = f"{refs.name}: ref {str(ref.get('ref_id') if isinstance(ref, dict) else ref)[:20]}"
            number, split = take(ref, "image_id", int, where), sentence(take(ref, "split", str, where), where)
            if number not in pictures:
                raise DataError(f"{where}: image {number} is not in {instances.name}", "no picture")
            phrases = [sentence(take(s, "sent", str, where), where) for s in take(ref, "sentences", list, where)]
            total += 1 + len(phrases)
            if not phrases:
                raise DataError(f"{where}: it has no sentence", "no caption")
            groups.setdefault((number, split), []).append((take(ref, "ann_id", int, where), phrases))
        except DataError as error:
            problems.add(error)
        if total > _MOST_PHRASES:
            raise DataError(f"{refs}: more than {_MOST_PHRASES} phrases", "bad file")

    def record(number, split):
        where = f"{instances.name}: image {number}"
        info = {"image_id": number, "split": split, "objects": [], "expressions": []}
        for annotation, phrases in groups[number, split]:
            try:
                known = json.loads(objects.get(annotation, "null"))
                if known is None:
                    raise DataError(f"{where}: annotation {annotation} is not in {instances.name}", "bad record")
                one = json.loads(
                    coco._object(known, pictures[number], f"{where}, annotation {annotation}", names, masks)
                )
            except DataError as error:
                problems.add(error)
                continue
            if one not in info["objects"]:
                info["objects"].append(one)
            info["expressions"].append({"object": one["id"], "phrases": phrases})
        if not info["expressions"]:
            raise DataError(f"{where}: none of its phrases has an object", "bad record")
        info["labels"] = list(dict.fromkeys(o["label"] for o in info["objects"]))
        name = take(pictures[number], "file_name", str, where)
        path = inside(images, name, where)
        return Record(key_of(name.rpartition(".")[0] or name, split), path, None, info)

    return good((lambda pair=pair: record(*pair) for pair in groups), problems), len(groups)


def _refs(path):
    """The list of refs that a file holds."""
    if path.suffix == ".json":
        return [item for _, item in items(path)]
    try:
        found = read_pickle(path.read_bytes(), path.name, largest=_LARGEST, most_steps=_MOST_STEPS, names=False)
    except (WeightsError, OSError) as error:
        raise DataError(f"{path}: {error}", "bad file") from error
    if not isinstance(found, list):
        raise DataError(f"{path}: must hold a list of refs, not a {type(found).__name__}", "bad file")
    return found
