"""How well a predicted mask matches the truth: scores in NumPy for reports and in Keras for training.

A score whose denominator is 0 is 1 if the prediction equals the truth, and 0 otherwise. So a tumor that is missed
completely and a false alarm on a slice without tumor both score 0, except in specificity.
"""

from typing import NamedTuple

import cv2
import keras
import numpy as np
from keras import ops


class Counts(NamedTuple):
    """Pixels by truth and prediction."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int


def count(truth: np.ndarray, prediction: np.ndarray) -> Counts:
    """Confusion counts of two boolean masks of the same shape; ValueError if the shapes differ."""
    if truth.shape != prediction.shape:
        raise ValueError(f"masks of shapes {truth.shape} and {prediction.shape} cannot be compared")
    tp = int(np.count_nonzero(truth & prediction))
    fp = int(np.count_nonzero(prediction)) - tp
    fn = int(np.count_nonzero(truth)) - tp
    return Counts(tp, fp, fn, truth.size - tp - fp - fn)


def _ratio(numerator: int, denominator: int, counts: Counts) -> float:
    if denominator:
        return numerator / denominator
    return float(counts.false_positive == 0 and counts.false_negative == 0)


def dice(counts: Counts) -> float:
    """Dice overlap 2|A∩B| / (|A|+|B|) = 2TP / (2TP+FP+FN).

    Args:
        counts: Confusion counts of two masks.

    Returns:
        The score, in [0, 1]; 1 if both masks are empty.

    Example:
        >>> dice(Counts(true_positive=1, false_positive=3, false_negative=0, true_negative=5))  # 2*1 / (2*1 + 3)
        0.4
    """
    tp, fp, fn, _ = counts
    return _ratio(2 * tp, 2 * tp + fp + fn, counts)


def iou(counts: Counts) -> float:
    """Intersection over union |A∩B| / |A∪B| = TP / (TP+FP+FN).

    Args:
        counts: Confusion counts of two masks.

    Returns:
        The score, in [0, 1]; 1 if both masks are empty.

    Example:
        >>> iou(Counts(true_positive=1, false_positive=3, false_negative=0, true_negative=5))  # 1 / (1 + 3)
        0.25
    """
    tp, fp, fn, _ = counts
    return _ratio(tp, tp + fp + fn, counts)


def precision(counts: Counts) -> float:
    """Fraction of the prediction that is tumor, TP / (TP+FP), in [0, 1]; 0 for a tumor that is missed completely."""
    tp, fp, _, _ = counts
    return _ratio(tp, tp + fp, counts)


def recall(counts: Counts) -> float:
    """Fraction of the tumor that is found, TP / (TP+FN), in [0, 1]; 0 for a false alarm on a slice without tumor."""
    tp, _, fn, _ = counts
    return _ratio(tp, tp + fn, counts)


def specificity(counts: Counts) -> float:
    """Fraction of the pixels without tumor that are not outlined, TN / (TN+FP), in [0, 1]."""
    _, fp, _, tn = counts
    return _ratio(tn, tn + fp, counts)


SCORES = {"dice": dice, "iou": iou, "precision": precision, "recall": recall, "specificity": specificity}


def score(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """All SCORES of a predicted mask.

    Args:
        truth: True mask, bool (height, width).
        prediction: Predicted mask of the same shape, bool.

    Returns:
        Each score by its name, in [0, 1].

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> truth = np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], bool)
        >>> prediction = np.array([[0, 0, 0], [0, 1, 1], [0, 1, 1]], bool)
        >>> score(truth, prediction)  # 2*1 / (1+4), 1/4, 1/4, 1/1 and 5/8
        {'dice': 0.4, 'iou': 0.25, 'precision': 0.25, 'recall': 1.0, 'specificity': 0.625}
    """
    counts = count(truth, prediction)
    return {name: formula(counts) for name, formula in SCORES.items()}


def border(mask: np.ndarray) -> np.ndarray:
    """Pixels of a boolean mask (height, width) with one of four neighbors outside the mask or outside the image."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.astype(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & (inner == 0)


def border_distances(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Euclidean distance in pixels from each pixel of one border to the nearest one of another, float32 (pixels,)."""
    return cv2.distanceTransform((~end).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[start]


def surface_score(truth: np.ndarray, prediction: np.ndarray, tolerance: float) -> dict[str, float]:
    """How far apart the borders of two masks are.

    Args:
        truth: True mask, bool (height, width).
        prediction: Predicted mask of the same shape, bool.
        tolerance: Distance in pixels that surface_dice accepts.

    Returns:
        hd95: 95th percentile of the distances from one border to the other, in pixels; the larger of both directions
            (a robust form of the Hausdorff distance, Huttenlocher 1993).
        average_distance: Mean distance over the pixels of both borders, in pixels.
        surface_dice: Fraction of both borders within the tolerance of the other (Nikolov 2018, arXiv 1809.04430).

        If both masks are empty: 0, 0 and 1. If one is: the diagonal of the image for both distances, and 0.

    Example:
        >>> truth, prediction = np.array([[1, 0, 0, 0]], bool), np.array([[0, 0, 1, 0]], bool)
        >>> surface_score(truth, prediction, tolerance=1)  # each border is one pixel, 2 pixels from the other
        {'hd95': 2.0, 'average_distance': 2.0, 'surface_dice': 0.0}
    """
    if not truth.any() or not prediction.any():
        are_equal = truth.any() == prediction.any()
        worst = 0.0 if are_equal else float(np.hypot(*truth.shape))
        return {"hd95": worst, "average_distance": worst, "surface_dice": float(are_equal)}
    truth, prediction = border(truth), border(prediction)
    there, back = border_distances(truth, prediction), border_distances(prediction, truth)
    both = np.concatenate([there, back])
    return {
        "hd95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
        "average_distance": float(both.mean()),
        "surface_dice": float((both <= tolerance).mean()),
    }


def _overlap_and_total(truth, probability, threshold):
    """Pixels in both masks of each slice, and pixels of one mask plus pixels of the other, each float32 (batch,)."""
    truth = ops.cast(truth, "float32")
    prediction = ops.cast(ops.cast(probability, "float32") >= threshold, "float32")
    return ops.sum(truth * prediction, axis=(1, 2, 3)), ops.sum(truth + prediction, axis=(1, 2, 3))


def _dice_of_slices(truth, probability, threshold):
    overlap, total = _overlap_and_total(truth, probability, threshold)
    return ops.where(total > 0, 2 * overlap / ops.maximum(total, 1.0), 1.0)


def _iou_of_slices(truth, probability, threshold):
    overlap, total = _overlap_and_total(truth, probability, threshold)
    return ops.where(total > 0, overlap / ops.maximum(total - overlap, 1.0), 1.0)


class MeanDice(keras.metrics.MeanMetricWrapper):
    """Mean of `dice` over slices, from masks and probabilities (batch, height, width, 1).

    Every slice has the same weight, so the result of an epoch does not depend on the batch sizes.

    Args:
        threshold: Probability at which a pixel counts as tumor.

    Example:
        >>> truth = np.array([[1, 1, 0], [0, 0, 0]]).reshape(2, 1, 3, 1)
        >>> probability = np.array([[0.9, 0.2, 0.7], [0.1, 0.0, 0.3]]).reshape(2, 1, 3, 1)
        >>> metric = MeanDice()
        >>> metric.update_state(truth, probability)
        >>> float(metric.result())  # the mean of 2*1 / (2+2), and 1 for two empty masks
        0.75
    """

    def __init__(self, threshold: float = 0.5):
        super().__init__(_dice_of_slices, name="dice", threshold=threshold)


class MeanIoU(keras.metrics.MeanMetricWrapper):
    """Mean of `iou` over slices, with the same argument as MeanDice. (Keras' own MeanIoU pools all pixels of an epoch.)

    Example:
        >>> metric = MeanIoU()
        >>> metric.update_state(np.array([[1, 1]]).reshape(1, 1, 2, 1), np.array([[0.9, 0.2]]).reshape(1, 1, 2, 1))
        >>> float(metric.result())  # 1 pixel in both masks, 2 in any
        0.5
    """

    def __init__(self, threshold: float = 0.5):
        super().__init__(_iou_of_slices, name="iou", threshold=threshold)
