"""What --init gives with few patients: training from scratch, and from the weights of a run that never saw them.

Usage:

    python benchmarks/finetune.py FOLDER

FOLDER contains the real data. Its training and validation patients are split into five folds. A base network of the
quick recipe learns from those of folds 0 to 2. Then, for 10, 20 and 40 patients of folds 3 and 4, three networks learn
from these patients only (a fifth of them choose the epoch and the outline rule):

scratch         the quick recipe
scratch-long    the quick recipe with as many steps as the base network, since few patients make short epochs
init            the quick recipe with --init and the base network

All are scored on the same patients: those of folds 3 and 4 that are never among the 40. The 10 are among the 20, and
these among the 40. Every training is a single one, with one draw of patients. Finished trainings are kept, and
interrupted ones continue. Results are written to benchmarks/results/finetune.json.
"""

import os
import random
import shlex
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from running import ROOT, provenance, train_and_score
from timing import slices_per_epoch

from unet.data.pairs import Pair, find_pairs
from unet.data.patients import published_facts, read_patients
from unet.data.split import stratified_folds
from unet.evaluation.intervals import interval_over_patients, mean_over_rows
from unet.files import write_json
from unet.network.run_config import read_config
from unet.tables import Facts, read_table, write_table

BASE = Path("runs") / "finetune-base"
VALIDATE = 5  # one of so many patients validates
ARMS = ("scratch", "scratch-long", "init")


@dataclass(frozen=True)
class FinetuneOptions:
    """Which data, and how many patients."""

    folder: tyro.conf.Positional[Path]
    """Folder of the published data."""
    patients: tuple[int, ...] = (10, 20, 40)
    """Numbers of patients to train with, in increasing order."""
    arms: tuple[str, ...] = ARMS
    """Trainings to run now; those that are finished are reported, too."""
    recipe: str = "--quick"
    """Options of train.py for all trainings, in one string: --recipe="--quick --size 128"."""
    output: Path = ROOT / "benchmarks" / "results" / "finetune.json"
    """File for the figures, written after each training."""


def patients_table(folder: Path) -> Facts:
    """Facts about each slice: patients.csv in the data folder, or else the published table."""
    path = folder / "patients.csv"
    return read_patients(path) if path.exists() else published_facts()


def measure(options: FinetuneOptions) -> None:
    """Run the trainings that are not finished, and write the results after each."""
    pairs = {pair.id: pair for pair in find_pairs(options.folder)[0]}
    facts = {id: row for id, row in patients_table(options.folder).items() if id in pairs}
    known, new = split_in_two([id for id, row in facts.items() if row.get("split") != "test"], facts)
    order = shuffled_patients(new, facts)
    scored = order[options.patients[-1] :]
    recipe = shlex.split(options.recipe)
    base_patients = shuffled_patients(known, facts)
    train_and_score(BASE, [*recipe, *data_of("base", base_patients, [], pairs, facts)])
    for count in options.patients:
        data = data_of(f"{count}-patients", order[:count], scored, pairs, facts)
        for arm in options.arms:
            run = run_of(arm, count)
            if not (run / "config.json").exists() and arm == "scratch-long":
                data_and_epochs = [*data, "--epochs", epochs_with_steps_of_base(run_of("scratch", count))]
            else:
                data_and_epochs = [*data, *(["--init", BASE] if arm == "init" else [])]
            train_and_score(run, [*recipe, *data_and_epochs], split="test")
            write_json(options.output, gather(options, len(base_patients)))


def run_of(arm: str, count: int) -> Path:
    """Run folder of a training with some patients."""
    return Path("runs") / f"finetune-{arm}-{count}"


def split_in_two(ids: list[str], facts: Facts) -> tuple[list[str], list[str]]:
    """Ids in folds 0 to 2, and in folds 3 and 4, as those of train.py --fold."""
    kinds = {id: facts[id].get("tumor", "") for id in ids}
    folds = stratified_folds(ids, facts, kinds, 5)
    return [id for fold in folds[:3] for id in fold], [id for fold in folds[3:] for id in fold]


def shuffled_patients(ids: list[str], facts: Facts) -> list[str]:
    """Patients in random order, in which types of tumors take turns, so that they are mixed in every part of it."""
    of_type: dict[str, list[str]] = {}
    tumor_of = {facts[id]["patient"]: facts[id].get("tumor", "") for id in ids}
    for patient, tumor in sorted(tumor_of.items()):
        of_type.setdefault(tumor, []).append(patient)
    draw = random.Random(0)
    for patients in of_type.values():
        draw.shuffle(patients)
    place = {
        patient: (rank + 0.5) / len(patients) for patients in of_type.values() for rank, patient in enumerate(patients)
    }
    return sorted(place, key=place.__getitem__)


def data_of(name: str, learned: list[str], scored: list[str], pairs: dict[str, Pair], facts: Facts) -> list:
    """Options of train.py for a folder of links to the slices of these patients, of whom one in VALIDATE validates, and
    those to score are for testing."""
    split = {patient: "val" if rank % VALIDATE == 2 else "train" for rank, patient in enumerate(learned)}
    split |= dict.fromkeys(scored, "test")
    folder = Path("runs") / "finetune-data" / name
    rows = [{"id": id, **row, "split": split[row["patient"]]} for id, row in facts.items() if row["patient"] in split]
    for row in rows:
        for path in (pairs[row["id"]].image_path, pairs[row["id"]].mask_path):
            link = folder / path.parent.name / path.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.exists():
                os.symlink(path.resolve(), link)
    write_table(folder / "patients.csv", rows)
    return ["--data", folder]


def epochs_with_steps_of_base(scratch: Path) -> int:
    """So many epochs of a training have as many steps as the base network."""
    of_base = slices_per_epoch(BASE) * read_config(BASE).options.epochs
    return max(1, round(of_base / slices_per_epoch(scratch)))


def gather(options: FinetuneOptions, base_patients: int) -> dict:
    """Dice of all finished trainings with intervals over patients, and how much better each is than scratch."""
    config = read_config(BASE)
    points = []
    for count in options.patients:
        finished = {arm: rows for arm in ARMS if (rows := scores_of(run_of(arm, count)))}
        for arm, rows in finished.items():
            epochs = read_config(run_of(arm, count)).options.epochs
            point = {"patients": count, "arm": arm, "epochs": epochs, "dice": mean_over_rows(rows, dice_of(rows))}
            for other in ("scratch", "scratch-long"):
                if other in finished and other != arm:
                    gain = dice_of(rows) - dice_of(finished[other])
                    interval = interval_over_patients(gain, np.array([row["patient"] for row in rows]))
                    point[f"gain_over_{other}"] = {"mean": float(gain.mean()), "interval": interval}
            points.append(
                point | {"scored_patients": len({row["patient"] for row in rows}), "scored_slices": len(rows)}
            )
    return {
        **provenance(),
        "recipe": options.recipe,
        "base": {"patients": base_patients, "epochs": config.options.epochs},
        "points": points,
    }


def scores_of(run: Path) -> list[dict]:
    """Rows of the scored slices with tumor of a run, sorted by id; empty if it is not scored."""
    path = run / "evaluation-test" / "per_slice.csv"
    return [row for row in read_table(path) if row["dice"]] if path.exists() else []


def dice_of(rows: list[dict]) -> np.ndarray:
    """The Dice of each row, float64 (n,)."""
    return np.array([float(row["dice"]) for row in rows])


if __name__ == "__main__":
    measure(tyro.cli(FinetuneOptions, description=__doc__))
