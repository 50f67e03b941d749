"""Scores of masks small enough to count by hand."""

import numpy as np
import pytest

from unet.metrics import MeanDice, MeanIoU, count, interval_over_patients, score

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
EMPTY = np.zeros((4, 4), bool)
FULL = np.ones((4, 4), bool)


def test_shifted_mask():
    # 2 pixels in both, 3 only predicted, 2 only true, 9 in neither.
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
        (TRUTH, EMPTY, (0, 0, 0, 0, 1)),  # missed whole
        (EMPTY, TRUTH, (0, 0, 0, 0, 12 / 16)),  # false alarm
        (TRUTH, TRUTH, (1, 1, 1, 1, 1)),
        (FULL, FULL, (1, 1, 1, 1, 1)),
        (FULL, TRUTH, (2 * 4 / 20, 4 / 16, 1, 4 / 16, 0)),
    ],
)
def test_edge_cases(truth, prediction, expected):
    assert tuple(score(truth, prediction).values()) == pytest.approx(expected)


def test_one_pixel_of_an_odd_shape():
    truth = np.zeros((3, 5), bool)
    truth[1, 4] = True
    assert score(truth, truth)["dice"] == 1
    assert score(truth, truth[:, ::-1])["dice"] == 0


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(4, 4\) and \(3, 5\)"):
        count(TRUTH, np.zeros((3, 5), bool))


def test_keras_metrics_agree_with_numpy_over_an_epoch_of_uneven_batches():
    random = np.random.default_rng(0)
    truths = random.random((7, 8, 6, 1)) > 0.7
    truths[2] = truths[5] = False
    probabilities = random.random((7, 8, 6, 1)).astype(np.float32)
    probabilities[5] = 0  # both empty
    dice, iou = MeanDice(), MeanIoU()
    for batch in (slice(0, 3), slice(3, 6), slice(6, 7)):
        dice.update_state(truths[batch].astype(np.float32), probabilities[batch])
        iou.update_state(truths[batch].astype(np.float32), probabilities[batch])
    by_hand = [score(t, p >= 0.5) for t, p in zip(truths, probabilities, strict=True)]
    assert float(dice.result()) == pytest.approx(np.mean([s["dice"] for s in by_hand]), abs=1e-6)
    assert float(iou.result()) == pytest.approx(np.mean([s["iou"] for s in by_hand]), abs=1e-6)


def test_interval_is_over_patients_not_slices():
    # One patient's slices are copies of each other: they add nothing that is known.
    values = np.array([0.0, 0.5, 1.0, 0.25, 0.75])
    patients = np.array(list("abcde"))
    once = interval_over_patients(values, patients)
    copied = interval_over_patients(np.repeat(values, 20), np.repeat(patients, 20))
    assert once == copied
    assert 0 < once[0] < 0.5 < once[1] < 1


def test_interval_of_one_value_is_that_value():
    assert interval_over_patients(np.full(6, 0.25), np.array(list("aabbcc"))) == (0.25, 0.25)
