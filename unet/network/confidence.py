"""How good an outline is likely to be, without knowing the truth, and whether an image looks like the training data.

The model is fitted at the end of a training, by unet/evaluation/fitting.py, and saved in the run.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from pydantic import FiniteFloat

GREY_BINS = 16
FEATURES = GREY_BINS + 3


@dataclass(frozen=True)
class ConfidenceModel:
    """Content of confidence.json."""

    confidence: list[FiniteFloat]  # increasing; expected_dice is linear in between
    expected_dice: list[FiniteFloat]
    review_up_to: FiniteFloat  # review outlines with this confidence or less
    mean: list[FiniteFloat]  # of `appearance` over the training slices
    precision: list[list[FiniteFloat]]  # inverse of its covariance
    unlike_beyond: FiniteFloat  # images farther away do not look like the training data

    def __post_init__(self):
        if not len(self.mean) == len(self.precision) == FEATURES or any(len(row) != FEATURES for row in self.precision):
            raise ValueError(f"mean and precision do not have {FEATURES} features")
        if not self.confidence or len(self.confidence) != len(self.expected_dice):
            raise ValueError("confidence and expected_dice differ in length")

    def expect_dice(self, confidence: float) -> float:
        """The Dice that outlines with this confidence had on validation patients, in [0, 1]."""
        return float(np.interp(confidence, self.confidence, self.expected_dice))

    def is_unlike(self, square: np.ndarray) -> bool:
        """Whether a network input uint8 (size, size) does not look like the training data."""
        return bool(distance(appearance(square), self.mean, self.precision) > self.unlike_beyond)


def soft_dice(probability: np.ndarray, mask: np.ndarray) -> float:
    """Dice of a mask with the probability it was cut from, 2 Σ(p in mask) / (Σp + |mask|), in [0, 1]; 0 if empty.

    This is roughly the Dice that the network itself expects.
    """
    inside = float(probability[mask].sum())
    return 2 * inside / (float(probability.sum()) + np.count_nonzero(mask)) if inside else 0.0


def appearance(square: np.ndarray) -> np.ndarray:
    """Grey values and sharpness of a network input uint8 (size, size), as float (FEATURES,)."""
    shares = cv2.calcHist([square], [0], None, [GREY_BINS], [0, 256]).ravel() / square.size
    # Sums of absolute differences between vertical, horizontal and all four neighbors.
    steps = (
        cv2.norm(square[1:], square[:-1], cv2.NORM_L1),
        cv2.norm(square[:, 1:], square[:, :-1], cv2.NORM_L1),
        cv2.norm(cv2.Laplacian(square, cv2.CV_16S), cv2.NORM_L1),
    )
    sharpness = [np.log(step / (255 * square.size) + 1e-3) for step in steps]
    # Square roots give rare and common grey values the same variance (Hellinger).
    return np.concatenate([np.sqrt(shares), sharpness])


def distance(features: np.ndarray, mean: Sequence, precision: Sequence) -> np.ndarray:
    """Mahalanobis distance of features (..., FEATURES) from the mean."""
    away = features - np.array(mean)
    return np.sqrt(np.einsum("...i,ij,...j->...", away, np.array(precision), away))
