"""How good an outline is likely to be, told without the truth, and whether the image is like the training's.

Fitted at the end of a training, on validation patients and training slices; kept in the run's quality.json.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from pydantic import FiniteFloat
from sklearn.covariance import LedoitWolf
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GroupKFold, KFold

# The share of outlines of validation slices, those of least confidence, that a person should look at.
REVIEW_SHARE = 0.2
# The share of training slices that are themselves called unlike the others.
UNLIKE_SHARE = 0.005
GREY_BINS = 16
FEATURES = GREY_BINS + 3
MOST_FITTED = 5000  # slices: more tell nothing new


@dataclass(frozen=True)
class Quality:
    """Content of quality.json."""

    confidence: list[FiniteFloat]  # rising; between them expected_dice is a straight line
    expected_dice: list[FiniteFloat]
    review_up_to: FiniteFloat  # confidence
    mean: list[FiniteFloat]  # of `appearance` over the training slices
    precision: list[list[FiniteFloat]]  # inverse of its covariance
    unlike_beyond: FiniteFloat  # distance

    def __post_init__(self):
        whole = len(self.mean) == len(self.precision) == FEATURES
        if not whole or any(len(row) != FEATURES for row in self.precision):
            raise ValueError(f"mean and precision are not of {FEATURES} features")
        if not self.confidence or len(self.confidence) != len(self.expected_dice):
            raise ValueError("confidence and expected_dice differ in length")

    def expect(self, confidence: float) -> float:
        """The Dice that outlines of this confidence had on validation patients, in [0, 1]."""
        return float(np.interp(confidence, self.confidence, self.expected_dice))

    def review(self, square: np.ndarray, confidence: float, outlined: bool) -> str:
        """Why a person should look at the outline; "" where nothing speaks for it."""
        if distance(appearance(square), self.mean, self.precision) > self.unlike_beyond:
            return "unlike training data"
        if not outlined:
            return "nothing outlined"
        return "low expected Dice" if confidence <= self.review_up_to else ""


def confidence(probability: np.ndarray, mask: np.ndarray) -> float:
    """Dice of a mask with the probability it was cut from, 2 sum(p in mask) / (sum(p) + |mask|), in [0, 1].

    It is about what the network itself expects of its outline. No outline gives 0.
    """
    inside = float(probability[mask].sum())
    return 2 * inside / (float(probability.sum()) + np.count_nonzero(mask)) if inside else 0.0


def appearance(square: np.ndarray) -> np.ndarray:
    """Grey values and sharpness of a network input, uint8 (size, size), as FEATURES numbers."""
    shares = cv2.calcHist([square], [0], None, [GREY_BINS], [0, 256]).ravel() / square.size
    # Sums of absolute differences between neighbours: down, across, and with all four.
    steps = (
        cv2.norm(square[1:], square[:-1], cv2.NORM_L1),
        cv2.norm(square[:, 1:], square[:, :-1], cv2.NORM_L1),
        cv2.norm(cv2.Laplacian(square, cv2.CV_16S), cv2.NORM_L1),
    )
    sharpness = [np.log(step / (255 * square.size) + 1e-3) for step in steps]
    # Square roots, so that rare and common greys vary alike (Hellinger).
    return np.concatenate([np.sqrt(shares), sharpness])


def distance(features: np.ndarray, mean: Sequence, precision: Sequence) -> np.ndarray:
    """Mahalanobis distance of features (..., FEATURES) from the mean."""
    away = features - np.array(mean)
    return np.sqrt(np.einsum("...i,ij,...j->...", away, np.array(precision), away))


def fit_quality(confidences: np.ndarray, dice: np.ndarray, training: np.ndarray) -> Quality:
    """From confidence and Dice of validation slices (n,), and training inputs uint8 (m, size, size).

    Slices without an outline (confidence 0) tell nothing of outlines. Of the training inputs MOST_FITTED
    are enough.
    """
    outlined = confidences > 0
    if not outlined.any():
        confidences, dice, outlined = np.zeros(1), np.zeros(1), [True]
    confidences, dice = confidences[outlined], dice[outlined]
    knots, expected = fit_expected_dice(confidences, dice)
    features = np.array([appearance(square) for square in training])
    mean, precision = fit_shape(features)
    return Quality(
        confidence=knots.tolist(),
        expected_dice=expected.tolist(),
        review_up_to=float(np.quantile(confidences, REVIEW_SHARE)),
        mean=mean.tolist(),
        precision=precision.tolist(),
        unlike_beyond=float(np.quantile(distances_from_others(features), 1 - UNLIKE_SHARE)),
    )


def fit_shape(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and inverse covariance of features (n, FEATURES), shrunk as far as their number asks for."""
    shape = LedoitWolf().fit(features)
    return shape.location_, shape.precision_


def distances_from_others(features: np.ndarray, folds: int = 5) -> np.ndarray:
    """Distance of each of features (n, FEATURES) from the shape of other folds; 0 where there is one only.

    Folds are runs of neighbours: these are mostly slices of one patient.
    """
    result = np.zeros(len(features))
    if len(features) > 1:
        for others, own in KFold(min(folds, len(features))).split(features):
            result[own] = distance(features[own], *fit_shape(features[others]))
    return result


def fit_expected_dice(confidences: np.ndarray, dice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots of the rising curve nearest to the Dice: confidence and expected Dice, both rising strictly.

    Centred isotonic regression (Oron and Flournoy 2017): of each step of the isotonic one its centre.
    """
    # In double precision: steps are told by equality.
    confidences = np.asarray(confidences, np.float64)
    steps = IsotonicRegression(y_min=0, y_max=1).fit_transform(confidences, dice.astype(np.float64))
    levels, step = np.unique(steps, return_inverse=True)
    return np.bincount(step, weights=confidences) / np.bincount(step), levels


def cross_validated(
    confidences: np.ndarray, dice: np.ndarray, patients: np.ndarray, folds: int = 5
) -> np.ndarray:
    """Expected Dice (n,) of each slice by a curve fitted on other patients; NaN where there is one only."""
    result = np.full(len(dice), np.nan)
    folds = min(folds, len(set(patients)))
    if folds > 1:
        for others, own in GroupKFold(folds).split(confidences, groups=patients):
            curve = fit_expected_dice(confidences[others], dice[others])
            result[own] = np.interp(confidences[own], *curve)
    return result
