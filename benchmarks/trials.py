"""Which change of the recipe helps on new patients? Paired comparisons of small networks.

Usage:

    python benchmarks/trials.py FOLDER
    python benchmarks/trials.py FOLDER --only "weight decay 0.1" "no copy-paste"

FOLDER contains the real data. Every trial trains the same small network at 128 pixels, with one change, on the
published split and then on the five folds. It ends as soon as the change has gained nothing over all splits so far.
Finished trainings are kept in runs/, and interrupted ones continue. The machine need not be idle. Results are written
to benchmarks/results/trials.json. Older trials that are not run now are kept.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import tyro
from running import ROOT, train_and_score

from unet.files import write_json
from unet.tables import read_table

RESULTS = ROOT / "benchmarks" / "results" / "trials.json"
PROXY = "--size 128 --model.width 16 --model.depth 5 --epochs 12 --learning-rate 4e-3"
SPLITS = {"published": ""} | {f"fold {fold}": f"--fold {fold}" for fold in (2, 0, 1, 3, 4)}
BASELINE = "the default"
TRIALS = {
    BASELINE: "",
    "another seed": "--seed 1",
    "no copy-paste": "--augmentation.copy-paste 0",
    "weight decay 0.1": "--weight-decay 0.1",
    "greys changed twice as often": (
        "--augmentation.brightness 0.3 --augmentation.contrast 0.3 --augmentation.gamma 0.6 "
        "--augmentation.inverted-gamma 0.2 --augmentation.noise 0.2"
    ),
    "scaling 0.6 to 1.6, shift 0.15": (
        "--augmentation.scale-min 0.6 --augmentation.scale-max 1.6 --augmentation.shift 0.15"
    ),
    "average over a tenth of the steps": "--ema 0.1",
    "twice as wide": "--model.width 32",
    "twice as long": "--epochs 24",
    "twice as wide and as long": "--model.width 32 --epochs 24",
}


@dataclass(frozen=True)
class TrialsOptions:
    """Which trials to run, on which data."""

    folder: tyro.conf.Positional[Path]
    """Folder of the published data."""
    only: tuple[str, ...] = tuple(TRIALS)
    """Trials to run."""


def measure(options: TrialsOptions) -> None:
    """Run the trials, and write the results after each."""
    from unet.evaluation.intervals import interval_over_patients
    from unet.machine import installed_versions, machine_description

    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"trials": {}}
    baseline = {split: scores_of(BASELINE, split, options.folder) for split in SPLITS}
    for name in dict.fromkeys((BASELINE, *options.only)):
        scores, gain = {}, np.ones(1)
        for split in SPLITS:
            if gain.mean() > 0 or name == BASELINE or folder_of(name, split).exists():
                scores[split] = scores_of(name, split, options.folder)
                gain = all_dice(scores) - all_dice({part: baseline[part] for part in scores})
        patients = np.array([row["patient"] for rows in scores.values() for row in rows])
        kept["trials"][name] = {
            "options": TRIALS[name],
            "machine": machine_description(),
            "dice": {split: float(all_dice({split: rows}).mean()) for split, rows in scores.items()},
            "gain": float(gain.mean()),
            "gain_interval": list(interval_over_patients(gain, patients)),
        }
        print(name, kept["trials"][name], flush=True)
        kept |= {"date": f"{datetime.now():%Y-%m-%d}", "versions": installed_versions(), "proxy": PROXY}
        write_json(RESULTS, kept)


def scores_of(trial: str, split: str, folder: Path) -> list[dict]:
    """Rows of per_slice.csv of a trial on a split."""
    run = folder_of(trial, split)
    chosen = f"{PROXY} {SPLITS[split]} {TRIALS[trial]}".split()
    return read_table(train_and_score(run, ["--data", folder, *chosen]) / "per_slice.csv")


def folder_of(trial: str, split: str) -> Path:
    """Run folder of a trial on a split."""
    return Path("runs") / f"trial-{trial}-{split}".replace(" ", "-").replace(",", "")


def all_dice(scores: dict[str, list[dict]]) -> np.ndarray:
    """Dice of every slice, one split after another."""
    return np.array([float(row["dice"]) for rows in scores.values() for row in rows])


if __name__ == "__main__":
    measure(tyro.cli(TrialsOptions, description=__doc__))
