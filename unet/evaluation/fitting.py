"""How good an outline is likely to be, told without the truth, and whether the image is like the training's.

Fitted at the end of a training, on validation patients and training slices; kept in the run's quality.json.
"""

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GroupKFold, KFold

from unet.network.confidence import Quality, appearance, distance

# The share of outlines of validation slices, those of least confidence, that a person should look at.
REVIEW_SHARE = 0.2
# The share of training slices that are themselves called unlike the others.
UNLIKE_SHARE = 0.005
MOST_FITTED = 5000  # slices: more tell nothing new


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
