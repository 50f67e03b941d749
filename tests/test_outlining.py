"""Outlines of probabilities small enough to work out by hand."""

import numpy as np
import pytest

from unet.network.confidence import soft_dice
from unet.network.outlining import PEAKS, THRESHOLDS, OutlineRule, best_rule, dice_by_rule

# The left region reaches 0.9. The right one stays at 0.6. They do not touch.
# fmt: off
PROBABILITY = np.array(
    [
        [0.6, 0.9, 0.1, 0.0, 0.6],
        [0.1, 0.6, 0.1, 0.0, 0.6],
    ],
    np.float32,
)
# fmt: on
LEFT = np.array([[1, 1, 0, 0, 0], [0, 1, 0, 0, 0]], bool)
BOTH = np.array([[1, 1, 0, 0, 1], [0, 1, 0, 0, 1]], bool)
NONE = np.zeros((2, 5), bool)
TRUTH = np.array([[1, 1, 0, 0, 0], [1, 1, 0, 0, 0]], bool)


@pytest.mark.parametrize(
    ("threshold", "peak", "expected"),
    [(0.5, 0.0, BOTH), (0.5, 0.5, BOTH), (0.5, 0.8, LEFT), (0.5, 0.95, LEFT), (0.95, 0, NONE)],
)
def test_a_region_needs_a_peak(threshold, peak, expected):
    rule = OutlineRule(threshold, peak)
    np.testing.assert_array_equal(rule.mask(PROBABILITY), expected)
    shown = rule.hide_weak_regions(PROBABILITY, expected)
    np.testing.assert_array_equal(shown >= threshold, expected)
    np.testing.assert_array_equal(shown[expected], PROBABILITY[expected])


@pytest.mark.parametrize(("strongest", "expected"), [(0.51, True), (0.49, False)])
def test_the_strongest_region_is_kept_without_a_peak_if_it_is_likely(strongest, expected):
    probability = np.array([[0.4, strongest, 0.0, 0.4]], np.float32)
    assert OutlineRule(0.3, 0.95).mask(probability).tolist() == [[expected, expected, False, False]]


def test_regions_that_touch_at_a_corner_are_one_region():
    probability = np.array([[0.9, 0], [0, 0.6]], np.float32)
    assert OutlineRule(0.5, 0.8).mask(probability).tolist() == [[True, False], [False, True]]


def test_dice_of_each_rule():
    # Both regions cover 5 pixels, 3 of them among the 4 true ones; the left one, the strongest, covers only those 3.
    peaks = np.array([0, 0.8, 0.95])
    dice, confidence = dice_by_rule(TRUTH, PROBABILITY, np.array([0.5, 0.7]), peaks)
    assert dice == pytest.approx(np.array([[6 / 9, 6 / 7, 6 / 7], [2 / 5, 2 / 5, 2 / 5]]))
    # Probabilities sum to 3.6 everywhere, 3.3 in both regions, 2.1 in the left one and 0.9 at its peak.
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
            mask = OutlineRule(threshold, peak).mask(probability)
            expected = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
            assert dice[i, j] == pytest.approx(expected)
            assert confidences[i, j] == pytest.approx(soft_dice(probability, mask), rel=1e-5)


def test_the_best_rule_is_the_plainest_of_equal_ones():
    dice = np.zeros((len(THRESHOLDS), len(PEAKS)))
    assert best_rule(dice) == OutlineRule(0.5, 0.0)
    dice[12, 4] = 1
    assert best_rule(dice) == OutlineRule(pytest.approx(0.65), 0.9)


def test_a_rule_as_text():
    assert str(OutlineRule(0.5, 0.0)) == "where the probability is 0.5 or more"
    assert str(OutlineRule(0.3, 0.95)) == (
        "where the probability is 0.3 or more, in regions that reach 0.95, "
        "or else in the strongest one if it reaches 0.5"
    )


@pytest.mark.parametrize("rule", [OutlineRule(0.3, 0.95), OutlineRule(0.2, 0.95), OutlineRule(0.9, 0.0)])
def test_a_tumor_that_is_known_to_be_there_gets_an_outline(rule):
    faint = np.array([[0.0, 0.02, 0.1, 0.06, 0.01]], np.float32)
    assert not rule.mask(faint).any()
    mask = rule.mask(rule.at_least_one_region(faint))
    assert mask[0, 2] and not mask[0, [0, 1, 4]].any()  # half the maximum of 0.1 is 0.05
    share = float(rule.faint.partition("%")[0].split()[-1]) / 100
    np.testing.assert_array_equal(mask, faint >= share * faint.max())  # what is printed for exported networks
    for seed in range(300):  # rounding never leaves it without one
        random = np.random.default_rng(seed).uniform(0, min(rule.threshold, 0.5), (1, 5)).astype(np.float32)
        assert rule.mask(rule.at_least_one_region(random)).any()
    nothing = np.zeros((1, 5), np.float32)
    assert rule.at_least_one_region(nothing) is nothing
    clear = np.array([[0.0, 0.97, 0.96]], np.float32)
    assert rule.at_least_one_region(clear) is clear
