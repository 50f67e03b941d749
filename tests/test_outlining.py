"""Outlines of probabilities small enough to work out by hand."""

import numpy as np
import pytest

from unet.network.confidence import confidence
from unet.network.outlining import (
    PEAKS,
    THRESHOLDS,
    best_rule,
    dice_by_rule,
    rule_in_words,
    to_mask,
    without_weak_regions,
)

# Left a region that reaches 0.9, right one that stays at 0.6; they touch nowhere.
PROBABILITY = np.array(
    [
        [0.6, 0.9, 0.1, 0.0, 0.6],
        [0.1, 0.6, 0.1, 0.0, 0.6],
    ],
    np.float32,
)
LEFT = np.array([[1, 1, 0, 0, 0], [0, 1, 0, 0, 0]], bool)
BOTH = np.array([[1, 1, 0, 0, 1], [0, 1, 0, 0, 1]], bool)
NONE = np.zeros((2, 5), bool)
TRUTH = np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0]], bool)


@pytest.mark.parametrize(
    ("threshold", "peak", "expected"),
    [(0.5, 0.0, BOTH), (0.5, 0.5, BOTH), (0.5, 0.8, LEFT), (0.5, 0.95, LEFT), (0.95, 0, NONE)],
)
def test_a_region_needs_a_peak(threshold, peak, expected):
    np.testing.assert_array_equal(to_mask(PROBABILITY, threshold, peak), expected)
    shown = without_weak_regions(PROBABILITY, expected, threshold)
    np.testing.assert_array_equal(shown >= threshold, expected)
    np.testing.assert_array_equal(shown[expected], PROBABILITY[expected])


@pytest.mark.parametrize(("strongest", "expected"), [(0.51, True), (0.49, False)])
def test_a_region_that_has_no_peak_is_kept_if_it_is_the_strongest_and_likely(strongest, expected):
    probability = np.array([[0.4, strongest, 0.0, 0.4]], np.float32)
    assert to_mask(probability, 0.3, 0.95).tolist() == [[expected, expected, False, False]]


def test_regions_that_touch_at_a_corner_are_one():
    probability = np.array([[0.9, 0], [0, 0.6]], np.float32)
    assert to_mask(probability, 0.5, 0.8).tolist() == [[True, False], [False, True]]


def test_dice_of_each_rule():
    # Both regions: 3 of the truth's 4 pixels among 5; the left one, the strongest: 3 among 3.
    peaks = np.array([0, 0.8, 0.95])
    dice, confidence = dice_by_rule(TRUTH, PROBABILITY, np.array([0.5, 0.7]), peaks)
    assert dice == pytest.approx(np.array([[6 / 9, 6 / 7, 6 / 7], [2 / 5, 2 / 5, 2 / 5]]))
    # All probabilities sum to 3.6, those of both regions to 3.3, of the left one to 2.1, of its peak to 0.9.
    expected = [[6.6 / 8.6, 4.2 / 6.6, 4.2 / 6.6], [1.8 / 4.6] * 3]
    assert confidence == pytest.approx(np.array(expected), rel=1e-5)
    nothing, _ = dice_by_rule(NONE, PROBABILITY, np.array([0.5, 0.95]), np.array([0, 0.95]))
    assert nothing.tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("seed", range(5))
def test_dice_by_rule_is_the_dice_of_the_mask(seed):
    random = np.random.default_rng(seed)
    highest = random.uniform(0.3, 1)
    probability = (highest * random.random((12, 15)) ** 2).astype(np.float32)
    truth = random.random((12, 15)) < 0.3
    dice, confidences = dice_by_rule(truth, probability, THRESHOLDS, PEAKS)
    for i, threshold in enumerate(THRESHOLDS):
        for j, peak in enumerate(PEAKS):
            mask = to_mask(probability, threshold, peak)
            expected = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
            assert dice[i, j] == pytest.approx(expected)
            assert confidences[i, j] == pytest.approx(confidence(probability, mask), rel=1e-5)


def test_the_best_rule_and_of_equal_ones_the_plainest():
    dice = np.zeros((len(THRESHOLDS), len(PEAKS)))
    assert best_rule(dice) == (0.5, 0.0)
    dice[12, 4] = 1
    assert best_rule(dice) == (pytest.approx(0.65), 0.9)


def test_a_rule_is_told_in_words():
    assert rule_in_words(0.5, 0.0) == "from a probability of 0.5 on"
    assert rule_in_words(0.3, 0.95) == (
        "from a probability of 0.3 on, in regions that reach 0.95, or else in the strongest that reaches 0.5"
    )
