"""How good is it: one file for each kind of task, each on plain dicts, with its equations and where they are from."""

from minivl.metrics.captioning import caption_scores
from minivl.metrics.detection import detection_scores, frequency_groups
from minivl.metrics.overlap import box_iou, mask_iou
from minivl.metrics.retrieval import nearest_neighbour, retrieval_scores
from minivl.metrics.segmentation import mean_iou
from minivl.metrics.vqa import vqa_scores

__all__ = [
    "box_iou",
    "caption_scores",
    "detection_scores",
    "frequency_groups",
    "mask_iou",
    "mean_iou",
    "nearest_neighbour",
    "retrieval_scores",
    "vqa_scores",
]
