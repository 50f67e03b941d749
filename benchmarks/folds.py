"""Scores of the quick recipe on five folds of patients, and how much a split by slice would inflate them.

Usage:

    python benchmarks/folds.py FOLDER --no-tumor FOLDER
    python benchmarks/folds.py FOLDER --no-tumor FOLDER --teacher OUTPUT

The first folder contains the real data, the second one images without a tumor. There are six trainings of the quick
recipe. Finished ones are kept, and interrupted ones continue. Five of them are train.py --fold all. The sixth is split
by slice: it validates on a random fifth of the slices, and trains on other slices of the same patients. Its scores
minus those of the folds on the same slices, all outlined, are the optimism of a split by slice (the leakage).

With --teacher, five more trainings learn from the probabilities that teacher.py has written to OUTPUT for each fold.
What they gain is compared slice by slice. Results are written to benchmarks/results/folds.json.
"""

import json
import random
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import tyro
from lesions import show_lesions
from running import ROOT, run_script, score, train_and_score

sys.path.insert(0, str(ROOT))
from unet.files import write_json  # noqa: E402
from unet.tables import read_table, write_table  # noqa: E402

FOLDS, JOINT = [Path("runs") / f"quick-fold-{fold}" for fold in range(5)], Path("runs") / "quick-all-folds"
BY_SLICE = Path("runs") / "quick-by-slice"
TAUGHT = [Path("runs") / f"quick-taught-fold-{fold}" for fold in range(5)]


@dataclass(frozen=True)
class FoldsOptions:
    """Which data."""

    folder: tyro.conf.Positional[Path]
    """Folder with images/, masks/ and patients.csv."""
    no_tumor: tuple[Path, ...] = ()
    """Folders of images without a tumor, to train and validate with."""
    teacher: Path | None = None
    """Output folder of teacher.py for all five folds."""
    output: Path = ROOT / "benchmarks" / "results" / "folds.json"
    """File for the figures."""


def measure(options: FoldsOptions) -> None:
    """Run the trainings that are not finished, then gather the scores."""
    without_tumor = ["--no-tumor", *options.no_tumor] if options.no_tumor else []
    data = ["--quick", "--data", options.folder, *without_tumor]
    run_script("train.py", *data, "--fold", "all", "--name", "quick")
    train_and_score(BY_SLICE, ["--quick", "--data", options.folder, "--patients", table_by_slice(options.folder)])
    figures = gather()
    if options.teacher:
        for fold, run in enumerate(TAUGHT):
            probabilities = options.teacher / f"probabilities-fold-{fold}"
            train_and_score(run, ["--quick", "--data", options.folder, "--fold", fold, "--teacher", probabilities])
        figures["with_teacher"] = gather_taught()
    write_json(options.output, figures)


def table_by_slice(folder: Path) -> Path:
    """Write a patients table in which each slice is a patient and a random fifth validates; returns its path."""
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


def with_tumor(scores: Path) -> list[dict]:
    """Rows of the slices with tumor in a folder with scores, with these as numbers."""
    from unet.evaluation.summary import SUMMARIZED

    rows = [row for row in read_table(scores / "per_slice.csv") if float(row["truth_pixels"])]
    for row in rows:
        row |= {name: float(row[name]) for name in row.keys() & {*SUMMARIZED, "truth_pixels"}}
    return rows


def always_outlined(runs: list[Path]) -> list[dict]:
    """Scores of these runs on their validation slices with tumor, which are all outlined."""
    return [row for run in runs for row in with_tumor(score(run, "evaluation-always", "--always-outline"))]


def gather_taught() -> dict:
    """Scores of the folds with a teacher, and what they gain over those without, every slice outlined."""
    from unet.evaluation.intervals import interval_over_patients
    from unet.evaluation.summary import all_and_by_tumor, summarize_groups

    rows, before = always_outlined(TAUGHT), {row["id"]: row["dice"] for row in always_outlined(FOLDS)}
    gain = np.array([row["dice"] - before[row["id"]] for row in rows])
    patients = np.array([row["patient"] for row in rows])
    return {
        "scores_always_outlined": summarize_groups(all_and_by_tumor(rows)),
        "gain": float(gain.mean()),
        "gain_interval": interval_over_patients(gain, patients),
    }


def false_alarms() -> dict:
    """How often something is outlined in images without a tumor, with and without another lesion."""
    from unet.evaluation.intervals import interval_over_patients

    free = [row for row in read_table(JOINT / "per_slice.csv") if not float(row["truth_pixels"])]
    has_lesion = show_lesions([row["id"] for row in free])
    outlined = np.array([float(row["predicted_pixels"]) > 0 for row in free], float)
    groups = np.array([row["patient"] for row in free])
    return {
        name: {
            "images": int(chosen.sum()),
            "outlined": float(outlined[chosen].mean()),
            "interval": interval_over_patients(outlined[chosen], groups[chosen]),
        }
        for name, chosen in (("without another lesion", ~has_lesion), ("with another lesion", has_lesion))
        if chosen.any()
    }


def gather() -> dict:
    """Scores over all slices of the five folds, with intervals over patients, and those of the split by slice."""
    from unet.evaluation.intervals import interval_over_patients
    from unet.evaluation.summary import all_and_by_tumor, summarize_groups

    rows, always = with_tumor(JOINT), always_outlined(FOLDS)
    config = json.loads((FOLDS[0] / "config.json").read_text())
    summaries = [json.loads((run / "evaluation-val" / "summary.json").read_text()) for run in FOLDS]
    by_id = {row["id"]: row for row in always}
    leaky = with_tumor(BY_SLICE / "evaluation-val")
    optimism = np.array([row["dice"] - by_id[row["id"]]["dice"] for row in leaky])
    patients = np.array([by_id[row["id"]]["patient"] for row in leaky])
    return {
        "date": f"{datetime.now():%Y-%m-%d}",
        "machine": config["machine"],
        "versions": config["versions"],
        "epochs": config["options"]["epochs"],
        "scores": summarize_groups(all_and_by_tumor(rows)),
        "scores_always_outlined": summarize_groups(all_and_by_tumor(always)),
        "false_alarms": false_alarms(),
        "detection_of_each_fold": [summary["detection"] for summary in summaries],
        "dice_of_each_fold": [summary["scores"]["all"]["dice"]["mean"] for summary in summaries],
        "split_by_slice": {
            "slices": len(leaky),
            "dice": float(np.mean([row["dice"] for row in leaky])),
            "optimism": float(optimism.mean()),
            "optimism_interval": interval_over_patients(optimism, patients),
        },
    }


if __name__ == "__main__":
    measure(tyro.cli(FoldsOptions, description=__doc__))
