"""Small sets in exactly the form in which the large ones were published, each with some records that are broken.

write(name, folder) -> (arguments of data_tools.convert, what must come out: {key: captions}, what is counted)
"""

import io
import json
import pickle  # to write what others have published; nothing here reads it
import zlib

from PIL import Image


def picture(path, colour=(200, 30, 30), size=(48, 36), kind=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", size, colour)
    image.paste((255, 255, 255), (size[0] // 4, size[1] // 4, size[0] // 2, size[1] // 2))
    out = io.BytesIO()
    image.save(out, kind or {".png": "PNG", ".webp": "WEBP", ".gif": "GIF"}.get(path.suffix, "JPEG"))
    path.write_bytes(out.getvalue())
    return path


def dump(path, what):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(what), encoding="utf-8")
    return path


def coco_image(number, name=None, size=(48, 36)):
    return {
        "license": 3,
        "file_name": name or f"{number:012d}.jpg",
        "coco_url": f"http://images.cocodataset.org/val2017/{number:012d}.jpg",
        "height": size[1],
        "width": size[0],
        "date_captured": "2013-11-14 17:02:52",
        "flickr_url": "http://farm7.staticflickr.com/6116/6255196340_da26cf2c9e_z.jpg",
        "id": number,
    }


COCO_HEAD = {
    "info": {"description": "COCO 2017 Dataset", "url": "http://cocodataset.org", "version": "1.0", "year": 2017},
    "licenses": [{"url": "http://creativecommons.org/licenses/by-nc-sa/2.0/", "id": 1, "name": "Attribution"}],
}
CATEGORIES = [
    {"supercategory": "person", "id": 1, "name": "person"},
    {"supercategory": "kitchen", "id": 51, "name": "bowl"},
]


def coco_captions(folder):
    for number in (9, 25, 30, 34):
        picture(folder / "val2017" / f"{number:012d}.jpg", (number * 5, 90, 10))
    (folder / "val2017" / "000000000034.jpg").write_bytes(b"\xff\xd8\xff and no more")
    captions = [
        (9, 1, "Closeup of bins of food that include broccoli and bread."),
        (25, 2, "A giraffe eating food from the top of the tree.\n"),
        (9, 3, "A meal is presented in brightly colored plastic trays."),
        (77, 4, "of a picture that is not in the list"),
        (25, 5, 17),
        (36, 6, "of a picture whose file is not there"),
        (34, 7, "of a picture that is none"),
    ]
    annotations = [{"image_id": i, "id": n, "caption": text} for i, n, text in captions]
    images = [coco_image(n) for n in (9, 25, 30, 34, 36)]
    path = dump(folder / "captions_val2017.json", {**COCO_HEAD, "images": images, "annotations": annotations})
    expected = {
        "000000000009": [captions[0][2], captions[2][2]],
        "000000000025": ["A giraffe eating food from the top of the tree."],
    }
    counted = {"no picture": 2, "bad text": 1, "no caption": 1, "broken picture": 1}
    return ["coco", "--images", folder / "val2017", "--captions", path], expected, counted


def coco_instances(folder):
    picture(folder / "val2017" / "000000000009.jpg")
    picture(folder / "val2017" / "000000000025.jpg")
    square = [12, 9, 24, 9, 24, 18, 12, 18]
    crowd = {"counts": [0, 36 * 24, 36 * 24], "size": [36, 48]}
    annotations = [
        instance(1, 9, 51, [12, 9, 12, 9], [square], 108.0),
        instance(2, 9, 1, [0.5, 0, 24.25, 36], crowd, 864.0, iscrowd=1),
        instance(3, 9, 90, [0, 0, 4, 4], [square], 16),
        instance(4, 9, 51, [0, 0, 4], [square], 16),
        instance(5, 9, 51, [0, 0, -4, 4], [square], 16),
        instance(6, 9, 51, [0, 0, 4, 4], {"counts": [5], "size": [36, 48]}, 16),
        instance(7, 99, 51, [0, 0, 4, 4], [square], 16),
    ]
    whole = {
        **COCO_HEAD,
        "images": [coco_image(9), coco_image(25)],
        "annotations": annotations,
        "categories": CATEGORIES,
    }
    path = dump(folder / "instances_val2017.json", whole)
    counted = {"bad record": 1, "bad box": 2, "bad mask": 1, "no picture": 1}
    return (
        ["coco", "--images", folder / "val2017", "--instances", path],
        {"000000000009": [], "000000000025": []},
        counted,
    )


def instance(number, image, category, bbox, segmentation, area, iscrowd=0):
    return {
        "segmentation": segmentation,
        "area": area,
        "iscrowd": iscrowd,
        "image_id": image,
        "bbox": bbox,
        "category_id": category,
        "id": number,
    }


def flickr_tokens(folder):
    for name in ("1000092795.jpg", "10002456.jpg"):
        picture(folder / "flickr30k-images" / name)
    lines = [
        "1000092795.jpg#0\tTwo young guys with shaggy hair look at their hands .",
        "1000092795.jpg#1\tTwo young , White males are outside near many bushes .",
        "10002456.jpg#0\tSeveral men in hard hats are operating a giant pulley system .",
        "10002456.jpg#1 no tab here",
        "10002456.jpg#2\t",
        "../secret.jpg#0\tout of the folder",
        "404.jpg#0\tno such picture",
    ]
    path = folder / "results_20130124.token"
    path.write_bytes("\n".join(lines).encode() + b"\n10002456.jpg#3\tnot \xff UTF-8\n")
    expected = {
        "1000092795": [line.split("\t")[1] for line in lines[:2]],
        "10002456": [lines[2].split("\t")[1]],
    }
    counted = {"bad record": 1, "bad text": 2, "bad name": 1, "no picture": 1}
    return ["flickr30k", "--images", folder / "flickr30k-images", "--captions", path], expected, counted


def karpathy(folder):
    picture(folder / "images" / "val2014" / "COCO_val2014_000000391895.jpg")
    sentence = {
        "tokens": ["a", "man"],
        "raw": "A man with a red helmet on a small moped.",
        "imgid": 0,
        "sentid": 770337,
    }
    images = [
        {
            "filepath": "val2014",
            "sentids": [770337],
            "filename": "COCO_val2014_000000391895.jpg",
            "imgid": 0,
            "split": "test",
            "sentences": [sentence],
            "cocoid": 391895,
        },
        {"filepath": "val2014", "filename": "x.jpg", "split": "test", "sentences": [], "imgid": 1},
        {"filename": "/etc/passwd", "split": "train", "sentences": [sentence], "imgid": 2},
        {"filename": "no.jpg", "split": 5, "sentences": [sentence], "imgid": 3},
        "not an object",
    ]
    path = dump(folder / "dataset_coco.json", {"images": images, "dataset": "coco"})
    expected = {"COCO_val2014_000000391895": [sentence["raw"]]}
    counted = {"no caption": 1, "bad name": 1, "bad text": 1, "bad record": 1}
    return ["flickr30k", "--images", folder / "images", "--captions", path], expected, counted


def conceptual(folder):
    addresses = [f"http://lh{n}.ggpht.com/-Iv/AAA/s1600/photo{n}.jpg" for n in range(6)]
    captions = [f"a very typical bus station number {n}" for n in range(6)]
    for name in (str(zlib.crc32(addresses[0].encode())), "00000001.jpg", "2.png", "photo3.jpg"):
        picture(folder / "training" / name)
    picture(folder / "training" / "4.gif")
    lines = [f"{caption}\t{address}" for caption, address in zip(captions, addresses, strict=True)]
    path = folder / "Train_GCC-training.tsv"
    path.write_text("\n".join([*lines, "no address", "\thttp://a/2.png"]) + "\n", encoding="utf-8")
    keys = {f"cc-{n}-{zlib.crc32(addresses[n].encode()):08x}": [captions[n]] for n in range(5)}
    return (
        ["conceptual", "--images", folder / "training", "--tsv", path],
        keys,
        {"no picture": 1, "bad record": 1, "bad text": 1},
    )


def vqa(folder):
    picture(folder / "train2014" / "COCO_train2014_000000458752.jpg")
    asked = [
        (458752000, 458752, "What is this photo taken looking through?"),
        (458752001, 458752, "What position is this man playing?"),
        (262146000, 262146, "What color is the snow?"),
        (458752009, 458752, "Who has no answer?"),
        (458752010, 458752, ["no text"]),
    ]
    questions = [{"image_id": i, "question": q, "question_id": n} for n, i, q in asked]
    annotations = [
        {
            "question_type": "what is this" if n % 2 == 0 else "what",
            "multiple_choice_answer": "net",
            "answers": [
                {"answer": a, "answer_confidence": "yes", "answer_id": k + 1}
                for k, a in enumerate(["net"] * 9 + ["cage"])
            ],
            "image_id": i,
            "answer_type": "other",
            "question_id": n,
        }
        for n, i, _ in (*asked[:3], asked[4])
    ]
    annotations += [{"question_id": 5, "image_id": 458752, "answers": [{"answer": 3}]}, 17]
    head = {"info": {}, "data_type": "mscoco", "data_subtype": "train2014", "license": {}}
    asked = {**head, "task_type": "Open-Ended", "questions": questions}
    words = ["vqa", "--images", folder / "train2014"]
    words += ["--questions", dump(folder / "v2_OpenEnded_mscoco_train2014_questions.json", asked)]
    answers = dump(folder / "v2_mscoco_train2014_annotations.json", {**head, "annotations": annotations})
    counted = {"no picture": 1, "no answer": 1, "bad record": 3}
    return [*words, "--annotations", answers], {"000000458752": []}, counted


def visual_genome(folder):
    picture(folder / "VG_100K_2" / "1.jpg")
    picture(folder / "2.jpg")

    def thing(number, name, **more):
        place = {"x": 4, "y": 5, "w": 20, "h": 10}
        return {
            "synsets": [f"{name}.n.01"],
            "object_id": number,
            "merged_object_ids": [],
            "names": [name],
            **place,
            **more,
        }

    address = "https://cs.stanford.edu/people/rak248/VG_100K_2/"
    meta = [
        {"width": 48, "url": f"{address}{n}.jpg", "height": 36, "image_id": n, "coco_id": None, "flickr_id": None}
        for n in (1, 2, 3)
    ]
    clock, tree = thing(1058498, "clock"), thing(1058508, "trees")
    phrase = "the clock is green in colour"
    region = {"region_id": 1382, "width": 12, "height": 13, "image_id": 1, "phrase": phrase, "y": 7, "x": 2}
    relation = {"predicate": "BESIDE", "object": tree, "relationship_id": 15927, "synsets": ["along.r.01"]}
    older = {**{k: v for k, v in thing(5046, "shade").items() if k != "names"}, "name": "shade"}
    files = {
        "image_data": meta,
        "region_descriptions": [
            {"id": 1, "regions": [region, {**region, "phrase": "bikes are parked"}, {**region, "phrase": ""}]},
            {"id": 2, "regions": [{**region, "image_id": 2, "phrase": "a road"}, {**region, "x": None}]},
        ],
        "objects": [{"image_id": 1, "objects": [clock, tree, {"object_id": 3}], "image_url": address}],
        "attributes": [{"image_id": 1, "attributes": [{**clock, "attributes": ["green", "tall"]}]}],
        "relationships": [{"image_id": 1, "relationships": [{**relation, "subject": s} for s in (clock, older)]}],
        "question_answers": [
            {"id": 1, "qas": [{"a_objects": [], "question": "What color is the clock?", "image_id": 1, "qa_id": 986768,
                               "answer": "Green.", "q_objects": []}]},
            {"qas": []},
        ],
    }  # fmt: skip
    for name, what in files.items():
        dump(folder / f"{name}.json", what)
    expected = {"1": ["the clock is green in colour", "bikes are parked"], "2": ["a road"]}
    counted = {"bad text": 2, "bad record": 2, "no caption": 1}
    return ["visual-genome", "--images", folder, "--annotations", folder], expected, counted


def refs():
    def sentence(number, text):
        return {"tokens": text.split(), "raw": text, "sent_id": number, "sent": text}

    def ref(number, annotation, split, *texts, image=581857):
        return {
            "sent_ids": list(range(len(texts))),
            "file_name": f"COCO_train2014_{image:012d}_{annotation}.jpg",
            "ann_id": annotation,
            "ref_id": number,
            "image_id": image,
            "split": split,
            "sentences": [sentence(n, text) for n, text in enumerate(texts)],
            "category_id": 1,
        }

    return [
        ref(0, 1719310, "train", "navy blue shirt", "woman back in blue"),
        ref(1, 1719311, "train", "bowl"),
        ref(2, 1719310, "testA", "she"),
        ref(3, 404, "train", "of no annotation"),
        ref(4, 1719310, "train"),
        ref(5, 1719310, "train", "of no picture", image=7),
    ]


def of_python_2(what):
    """A pickle as Python 2 wrote it, protocol 0: its texts are bytes in quotation marks."""
    if isinstance(what, list):
        return b"(l" + b"".join(of_python_2(item) + b"a" for item in what)
    if isinstance(what, dict):
        return b"(d" + b"".join(of_python_2(part) for pair in what.items() for part in pair + (...,))
    return {int: f"I{what}\n", str: f"S{what!r}\n", type(...): "s"}[type(what)].encode()


def refcoco(folder, form="pickle"):
    picture(folder / "train2014" / "COCO_train2014_000000581857.jpg")
    square = [[12, 9, 24, 9, 24, 18, 12, 18]]
    annotations = [
        instance(1719310, 581857, 1, [12, 9, 12, 9], square, 108.0),
        instance(1719311, 581857, 51, [12, 9, 12, 9], square, 108.0),
    ]
    images = [coco_image(581857, "COCO_train2014_000000581857.jpg")]
    whole = {**COCO_HEAD, "images": images, "annotations": annotations, "categories": CATEGORIES}
    if form == "json":
        path = dump(folder / "refs(unc).json", refs())
    else:
        path = folder / "refs(unc).p"
        path.write_bytes(of_python_2(refs()) + b"." if form == "Python 2" else pickle.dumps(refs(), protocol=2))
    words = ["refcoco", "--images", folder / "train2014", "--refs", path]
    name = "COCO_train2014_000000581857"
    counted = {"bad record": 1, "no caption": 1, "no picture": 1}
    expected = {f"{name}-train": [], f"{name}-testA": []}
    return [*words, "--instances", dump(folder / "instances.json", whole)], expected, counted


def videos(folder):
    for n in range(12):
        picture(folder / "frames" / "video0" / f"frame{n}.jpg", (20 * n, 0, 0))
    (folder / "frames" / "video2").mkdir(parents=True)
    listed = [
        {"category": 9, "url": "https://www.youtube.com/watch?v=9lZi22qLlEo", "video_id": f"video{n}",
         "start time": 137.72, "end time": 149.44, "split": "validate" if n == 0 else "train", "id": n}
        for n in range(4)
    ]  # fmt: skip
    listed.append({"video_id": "../video0", "split": "train"})
    said = [
        ("video0", "a car is shown"),
        ("video0", "a group is dancing"),
        ("video1", "x"),
        ("video2", "y"),
        ("../video0", "z"),
    ]
    sentences = [{"caption": text, "video_id": v, "sen_id": n} for n, (v, text) in enumerate(said)]
    path = dump(
        folder / "train_val_videodatainfo.json", {"info": {"year": "2016"}, "videos": listed, "sentences": sentences}
    )
    expected = {"video0": ["a car is shown", "a group is dancing"]}
    counted = {"no picture": 2, "no caption": 1, "bad name": 1}
    return ["videos", "--frames", folder / "frames", "--videos", path, "--count", "4"], expected, counted


def folder_of_pictures(folder):
    picture(folder / "mine" / "dog" / "my dog.1.jpg")
    (folder / "mine" / "dog" / "my dog.1.txt").write_text("a dog runs\n\n a brown  dog \n", encoding="utf-8")
    picture(folder / "mine" / "dog" / "two.png")
    picture(folder / "mine" / "cat" / "one.webp")
    picture(folder / "mine" / "alone.bmp", kind="BMP")
    (folder / "mine" / "cat" / "broken.jpg").write_bytes(b"no picture")
    (folder / "mine" / "notes.md").write_text("not a picture")
    expected = {"dog-my_dog_1": ["a dog runs", "a brown dog"], "dog-two": [], "cat-one": [], "alone": []}
    return ["folder", "--images", folder / "mine"], expected, {"broken picture": 1}


def table(folder):
    for name in ("1.jpg", "two words.jpg"):
        picture(folder / "images" / name)
    rows = [
        "caption,image",
        '"a dog, running",1.jpg',
        "a brown dog,1.jpg",
        "two cats,two words.jpg",
        "only one column",
        ",1.jpg",
        "no file,3.jpg",
        "elsewhere,../../secret.jpg",
    ]
    path = folder / "captions.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    expected = {"1": ["a dog, running", "a brown dog"], "two_words": ["two cats"]}
    counted = {"bad record": 1, "bad text": 1, "no picture": 1, "bad name": 1}
    return ["table", "--images", folder / "images", "--table", path], expected, counted


SETS = {
    "COCO captions": coco_captions,
    "COCO instances": coco_instances,
    "Flickr30k": flickr_tokens,
    "Karpathy": karpathy,
    "Conceptual Captions": conceptual,
    "VQA v2": vqa,
    "Visual Genome": visual_genome,
    "RefCOCO": refcoco,
    "RefCOCO, Python 2": lambda folder: refcoco(folder, "Python 2"),
    "RefCOCO, JSON": lambda folder: refcoco(folder, "json"),
    "MSR-VTT": videos,
    "folder": folder_of_pictures,
    "table": table,
}


def write(name, folder):
    words, expected, counted = SETS[name](folder)
    return [str(word) for word in words], expected, counted
