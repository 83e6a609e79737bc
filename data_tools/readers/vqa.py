"""VQA v2: questions about COCO's pictures, and ten people's answers to each.

    v2_OpenEnded_mscoco_train2014_questions.json    {"data_subtype": "train2014", "questions":
        [{"image_id": 458752, "question": "What is this photo taken looking through?", "question_id": 458752000}, ...]}
    v2_mscoco_train2014_annotations.json            {"annotations":
        [{"question_id": 458752000, "image_id": 458752, "question_type": "what is this", "answer_type": "other",
          "answers": [{"answer": "net", "answer_confidence": "maybe", "answer_id": 1}, ...], ...}, ...]}

A record is a picture with all of its questions, in info: id, question, answers (as people gave them), kind (yes/no,
number, other), type. It has no captions: train with --set questions=1.
"""

from data_tools.readers.json_items import items
from data_tools.readers.record import DataError, Record, good, sentence, split_of, take


def read(images, problems, questions, annotations, split=None):
    """images: the folder of COCO's pictures   questions, annotations: the JSON files of one split"""
    split = split or split_of(annotations)
    answers, pictures = {}, {}
    for _, item in items(annotations, "annotations"):
        _count(problems, lambda item=item: answers.update(_answers(item, annotations.name)))
    for _, item in items(questions, "questions"):
        _count(problems, lambda item=item: _ask(item, answers, pictures, questions.name))

    def record(number):
        name = f"COCO_{split}2014_{number:012d}.jpg"
        names = [name, f"{number:012d}.jpg", f"{split}2014/{name}", f"{split}2017/{number:012d}.jpg"]
        path = next((images / one for one in names if (images / one).is_file()), None)
        if path is None:
            raise DataError(
                f"{questions.name}: image {number} is not in {images}, as {name} or {names[1]}", "no picture"
            )
        return Record(f"{number:012d}", path, None, {"image_id": number, "split": split, "questions": pictures[number]})

    return good((lambda number=number: record(number) for number in pictures), problems), len(pictures)


def _count(problems, do):
    try:
        do()
    except DataError as error:
        problems.add(error)


def _answers(item, name):
    where = f"{name}: question {str(item.get('question_id') if isinstance(item, dict) else item)[:20]}"
    said = [sentence(take(one, "answer", str, where), where) for one in take(item, "answers", list, where)]
    if not said:
        raise DataError(f"{where}: it has no answer", "no answer")
    kinds = {"kind": item.get("answer_type"), "type": item.get("question_type")}
    return {take(item, "question_id", int, where): (said, {k: v for k, v in kinds.items() if isinstance(v, str)})}


def _ask(item, answers, pictures, name):
    where = f"{name}: question {str(item.get('question_id') if isinstance(item, dict) else item)[:20]}"
    number, image = take(item, "question_id", int, where), take(item, "image_id", int, where)
    asked = sentence(take(item, "question", str, where), where)
    if number not in answers:
        raise DataError(f"{where}: it is not among the annotations", "no answer")
    if not 0 <= image < 10**12:
        raise DataError(f"{where}: image_id is {image}; it must have at most 12 digits", "bad record")
    said, kinds = answers[number]
    pictures.setdefault(image, []).append({"id": number, "question": asked, "answers": said, **kinds})
