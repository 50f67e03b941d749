"""Whether there is a tumor: the rule worked out by hand, and what it does to masks, tables and reviews."""

import gzip
from copy import copy
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import write_image

from unet.errors import UserError
from unet.evaluation.fitting import fit_presence, presence_limits
from unet.network.confidence import ConfidenceModel
from unet.network.predictor import Predictor
from unet.network.presence import PresenceRule, log_odds
from unet.network.saved_run import SavedRun
from unet.options import PredictionOptions
from unet.prediction.export import simulate_head
from unet.prediction.inputs import Input
from unet.prediction.outlines import outline_inputs
from unet.prediction.output import OutputFolder, rows_as_csv, settings_of
from unet.prediction.rows import COLUMNS, PredictionRow

# With slope 1 and intercept 0, the probability of a tumor is the evidence.
ALWAYS = PresenceRule(slope=1, intercept=0, threshold=0, unsure_from=2, unsure_to=2)
NEVER = replace(ALWAYS, threshold=1)
UNSURE = replace(NEVER, unsure_from=0, unsure_to=1)
HEAD = simulate_head(0, 100, 80)
OPTIONS = PredictionOptions((), Path("out"))


def test_the_rule_by_hand():
    rule = PresenceRule(slope=2, intercept=0, threshold=0.4, unsure_from=0.1, unsure_to=0.6)
    # Odds of 3 : 1, squared: 9 : 1.
    assert rule.probability(0.75) == pytest.approx(0.9)
    assert rule.probability(0.5) == pytest.approx(0.5)
    assert rule.probability(0.25) == pytest.approx(0.1)
    assert [rule.finds_tumor(evidence) for evidence in (0.25, 0.5, 0.75)] == [False, True, True]
    assert [rule.is_unsure(evidence) for evidence in (0.2, 0.5, 0.75)] == [False, True, False]
    # The intercept divides the odds by 9.
    assert replace(rule, intercept=-np.log(9)).probability(0.75) == pytest.approx(0.5)


def test_certain_evidence_has_finite_log_odds():
    assert log_odds(1) == pytest.approx(np.log(999_999)) and log_odds(0) == pytest.approx(-np.log(999_999))
    assert 0 < ALWAYS.probability(0) < 1e-5 and 1 - 1e-5 < ALWAYS.probability(1) < 1


def test_a_threshold_is_reached_by_a_probability_equal_to_it():
    rule = replace(ALWAYS, threshold=0.5, unsure_from=0.5, unsure_to=0.5)
    assert rule.finds_tumor(0.5) and rule.is_unsure(0.5) and not rule.finds_tumor(0.499)


@pytest.fixture(scope="module")
def predictor():
    """predictor(rule) is the pretrained network with another presence rule; all images look like its training data."""

    class Known(ConfidenceModel):
        def is_unlike(self, square):
            return False

    made = Predictor(SavedRun.open(), mirror=False, precision="float32")
    made.confidence_model = Known(**vars(made.confidence_model))

    def with_rule(rule: PresenceRule | None, always_outline: bool = False) -> Predictor:
        other = copy(made)
        other.presence_rule, other.always_outline = rule, always_outline
        return other

    return with_rule


def test_what_is_found_does_not_depend_on_the_rounding_of_the_table(tmp_path):
    settings = {"always_outline": False, "presence_rule": vars(replace(ALWAYS, threshold=0.474962))}
    row = PredictionRow("a.png", tumor_pixels=0, tumor_probability=round(0.474955, 4))
    assert OutputFolder(tmp_path, settings, []).finding(row) == "no tumor found"


def test_the_mask_is_empty_if_no_tumor_is_found(predictor):
    predictor = predictor(NEVER)
    (prediction,) = predictor([HEAD])
    assert predictor.rule.mask(prediction.probability).any()
    assert not predictor.finds_tumor(prediction.evidence) and not predictor.mask(prediction).any()
    assert predictor.visible_probability(prediction).max() < predictor.rule.threshold
    assert predictor.tumor_probability(prediction.evidence) == pytest.approx(prediction.evidence, abs=1e-5)
    assert predictor.review_reason(prediction.square, prediction.evidence, 0.0) == ""


@pytest.mark.parametrize(("rule", "always_outline"), [(ALWAYS, False), (UNSURE, True), (None, True)])
def test_something_is_outlined_if_there_is_a_tumor(predictor, rule, always_outline):
    predictor = predictor(rule, always_outline)
    (prediction,) = predictor([np.zeros((60, 40), np.uint8)])
    assert not predictor.rule.mask(prediction.probability).any()
    mask = predictor.mask(prediction)
    assert mask.any() and predictor.review_reason(prediction.square, prediction.evidence, 0.9) == ""
    shown = predictor.visible_probability(prediction) >= predictor.rule.threshold
    np.testing.assert_array_equal(shown, mask)


def test_without_a_rule_the_outline_alone_decides(predictor):
    predictor = predictor(None)
    empty, head = predictor([np.zeros((60, 40), np.uint8), HEAD])
    assert predictor.tumor_probability(head.evidence) is None and predictor.finds_tumor(empty.evidence)
    assert predictor.mask(head).any() and not predictor.mask(empty).any()
    assert predictor.review_reason(empty.square, empty.evidence, 0.0) == "nothing outlined"


def test_uncertain_images_are_reviewed_whatever_the_decision(predictor):
    for rule in (UNSURE, replace(UNSURE, threshold=0)):
        predictor_with_rule = predictor(rule)
        (prediction,) = predictor_with_rule([HEAD])
        assert predictor_with_rule.review_reason(prediction.square, prediction.evidence, 0.9) == "tumor uncertain"


def test_each_row_has_a_tumor_probability(predictor, tmp_path):
    write_image(tmp_path / "head.png", HEAD)
    slices = np.stack([np.zeros_like(HEAD), HEAD, np.zeros_like(HEAD)], axis=2)
    nibabel.save(nibabel.Nifti1Image(slices, np.diag([1, 1, 5, 1])), tmp_path / "scan.nii")
    inputs = [Input(str(tmp_path / name), name) for name in ("head.png", "scan.nii")]
    never = [outlined.row for outlined in outline_inputs(predictor(NEVER), inputs, OPTIONS)]
    always = [outlined.row for outlined in outline_inputs(predictor(ALWAYS), inputs, OPTIONS)]
    unsure = [outlined.row for outlined in outline_inputs(predictor(UNSURE), inputs, OPTIONS)]
    unknown = [outlined.row for outlined in outline_inputs(predictor(None), inputs, OPTIONS)]
    (prediction,) = predictor(ALWAYS)([HEAD])
    assert never[0].tumor_probability == always[0].tumor_probability == round(prediction.evidence, 4)
    for row in never:
        assert row.tumor_pixels == 0 and row.expected_dice is None and row.review == ""
    for row in always:
        assert row.tumor_pixels > 0 and row.expected_dice is not None
    # The middle slice has the strongest evidence.
    assert always[1].tumor_probability > 0.5
    assert [row.review for row in unsure] == ["tumor uncertain"] * 2
    assert [row.tumor_probability for row in unknown] == [None, None]
    cells = dict(zip(COLUMNS, rows_as_csv([never[0]]).strip().split(","), strict=True))
    assert cells["tumor_probability"] == str(never[0].tumor_probability) and PredictionRow.from_cells(cells) == never[0]


def test_a_region_of_a_volume_is_outlined_if_its_slices_speak_for_a_tumor(predictor, tmp_path):
    empty = np.zeros_like(HEAD)
    nibabel.save(nibabel.Nifti1Image(np.stack([empty, HEAD], axis=2), np.diag([1, 1, 5, 1])), tmp_path / "scan.nii")
    inputs = [Input(str(tmp_path / "scan.nii"), "scan")]
    (always,) = outline_inputs(predictor(ALWAYS), inputs, OPTIONS)
    (never,) = outline_inputs(predictor(replace(NEVER, intercept=-99)), inputs, OPTIONS)
    assert always.row.tumor_pixels > 0 == never.row.tumor_pixels
    assert never.row.tumor_probability == 0 < 0.5 < always.row.tumor_probability
    mask = nibabel.Nifti1Image.from_bytes(gzip.decompress(always.files["masks/scan_mask.nii.gz"]))
    assert not np.asarray(mask.dataobj)[:, :, 0].any()  # this slice shows no head


def test_a_prediction_does_not_resume_with_another_decision(tmp_path):
    run = SavedRun.open()
    run.config = replace(run.config, presence_rule=NEVER)
    started = OutputFolder(tmp_path, settings_of(run, OPTIONS), [])
    started.prepare(resume=False, overwrite=False)
    empty = PredictionRow("image.png", tumor_pixels=0, tumor_probability=0.9)
    assert (started.presence_threshold(empty), started.finding(empty)) == (1, "no tumor found")
    assert started.finding(replace(empty, slices=9)) == "no tumor found"
    other = OutputFolder(tmp_path, settings_of(run, replace(OPTIONS, always_outline=True)), [])
    assert (other.presence_threshold(empty), other.finding(empty)) == (None, "nothing outlined")
    with pytest.raises(UserError, match="was started with always_outline False, not True"):
        other.prepare(resume=True, overwrite=False)
    started.prepare(resume=True, overwrite=False)


def test_a_tumor_in_a_scan_must_be_likely_and_all_answers_about_it_agree(predictor):
    low, high = (replace(ALWAYS, threshold=threshold, unsure_from=0.05, unsure_to=0.2) for threshold in (0.1, 0.8))
    assert (low.for_scans.threshold, low.for_scans.unsure_to, high.for_scans.threshold) == (0.5, 0.5, 0.8)
    run = SavedRun.open()
    for rule, probability, image, scan in (
        (low, 0.08, "no tumor found", "no tumor found"),
        (low, 0.3, "nothing outlined", "no tumor found"),
        (low, 0.6, "nothing outlined", "nothing outlined"),
        (high, 0.7, "no tumor found", "no tumor found"),
    ):
        run.config = replace(run.config, presence_rule=rule)
        output = OutputFolder(Path("out"), settings_of(run, OPTIONS), [])
        row = PredictionRow("file", tumor_pixels=0, tumor_probability=probability)
        assert [output.finding(row), output.finding(replace(row, slices=9))] == [image, scan]
        outlining = predictor(rule)
        for in_scan, finding in ((False, image), (True, scan)):
            assert outlining.finds_tumor(probability, in_scan) == (finding == "nothing outlined")
            (square,) = (prediction.square for prediction in outlining([HEAD]))
            review = outlining.review_reason(square, probability, 0.0, in_scan)
            assert review in ("tumor uncertain", "" if finding == "no tumor found" else finding)


def test_evidence_that_speaks_against_tumors_says_nothing():
    rule = fit_presence(np.array([0.1, 0.2, 0.3]), np.array([0.7, 0.8, 0.9]))
    assert rule.slope > 0 and abs(rule.probability(0.1) - 0.5) < 0.01
    assert all(map(rule.finds_tumor, (0.1, 0.2, 0.3)))


def test_a_few_slices_also_have_an_unsure_range_on_both_sides_of_the_threshold():
    threshold, unsure_from, unsure_to = presence_limits(np.array([0.2, 0.5, 0.6, 0.7]))
    # The lowest is 0.2, with odds of 1/4, and the next one 0.5, with odds of 1: 1/16 is as far below.
    assert (unsure_from, unsure_to) == pytest.approx((1 / 17, 0.5)) and threshold == pytest.approx(0.19)
    many = presence_limits(np.arange(1, 1001) / 1001)
    assert many[1] < many[0] < many[2]
    # If all are equal, as certain evidence makes them, the most certain tumors are not unsure.
    assert presence_limits(np.full(200, 0.9)) == pytest.approx((0.855, 0.45, 0.855))
    # However close together the probabilities are, the range includes the threshold.
    close = presence_limits(0.97 + 0.03 * np.arange(300) / 300)
    assert close[1] <= close[0] < close[2]


@pytest.mark.parametrize(
    ("rule", "field", "value"),
    [("outline_rule", "threshold", 7), ("presence_rule", "threshold", 5), ("presence_rule", "slope", -1)],
)
def test_impossible_rules_are_refused(rule, field, value, tmp_path):
    run = SavedRun.open()
    wrong = replace(getattr(run.config, rule), **{field: value})
    copied = SavedRun(tmp_path / "run", replace(run.config, **{rule: wrong}), run.slices)
    copied.create()
    with pytest.raises(UserError, match=f"config.json.*{field}"):
        SavedRun.open(tmp_path / "run")
    assert PresenceRule(1000, 0, 0.5, 0.4, 0.6).probability(0.9) == 1  # no overflow
