"""How well a predicted mask matches the truth, in numpy for reports and in Keras for training.

A score whose denominator is 0 is 1 where both masks are empty, else 0.
So a tumor missed whole and a false alarm on a slice without tumor both score 0.
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
    """Confusion counts of two boolean masks of one shape; ValueError where the shapes differ."""
    if truth.shape != prediction.shape:
        raise ValueError(f"masks of {truth.shape} and {prediction.shape} cannot be compared")
    true_positive = int(np.count_nonzero(truth & prediction))
    false_positive = int(np.count_nonzero(prediction)) - true_positive
    false_negative = int(np.count_nonzero(truth)) - true_positive
    return Counts(
        true_positive,
        false_positive,
        false_negative,
        truth.size - true_positive - false_positive - false_negative,
    )


def _ratio(numerator: int, denominator: int, counts: Counts) -> float:
    if denominator:
        return numerator / denominator
    return float(counts.false_positive == 0 and counts.false_negative == 0)


def dice(counts: Counts) -> float:
    """Dice overlap 2|A∩B| / (|A|+|B|) = 2TP / (2TP+FP+FN), in [0, 1]; two empty masks give 1."""
    tp, fp, fn, _ = counts
    return _ratio(2 * tp, 2 * tp + fp + fn, counts)


def iou(counts: Counts) -> float:
    """Intersection over union |A∩B| / |A∪B| = TP / (TP+FP+FN), in [0, 1]; two empty masks give 1."""
    tp, fp, fn, _ = counts
    return _ratio(tp, tp + fp + fn, counts)


def precision(counts: Counts) -> float:
    """Share of the prediction that is tumor, TP / (TP+FP), in [0, 1]; 0 for a tumor missed whole."""
    tp, fp, _, _ = counts
    return _ratio(tp, tp + fp, counts)


def recall(counts: Counts) -> float:
    """Share of the tumor that is found, TP / (TP+FN), in [0, 1]; 0 for a false alarm without tumor."""
    tp, _, fn, _ = counts
    return _ratio(tp, tp + fn, counts)


def specificity(counts: Counts) -> float:
    """Share of healthy pixels left alone, TN / (TN+FP), in [0, 1]."""
    _, fp, _, tn = counts
    return _ratio(tn, tn + fp, counts)


SCORES = {
    "dice": dice,
    "iou": iou,
    "precision": precision,
    "recall": recall,
    "specificity": specificity,
}


def score(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """All SCORES of two boolean masks (height, width)."""
    counts = count(truth, prediction)
    return {name: formula(counts) for name, formula in SCORES.items()}


def border(mask: np.ndarray) -> np.ndarray:
    """Pixels of a boolean mask (height, width) with a neighbour (of four) outside of it or of the image."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner = cv2.erode(mask.astype(np.uint8), cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & (inner == 0)


def surface_distances(truth: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels from each border pixel of the truth to the nearest of the prediction, and the other way round.

    Two boolean masks (height, width), neither empty; distances are Euclidean, float32 (border pixels,).
    """

    def to_nearest(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        away = cv2.distanceTransform((~end).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        return away[start]

    truth, prediction = border(truth), border(prediction)
    return to_nearest(truth, prediction), to_nearest(prediction, truth)


def surface_score(truth: np.ndarray, prediction: np.ndarray, tolerance: float) -> dict[str, float]:
    """How far two outlines are apart, in pixels, of boolean masks (height, width):

    hd95: the larger of both directions' 95th percentiles of distances (Huttenlocher 1993's, robust);
    average_distance: the mean over both borders' pixels;
    surface_dice: the share of both borders within `tolerance` of the other (Nikolov 2018, arXiv 1809.04430).

    Two empty masks: 0, 0 and 1. One: the image's diagonal for both distances, and 0.
    """
    if not truth.any() or not prediction.any():
        alike = truth.any() == prediction.any()
        worst = 0.0 if alike else float(np.hypot(*truth.shape))
        return {"hd95": worst, "average_distance": worst, "surface_dice": float(alike)}
    there, back = surface_distances(truth, prediction)
    both = np.concatenate([there, back])
    return {
        "hd95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
        "average_distance": float(both.mean()),
        "surface_dice": float((both <= tolerance).mean()),
    }


def _masks(truth, probability, threshold):
    """Both as float32 0/1, flattened to (batch, pixels)."""
    truth = ops.cast(truth, "float32")
    prediction = ops.cast(ops.cast(probability, "float32") >= threshold, "float32")
    batch = ops.shape(truth)[0]
    return ops.reshape(truth, (batch, -1)), ops.reshape(prediction, (batch, -1))


def _dice_of_slices(truth, probability, threshold):
    truth, prediction = _masks(truth, probability, threshold)
    both = ops.sum(truth, axis=1) + ops.sum(prediction, axis=1)
    overlap = 2 * ops.sum(truth * prediction, axis=1)
    return ops.where(both > 0, overlap / ops.maximum(both, 1.0), 1.0)


def _iou_of_slices(truth, probability, threshold):
    truth, prediction = _masks(truth, probability, threshold)
    union = ops.sum(ops.maximum(truth, prediction), axis=1)
    overlap = ops.sum(truth * prediction, axis=1)
    return ops.where(union > 0, overlap / ops.maximum(union, 1.0), 1.0)


class MeanDice(keras.metrics.MeanMetricWrapper):
    """Mean over slices of `dice`, from masks and probabilities (batch, height, width, 1).

    Every slice weighs the same whatever the batches' sizes, so an epoch's result is that of `dice`.
    """

    def __init__(self, threshold: float = 0.5, name: str = "dice"):
        super().__init__(_dice_of_slices, name=name, threshold=threshold)


class MeanIoU(keras.metrics.MeanMetricWrapper):
    """Mean over slices of `iou`; as MeanDice. (Keras' own MeanIoU pools all pixels of an epoch.)"""

    def __init__(self, threshold: float = 0.5, name: str = "iou"):
        super().__init__(_iou_of_slices, name=name, threshold=threshold)
