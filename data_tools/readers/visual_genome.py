"""Visual Genome: regions with phrases, objects with attributes and relationships, questions, of the same pictures.

    image_data.json            [{"image_id": 1, "url": "https://.../VG_100K_2/1.jpg", "width": 800, ...}, ...]
    region_descriptions.json   [{"id": 1, "regions": [{"region_id": 1382, "image_id": 1, "phrase": "the clock is
                               green in colour", "x": 421, "y": 57, "width": 82, "height": 139}, ...]}, ...]
    objects.json               [{"image_id": 1, "objects": [{"object_id": 1058498, "names": ["clock"], "synsets": [...],
                               "x": 421, "y": 91, "w": 79, "h": 339}, ...]}, ...]
    attributes.json            the same, with "attributes": ["green", "tall"] in each, under "attributes"
    relationships.json         [{"image_id": 1, "relationships": [{"predicate": "ON", "relationship_id": 15927,
                               "subject": {object}, "object": {object}}, ...]}, ...]
    question_answers.json      [{"id": 1, "qas": [{"qa_id": 986768, "question": "What color is the clock?",
                               "answer": "Green."}, ...]}, ...]

All lie in one folder; those that are not there are left out. In older releases an object's `names` is a `name`, and the
number of a picture `image_id` everywhere: both are read. A record's captions are its regions' phrases; info has regions
(phrase, bbox), objects (id, label, bbox, attributes), relations (subject, predicate, object: ids), questions, labels.
"""

from data_tools.readers.json_items import items
from data_tools.readers.record import DataError, Record, box, good, inside, key_of, sentence, take

_PARTS = {  # file -> the list that it has for each picture
    "region_descriptions.json": "regions",
    "objects.json": "objects",
    "attributes.json": "attributes",
    "relationships.json": "relationships",
    "question_answers.json": "qas",
}


def read(images, problems, annotations):
    """images: the folder with VG_100K and VG_100K_2, or with all pictures   annotations: the folder of JSON files"""
    there = {name: field for name, field in _PARTS.items() if (annotations / name).is_file()}
    if not there or not (annotations / "image_data.json").is_file():
        raise DataError(f"{annotations}: must hold image_data.json and one of {', '.join(_PARTS)}", "bad file")
    found = {}
    for name, field in there.items():
        for _, item in items(annotations / name):
            try:
                number = _number(item, name)
                found.setdefault(number, {})[field] = take(item, field, list, f"{name}: image {number}")
            except DataError as error:
                problems.add(error)
    makers = (
        lambda item=item: _record(item, found, images, problems) for _, item in items(annotations / "image_data.json")
    )
    return good(makers, problems), None


def _number(item, where):
    name = "image_id" if isinstance(item, dict) and "image_id" in item else "id"
    return take(item, name, int, where)


def _record(item, found, images, problems):
    number = _number(item, "image_data.json")
    where = f"image {number}"
    parts = found.pop(number, None)
    if parts is None:
        raise DataError(f"{where}: nothing is said of it", "no caption")
    folder, _, name = take(item, "url", str, where).rpartition("/")
    path = inside(images, f"{folder.rpartition('/')[2]}/{name}", where)
    path = path if path.is_file() else inside(images, name, where)

    def each(field, make):
        """What `make` makes of each item of a list; broken ones are counted."""
        made = []
        for one in parts.get(field, ()):
            try:
                made.append(make(one, f"{where}: {field}"))
            except DataError as error:
                problems.add(error)
        return made

    objects = {o["id"]: o for o in each("objects", _object)}
    for more in each("attributes", _object):
        one = objects.setdefault(more["id"], more)
        one["attributes"] = more.get("attributes", [])
    info = {"image_id": number, "regions": each("regions", _region), "questions": each("qas", _question)}
    info["relations"] = each("relationships", lambda one, where: _relation(one, objects, where))
    info["objects"] = list(objects.values())
    info["labels"] = list(dict.fromkeys(o["label"] for o in objects.values()))
    phrases = list(dict.fromkeys(region["phrase"] for region in info["regions"]))
    return Record(key_of(number), path, phrases or None, {name: value for name, value in info.items() if value})


def _object(item, where):
    names = item.get("names", [item.get("name")]) if isinstance(item, dict) else []
    if not isinstance(names, list) or not names:
        raise DataError(f"{where}: {str(item)[:60]}; an object must have names", "bad record")
    made = {"id": take(item, "object_id", int, where), "label": sentence(names[0], where), "bbox": box(item, where)}
    if isinstance(item.get("attributes"), list):
        made["attributes"] = [sentence(one, where) for one in item["attributes"]]
    return made


def _region(item, where):
    return {
        "phrase": sentence(take(item, "phrase", str, where), where),
        "bbox": box(item, where, ("x", "y", "width", "height")),
    }


def _relation(item, objects, where):
    """Whoever takes part in it is an object, whether or not objects.json says so too."""
    ends = {side: _object(take(item, side, dict, where), where) for side in ("subject", "object")}
    for end in ends.values():
        objects.setdefault(end["id"], end)
    predicate = sentence(take(item, "predicate", str, where), where).lower()
    return {"subject": ends["subject"]["id"], "predicate": predicate, "object": ends["object"]["id"]}


def _question(item, where):
    asked, said = (sentence(take(item, name, str, where), where) for name in ("question", "answer"))
    return {"question": asked, "answers": [said], "kind": asked.split()[0].lower()}
