"""Mean IoU of pictures in which every pixel has a class.

With n_ij the pixels of class i, over all pictures, that were called class j (Long, Shelhamer & Darrell 2015, arXiv
1411.4038, sec. 5):

    IoU_i          = n_ii / (sum over j of n_ij + sum over j of n_ji - n_ii)
    mean IoU       = mean of IoU_i over the classes that are there: in the truth, or called so
    pixel accuracy = sum over i of n_ii / sum over i, j of n_ij
"""

import numpy as np


def mean_iou(truth, found, classes, ignore=255):
    """{"mean_iou", "pixel_accuracy", "by_class": {class: IoU}}; a class that is nowhere is in none of them.

    truth, found   {image: (H, W) whole numbers, the class of each pixel: 0 ... classes - 1}, the same images
    ignore         the number in truth of pixels that do not count
    """
    if truth.keys() ^ found.keys() or not truth:
        odd = min(map(str, truth.keys() ^ found.keys()), default="none at all")
        raise ValueError(f"truth, found: must have the same pictures; {odd} is in one of them")
    n = sum(confusion(truth[image], found[image], classes, ignore, image) for image in truth)
    if n.sum() == 0:
        raise ValueError(f"truth: every pixel is {ignore}, and does not count")
    right, union = np.diag(n), n.sum(0) + n.sum(1) - np.diag(n)
    by_class = {int(i): float(right[i] / union[i]) for i in np.flatnonzero(union)}
    scores = {"mean_iou": float(np.mean(list(by_class.values()))), "pixel_accuracy": float(right.sum() / n.sum())}
    return {**scores, "by_class": by_class}


def confusion(truth, found, classes, ignore=255, name="image"):
    """n (classes, classes): the pixels of class i that were called j."""
    truth, found = np.asarray(truth), np.asarray(found)
    if truth.shape != found.shape or truth.dtype.kind not in "iub" or found.dtype.kind not in "iub":
        kinds = f"{truth.dtype} {truth.shape} and {found.dtype} {found.shape}"
        raise ValueError(f"{name}: truth and found are {kinds}; they must be whole numbers of one shape")
    counted = truth != ignore
    truth, found = truth[counted].astype(np.int64), found[counted].astype(np.int64)
    for what, values in (("truth", truth), ("found", found)):
        if values.size and not 0 <= values.min() <= values.max() < classes:
            raise ValueError(f"{name}: {what} has classes {values.min()} to {values.max()}, must be 0 to {classes - 1}")
    return np.bincount(truth * classes + found, minlength=classes**2).reshape(classes, classes)
