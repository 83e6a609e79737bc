"""MSR-VTT and lists of its form: videos, and sentences about them. The frames were taken out of the videos before.

    {"videos": [{"video_id": "video0", "id": 0, "category": 9, "url": "https://...", "start time": 137.72,
                 "end time": 149.44, "split": "train"}, ...],
     "sentences": [{"sen_id": 0, "video_id": "video2960", "caption": "a cartoon animals runs through an ice cave"}]}

    ffmpeg -i video0.mp4 -vf fps=4 frames/video0/%05d.jpg        # the frames of a video, in a folder of its name

A record is a clip: as many frames as are asked for, evenly spaced. Info: frames, video_id, split, category.
"""

import re

from data_tools.readers.json_items import grouped, items
from data_tools.readers.record import DataError, Record, good, inside, key_of, sentence, take

PICTURES = (".jpg", ".jpeg", ".png", ".webp")
_SPLITS = {"validate": "val"}


def read(frames, problems, videos, count=8):
    """frames: the folder with a folder of frames for each video   videos: the JSON file   count: frames of a clip"""
    said = grouped(videos, "sentences", "video_id")
    makers = (lambda item=item: _record(item, said, frames, count, videos.name) for _, item in items(videos, "videos"))
    return good(makers, problems), None


def _record(item, said, frames, count, name):
    number = take(item, "video_id", str, name)
    where = f"{name}: {number[:40]}"
    captions = [sentence(take(one, "caption", str, where), where) for one in said.get(number, ())]
    if not captions:
        raise DataError(f"{where}: it has no sentence", "no caption")
    folder = inside(frames, number, where)
    if not folder.is_dir():
        raise DataError(f"{where}: no folder {folder} with its frames", "no picture")
    files = sorted((path for path in folder.iterdir() if path.suffix.lower() in PICTURES), key=_by_number)
    if not files:
        raise DataError(f"{where}: no frame in {folder}", "no picture")
    chosen = [files[(k * len(files) + len(files) // 2) // count] for k in range(count)]
    info = {"frames": count, "video_id": sentence(number, where)}
    if isinstance(item.get("split"), str):
        info["split"] = _SPLITS.get(item["split"], item["split"])
    if isinstance(item.get("category"), int):
        info["category"] = item["category"]
    return Record(key_of(number), chosen, captions, info)


def _by_number(path):
    """frame2 before frame10"""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.stem)]
