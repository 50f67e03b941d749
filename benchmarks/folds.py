"""The five folds of the quick recipe, and what a split by slice would have made of it (the leakage meter).

Usage:

    python benchmarks/folds.py FOLDER

FOLDER holds the real data. Six trainings of the quick recipe; those that are finished are kept, one that
was stopped goes on. Five validate on each fifth of the patients in turn. The sixth is split by slice: a
random fifth of the slices validates, and other slices of the same patients train. Its scores less the
folds' of the same slices are the optimism of a split by slice, of one training each. Results go to
benchmarks/results/folds.json.
"""

import json
import random
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import tyro
from running import ROOT, train_and_score

sys.path.insert(0, str(ROOT))
from unet.files import write_json  # noqa: E402
from unet.tables import read_table, write_table  # noqa: E402

BY_SLICE = "by-slice"


@dataclass(frozen=True)
class FoldsOptions:
    """Where the data are."""

    folder: tyro.conf.Positional[Path]
    """Folder with images/, masks/ and patients.csv."""
    only: tuple[str, ...] = ("0", "1", "2", "3", "4", BY_SLICE)
    """Which trainings to run now."""
    output: Path = ROOT / "benchmarks" / "results" / "folds.json"
    """Where the figures go, once all are there."""


def measure(options: FoldsOptions) -> None:
    """Train and score what is not there yet, then gather."""
    for part in options.only:
        chosen = ["--fold", part]
        if part == BY_SLICE:
            chosen = ["--patients", table_by_slice(options.folder)]
        train_and_score(Path("runs") / f"quick-{part}", ["--quick", "--data", options.folder, *chosen])
    runs = [Path("runs") / f"quick-{part}" for part in FoldsOptions.only]
    if all((run / "evaluation-val" / "summary.json").exists() for run in runs):
        write_json(options.output, gather(runs[:-1], runs[-1]))


def table_by_slice(folder: Path) -> Path:
    """A patients table that calls each slice a patient of its own and lets a random fifth validate."""
    rows = [row for row in read_table(folder / "patients.csv") if row["split"] != "test"]
    validation = set(random.Random(0).sample([row["id"] for row in rows], len(rows) // 5))
    table = [
        {
            "id": row["id"],
            "patient": row["id"],
            "tumor": row["tumor"],
            "split": "val" if row["id"] in validation else "train",
        }
        for row in rows
    ]
    path = Path("runs") / "split-by-slice.csv"
    write_table(path, table)
    return path


def gather(folds: list[Path], by_slice: Path) -> dict:
    """Every slice's score over the five folds, its interval over patients, and the split by slice beside."""
    from unet.evaluation.intervals import interval_over_patients
    from unet.evaluation.summary import SUMMARISED, all_and_by_tumor, summarize_group

    rows = []
    for run in folds:
        rows += read_table(run / "evaluation-val" / "per_slice.csv")
    for row in rows:
        for name in row.keys() & {*SUMMARISED, "truth_pixels"}:
            row[name] = float(row[name])
    config = json.loads((folds[0] / "config.json").read_text())
    fold_dice = [
        json.loads((run / "evaluation-val" / "summary.json").read_text())["scores"]["all"]["dice"]
        for run in folds
    ]
    by_patient = {row["id"]: row for row in rows}
    leaky = read_table(by_slice / "evaluation-val" / "per_slice.csv")
    optimism = np.array([float(row["dice"]) - by_patient[row["id"]]["dice"] for row in leaky])
    patients = np.array([by_patient[row["id"]]["patient"] for row in leaky])
    scores = {name: summarize_group(group) for name, group in all_and_by_tumor(rows).items()}
    return {
        "date": f"{datetime.now():%Y-%m-%d}",
        "machine": config["machine"],
        "versions": config["versions"],
        "epochs": config["options"]["epochs"],
        "scores": scores,
        "dice_of_each_fold": [fold["mean"] for fold in fold_dice],
        "split_by_slice": {
            "slices": len(leaky),
            "dice": float(np.mean([float(row["dice"]) for row in leaky])),
            "optimism": float(optimism.mean()),
            "optimism_interval": interval_over_patients(optimism, patients),
        },
    }


if __name__ == "__main__":
    measure(tyro.cli(FoldsOptions, description=__doc__))
