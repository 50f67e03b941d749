"""Expected Dice worked out by hand, and images that do not look like the training data."""

import cv2
import numpy as np
import pytest
from conftest import write_image
from ready import run_script
from sklearn.datasets import load_sample_images

from unet.data.slices import load_slices
from unet.errors import UserError
from unet.evaluation.fitting import cross_validated_dice, fit_confidence_model
from unet.evaluation.selection import Selection
from unet.evaluation.summary import by_value, summarize_expected_dice
from unet.images.preprocessing import to_training_image
from unet.images.reading import read_image
from unet.network.confidence import FEATURES, ConfidenceModel, appearance, soft_dice
from unet.network.saved_run import SavedRun
from unet.tables import read_table


def test_confidence_by_hand():
    probability = np.array([[0.9, 0.5, 0.0], [0.1, 0.0, 0.0]], np.float32)
    # 2 (0.9 + 0.5) / (1.5 + 2). A certain outline gives 1, an empty one 0.
    assert soft_dice(probability, probability >= 0.5) == pytest.approx(2.8 / 3.5)
    assert soft_dice(np.eye(3, dtype=np.float32), np.eye(3, dtype=bool)) == 1
    assert soft_dice(probability, probability > 1) == 0


def test_expected_dice_rises_through_the_centers_of_its_steps():
    confidences, dice = np.array([0.0, 0.2, 0.4, 0.6, 0.8]), np.array([0.0, 0.5, 0.3, 0.9, 0.9])
    model = fit_confidence_model(confidences, dice, np.zeros((3, 8, 8), np.uint8))
    # 0.5 and 0.3 are in the wrong order: both become 0.4, at 0.3. Two are 0.9, at 0.7. The empty outline is left out.
    assert model.confidence == pytest.approx([0.3, 0.7])
    assert model.expected_dice == pytest.approx([0.4, 0.9])
    assert model.expect_dice(0.5) == pytest.approx(0.65) and model.expect_dice(1.0) == pytest.approx(0.9)
    assert model.review_up_to == pytest.approx(0.32)  # a fifth of the way


def test_slices_without_an_outline_do_not_change_the_expected_dice():
    random = np.random.default_rng(0)
    confidences = random.uniform(0.2, 0.9, 200)
    dice = np.clip(confidences + random.normal(0, 0.1, 200), 0, 1)
    squares = np.zeros((3, 8, 8), np.uint8)
    alone = fit_confidence_model(confidences, dice, squares)
    # Rightly left empty: Dice 1 with confidence 0.
    mixed = fit_confidence_model(np.append(confidences, np.zeros(200)), np.append(dice, np.ones(200)), squares)
    assert mixed == alone and alone.expect_dice(0.3) < 0.5
    nothing = fit_confidence_model(np.zeros(4), np.ones(4), squares)
    assert nothing.expect_dice(0.5) == 0


def test_the_expected_dice_of_a_patient_is_fitted_on_others():
    confidences, patients = np.array([0.1, 0.9, 0.1, 0.9]), np.array(["a", "a", "b", "b"])
    expected = cross_validated_dice(confidences, np.array([0.0, 1.0, 0.5, 0.7]), patients)
    assert expected == pytest.approx([0.5, 0.7, 0.0, 1.0])
    assert np.isnan(cross_validated_dice(confidences, confidences, np.array(["a"] * 4))).all()


def test_a_model_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="do not have 19 features"):
        ConfidenceModel([0], [0], 0, [0.0] * FEATURES, [[0.0]] * FEATURES, 1)
    with pytest.raises(ValueError, match="differ in length"):
        ConfidenceModel([0], [], 0, [0.0] * FEATURES, [[0.0] * FEATURES] * FEATURES, 1)


def test_a_damaged_confidence_file_is_a_one_line_error(trained, tmp_path):
    run = SavedRun.open(trained)
    assert run.confidence_model().unlike_beyond > 0
    whole = (trained / "confidence.json").read_text()
    for damaged in ("{", whole.replace(str(run.confidence_model().unlike_beyond), "NaN")):
        assert damaged != whole
        copy = SavedRun(tmp_path, run.config, run.slices)
        (tmp_path / "confidence.json").write_text(damaged)
        with pytest.raises(UserError, match="confidence.json' is not valid") as error:
            copy.confidence_model()
        assert "\n" not in str(error.value)


def summarize(*slices: tuple[float | str, float]) -> dict | None:
    """The summary of slices with these expected and true Dice; "" is expected of a slice without an outline."""
    rows = [
        {
            "expected_dice": expected,
            "dice": dice,
            "truth_pixels": 9,
            "review": "low expected Dice" if not expected or expected < 0.2 else "",
        }
        for expected, dice in slices
    ]
    selection = Selection(None, (), "all", [], {}, {}, None, None)
    return summarize_expected_dice(rows, selection)


def test_summary_of_the_expected_dice_by_hand():
    summary = summarize((0.1, 0.0), (0.3, 0.4), (0.5, 0.6), (0.7, 0.8), (0.9, 0.0))
    # Ranks 1 to 5 against 1.5, 3, 4, 5, 1.5; the mean of 0.1, 0.1, 0.1, 0.1 and 0.9.
    assert summary["spearman"] == pytest.approx(0.2052, abs=1e-4)
    assert summary["mean_absolute_error"] == pytest.approx(0.26)
    assert (summary["missed_completely"], summary["missed_and_marked_for_review"]) == (2, 1)
    same = summarize((0.5, 0.7), (0.5, 0.7), ("", 1.0), ("", 0.0))
    assert same["spearman"] is None and same["mean_absolute_error"] == pytest.approx(0.2)
    assert (same["missed_completely"], same["missed_and_marked_for_review"]) == (1, 1)
    assert summarize(("", 1.0)) is None


def looks_unlike(model: ConfidenceModel, images: list[np.ndarray], size: int) -> list[bool]:
    return [model.is_unlike(to_training_image(image, size)) for image in images]


def test_the_shipped_run_detects_images_that_are_not_slices():
    model = SavedRun.open(None).confidence_model()
    photos = [cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY) for photo in load_sample_images().images]
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (300, 200)).astype(np.uint8)
    page = np.full((400, 300), 255, np.uint8)
    cv2.putText(page, "no brain", (20, 200), cv2.FONT_HERSHEY_SIMPLEX, 1, 0, 2)
    assert all(looks_unlike(model, [*photos, noise, page, np.zeros((64, 64), np.uint8)], 256))


def test_inverted_slices_look_unlike_the_training_data(phantoms):
    slices = load_slices(phantoms, 64)
    half = len(slices.images) // 2
    scores = np.linspace(0, 1, 10)
    model = fit_confidence_model(scores, scores, slices.images[:half])
    others = [pair.read_image() for pair in slices.pairs[half:]]
    assert np.mean(looks_unlike(model, [255 - image for image in others], 64)) == 1
    assert np.mean(looks_unlike(model, others, 64)) < 0.5  # fitted on few slices
    assert appearance(slices.images[0]).shape == (FEATURES,)


def test_predictions_have_an_expected_dice_and_a_review_reason(trained, phantoms, tmp_path):
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


def test_rows_are_grouped_by_plane_if_it_is_known():
    rows = [{"id": 1, "plane": "axial"}, {"id": 2, "plane": ""}, {"id": 3, "plane": "axial"}]
    assert by_value(rows, "plane") == {"axial": [rows[0], rows[2]]}
    assert by_value([{"id": 1}], "plane") == {}
