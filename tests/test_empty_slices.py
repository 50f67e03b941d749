"""A data set with mostly empty masks: scores are over slices with tumor, so finding nothing gets no credit."""

import csv
import json

import pytest
from conftest import TINY, write_image
from ready import run_script

from unet.data.phantoms import phantom_slice
from unet.tables import read_table


@pytest.fixture(scope="module")
def mostly_empty(tmp_path_factory):
    """Ten patients with six slices each. Only the first slice of each has a tumor, so 83% are empty."""
    folder = tmp_path_factory.mktemp("data") / "mostly-empty"
    rows = [("id", "patient", "tumor")]
    for patient in range(10):
        for index in range(6):
            phantom = phantom_slice(0, patient, index, 6, 64, has_tumor=index == 0)
            id = f"{patient}_{index}"
            write_image(folder / "images" / f"{id}.png", phantom.image)
            write_image(folder / "masks" / f"{id}.png", phantom.mask)
            rows.append((id, f"p{patient}", phantom.tumor))
    with open(folder / "patients.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def test_a_network_that_outlines_nothing_scores_0_and_not_83_percent(mostly_empty, tmp_path):
    # It learns nothing, so its probabilities stay near those that the initial bias gives.
    done = run_script(
        "train", "--data", mostly_empty, "--name", "blind", *TINY, "--learning-rate", "1e-9", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Warning: no pixel of the validation slices reaches a threshold" in done.stdout
    metrics = json.loads((tmp_path / "runs/blind/metrics.json").read_text())
    # One of the six slices of each validation patient has a tumor.
    assert metrics["val_false_alarms"]["no_tumor"]["slices"] == 5 * metrics["val_slices_with_tumor"]
    assert metrics["val_dice"] < 0.2
    assert all(float(row["val_dice"]) == 0 for row in read_table(tmp_path / "runs/blind/history.csv"))

    done = run_script("evaluate", "runs/blind", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "runs/blind/evaluation-val/summary.json").read_text())
    assert summary["scores"]["all"]["dice"]["mean"] < 0.2
    assert summary["scores"]["all"]["slices"] == metrics["val_slices_with_tumor"]
    assert summary["detection"]["without_tumor"]["slices"] == 5 * metrics["val_slices_with_tumor"]
