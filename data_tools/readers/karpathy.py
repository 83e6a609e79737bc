"""Flickr30k's own list, and Karpathy's splits: dataset_flickr30k.json, dataset_flickr8k.json, dataset_coco.json.

    1000092795.jpg#0 <tab> Two young guys with shaggy hair look at their hands ...      results_20130124.token
    1000092795.jpg#1 <tab> Two young , White males are outside near many bushes .

    {"dataset": "coco", "images": [{"filename": "COCO_val2014_000000391895.jpg", "filepath": "val2014", "split": "test",
     "cocoid": 391895, "sentences": [{"raw": "A man with a red helmet ...", "tokens": [...], "sentid": 770337}]}, ...]}

Karpathy & Fei-Fei 2015, arXiv 1412.2306. His "restval", the rest of COCO's validation set, stays a split of that name.
"""

import itertools

from data_tools.readers.json_items import items
from data_tools.readers.record import DataError, Record, good, inside, key_of, sentence, take


def read(images, problems, captions):
    """images: the folder of the pictures   captions: results_20130124.token, or one of Karpathy's JSON files"""
    if captions.suffix == ".json":
        found = items(captions, "images")
        makers = (lambda n=n, item=item: _listed(n, item, images, captions.name) for n, (_, item) in enumerate(found))
        return good(makers, problems), None
    return _tokens(images, captions, problems), None


def _listed(number, item, images, name):
    where = f"{name}: image {number}"
    file, folder = take(item, "filename", str, where), item.get("filepath", "")
    said = [
        sentence(one.get("raw") if isinstance(one, dict) else one, where)
        for one in take(item, "sentences", list, where)
    ]
    if not said:
        raise DataError(f"{where}: it has no sentence", "no caption")
    path = inside(images, f"{folder}/{file}" if isinstance(folder, str) and folder else file, where)
    info = {"split": sentence(item.get("split"), where)}
    if isinstance(item.get("cocoid"), int):
        info["image_id"] = item["cocoid"]
    return Record(key_of(file.rpartition(".")[0] or file), path, said, info)


def _tokens(images, captions, problems):
    """The lines of one picture follow each other."""

    def lines():
        with open(captions, encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                where = f"{captions.name}: line {number}"
                name, tab, text = line.rstrip("\n").partition("\t")
                file_name, mark, _ = name.rpartition("#")
                try:
                    if not (tab and mark):
                        raise DataError(
                            f"{where}: {line[:60]!r}; it must be NAME.jpg#NUMBER, a tab and a caption", "bad record"
                        )
                    yield file_name, inside(images, file_name, where), sentence(text, where)
                except DataError as error:
                    problems.add(error)

    for file_name, group in itertools.groupby(lines(), key=lambda line: line[0]):
        group = list(group)
        yield Record(key_of(file_name.rpartition(".")[0] or file_name), group[0][1], [text for *_, text in group], {})
