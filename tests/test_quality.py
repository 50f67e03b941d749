"""Expected Dice worked out by hand, and images that are no slices told from those that are."""

import cv2
import numpy as np
import pytest
from conftest import write_image
from ready import run_script
from sklearn.datasets import load_sample_images

from unet.data.slices import load_slices
from unet.evaluation.fitting import cross_validated_dice, fit_confidence_model
from unet.evaluation.summary import groups_by, how_well_expected
from unet.images.preprocessing import to_training_image
from unet.images.reading import read_image
from unet.network.confidence import FEATURES, Quality, appearance, confidence
from unet.network.saved_run import SavedRun
from unet.tables import read_table


def test_confidence_by_hand():
    probability = np.array([[0.9, 0.5, 0.0], [0.1, 0.0, 0.0]], np.float32)
    # 2 (0.9 + 0.5) / (1.5 + 2); a sure outline gives 1; none gives 0.
    assert confidence(probability, probability >= 0.5) == pytest.approx(2.8 / 3.5)
    assert confidence(np.eye(3, dtype=np.float32), np.eye(3, dtype=bool)) == 1
    assert confidence(probability, probability > 1) == 0


def test_expected_dice_rises_and_meets_the_centres_of_its_steps():
    sure, dice = np.array([0.0, 0.2, 0.4, 0.6, 0.8]), np.array([0.0, 0.5, 0.3, 0.9, 0.9])
    quality = fit_confidence_model(sure, dice, np.zeros((3, 8, 8), np.uint8))
    # 0.5 and 0.3 are in the wrong order: both become 0.4, at 0.3. Two are 0.9, at 0.7. No outline, no point.
    assert quality.confidence == pytest.approx([0.3, 0.7])
    assert quality.expected_dice == pytest.approx([0.4, 0.9])
    assert quality.expect(0.5) == pytest.approx(0.65) and quality.expect(1.0) == pytest.approx(0.9)
    assert quality.review_up_to == pytest.approx(0.32)  # a fifth of the way


def test_slices_without_tumor_do_not_change_what_outlines_are_expected_to_be():
    random = np.random.default_rng(0)
    sure = random.uniform(0.2, 0.9, 200)
    dice = np.clip(sure + random.normal(0, 0.1, 200), 0, 1)
    squares = np.zeros((3, 8, 8), np.uint8)
    alone = fit_confidence_model(sure, dice, squares)
    # Rightly left empty: Dice 1 without confidence.
    mixed = fit_confidence_model(np.append(sure, np.zeros(200)), np.append(dice, np.ones(200)), squares)
    assert mixed == alone and alone.expect(0.3) < 0.5
    nothing = fit_confidence_model(np.zeros(4), np.ones(4), squares)
    assert nothing.expect(0.5) == 0


def test_a_patient_is_judged_by_others():
    sure, patients = np.array([0.1, 0.9, 0.1, 0.9]), np.array(["a", "a", "b", "b"])
    expected = cross_validated_dice(sure, np.array([0.0, 1.0, 0.5, 0.7]), patients)
    assert expected == pytest.approx([0.5, 0.7, 0.0, 1.0])
    assert np.isnan(cross_validated_dice(sure, sure, np.array(["a"] * 4))).all()


def test_quality_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="not of 19 features"):
        Quality([0], [0], 0, [0.0] * FEATURES, [[0.0]] * FEATURES, 1)
    with pytest.raises(ValueError, match="differ in length"):
        Quality([0], [], 0, [0.0] * FEATURES, [[0.0] * FEATURES] * FEATURES, 1)


def test_a_damaged_quality_is_one_line(trained, phantoms, tmp_path):
    run = SavedRun.open(trained)
    assert run.quality().unlike_beyond > 0
    whole = (trained / "quality.json").read_text()
    for damaged in ("{", whole.replace(str(run.quality().unlike_beyond), "NaN")):
        assert damaged != whole
        SavedRun(tmp_path, run.config).write_config()
        (tmp_path / "quality.json").write_text(damaged)
        with pytest.raises(Exception, match="quality.json' is not valid"):
            SavedRun.open(tmp_path).quality()


def how_good(*slices: tuple[float, float]) -> dict:
    rows = [
        {
            "expected_dice": expected,
            "dice": dice,
            "truth_pixels": 9,
            "review": "low expected Dice" if not expected or expected < 0.2 else "",
        }
        for expected, dice in slices
    ]

    class Whole:
        split = None

    return how_well_expected(rows, Whole)


def test_how_well_dice_was_expected_by_hand():
    told = how_good((0.1, 0.0), (0.3, 0.4), (0.5, 0.6), (0.7, 0.8), (0.9, 0.0))
    # Ranks 1 to 5 against 1.5, 3, 4, 5, 1.5; the mean of 0.1, 0.1, 0.1, 0.1 and 0.9.
    assert told["spearman"] == pytest.approx(0.2052, abs=1e-4)
    assert told["mean_absolute_error"] == pytest.approx(0.26)
    assert (told["missed_whole"], told["missed_to_review"]) == (2, 1)
    same = how_good((0.5, 0.7), (0.5, 0.7), ("", 1.0), ("", 0.0))
    assert same["spearman"] is None and same["mean_absolute_error"] == pytest.approx(0.2)
    assert (same["missed_whole"], same["missed_to_review"]) == (1, 1)
    assert how_good(("", 1.0)) is None


def unlike(quality: Quality, images: list[np.ndarray], size: int) -> list[bool]:
    return [
        quality.review(to_training_image(image, size), 1.0, True) == "unlike training data"
        for image in images
    ]


def test_the_shipped_network_knows_what_it_was_not_trained_on():
    quality = SavedRun.open(None).quality()
    photos = [cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY) for photo in load_sample_images().images]
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (300, 200)).astype(np.uint8)
    page = np.full((400, 300), 255, np.uint8)
    cv2.putText(page, "no brain", (20, 200), cv2.FONT_HERSHEY_SIMPLEX, 1, 0, 2)
    assert all(unlike(quality, [*photos, noise, page, np.zeros((64, 64), np.uint8)], 256))


def test_inverted_slices_are_unlike_those_of_training(phantoms):
    slices = load_slices(phantoms, 64)
    half = len(slices.images) // 2
    scores = np.linspace(0, 1, 10)
    quality = fit_confidence_model(scores, scores, slices.images[:half])
    others = [read_image(pair.image) for pair in slices.pairs[half:]]
    assert np.mean(unlike(quality, [255 - image for image in others], 64)) == 1
    assert np.mean(unlike(quality, others, 64)) < 0.5  # fitted on few
    assert appearance(slices.images[0]).shape == (FEATURES,)


def test_predictions_are_judged(trained, phantoms, tmp_path):
    write_image(tmp_path / "in" / "blank.png", np.full((50, 40), 7, np.uint8))
    for path in sorted((phantoms / "images").iterdir())[:3]:
        write_image(tmp_path / "in" / path.name, read_image(path))
    done = run_script("predict", "in", "--run", trained, "--output", "out", cwd=tmp_path)
    assert done.returncode == 0 and "to review" in done.stdout, done.stderr
    rows = {row["path"].split("/")[-1]: row for row in read_table(tmp_path / "out/predictions.csv")}
    assert rows["blank.png"]["review"] == "unlike training data"
    for row in rows.values():
        assert (row["expected_dice"] == "") == (row["tumor_pixels"] == "0")
        assert row["expected_dice"] == "" or 0 <= float(row["expected_dice"]) <= 1
    assert (tmp_path / "out" / "contact_sheet.jpg").stat().st_size > 1000


def test_groups_by_plane_where_it_is_known():
    rows = [{"id": 1, "plane": "axial"}, {"id": 2, "plane": ""}, {"id": 3, "plane": "axial"}]
    assert groups_by(rows, "plane") == {"axial": [rows[0], rows[2]]}
    assert groups_by([{"id": 1}], "plane") == {}
