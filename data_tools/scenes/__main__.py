"""Scenes for every task of the papers, from one record each: drawn shapes, or real cut-outs on backgrounds.

    python -m data_tools.scenes --out drawn                                     # coloured shapes; nothing is needed
    python -m data_tools.scenes --out composites --things stamps emoji/google emoji/twitter
    python -m data_tools.scenes --out composites --things stamps --backgrounds tuxpaint --clips 5000 --episodes 5000
    python -m data_tools.scenes --out drawn --coco                              # and drawn/scenes-train.coco.json, ...

It writes WebDataset shards and dataset.json: scenes-*.tar, clips-*.tar and episodes-*.tar, each with the splits train,
validation and test (a tenth as many). What the JSON of an example holds:

    scenes      labels, translations (the six captions in each language), negatives (captions that are nearly right),
                objects (label, bbox, area, segmentation as COCO's RLE, attributes), relations (subject, predicate,
                object), regions (phrase, bbox), expressions (phrases that fit one object only), questions (question,
                answers, kind), words (what is written, and where)
    clips       frames (the picture is a strip of them), moves, tracks (the objects in each frame), questions, ...
    episodes    frames, episode: the class, and for each picture its mask, box and caption; the last is the query

Things are stamps and emoji made by data_tools.stamps and data_tools.emoji (with --size 64), and "shapes". Validation
and test show pairs of things that training never shows together, other pictures of the same nouns, and other
photographs. The same command goes on where it was stopped, and gives the same bytes.
"""

import argparse
import itertools
import sys
import time

from tqdm import tqdm

from data_tools.inspect import licences
from data_tools.scenes import backgrounds, clips, coco, episodes, examples
from data_tools.scenes.cutouts import SPLITS, Pool
from data_tools.scenes.grammar import LANGUAGES
from minivl.data.shard_writer import described
from minivl.data.shards import DataError, ShardWriter

VERSION = 1  # raise it when the same arguments make other shards, so that finished ones are made anew


def make(out, things=("shapes",), counts=None, *, side=96, seed=0, languages=LANGUAGES, photos=None, words=True, k=3):
    """Writes what `counts` asks for into the folder `out`; what is there already, made the same way, is left.

    counts   {"scenes": how many for training, "clips": ..., "episodes": ...}; validation and test are a tenth of it
    photos   {split: photographs}, see `backgrounds.load`
    """
    pool, photos = Pool(things, words), photos or {}
    recipe = {"version": VERSION, "seed": seed, "side": side, "languages": list(languages), "words": words}
    recipe |= {"things": pool.fingerprint(), "photos": backgrounds.fingerprint(photos)}
    terms = [f"{name}: {text}" for thing in things for name, text in licences(thing)]
    about = {"source": "drawn by data_tools.scenes", "licence": "; ".join(terms) or "none needed: drawn shapes"}
    makers = {
        "scenes": lambda split, i: examples.example(pool, seed, split, i, side, languages, photos.get(split, ())),
        "clips": lambda split, i: clips.example(pool, seed, split, i, side, languages),
        "episodes": lambda split, i: episodes.example(pool, seed, split, i, side, k, photos.get(split, ())),
    }
    for prefix, count in (counts or {"scenes": 10_000}).items():
        numbers = {"train": count, "validation": -(-count // 10), "test": -(-count // 10)}
        whole = {**about, "recipe": {**recipe, "counts": numbers, **({"k": k} if prefix == "episodes" else {})}}
        if count and (described(out, prefix) or {}).get("recipe") != whole["recipe"]:
            _write(out, prefix, whole, makers[prefix], numbers)


def _write(out, prefix, about, maker, numbers):
    every, begun = [(split, i) for split in SPLITS for i in range(numbers[split])], time.process_time()
    with ShardWriter(out, prefix=prefix, about=about, resume=True) as shards:
        done = shards.done
        for split, i in tqdm(itertools.islice(every, done, None), prefix, len(every), initial=done):
            key, picture, captions, info = maker(split, i)
            shards.write(key, picture if isinstance(picture, bytes) else examples.png(picture), captions, info)
        made = len(every) - done
    taken = max(1e-9, time.process_time() - begun)  # one thread does all of it
    print(f"{prefix}: {len(every):,} examples; {made:,} made now, {made / taken:.0f} a second of processor time")


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m data_tools.scenes",
        description=__doc__.split("\n\n")[0],
        epilog="\n\n".join(__doc__.split("\n\n")[1:]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="where the shards go")
    parser.add_argument(
        "--things", nargs="+", default=["shapes"], metavar="SHARDS", help="shapes, and shards of stamps and emoji"
    )
    parser.add_argument("--scenes", type=int, default=10_000, metavar="N", help="scenes for training (10,000)")
    parser.add_argument("--clips", type=int, default=0, metavar="N", help="moving clips for training (none)")
    parser.add_argument("--episodes", type=int, default=0, metavar="N", help="in-context episodes for training (none)")
    parser.add_argument(
        "--examples", type=int, default=3, metavar="K", help="examples before the query, in episodes (3)"
    )
    parser.add_argument("--size", type=int, default=96, help="pixels of a side (96)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other scenes")
    parser.add_argument("--languages", default=",".join(LANGUAGES), help=f"captions in these of {', '.join(LANGUAGES)}")
    parser.add_argument(
        "--backgrounds", metavar="FOLDER", help="photographs; or tuxpaint: those of a Debian package; or its .deb"
    )
    parser.add_argument("--no-words", action="store_true", help="nothing is written in the pictures")
    parser.add_argument(
        "--coco", action="store_true", help="also scenes-SPLIT.coco.json: boxes and masks in COCO's form"
    )
    chosen = parser.parse_args(arguments)
    try:
        _run(chosen)
    except (DataError, OSError) as error:
        print(f"scenes: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("scenes: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def _run(chosen):
    languages = [language.strip() for language in chosen.languages.split(",") if language.strip()]
    for name, least in (("scenes", 0), ("clips", 0), ("episodes", 0), ("examples", 1), ("size", 48), ("seed", 0)):
        if getattr(chosen, name) < least:
            raise DataError(f"--{name}: {getattr(chosen, name)}; must be at least {least}")
    if strange := [language for language in languages if language not in LANGUAGES]:
        raise DataError(f"--languages: {strange[0]!r} is none of {', '.join(LANGUAGES)}")
    cache = f"{chosen.out}/downloads"
    photos = backgrounds.load(chosen.backgrounds, cache, chosen.size) if chosen.backgrounds else None
    counts = {name: getattr(chosen, name) for name in ("scenes", "clips", "episodes")}
    options = {"side": chosen.size, "seed": chosen.seed, "languages": languages, "photos": photos}
    make(chosen.out, chosen.things, counts, **options, words=not chosen.no_words, k=chosen.examples)
    if chosen.coco and chosen.scenes:
        coco.export(chosen.out, "scenes", described(chosen.out, "scenes")["licence"])


if __name__ == "__main__":
    sys.exit(main())
