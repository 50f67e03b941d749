"""Whether a probability of 0.8 is right in 80 of 100 pixels, and what each threshold finds and misses.

All from one histogram of pixels by probability, which adds up over slices.
"""

import numpy as np

BINS = 100
# A reliability diagram has fewer, wider bins.
WIDE = 20


def pixel_histogram(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """(3, BINS): pixels, tumor pixels and summed probability of each bin of probability, as float64.

    truth: boolean (height, width); probability: float32 of the same shape, in [0, 1].
    """
    place = np.minimum((probability * BINS).astype(np.int32), BINS - 1).ravel()
    counts = np.bincount(place, minlength=BINS)
    tumor = np.bincount(place[truth.ravel()], minlength=BINS)
    sums = np.bincount(place, weights=probability.ravel(), minlength=BINS)
    return np.stack([counts, tumor, sums]).astype(np.float64)


def reliability(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of WIDE bins: mean probability, share of pixels that is tumor (both NaN where empty), pixels."""
    pixels, tumor, sums = histogram.reshape(3, WIDE, -1).sum(axis=2)
    some = np.where(pixels > 0, pixels, np.nan)
    return sums / some, tumor / some, pixels


def expected_calibration_error(histogram: np.ndarray, first_bin: int = 0) -> float:
    """Mean over pixels of |share of tumor - mean probability| of their bin (Naeini 2015), in [0, 1].

    Bins below `first_bin` of WIDE are left out; without any pixel it is 0.
    """
    mean, share, pixels = (values[first_bin:] for values in reliability(histogram))
    gaps = np.nan_to_num(np.abs(share - mean))
    return float((gaps * pixels).sum() / max(1.0, pixels.sum()))


def precision_recall(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds (BINS,), and precision and recall of all pixels together at each.

    Precision is 1 where nothing is predicted; recall is 1 where there is no tumor.
    """
    predicted, found = histogram[:2, ::-1].cumsum(axis=1)[:, ::-1]
    total = histogram[1].sum()
    precision = np.where(predicted > 0, found / np.maximum(predicted, 1), 1.0)
    recall = found / total if total else np.ones(BINS)
    return np.arange(BINS) / BINS, precision, recall
