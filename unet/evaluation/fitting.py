"""Fitting the confidence model: expected Dice on validation patients, and the appearance of training slices. And the
rule that decides whether an image contains a tumor."""

import numpy as np
from scipy.special import expit, logit
from sklearn.covariance import LedoitWolf
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold

from unet.network.confidence import ConfidenceModel, appearance, distance
from unet.network.presence import PresenceRule, log_odds

# Fraction of the outlines, those with the lowest confidence, that a person should review.
REVIEW_FRACTION = 0.2
# Fraction of the training slices that are themselves classified as unlike the others.
UNLIKE_FRACTION = 0.005
MOST_FITTED = 5000  # slices; more add nothing
KEPT = 0.985  # fraction of the slices with tumor that are outlined
# Relative: the probabilities of a slice in bfloat16 and in float32 differ by up to 3%, and it must not fall below the
# threshold by that.
ROUNDING = 0.05
UNSURE = (0.995, 0.95)  # a person should look at tumor probabilities that these fractions of them reach
LEAST_SLOPE = 1e-3  # less would mean that more evidence speaks against a tumor


def fit_confidence_model(confidences: np.ndarray, dice: np.ndarray, training: np.ndarray) -> ConfidenceModel:
    """Fit the model to the confidence and Dice of validation slices, (n,) each, and to inputs of training slices.

    Slices with confidence 0 have no outline and are left out. Inputs are uint8 (m, size, size); MOST_FITTED are enough.
    """
    has_outline = confidences > 0
    confidences, dice = (values[has_outline] if has_outline.any() else np.zeros(1) for values in (confidences, dice))
    knots, expected = fit_expected_dice(confidences, dice)
    features = np.array([appearance(square) for square in training])
    mean, precision = fit_gaussian(features)
    return ConfidenceModel(
        confidence=knots.tolist(),
        expected_dice=expected.tolist(),
        review_up_to=float(np.quantile(confidences, REVIEW_FRACTION)),
        mean=mean.tolist(),
        precision=precision.tolist(),
        unlike_beyond=float(np.quantile(held_out_distances(features), 1 - UNLIKE_FRACTION)),
    )


def fit_gaussian(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and inverse covariance of features (n, FEATURES), with Ledoit-Wolf shrinkage."""
    gaussian = LedoitWolf().fit(features)
    return gaussian.location_, gaussian.precision_


def held_out_distances(features: np.ndarray, folds: int = 5) -> np.ndarray:
    """Distance of each of features (n, FEATURES) from the mean of the other folds; 0 if n is 1.

    Folds are runs of neighbors, which mostly belong to one patient.
    """
    result = np.zeros(len(features))
    if len(features) > 1:
        for others, own in KFold(min(folds, len(features))).split(features):
            result[own] = distance(features[own], *fit_gaussian(features[others]))
    return result


def fit_expected_dice(confidences: np.ndarray, dice: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Knots of the increasing curve closest to the Dice: confidences and expected Dice, both strictly increasing.

    Centered isotonic regression (Oron and Flournoy 2017): the center of each step of the isotonic one.
    """
    # In double precision, since steps are found by equality.
    confidences = np.asarray(confidences, np.float64)
    steps = IsotonicRegression(y_min=0, y_max=1).fit_transform(confidences, dice.astype(np.float64))
    levels, step = np.unique(steps, return_inverse=True)
    return np.bincount(step, weights=confidences) / np.bincount(step), levels


def cross_validated_dice(confidences: np.ndarray, dice: np.ndarray, patients: np.ndarray, folds: int = 5) -> np.ndarray:
    """Expected Dice (n,) of each slice from a curve fitted on other patients; NaN if there is only one patient."""
    result = np.full(len(dice), np.nan)
    folds = min(folds, len(set(patients)))
    if folds > 1:
        for others, own in GroupKFold(folds).split(confidences, groups=patients):
            curve = fit_expected_dice(confidences[others], dice[others])
            result[own] = np.interp(confidences[own], *curve)
    return result


def fit_presence(with_tumor: np.ndarray, without_tumor: np.ndarray) -> PresenceRule:
    """Fit tumor probability and threshold to the evidence of validation slices with tumor (n,) and without (m,).

    The probability is calibrated (Platt 1999) as if half of all images contained a tumor. If evidence says nothing, or
    the opposite, it is close to 0.5 for all images.
    """
    evidence = np.concatenate([with_tumor, without_tumor])
    features = np.array([[log_odds(value)] for value in evidence])
    has_tumor = np.arange(len(evidence)) < len(with_tumor)
    fit = LogisticRegression(class_weight="balanced").fit(features, has_tumor)
    slope, intercept = float(fit.coef_[0, 0]), float(fit.intercept_[0])
    if slope < LEAST_SLOPE:
        slope, intercept = LEAST_SLOPE, 0.0
    return PresenceRule(slope, intercept, *presence_limits(expit(slope * features[has_tumor, 0] + intercept)))


def presence_limits(probabilities: np.ndarray) -> tuple[float, float, float]:
    """The threshold of a presence rule and its unsure range, from the tumor probabilities (n,) of validation slices
    with tumor."""
    limits = (float(np.quantile(probabilities, 1 - kept, method="lower")) for kept in (KEPT, *UNSURE))
    threshold, unsure_from, unsure_to = limits
    if unsure_from == threshold:
        # Too few slices to know what is rare: as far below the threshold as the range goes above it, in log-odds.
        unsure_to = float(np.quantile(probabilities, 1 - UNSURE[1], method="higher"))
        unsure_from = float(expit(2 * logit(threshold) - logit(unsure_to)))
    if unsure_to == threshold:
        # All are equal: what is less likely, down to half of that, is unsure.
        return threshold * (1 - ROUNDING), threshold / 2, threshold * (1 - ROUNDING)
    threshold *= 1 - ROUNDING
    return threshold, min(unsure_from, threshold), unsure_to
