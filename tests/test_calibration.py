"""Calibration of six probabilities, counted by hand."""

import numpy as np
import pytest

from unet.evaluation.calibration import BINS, expected_calibration_error, pixel_histogram, precision_recall, reliability

PROBABILITY = np.array([[0.005, 0.005, 0.91], [0.93, 0.52, 1.0]], np.float32)
TRUTH = np.array([[0, 0, 1], [0, 1, 1]], bool)
HISTOGRAM = pixel_histogram(TRUTH, PROBABILITY)


def test_pixels_are_counted_by_probability():
    pixels, tumor, sums = HISTOGRAM
    assert pixels.sum() == 6 and tumor.sum() == 3
    assert {int(i): int(pixels[i]) for i in np.flatnonzero(pixels)} == {0: 2, 52: 1, 91: 1, 93: 1, 99: 1}
    assert sums[0] == pytest.approx(0.01) and sums[99] == 1


def test_reliability_and_calibration_error():
    mean, fraction, pixels = reliability(HISTOGRAM)
    # Bins of width 0.05: two pixels with 0.005 in the first, then 0.52, then 0.91 and 0.93, then 1.
    assert {int(i): int(pixels[i]) for i in np.flatnonzero(pixels)} == {0: 2, 10: 1, 18: 2, 19: 1}
    assert (mean[18], fraction[18]) == pytest.approx((0.92, 0.5))
    # 2 x 0.005 + 0.48 + 2 x 0.42 + 0 over 6 pixels; without the first bin, over 4.
    assert expected_calibration_error(HISTOGRAM) == pytest.approx((0.01 + 0.48 + 0.84) / 6, rel=1e-5)
    assert expected_calibration_error(HISTOGRAM, 1) == pytest.approx((0.48 + 0.84) / 4, rel=1e-5)
    assert expected_calibration_error(np.zeros((3, BINS))) is None


def test_precision_and_recall_at_each_threshold():
    thresholds, precision, recall = precision_recall(HISTOGRAM)
    at = {threshold: index for index, threshold in enumerate(np.round(thresholds, 2))}
    assert (precision[0], recall[0]) == (3 / 6, 1)
    assert (precision[at[0.5]], recall[at[0.5]]) == (3 / 4, 1)
    assert (precision[at[0.92]], recall[at[0.92]]) == (1 / 2, 1 / 3)
    nothing = np.zeros((3, BINS))
    assert (precision_recall(nothing)[1] == 1).all() and (precision_recall(nothing)[2] == 1).all()
