"""Comparison of two runs: differences computed by hand, and the script on phantoms."""

import shutil

import pytest
from ready import run_script

from unet.evaluation.differences import (
    answer_in_words,
    describe_false_alarms,
    difference_table,
    pair_rows,
    summarize_differences,
    summarize_false_alarms,
)
from unet.network.saved_run import SavedRun
from unet.tables import read_table, write_table

TRAININGS = "patients, for these two trainings"


def rows(*differences: tuple[str, float]) -> list[dict]:
    outline = {"truth_pixels": 9, "predicted_pixels": 9}
    return [
        pair_rows({"id": str(i), "patient": patient, "dice": 0.5} | outline, {"dice": 0.5 + difference} | outline)
        for i, (patient, difference) in enumerate(differences)
    ]


def test_differences_match_hand_computed_values():
    group = summarize_differences(rows(("a", 0.1), ("a", 0.3), ("b", -0.1), ("b", 0.004)))
    assert (group["slices"], group["patients"]) == (4, 2)
    assert group["dice_a"] == 0.5 and group["dice_b"] == pytest.approx(0.576)
    assert group["difference"] == pytest.approx(0.076)  # (0.1 + 0.3 - 0.1 + 0.004) / 4
    # With two patients, the interval spans their means, -0.048 and 0.2.
    assert group["interval"] == pytest.approx((-0.048, 0.2))
    assert (group["a_better"], group["b_better"]) == (1, 2)  # A difference of 0.004 counts as equal.


def test_the_answer_is_a_sentence():
    unclear = summarize_differences(rows(*zip("abcdef", (0.1, -0.1, 0.1, -0.1, 0.1, -0.1), strict=True)))
    assert answer_in_words(unclear, "A", "B", TRAININGS).startswith("No clear difference: the mean Dice of B is")
    better = summarize_differences(rows(*((patient, 0.15) for patient in "abcdef")))
    assert answer_in_words(better, "A", "B", TRAININGS) == (
        "B is better than A: the mean Dice of B is 0.150 higher than that of A (95% interval of the difference over 6 "
        "patients, for these two trainings: +0.150 to +0.150)."
    )
    worse = summarize_differences(rows(*((patient, -0.15) for patient in "abcdef")))
    assert answer_in_words(worse, "A", "B", TRAININGS).startswith(
        "A is better than B: the mean Dice of B is 0.150 lower than that of A"
    )


def test_too_few_patients_give_no_answer():
    for patients in ("aaaaaaa", "abcdeee"):
        group = summarize_differences(rows(*((patient, 0.1) for patient in patients)))
        assert answer_in_words(group, "A", "B", TRAININGS).startswith(
            f"Too few patients to tell: {len(set(patients))}, but at least 6 are needed."
        )


def test_the_difference_of_one_patient_has_no_interval():
    group = summarize_differences(rows(("like a", 0.1), ("like a", 0.3)))
    headings, row = difference_table({"all": group}).rows
    assert headings[2] == "groups" and row[5] == "+0.200 –"


def test_false_alarms_match_hand_computed_values():
    def pair(patient: str, a: int, b: int) -> dict:
        about = {"id": patient, "patient": patient, "truth_pixels": 0, "dice": ""}
        return pair_rows(about | {"predicted_pixels": a}, about | {"predicted_pixels": b})

    alarms = [pair("a", 5, 0), pair("a", 7, 7), pair("b", 3, 0), pair("b", 0, 0)]
    assert alarms[0]["difference"] == ""  # of Dice
    summary = summarize_false_alarms(alarms)
    # Each patient has one false alarm less with B, in two slices.
    assert (summary["a"], summary["b"], summary["difference"]) == (3 / 4, 1 / 4, -1 / 2)
    assert summary["interval"] == (-0.5, -0.5)
    assert describe_false_alarms(summary, "A", "B") == (
        "False alarms in 4 slices without tumor (2 patients): 75.0% with A, 25.0% with B; difference and 95% interval: "
        "-50.0% (-50.0 to -50.0%)."
    )
    assert summarize_false_alarms([]) is None


def test_two_runs_are_compared_on_the_same_slices(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "other")
    done = run_script("evaluate", trained, "other", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Too few patients to tell" in done.stdout
    table = read_table(tmp_path / "out" / "per_slice.csv")
    assert [row["id"] for row in table] == SavedRun.open(trained).slices.split["val"]
    assert all(row["dice_a"] == row["dice_b"] for row in table)
    assert "False alarms in" in done.stdout and "difference and 95% interval: +0.0%" in done.stdout
    assert not (tmp_path / "out" / "changes.png").exists()  # nothing changed
    for name in ("comparison.png", "comparison.json", "report.html"):
        assert (tmp_path / "out" / name).stat().st_size > 500


def test_a_run_trained_on_the_compared_slices_is_refused(trained, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(trained, other)
    swap = {"train": "val", "val": "train", "test": "test"}
    rows = [row | {"used_for": swap[row["used_for"]]} for row in read_table(other / "slices.csv")]
    write_table(other / "slices.csv", rows)
    done = run_script("evaluate", trained, "other", cwd=tmp_path)
    assert done.returncode == 2 and "'other' was trained on" in done.stderr
    assert len(done.stderr.splitlines()) == 1
