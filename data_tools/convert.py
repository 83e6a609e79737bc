"""Makes WebDataset shards of the sets that people have already, in the form in which they were published.

    python -m data_tools.convert coco --images train2017 --captions captions_train2017.json --out coco
    python -m data_tools.convert coco --images val2017 --instances instances_val2017.json --out coco --size 256
    python -m data_tools.convert flickr30k --images flickr30k-images --captions results_20130124.token --out flickr30k
    python -m data_tools.convert conceptual --images training --tsv Train_GCC-training.tsv --out cc3m
    python -m data_tools.convert vqa --images train2014 --questions Q.json --annotations A.json --out vqa
    python -m data_tools.convert visual-genome --images VG --annotations VG --out vg
    python -m data_tools.convert refcoco --images train2014 --refs "refs(unc).p" --instances instances.json --out ref
    python -m data_tools.convert videos --frames frames --videos train_val_videodatainfo.json --out msrvtt
    python -m data_tools.convert folder --images my-pictures --out mine
    python -m data_tools.convert table --images my-pictures --table captions.csv --out mine

It writes SET-00000.tar, ... and dataset.json: source, licence, counts, splits, fields, the sha256 of each shard and of
each annotation file, and what was skipped and why. A record that is broken (no picture, no caption, a box that is none)
is counted and left out. What was stopped goes on where it was when the same command is given again, and gives the same
bytes; what is finished is not made twice. --size makes pictures smaller; without it their files are stored as they are.
"""

import argparse
import io
import sys
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from data_tools.readers import coco, conceptual, karpathy, refcoco, tables, video_list, visual_genome, vqa
from data_tools.readers.record import DataError, Problems
from minivl.data.image import to_rgb
from minivl.data.shard_writer import described, file_sha256
from minivl.data.shards import MAX_PICTURE, MAX_PIXELS, ShardWriter, decode_image

VERSION = 1  # raise it when the same files make other shards, so that finished ones are made anew
_CLIP_SIDE = 112  # of a frame, where no --size is given

LICENCES = {
    "coco": "annotations CC BY 4.0; pictures under Flickr's terms of use (cocodataset.org)",
    "flickr30k": "captions and pictures for research, pictures under Flickr's terms of use (see the makers' page)",
    "conceptual": "captions free to use; pictures belong to the owners of the pages that show them",
    "vqa": "annotations CC BY 4.0; pictures as COCO's (visualqa.org)",
    "visual-genome": "annotations CC BY 4.0; pictures as COCO's and YFCC100M's (visualgenome.org)",
    "refcoco": "not stated by the makers; pictures as COCO's",
    "videos": "not stated here: see the makers' page",
    "folder": "not said",
    "table": "not said",
}


def convert(name, reader, out, *, prefix=None, size=None, per_shard=1000, licence=None, **options):
    """Writes the shards of one set into the folder `out`; returns the `Problems` met. Finished ones are left.

    name     of the set, as in LICENCES          reader   read(**options, problems) -> (records, how many or None)
    size     the shorter side of the stored pictures; None: files are stored as they are
    """
    prefix = prefix or name
    files = {str(path): file_sha256(path) for path in options.values() if isinstance(path, Path) and path.is_file()}
    said = {key: value for key, value in options.items() if not isinstance(value, Path) and value is not None}
    recipe = {
        "version": VERSION,
        "size": size,
        "options": said,
        "files": {Path(p).name: digest for p, digest in files.items()},
    }
    problems = Problems()
    entry = described(out, prefix)
    if entry and entry.get("recipe") == recipe:
        print(f"{out}/{prefix}-*.tar are there already: {entry['examples']} examples", file=sys.stderr)
        return problems
    about = {"source": name, "licence": licence or LICENCES[name], "recipe": recipe}
    records, count = reader(problems=problems, **options)
    with ShardWriter(out, per_shard, prefix, about, resume=True) as shards:
        written, keys = set(shards.keys), set()
        for record in tqdm(records, prefix, count, unit="record", smoothing=0.05):
            key = _unused(record.key, keys)
            if key in written:
                continue
            try:
                shards.write(key, _stored(record, size), record.captions, record.info)
            except DataError as error:
                problems.add(DataError(f"{record.key}: {error}", error.kind))
        if not shards.done:
            raise DataError(f"{name}: not one record could be used; {problems}", "empty")
        shards.found["skipped"] = dict(sorted(problems.items()))
    return problems


def _unused(key, keys):
    """The key, or the key with a number where another record has it."""
    n, wanted = 1, key
    while key in keys:
        n += 1
        key = f"{wanted[:90]}-{n}"
    keys.add(key)
    return key


# ---- pictures --------------------------------------------------------------------------------------------------------


def _stored(record, size):
    """What is stored of a record's picture: the bytes of its file, a smaller picture, a strip of frames, or None."""
    if record.picture is None:
        return None
    if isinstance(record.picture, list):
        return _strip([_open(path) for path in record.picture], size or _CLIP_SIDE)
    content = _read(record.picture)
    if size is None and content[:4] != b"GIF8":
        try:
            image = Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP"))
            if image.width * image.height <= MAX_PIXELS:
                return content
        except Exception:  # another format, or none: what follows knows, and says so
            pass
    picture = _decoded(content)
    return picture if size is None else _jpeg(_smaller(picture, size))


def _read(path):
    try:
        if path.stat().st_size > MAX_PICTURE:
            raise DataError(f"{path}: {path.stat().st_size} bytes; it must be {MAX_PICTURE} at most", "too large")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: {getattr(error, 'strerror', None) or error}", "no picture") from error


def _open(path):
    return _decoded(_read(path))


def _decoded(content):
    """Bytes of a picture file -> RGB. Besides what shards may hold: GIF (its first frame), BMP and TIFF."""
    if content[:4] not in (b"GIF8", b"II*\0", b"MM\0*") and content[:2] != b"BM":
        return decode_image(content)
    try:
        picture = Image.open(io.BytesIO(content), formats=("GIF", "BMP", "TIFF"))
        if picture.width * picture.height > MAX_PIXELS:
            raise DataError(
                f"picture: {picture.width} x {picture.height} is more than {MAX_PIXELS} pixels", "too many pixels"
            )
        picture.load()
        return to_rgb(picture)
    except DataError:
        raise
    except Exception as error:  # Pillow's readers raise many types on bytes made to break them
        raise DataError(f"picture: cannot be decoded ({type(error).__name__}: {error})", "broken picture") from error


def _smaller(picture, size):
    """The picture with its shorter side at most `size`."""
    scale = size / min(picture.size)
    shape = tuple(max(1, round(side * scale)) for side in picture.size)
    return picture.resize(shape, Image.Resampling.BICUBIC) if scale < 1 else picture


def _strip(frames, size):
    """Frames one below the other, all of the size of the first."""
    first = _smaller(frames[0], size)
    if first.width * first.height * len(frames) > MAX_PIXELS:
        raise DataError(
            f"{len(frames)} frames of {first.width} x {first.height} are too many pixels", "too many pixels"
        )
    strip = Image.new("RGB", (first.width, first.height * len(frames)))
    for k, frame in enumerate(frames):
        strip.paste(frame.resize(first.size, Image.Resampling.BICUBIC), (0, k * first.height))
    return strip


def _jpeg(picture):
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=92, subsampling=0)
    return out.getvalue()


# ---- the command -----------------------------------------------------------------------------------------------------

READERS = {
    "coco": coco.read,
    "flickr30k": karpathy.read,
    "conceptual": conceptual.read,
    "vqa": vqa.read,
    "visual-genome": visual_genome.read,
    "refcoco": refcoco.read,
    "videos": video_list.read,
    "folder": tables.read_folder,
    "table": tables.read_table,
}
_PATHS = {  # option -> what it is; a * where it may be left out
    "coco": {
        "--images": "folder of the pictures",
        "--captions": "*captions_*.json",
        "--instances": "*instances_*.json",
    },
    "flickr30k": {"--images": "folder of the pictures", "--captions": "results_20130124.token, or Karpathy's JSON"},
    "conceptual": {"--images": "folder of the pictures that were fetched", "--tsv": "captions and addresses"},
    "vqa": {
        "--images": "folder of COCO's pictures",
        "--questions": "questions' JSON",
        "--annotations": "answers' JSON",
    },
    "visual-genome": {"--images": "folder with VG_100K and VG_100K_2", "--annotations": "folder of the JSON files"},
    "refcoco": {
        "--images": "folder of COCO's train2014",
        "--refs": "refs(unc).p or JSON",
        "--instances": "instances.json",
    },
    "videos": {"--frames": "folder with a folder of frames for each video", "--videos": "videos and sentences, JSON"},
    "folder": {"--images": "folder of pictures, a .txt beside each"},
    "table": {"--images": "folder that the names start from", "--table": "CSV or TSV with a line of names first"},
}


def _parser():
    summary, *more = __doc__.split("\n\n")
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m data_tools.convert", description=summary, epilog="\n\n".join(more), formatter_class=form
    )
    sets = parser.add_subparsers(dest="set", required=True, metavar="SET", help=", ".join(READERS))
    for name, paths in _PATHS.items():
        sub = sets.add_parser(name, description=sys.modules[READERS[name].__module__].__doc__, formatter_class=form)
        for option, text in paths.items():
            sub.add_argument(
                option, type=Path, required=not text.startswith("*"), metavar="PATH", help=text.lstrip("*")
            )
        sub.add_argument("--out", required=True, metavar="DIR", help="where the shards go")
        sub.add_argument("--prefix", metavar="NAME", help=f"of the shards (default: {name})")
        sub.add_argument(
            "--size", type=int, metavar="N", help="make the shorter side of pictures N pixels, if it is more"
        )
        sub.add_argument("--licence", metavar="TEXT", help="what dataset.json is to say of it")
        if name not in ("flickr30k", "visual-genome", "refcoco", "videos"):
            sub.add_argument(
                "--split", metavar="NAME", help="of all records (default: what a file's name tells, if it does)"
            )
        if name in ("coco", "refcoco"):
            sub.add_argument("--no-masks", dest="masks", action="store_false", help="leave the masks of objects out")
        if name == "videos":
            sub.add_argument(
                "--count", type=int, default=8, metavar="N", help="frames of a clip (default: %(default)s)"
            )
        if name == "table":
            sub.add_argument("--image-column", metavar="NAME", help="the column of file names")
            sub.add_argument("--text-column", metavar="NAME", help="the column of texts")
    return parser


def main(arguments=None):
    options = vars(_parser().parse_args(arguments))
    name = options.pop("set")
    try:
        for option in ("size", "count"):
            if options.get(option) is not None and not 1 <= options[option] <= 4096:
                raise DataError(f"--{option} {options[option]}: it must be 1 to 4096")
        for path in (value for value in options.values() if isinstance(value, Path)):
            if not path.exists():
                raise DataError(f"{path}: there is no such file or folder")
        convert(name, READERS[name], **options).warn()
    except (DataError, OSError) as error:
        print(f"convert: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("convert: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
