"""One's own pictures: a folder of them, or a CSV or TSV file of pictures and texts.

pictures/dog/001.jpg, pictures/dog/001.txt, ...     the texts, one a line, beside each picture; folders are labels

image,caption
001.jpg,a dog runs                                  columns of any order; lines of one picture follow each other
001.jpg,a brown dog on grass
"""

import csv
import itertools
import os

from data_tools.readers.record import DataError, Record, good, inside, key_of, sentence

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
_IMAGE = ("image", "image_name", "file", "file_name", "filename", "filepath", "path", "image_path", "img")
_TEXT = ("caption", "text", "comment", "sentence", "title", "description")
_TEXT_BYTES = 1 << 20
csv.field_size_limit(_TEXT_BYTES)


def read_folder(images, problems, split=None):
    """images: the folder   split: of all of them"""
    paths = sorted(
        os.path.join(folder, name)
        for folder, _, names in os.walk(images)
        for name in names
        if name.lower().endswith(PICTURES) and not name.startswith(".")
    )
    return good((lambda path=path: _pictured(images, path, split) for path in paths), problems), len(paths)


def _pictured(images, path, split):
    path = images / os.path.relpath(path, images)
    parts = path.relative_to(images).parts
    info = {"split": split} if split else {}
    if len(parts) > 1:
        info |= {"label": sentence(parts[-2], str(path)), "labels": [sentence(part, str(path)) for part in parts[:-1]]}
    said, texts = path.with_suffix(".txt"), None
    if said.is_file():
        if said.stat().st_size > _TEXT_BYTES:
            raise DataError(f"{said}: {said.stat().st_size} bytes; it must be {_TEXT_BYTES} at most", "too large")
        lines = said.read_text("utf-8-sig", "surrogateescape").splitlines()
        texts = [sentence(line, str(said)) for line in lines if line.strip()] or None
    return Record(key_of(*parts[:-1], path.stem), path, texts, info)


def read_table(images, problems, table, image_column=None, text_column=None, split=None):
    """images: the folder that names of pictures start from   table: .csv or .tsv   columns: by name, where not found"""

    def makers():
        with open(table, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            head = file.readline()
            between = max("\t,;|", key=head.count) if head.strip() else ","
            [names] = csv.reader([head], delimiter=between, skipinitialspace=True) or [[]]
            image = _column(table, names, image_column, _IMAGE, "--image-column")
            text = _column(table, names, text_column, _TEXT, "--text-column")
            rows = _rows(
                csv.reader(file, delimiter=between, skipinitialspace=True), max(image, text), table.name, problems
            )
            for name, group in itertools.groupby(rows, key=lambda row: row[1][image].strip()):
                said = [(where, row[text]) for where, row in group]
                yield lambda name=name, said=said: _row(images, name, said, split)

    return good(makers(), problems), None


def _column(table, names, wanted, known, option):
    """The place of a column."""
    plain = [name.strip().lower() for name in names]
    for name in [wanted.lower()] if wanted else known:
        if name in plain:
            return plain.index(name)
    had = ", ".join(names)[:200]
    raise DataError(f"{table}: its first line has the columns {had!r}; name one of them with {option}", "bad file")


def _rows(reader, last, name, problems):
    """(where, row) of each line that is whole."""
    while True:
        where = f"{name}: line {reader.line_num + 2}"
        try:
            row = next(reader, None)
            if row is None:
                return
            if len(row) > last:
                yield where, row
            elif row:
                raise DataError(f"{where}: {len(row)} columns; it must have at least {last + 1}", "bad record")
        except csv.Error as error:
            problems.add(DataError(f"{where}: {error}", "bad record"))
        except DataError as error:
            problems.add(error)


def _row(images, name, said, split):
    where = said[0][0]
    texts = [sentence(text, where) for where, text in said]
    path = inside(images, sentence(name, where), where)
    return Record(key_of(name.rpartition(".")[0] or name), path, texts, {"split": split} if split else {})
