"""Is there a tumor? Fractions, areas and curves worked out by hand, and evaluations of folders without a tumor."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import write_image, write_pairs
from sklearn.metrics import roc_auc_score

from unet.errors import UserError
from unet.evaluation.compare import compare
from unet.evaluation.contenders import Contender
from unet.evaluation.detection import (
    area_under_curve,
    detection_table,
    method_of_intervals,
    rates_at,
    reliability_of_slices,
    roc_points,
    summarize_detection,
)
from unet.evaluation.evaluate import evaluate
from unet.evaluation.report import describe_tile
from unet.evaluation.scoring import SliceScore
from unet.evaluation.selection import Selection, select
from unet.evaluation.summary import describe, summarize
from unet.network.presence import PresenceRule
from unet.network.run_config import SliceTable
from unet.network.saved_run import PRETRAINED, SavedRun
from unet.options import EvaluationOptions
from unet.pictures.page import Tile
from unet.tables import read_table

SCORE_NAMES = ("dice", "iou", "precision", "recall", "surface_dice", "hd95_pixels")


def row(patient: str, truth: int, predicted: int, probability: float | None = None) -> dict:
    """A row of per_slice.csv, of an image of 100 pixels. Every outline has a Dice of 0.5."""
    score = 0.5 if predicted else 0.0
    made = {"id": patient, "patient": patient, "pixels": 100, "truth_pixels": truth, "predicted_pixels": predicted}
    made |= {"tumor_percent": float(truth)} | dict.fromkeys(SCORE_NAMES, score if truth else "")
    return made if probability is None else made | {"tumor_probability": probability}


ROWS = [
    row("a", 9, 9, 0.9), row("a", 9, 9, 0.8), row("b", 9, 5, 0.4), row("c", 9, 0, 0.2),
    row("like d", 0, 0, 0.1), row("like d", 0, 10, 0.4), row("like e", 0, 20, 0.3), row("like f", 0, 0, 0.05),
]  # fmt: skip


def test_detection_by_hand():
    summary = summarize_detection(ROWS)
    assert summary["with_tumor"] == {"slices": 4, "patients": 3, "unit": "patients"}
    assert summary["without_tumor"] == {"slices": 4, "patients": 3, "unit": "groups"}
    assert summary["sensitivity"]["mean"] == 3 / 4 and summary["specificity"]["mean"] == 2 / 4
    # 0.9 and 0.8 beat all four, 0.4 beats three and equals one, 0.2 beats two.
    assert summary["auc"]["mean"] == (4 + 4 + 3.5 + 2) / 16
    assert summary["false_alarms"] == 2
    assert summary["false_alarm_percent_of_image"] == {"mean": 15, "median": 15}
    # Three groups that are all outlined: the exact lower end is the cube root of 0.025.
    all_outlined = summarize_detection([one | {"predicted_pixels": 5} for one in ROWS])
    assert all_outlined["sensitivity"]["interval"] == pytest.approx((0.025 ** (1 / 3), 1))
    assert all_outlined["specificity"]["interval"] == pytest.approx((0, 1 - 0.025 ** (1 / 3)))
    table = detection_table(summary)
    assert [line[1:3] for line in table.rows[1:]] == [["4", "3 patients"], ["4", "3 groups"], ["8", ""]]


def test_without_probabilities_or_with_one_kind_of_slices_there_is_no_area():
    without = [{name: value for name, value in row.items() if name != "tumor_probability"} for row in ROWS]
    summary = summarize_detection(without)
    assert summary["auc"] is None and summary["sensitivity"]["mean"] == 3 / 4
    only = summarize_detection(ROWS[4:])
    assert only["auc"] is None and only["sensitivity"] is None and only["specificity"]["mean"] == 1 / 2
    assert len(detection_table(only).rows) == 2


def test_the_area_is_that_of_scikit_learn_and_its_interval_is_over_patients():
    random = np.random.default_rng(0)
    rows = [
        row(f"p{index % 12}", 9 * (index % 3 == 0), 0, round(random.uniform(0, 0.7) + 0.3 * (index % 3 == 0), 1))
        for index in range(90)
    ]
    area = area_under_curve(rows)
    truth, probability = zip(*((row["truth_pixels"] > 0, row["tumor_probability"]) for row in rows), strict=True)
    assert area["mean"] == pytest.approx(roc_auc_score(truth, probability))
    assert area["interval"][0] < area["mean"] < area["interval"][1]
    # Copies of slices add no information.
    assert area_under_curve(rows * 3)["interval"] == pytest.approx(area["interval"])


def test_the_interval_of_an_area_needs_two_patients_of_each_kind():
    assert area_under_curve(ROWS[:6])["interval"] is None  # only d is without tumor
    # Draws that lack one of the two kinds are left out. In all others, the two kinds are separated without an error.
    apart = [row("a", 9, 9, 0.9), row("b", 9, 9, 0.8), row("c", 0, 0, 0.2), row("d", 0, 0, 0.1)]
    # That is not certain: the lower end is the exact one of two answers.
    assert area_under_curve(apart) == {"mean": 1, "interval": (pytest.approx(0.025**0.5), 1)}


def test_curve_and_threshold_by_hand():
    false_alarms, found = roc_points(ROWS)
    # From 0.8, 0.4 and 0.2 on, these fractions of the slices without and with tumor are outlined.
    assert {(0, 2 / 4), (1 / 4, 3 / 4), (2 / 4, 1)} <= set(zip(false_alarms, found, strict=True))
    assert (false_alarms[0], found[0], false_alarms[-1], found[-1]) == (0, 0, 1, 1)
    assert rates_at(ROWS, 0.4) == (1 / 4, 3 / 4)


def test_intervals_of_known_and_unknown_patients_are_told_apart():
    assert method_of_intervals(ROWS).startswith(
        "95%, expanded percentile bootstrap over patients (slices with tumor), and over groups of similar slices, too "
        "narrow because the patients are unknown (slices without)"
    )
    assert "bootstrap over patients; exact" in method_of_intervals(ROWS[:4])


def test_both_kinds_have_the_same_weight_in_the_reliability_diagram():
    rows = [row("a", 9, 9, 1.0), row("a", 9, 9, 0.15), *[row("b", 0, 0, p) for p in (0.02, 0.04, 0.12, 0.18)]]
    mean, fraction, counts = reliability_of_slices(rows)
    # From 0.1 to 0.2: half of the slices with tumor and half of those without.
    assert mean[[0, 1, 9]] == pytest.approx([0.03, 0.15, 1]) and np.isnan(mean[2:9]).all()
    assert fraction[[0, 1, 9]] == pytest.approx([0, 0.5, 1]) and np.isnan(fraction[2:9]).all()
    assert counts[:, [0, 1, 9]].tolist() == [[2, 2, 0], [0, 1, 1]] and counts.sum() == 6


def summary_of(rows: list[dict]) -> dict:
    scores = [SliceScore(row, np.zeros(19), np.zeros((3, 100)), "", None) for row in rows]
    settings = Contender(PRETRAINED, SavedRun.open()).settings(EvaluationOptions())
    return summarize(settings, Selection(None, (), "made up", [], {}, {}, None, None), scores)


def test_outlining_nothing_in_mostly_empty_slices_is_worth_nothing():
    # Five of six slices are empty, so the mean over all of them would be 0.833.
    summary = summary_of([row(patient, 9 * (index == 0), 0) for patient in "abcdef" for index in range(6)])
    assert summary["scores"]["all"]["dice"] == {"mean": 0, "interval": (0, 0)}
    assert summary["scores"]["all"]["slices"] == 6 and summary["detection"]["without_tumor"]["slices"] == 30
    text = describe(summary)
    assert "0.000 (0.000 to 0.000)" in text and "0.833" not in text
    assert "Warning: nothing is outlined" in text
    assert "Warning" not in describe(summary_of(ROWS))


def test_a_summary_without_any_tumor_is_only_about_detection():
    summary = summary_of(ROWS[4:])
    assert "scores" not in summary and "expected_dice" not in summary and not summary["warning"]
    text = describe(summary)
    assert "50.0%" in text and "Dice" not in text and "cover 15.0% of the image" in text


def test_a_missing_interval_is_a_dash_with_one_footnote():
    text = describe(summary_of([row("a", 9, 9), row("a", 9, 9)]))
    assert "0.500 –" in text and "100.0% –" in text and text.count("no interval") == 1


@pytest.mark.parametrize(
    ("made", "label", "groups"),
    [
        (row("a", 9, 9, 0.9), "a  0.50", []),
        (row("a", 9, 0, 0.1), "a  0.00", ["missed: no tumor found"]),
        (row("a", 9, 0), "a  0.00", ["missed: nothing outlined"]),
        (row("a", 9, 9) | {"dice": 0.0, "tumor": "glioma"}, "a glioma 0.00", ["glioma", "missed: outlined elsewhere"]),
        (row("a", 0, 9, 0.6), "a false alarm (0.60)", ["false alarm", "no tumor"]),
        (row("a", 0, 0, 0.1), "a no tumor (0.10)", ["no tumor"]),
        (row("a", 0, 0), "a no tumor", ["no tumor"]),
    ],
)
def test_tiles_can_be_filtered_and_sorted(made, label, groups):
    tile = describe_tile(Tile("a", "", 1, 1, ""), made, 0)
    assert (tile.label, tile.groups) == (label, groups)
    assert tile.sort["presence"] == made.get("tumor_probability")
    assert (tile.sort["dice"] is None) == (not made["truth_pixels"])


@pytest.fixture
def folders(tmp_path):
    """data/ with four patients, of known tumor types, and empty/ with five images without a tumor."""
    write_pairs(tmp_path / "data", 8, (64, 64))
    lines = [f"{index},p{index // 2},glioma,{'val' if index < 4 else 'train'}" for index in range(8)]
    (tmp_path / "data/patients.csv").write_text("\n".join(["id,patient,tumor,split", *lines]))
    for index in range(5):
        noise = np.random.default_rng(100 + index).integers(0, 255, (64, 48)).astype(np.uint8)
        write_image(tmp_path / "empty" / f"{index}.png", noise)
    return tmp_path


def run_on(folder, **config) -> SavedRun:
    """The shipped run, as if it had been trained on data/ and empty/ in a folder."""
    run = SavedRun.open()
    ids = {"train": ["4", "5"], "val": ["0", "1", "empty/0", "empty/1"], "test": []}
    facts = {id: {"patient": f"p{id}", "tumor": ""} for part in ids.values() for id in part}
    places = {"data_folder": str(folder / "data"), "no_tumor_folders": [str(folder / "empty")]}
    return SavedRun(run.folder, replace(run.config, **places), SliceTable(ids, dict.fromkeys(facts, ""), facts))


def test_a_split_includes_the_slices_without_a_tumor(folders):
    run = run_on(folders)
    assert [pair.id for pair in select(run, EvaluationOptions()).pairs] == ["0", "1", "empty/0", "empty/1"]
    (folders / "moved").mkdir()
    shutil.move(folders / "empty", folders / "moved/empty")
    with pytest.raises(UserError, match="empty' does not exist: say where it is with --no-tumor and --split val"):
        select(run, EvaluationOptions())
    moved = EvaluationOptions(split="val", no_tumor=(folders / "moved/empty",))
    assert len(select(run, moved).pairs) == 4
    (folders / "moved/empty/0.png").unlink()
    with pytest.raises(UserError, match=r"1 val slices are not in .*empty' \('empty/0', ...\)"):
        select(run, moved)


def test_folders_without_a_tumor_are_selected_with_data_or_alone(folders):
    run, empty = run_on(folders), (folders / "empty",)
    alone = select(run, EvaluationOptions(no_tumor=empty))
    assert (alone.split, alone.title, len(alone.pairs)) == (None, "empty", 5)
    both = select(run, EvaluationOptions(data=folders / "data", no_tumor=empty))
    assert (both.title, len(both.pairs)) == ("data+empty", 13)
    assert both.identity["data"] == f"{folders.resolve()}/data, {folders.resolve()}/empty"
    assert both.facts["empty/0"].keys() == both.facts["0"].keys()  # the columns of per_slice.csv
    with pytest.raises(UserError, match="--patients is only for --data"):
        select(run, EvaluationOptions(no_tumor=empty, patients=folders / "data/patients.csv"))
    with pytest.raises(UserError, match="has no slices of '.*other': to score all images in it, leave out --split"):
        shutil.copytree(empty[0], folders / "other")
        select(run, EvaluationOptions(split="val", no_tumor=(folders / "other",)))
    # The run has no test slices, so the patients tables say which slices are meant.
    with pytest.raises(UserError, match="empty' is in the split test, according to 5 groups"):
        select(run, EvaluationOptions(split="test", no_tumor=empty))


@pytest.fixture
def run_with_rule(tmp_path):
    """A copy of the shipped run that finds a tumor if there is any evidence."""
    shutil.copytree(PRETRAINED, tmp_path / "run")
    run = SavedRun.open(tmp_path / "run")
    run.update_config(presence_rule=PresenceRule(1.0, 0.0, 0.5, 0.4, 0.6))
    return run.folder


def test_folders_without_a_tumor_are_evaluated_and_compared(folders, run_with_rule, capsys):
    options = EvaluationOptions((run_with_rule,), data=folders / "data", no_tumor=(folders / "empty",))
    output = evaluate(options)
    assert output.name == "evaluation-data+empty" and "area under the ROC curve" in capsys.readouterr().out
    rows = read_table(output / "per_slice.csv")
    assert {row["tumor"] for row in rows if row["truth_pixels"] == "0"} == {""}
    assert all((row["dice"] == "") == (row["truth_pixels"] == "0") for row in rows)
    summary = json.loads((output / "summary.json").read_text())
    assert summary["scores"]["all"]["slices"] == 8 and summary["detection"]["without_tumor"]["slices"] == 5
    assert (output / "detection.png").stat().st_size > 500

    other = run_with_rule.with_name("other")
    shutil.copytree(run_with_rule, other)
    SavedRun.open(other).update_config(presence_rule=PresenceRule(1.0, 0.0, 1.0, 0.4, 0.6))  # finds none
    output = compare(replace(options, runs=(run_with_rule, other)))
    comparison = json.loads((output / "comparison.json").read_text())
    assert comparison["groups"]["all"]["dice_b"] == 0 and comparison["false_alarms"]["b"] == 0
    assert comparison["false_alarms"]["difference"] == -comparison["false_alarms"]["a"]


def test_folders_without_a_tumor_alone_give_no_dice(folders, run_with_rule):
    options = EvaluationOptions((run_with_rule,), no_tumor=(folders / "empty",), always_outline=True)
    output = evaluate(options)
    summary = json.loads((output / "summary.json").read_text())
    assert "scores" not in summary and summary["detection"]["specificity"]["mean"] == 0
    assert "Every slice is outlined, as requested with --always-outline" in (output / "report.html").read_text()
    assert (output / "report.html").exists() and not list(output.glob("*.png"))
    other = run_with_rule.with_name("other")
    shutil.copytree(run_with_rule, other)
    output = compare(replace(options, runs=(run_with_rule, other)))
    comparison = json.loads((output / "comparison.json").read_text())
    assert comparison["groups"] == {} and comparison["answer"].startswith("False alarms in 5 slices")
