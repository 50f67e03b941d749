"""Scores of masks small enough to count by hand, and intervals over patients."""

import numpy as np
import pytest

from unet.evaluation.intervals import bootstrap_interval, interval_over_patients, interval_text
from unet.evaluation.metrics import MeanDice, MeanIoU, border, count, score, surface_score

# fmt: off
TRUTH = np.array(
    [
        [0, 0, 0, 0],
        [0, 1, 1, 0],
        [0, 1, 1, 0],
        [0, 0, 0, 0],
    ],
    bool,
)
SHIFTED = np.array(
    [
        [0, 0, 0, 0],
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [0, 0, 0, 1],
    ],
    bool,
)
# fmt: on
EMPTY = np.zeros((4, 4), bool)
FULL = np.ones((4, 4), bool)


def test_scores_of_a_shifted_mask():
    # 2 pixels in both masks, 3 only predicted, 2 only true, 9 in neither.
    assert count(TRUTH, SHIFTED) == (2, 3, 2, 9)
    assert score(TRUTH, SHIFTED) == pytest.approx(
        {
            "dice": 4 / 9,  # 2*2 / (4 + 5)
            "iou": 2 / 7,
            "precision": 2 / 5,
            "recall": 2 / 4,
            "specificity": 9 / 12,
        }
    )


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        (EMPTY, EMPTY, (1, 1, 1, 1, 1)),
        (TRUTH, EMPTY, (0, 0, 0, 0, 1)),  # missed completely
        (EMPTY, TRUTH, (0, 0, 0, 0, 12 / 16)),  # false alarm
        (TRUTH, TRUTH, (1, 1, 1, 1, 1)),
        (FULL, FULL, (1, 1, 1, 1, 1)),
        (FULL, TRUTH, (2 * 4 / 20, 4 / 16, 1, 4 / 16, 0)),
    ],
)
def test_scores_of_empty_equal_and_full_masks(truth, prediction, expected):
    assert tuple(score(truth, prediction).values()) == pytest.approx(expected)


def test_a_border_pixel_has_a_neighbor_outside_the_mask_or_image():
    inner = np.zeros((4, 4), bool)
    inner[1:3, 1:3] = True
    np.testing.assert_array_equal(border(FULL), ~inner)
    np.testing.assert_array_equal(border(TRUTH), TRUTH)


def test_distances_of_a_shifted_mask():
    # All pixels are border pixels. From the four true ones to the prediction: 1, 0, 1, 0 pixels.
    # Back from the five predicted ones: 0, 1, 0, 1, and the square root of 2 from (3, 3) to (2, 2).
    root = 2**0.5
    assert surface_score(TRUTH, SHIFTED, tolerance=1) == pytest.approx(
        {
            "hd95": 1 + 0.8 * (root - 1),  # index 0.95 * 4 = 3.8 in 0, 0, 1, 1, 1.41
            "average_distance": (1 + 1 + 1 + 1 + root) / 9,
            "surface_dice": 8 / 9,
        }
    )


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        (EMPTY, EMPTY, (0, 0, 1)),
        (TRUTH, EMPTY, (32**0.5, 32**0.5, 0)),  # the diagonal of 4 x 4
        (EMPTY, TRUTH, (32**0.5, 32**0.5, 0)),
        (TRUTH, TRUTH, (0, 0, 1)),
    ],
)
def test_distances_of_empty_and_equal_masks(truth, prediction, expected):
    assert tuple(surface_score(truth, prediction, 1).values()) == pytest.approx(expected)


def test_distances_of_two_squares_far_apart():
    truth, prediction = np.zeros((2, 40, 60), bool)
    truth[10:20, 5:15] = True
    prediction[10:20, 35:45] = True
    # From border pixels in columns 5 to 14 to the nearest one in column 35. Back is the same, mirrored.
    there = [30] * 10 + [35 - c for c in range(6, 14)] * 2 + [21] * 10
    assert surface_score(truth, prediction, 25) == pytest.approx(
        {
            "hd95": np.percentile(there, 95),
            "average_distance": np.mean(there),
            "surface_dice": np.mean(np.array(there) <= 25),
        },
        rel=1e-5,
    )


def test_one_pixel_in_an_image_with_odd_sides():
    truth = np.zeros((3, 5), bool)
    truth[1, 4] = True
    assert score(truth, truth)["dice"] == 1
    assert score(truth, truth[:, ::-1])["dice"] == 0


def test_masks_of_different_shapes_cannot_be_compared():
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(3, 5\)"):
        count(TRUTH, np.zeros((3, 5), bool))


def test_keras_metrics_equal_numpy_scores_over_an_epoch_of_uneven_batches():
    random = np.random.default_rng(0)
    truths = random.random((7, 8, 6, 1)) > 0.7
    truths[2] = truths[5] = False
    probabilities = random.random((7, 8, 6, 1)).astype(np.float32)
    probabilities[5] = 0  # both masks are empty
    dice, iou = MeanDice(), MeanIoU()
    for batch in (slice(0, 3), slice(3, 6), slice(6, 7)):
        dice.update_state(truths[batch].astype(np.float32), probabilities[batch])
        iou.update_state(truths[batch].astype(np.float32), probabilities[batch])
    by_hand = [score(t, p >= 0.5) for t, p in zip(truths, probabilities, strict=True)]
    assert float(dice.result()) == pytest.approx(np.mean([s["dice"] for s in by_hand]), abs=1e-6)
    assert float(iou.result()) == pytest.approx(np.mean([s["iou"] for s in by_hand]), abs=1e-6)


def test_the_interval_is_over_patients_not_slices():
    # Copies of a patient's slices add no information.
    values = np.array([0.0, 0.5, 1.0, 0.25, 0.75])
    patients = np.array(list("abcde"))
    once = interval_over_patients(values, patients)
    copied = interval_over_patients(np.repeat(values, 20), np.repeat(patients, 20))
    assert once == copied
    assert 0 < once[0] < 0.5 < once[1] < 1


def test_the_interval_of_equal_values_is_that_value():
    assert interval_over_patients(np.full(6, 0.25), np.array(list("aabbcc"))) == (0.25, 0.25)


def test_the_interval_of_few_patients_contains_the_true_mean():
    random = np.random.default_rng(0)
    patients = np.arange(8)
    contained = 0
    for _ in range(400):
        low, high = interval_over_patients(random.normal(size=8), patients)
        contained += low <= 0 <= high
    # Percentiles that are not expanded contain it in only 0.89 of all cases.
    assert contained / 400 > 0.925


def test_the_interval_is_wider_if_one_kind_has_few_patients():
    def of(fewest: int) -> tuple[float, float]:
        return bootstrap_interval(lambda times: times @ np.arange(20), 20, fewest)

    assert of(5)[0] < of(20)[0] and of(20)[1] < of(5)[1]


def test_draws_without_a_value_are_left_out_of_the_interval():
    # Two patients are drawn, so the first one none, one or two times.
    assert bootstrap_interval(lambda times: np.where(times[:, 0] == 1, np.nan, times[:, 0]), 2) == (0, 2)


def test_one_patient_has_no_interval():
    assert interval_over_patients(np.array([0.1, 0.9]), np.array(["a", "a"])) is None
    assert interval_text(None) == "none, as there is only one"
    assert bootstrap_interval(lambda times: times[:, 0], count=9, fewest=1) is None
    assert interval_text((-0.1, 0.25), 2, "+") == "-0.10 to +0.25"
