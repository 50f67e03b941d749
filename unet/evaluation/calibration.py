"""Calibration of the tumor probability, and precision and recall at each threshold.

Calibrated means that 80 of 100 pixels with a probability of 0.8 are tumor. Everything is computed from one histogram of
pixels by probability, which can be summed over slices.
"""

import numpy as np

BINS = 100
WIDE_BINS = 20  # of a reliability diagram


def pixel_histogram(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Pixels, tumor pixels and summed probability of each bin of probability, float64 (3, BINS).

    Takes the true mask, bool (height, width), and the probability, float32 of the same shape, in [0, 1].
    """
    bin_of_pixel = np.minimum((probability * BINS).astype(np.int32), BINS - 1).ravel()
    counts = np.bincount(bin_of_pixel, minlength=BINS)
    tumor = np.bincount(bin_of_pixel[truth.ravel()], minlength=BINS)
    sums = np.bincount(bin_of_pixel, weights=probability.ravel(), minlength=BINS)
    return np.stack([counts, tumor, sums]).astype(np.float64)


def reliability(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability, fraction of tumor, and pixels, each (WIDE_BINS,). The first two are NaN in empty bins."""
    pixels, tumor, sums = histogram.reshape(3, WIDE_BINS, -1).sum(axis=2)
    divisor = np.where(pixels > 0, pixels, np.nan)
    return sums / divisor, tumor / divisor, pixels


def expected_calibration_error(histogram: np.ndarray, first_bin: int = 0) -> float | None:
    """Mean over pixels of |fraction of tumor - mean probability| in their wide bin (Naeini 2015), in [0, 1].

    Wide bins before `first_bin` are left out. None without any pixels.
    """
    mean, fraction, pixels = (values[first_bin:] for values in reliability(histogram))
    gaps = np.nan_to_num(np.abs(fraction - mean))
    return float((gaps * pixels).sum() / pixels.sum()) if pixels.any() else None


def precision_recall(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds, and the precision and recall over all pixels at each of them, each (BINS,).

    Precision is 1 if nothing is predicted; recall is 1 if there is no tumor.
    """
    predicted, found = histogram[:2, ::-1].cumsum(axis=1)[:, ::-1]
    total = histogram[1].sum()
    precision = np.where(predicted > 0, found / np.maximum(predicted, 1), 1.0)
    recall = found / total if total else np.ones(BINS)
    return np.arange(BINS) / BINS, precision, recall
