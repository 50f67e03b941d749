"""Several runs as one: joint rules by hand, and the scripts with runs whose answers differ."""

import json
import re
import shutil

import nibabel
import numpy as np
import pytest
import tensorflow as tf
from ready import run_script
from scipy.special import expit, logit

from unet.images.nifti import read_volume
from unet.images.reading import read_image
from unet.network.ensemble import (
    Ensemble,
    JointConfidence,
    joint_evidence,
    joint_outline_rule,
    joint_presence_rule,
    open_runs,
)
from unet.network.outlining import OutlineRule
from unet.network.predictor import Predictor
from unet.network.presence import PresenceRule
from unet.network.saved_run import PRETRAINED, SavedRun
from unet.network.scan import outline_scan, predict_scan
from unet.tables import read_table, write_table

STEEP, FLAT = PresenceRule(2.0, 1.0, 0.1, 0.2, 0.3), PresenceRule(0.5, -1.0, 0.5, 0.6, 0.7)


def test_the_joint_outline_rule_is_the_mean():
    joint = joint_outline_rule([OutlineRule(0.5, 0.0), OutlineRule(0.4, 0.9), OutlineRule(0.3, 0.4)])
    # A peak of 0 is as good as one of 0.5, the threshold: (0.5 + 0.9 + 0.4) / 3.
    assert joint == OutlineRule(0.4, 0.6)


def evidence_of(*values: float) -> list[tf.Tensor]:
    return [tf.constant([[value]], tf.float32) for value in values]


def test_the_joint_probability_is_the_mean_of_log_odds():
    joint = joint_presence_rule([STEEP, FLAT])
    evidence = float(joint_evidence(evidence_of(0.3, 0.8), [STEEP, FLAT], joint)[0, 0])
    expected = (logit(STEEP.probability(0.3)) + logit(FLAT.probability(0.8))) / 2
    assert joint.probability(evidence) == pytest.approx(expit(expected), abs=1e-5)


def test_what_all_runs_outline_is_outlined_and_what_none_outlines_is_not():
    joint, rules = joint_presence_rule([STEEP, FLAT]), [STEEP, FLAT]
    random = np.random.default_rng(0)
    for values in random.uniform(0, 1, (200, 2)):
        found = [rule.finds_tumor(value) for rule, value in zip(rules, values, strict=True)]
        if found[0] == found[1]:
            assert joint.finds_tumor(float(joint_evidence(evidence_of(*values), rules, joint)[0, 0])) == found[0]


def test_equal_runs_have_the_same_joint_evidence():
    """So that regions of scans, whose evidence is a mean over slices, are judged as with one run."""
    joint = joint_presence_rule([STEEP, STEEP])
    assert (joint.slope, joint.intercept) == (2, 1) and joint.threshold == pytest.approx(0.1)
    for value in (0.0, 0.01, 0.7, 1.0):
        evidence = float(joint_evidence(evidence_of(value, value), [STEEP, STEEP], joint)[0, 0])
        assert evidence == pytest.approx(value, abs=2e-6)


def test_runs_without_a_presence_rule_have_no_say():
    joint = joint_presence_rule([STEEP])
    evidence = float(joint_evidence(evidence_of(0.3, 0.9), [STEEP, None], joint)[0, 0])
    assert evidence == pytest.approx(0.3, abs=1e-6)
    assert joint_presence_rule([]) is None
    assert float(joint_evidence(evidence_of(0.3, 0.9), [None, None], None)[0, 0]) == pytest.approx(0.6)


def test_the_expected_dice_is_the_mean_and_only_what_no_run_knows_is_unlike():
    class Model:
        def __init__(self, dice: float, known: int):
            self.dice, self.known, self.review_up_to = dice, known, dice / 2

        def expect_dice(self, confidence):
            return self.dice * confidence

        def is_unlike(self, square):
            return square != self.known

    joint = JointConfidence([Model(0.4, known=1), Model(0.8, known=2)])
    assert joint.expect_dice(0.5) == pytest.approx(0.3) and joint.review_up_to == pytest.approx(0.3)
    assert [joint.is_unlike(square) for square in (1, 2, 3)] == [False, False, True]


@pytest.fixture
def runs(trained, tmp_path):
    """The trained run, as fold0, and one with other weights and rules that was trained on fold0's validation slices, as
    fold1."""
    for name in ("fold0", "fold1"):
        shutil.copytree(trained, tmp_path / "runs" / name)
    other = SavedRun.open(tmp_path / "runs/fold1")
    network = other.load_trainable_network()
    random = np.random.default_rng(0)
    network.set_weights([weights * random.uniform(0.8, 1.2, weights.shape) for weights in network.get_weights()])
    other.save_network(network)
    rule = other.config.outline_rule
    other.update_config(outline_rule=OutlineRule(rule.threshold / 2, rule.peak))
    swap = {"train": "val", "val": "train", "test": "test"}
    rows = [row | {"used_for": swap[row["used_for"]]} for row in read_table(other.folder / "slices.csv")]
    write_table(other.folder / "slices.csv", rows)
    return tmp_path / "runs"


def test_probabilities_are_averaged(runs, phantoms):
    folders = [runs / "fold0", runs / "fold1"]
    image = read_image(next((phantoms / "images").iterdir()))
    (one,), (two,), (mean,) = (Predictor(open_runs(some))([image]) for some in (folders[:1], folders[1:], folders))
    assert np.abs(one.probability - two.probability).max() > 0.001
    np.testing.assert_allclose(mean.probability, (one.probability + two.probability) / 2, atol=1e-6)


def test_an_ensemble_of_equal_runs_outlines_scans_like_one(trained, tmp_path):
    grey = (np.random.default_rng(0).random((24, 26, 22)) * 255).astype(np.uint8)
    grey[8:16, 9:17, 8:15] = 255
    nibabel.save(nibabel.Nifti1Image(grey, np.eye(4)), tmp_path / "scan.nii")
    volume, run = read_volume(tmp_path / "scan.nii"), SavedRun.open(trained)
    outlined = []
    for same in (run, Ensemble([run, run])):
        predictor = Predictor(same, always_outline=True)
        scan = predict_scan(predictor, volume, "")
        outlined.append((scan, outline_scan(predictor, volume, scan)))
    (scan, one), (joint_scan, joint) = outlined
    np.testing.assert_allclose(joint_scan.probability, scan.probability, atol=1e-6)
    assert joint.evidence == pytest.approx(one.evidence, abs=1e-5) and np.array_equal(joint.mask, one.mask)


def test_prediction_with_an_ensemble_is_recorded_and_resumed_only_with_the_same(runs, phantoms, tmp_path):
    images = sorted((phantoms / "images").iterdir())[:3]
    both = [runs / "fold0", runs / "fold1"]
    done = run_script("predict", *images, "--run", *both, "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    settings = json.loads((tmp_path / "out/prediction.json").read_text())
    members = [SavedRun.open(folder) for folder in both]
    assert settings["network"] == ", ".join(run.network_fingerprint() for run in members)
    assert settings["threshold"] == pytest.approx(np.mean([run.config.outline_rule.threshold for run in members]))
    rows = read_table(tmp_path / "out/predictions.csv")
    presence = Ensemble(members).config.presence_rule
    (prediction,) = Predictor(Ensemble(members))([read_image(images[0])])
    assert float(rows[0]["tumor_probability"]) == pytest.approx(presence.probability(prediction.evidence), abs=1e-3)
    other = run_script("predict", *images, "--run", both[0], "--output", "out", "--resume", cwd=tmp_path)
    assert other.returncode == 2 and "was started with network" in other.stderr


def test_runs_of_different_sizes_are_not_averaged(runs, phantoms, tmp_path):
    both = [runs / "fold0", PRETRAINED]
    for command in (
        ["predict", phantoms / "images", "--output", "out", "--run", *both],
        ["evaluate", "--ensemble", *both],
    ):
        done = run_script(*command, cwd=tmp_path)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        assert "pretrained' has --size 256, unlike" in done.stderr


def test_results_of_an_ensemble_are_not_replaced_by_those_of_another(runs, tmp_path):
    shutil.copytree(runs / "fold1", runs / "other")
    for second, code in (("fold1", 0), ("fold1", 0), ("other", 2)):
        command = ["--ensemble", "runs/fold0", f"runs/{second}", "--split", "test"]
        done = run_script("evaluate", *command, cwd=tmp_path)
        assert done.returncode == code, done.stderr
    assert "contains other results (run: " in done.stderr
    assert re.search(r"run: .*fold0, .*fold1, now .*other\): choose another --output", done.stderr)


def test_an_ensemble_is_evaluated_but_not_silently_on_slices_that_a_run_was_trained_on(runs, tmp_path):
    ensemble = ["--ensemble", "runs/fold0", "runs/fold1"]
    done = run_script("evaluate", *ensemble, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "'runs/fold1' was trained on" in done.stderr and "other slices with --split test" in done.stderr
    done = run_script("evaluate", *ensemble, "--split", "val", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "were used to train '" in done.stdout
    done = run_script("evaluate", *ensemble, "--split", "test", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "were used to train" not in done.stdout
    summary = json.loads((runs / "fold0/ensemble-of-2/evaluation-test/summary.json").read_text())
    assert summary["run"] == f"{runs}/fold0, {runs}/fold1" and summary["network"].count(", ") == 1
    page = (runs / "fold0/ensemble-of-2/evaluation-test/report.html").read_text()
    assert "<title>Evaluation of ensemble-of-2: test slices" in page


def test_an_ensemble_is_compared_with_a_run(runs, tmp_path):
    ensemble = ["--ensemble", "runs/fold0", "runs/fold1"]
    done = run_script("evaluate", "runs/fold0", *ensemble, cwd=tmp_path)
    assert done.returncode == 2 and "'runs/fold1' was trained on" in done.stderr
    done = run_script("evaluate", "runs/fold0", *ensemble, "--split", "test", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "A: fold0\nB: ensemble-of-2\n" in done.stdout
    rows = read_table(runs / "fold0/compared-with-ensemble-of-2-on-test/per_slice.csv")
    assert [row["id"] for row in rows] == SavedRun.open(runs / "fold0").slices.split["test"]


@pytest.mark.slow
def test_an_ensemble_on_ray_gives_the_same_masks(runs, phantoms, tmp_path):
    pytest.importorskip("ray")
    images = sorted((phantoms / "images").iterdir())[:9]
    common = [*images, "--run", runs / "fold0", runs / "fold1", "--threshold", "0.3", "--probabilities"]
    for output, ray in (("here", []), ("there", ["--ray", "local"])):
        done = run_script("predict", *common, "--output", output, *ray, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for path in images:
        here, there = (read_image(tmp_path / output / "masks" / path.name) for output in ("here", "there"))
        assert np.count_nonzero(here != there) <= 2
    assert (tmp_path / "there/probabilities" / images[0].name).exists()
