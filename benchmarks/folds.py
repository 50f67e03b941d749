"""Scores of our recipes on five folds of patients, and how much a split by slice would inflate them.

Usage:

    python benchmarks/folds.py FOLDER --no-tumor FOLDER
    python benchmarks/folds.py FOLDER --no-tumor FOLDER --default
    python benchmarks/folds.py FOLDER --no-tumor FOLDER --fewer
    python benchmarks/folds.py FOLDER --no-tumor FOLDER --teacher OUTPUT

The first folder contains the real data, the second one images without a tumor. There are six trainings of the quick
recipe: five folds, and one that is split by slice. That one validates on a random fifth of the slices, and trains on
other slices of the same patients. Its scores minus those of the folds on the same slices, all outlined, are the
optimism of a split by slice (the leakage). With --default, there are five more trainings, of the default recipe. With
--fewer, two more of the quick recipe train on a quarter and on half of the patients of fold 0, for as many steps: what
would more patients bring? With --teacher, five more of the quick recipe learn from the probabilities that teacher.py
has written to OUTPUT.

An interrupted training continues. The scores of a finished one go to benchmarks/results/folds/, one row per slice: they
outlive the run folder, and other networks can be compared with them slice by slice. A training with such scores is not
repeated; delete them to measure it again. benchmarks/results/folds.json gets the figures, of the default recipe and
with a teacher also for only some of the folds.
"""

import json
import random
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import mean

import tyro
from finetune import patients_table, shuffled_patients
from lesions import show_lesions
from running import ROOT, score, train_and_score

from unet.evaluation.intervals import fraction_over_rows, mean_over_rows
from unet.evaluation.summary import all_and_by_tumor, summarize_groups
from unet.files import write_json
from unet.network.run_config import read_config
from unet.options import QUICK
from unet.tables import read_table, write_table

RESULTS = ROOT / "benchmarks" / "results"
KEPT = RESULTS / "folds"
FOLDS = range(5)
FACTS = ("id", "patient", "tumor", "truth_pixels", "predicted_pixels")
SCORES = ("tumor_probability", "dice", "iou", "surface_dice", "hd95_pixels")
FEWER = {"quick-quarter": 1 / 4, "quick-half": 1 / 2}  # of the training patients of fold 0
ALWAYS = "dice_always_outlined"  # as if it were known that every slice shows a tumor


@dataclass(frozen=True)
class FoldsOptions:
    """Which data, and which recipes."""

    folder: tyro.conf.Positional[Path]
    """Folder of the published data."""
    no_tumor: tuple[Path, ...]
    """Folders of images without a tumor, to train and validate with."""
    default: bool = False
    """Also train the default recipe."""
    fewer: bool = False
    """Also train the quick recipe on fewer patients."""
    teacher: Path | None = None
    """Output folder of teacher.py for all five folds: also train the quick recipe with it."""


def measure(options: FoldsOptions) -> None:
    """Run the trainings that are not scored yet, and gather the figures."""
    data = ["--data", options.folder, "--no-tumor", *options.no_tumor]
    folds = [[*data, "--fold", fold] for fold in FOLDS]
    trainings = {name_of("quick", fold): ["--quick", *folds[fold]] for fold in FOLDS}
    trainings["by-slice"] = ["--quick", "--data", options.folder, "--patients", table_by_slice(options.folder)]
    for name, arguments in trainings.items():
        keep_scores(name, arguments)
    more = {name_of("default", fold): folds[fold] for fold in FOLDS if options.default}
    if options.teacher:
        for fold in FOLDS:
            probabilities = options.teacher / f"probabilities-fold-{fold}"
            more[name_of("taught", fold)] = ["--quick", *folds[fold], "--teacher", probabilities]
    for name in FEWER if options.fewer else ():
        more[name] = ["--quick", "--data", options.folder, *fewer_patients(options.folder, name)]
    write_json(RESULTS / "folds.json", gather())
    for name, arguments in more.items():
        keep_scores(name, arguments)
        write_json(RESULTS / "folds.json", gather())


def name_of(recipe: str, fold: int) -> str:
    """Name of the training of a recipe on a fold."""
    return f"{recipe}-fold-{fold}"


def kept_folds(recipe: str) -> list[int]:
    """The folds on which a recipe is scored."""
    return [fold for fold in FOLDS if is_kept(name_of(recipe, fold))]


def is_kept(name: str) -> bool:
    """Whether there are scores of this training."""
    return (KEPT / f"{name}.csv").exists()


def table_by_slice(folder: Path) -> Path:
    """Write a patients table in which each slice is a patient and a random fifth validates; returns its path."""
    facts = patients_table(folder)
    known = [id for id, row in facts.items() if row["split"] != "test"]
    validation = set(random.Random(0).sample(known, len(known) // 5))
    split = dict.fromkeys(facts, "test") | dict.fromkeys(known, "train") | dict.fromkeys(validation, "val")
    table = [{"id": id, "patient": id, "tumor": row["tumor"], "split": split[id]} for id, row in facts.items()]
    path = Path("runs") / "split-by-slice.csv"
    write_table(path, table)
    return path


def fewer_patients(folder: Path, name: str) -> list:
    """Options of train.py that train on a part of the patients of fold 0, for as many steps as all of them take."""
    facts = patients_table(folder)
    validation = {row["id"] for row in read_kept(name_of("quick", 0))}
    known = [id for id, row in facts.items() if id not in validation and row["split"] != "test"]
    order = shuffled_patients(known, facts)
    chosen = set(order[: round(FEWER[name] * len(order))])
    learned = [id for id in known if facts[id]["patient"] in chosen]
    split = (
        dict.fromkeys(facts, "test") | dict.fromkeys(learned, "train") | dict.fromkeys(validation & set(facts), "val")
    )
    path = Path("runs") / f"split-{name}.csv"
    write_table(path, [{"id": id} | row | {"split": split[id]} for id, row in facts.items()])
    return ["--patients", path, "--epochs", round(QUICK.epochs * len(known) / len(learned))]


def keep_scores(name: str, arguments: list) -> None:
    """Train and score runs/NAME, and keep its scores, and the facts about the training, if that is not done yet."""
    if is_kept(name):
        return
    run = Path("runs") / name
    rows = read_table(train_and_score(run, arguments) / "per_slice.csv")
    config = read_config(run)
    # Also without a presence rule: then, this outlines faint tumors too, as the rule would.
    scores = score(run, "evaluation-always", "--always-outline")
    always = {row["id"]: row["dice"] for row in read_table(scores / "per_slice.csv")}
    facts = {"date": f"{datetime.now():%Y-%m-%d}", "machine": config.machine, "versions": config.versions}
    write_json(KEPT / f"{name}.json", facts)
    table = [
        {column: row.get(column, "") for column in FACTS}
        | {column: rounded(row.get(column, "")) for column in SCORES}
        | {ALWAYS: rounded(always[row["id"]])}
        for row in rows
    ]
    write_table(KEPT / f"{name}.csv", table)


def rounded(number: str) -> str:
    """A number with five digits; "" stays ""."""
    return number and f"{float(number):.5g}"


def read_kept(*names: str) -> list[dict]:
    """The kept rows of these trainings, with numbers as floats; those without tumor have no scores."""
    rows = [row for name in names for row in read_table(KEPT / f"{name}.csv")]
    numbers = ("truth_pixels", "predicted_pixels", *SCORES, ALWAYS)
    return [row | {name: float(row[name]) for name in numbers if row[name]} for row in rows]


def gather() -> dict:
    """Everything that folds.json says: the quick recipe, what a split by slice claims, and the other recipes, on the
    folds that are scored so far."""
    figures = summarize("quick") | {"split_by_slice": compare_by_slice()}
    for recipe in ("default", "taught"):
        if folds := kept_folds(recipe):
            figures[recipe] = summarize(recipe) | {"gain": paired([name_of(recipe, fold) for fold in folds])[1]}
    if all(map(is_kept, FEWER)):
        figures["fewer"] = {name: compare_fewer(name) for name in FEWER}
    return figures


def summarize(recipe: str) -> dict:
    """Scores of a recipe over all slices of the folds that are scored, with intervals over patients."""
    tables = {fold: read_kept(name_of(recipe, fold)) for fold in kept_folds(recipe)}
    rows = [row for table in tables.values() for row in table]
    with_tumor = [row for row in rows if row["truth_pixels"]]
    always = [
        {name: value for name, value in row.items() if name not in SCORES}
        | {"dice": row[ALWAYS], "iou": row[ALWAYS] / (2 - row[ALWAYS])}
        for row in with_tumor
    ]
    facts = [json.loads((KEPT / f"{name_of(recipe, fold)}.json").read_text()) for fold in tables]
    return {
        "date": max(each["date"] for each in facts),
        "machine": " and ".join(dict.fromkeys(each["machine"] for each in facts)),
        "versions": facts[0]["versions"],
        "scores": summarize_groups(all_and_by_tumor(with_tumor)),
        "scores_always_outlined": summarize_groups(all_and_by_tumor(always)),
        "dice_of_each_fold": {
            fold: mean(row["dice"] for row in table if row["truth_pixels"]) for fold, table in tables.items()
        },
        "tumors_outlined": mean(row["predicted_pixels"] > 0 for row in with_tumor),
        "false_alarms": false_alarms([row for row in rows if not row["truth_pixels"]]),
    }


def false_alarms(rows: list[dict]) -> dict[str, dict]:
    """How often something is outlined in images without a tumor, with and without another lesion."""
    has_lesion = show_lesions([row["id"] for row in rows])
    kinds = {"without another lesion": ~has_lesion, "with another lesion": has_lesion}
    result = {}
    for name, chosen in kinds.items():
        images = [row for row, is_chosen in zip(rows, chosen, strict=True) if is_chosen]
        outlined = [row["predicted_pixels"] > 0 for row in images]
        if images:
            result[name] = {"images": len(images), "outlined": fraction_over_rows(images, outlined)}
    return result


def compare_by_slice() -> dict:
    """What a split by slice claims, and how much more that is than the five folds give for the same slices."""
    rows, gain = paired(["by-slice"])
    return {"slices": len(rows), "dice": mean(row[ALWAYS] for row in rows), "optimism": gain}


def compare_fewer(name: str) -> dict:
    """Scores of a training with fewer patients, and its gain over the one with all of them: a loss, most likely."""
    rows, gain = paired([name])
    others = [row for fold in FOLDS if fold for row in read_kept(name_of("quick", fold)) if row["truth_pixels"]]
    patients = len({row["patient"] for row in others})
    return {
        "patients": round(FEWER[name] * patients),
        "of": patients,
        "dice": mean(row[ALWAYS] for row in rows),
        "gain": gain,
    }


def paired(names: list[str]) -> tuple[list[dict], dict]:
    """Rows with tumor of these trainings, and the mean of what they gain over the folds of the quick recipe, slice by
    slice and all outlined, with its interval over patients."""
    folds = {row["id"]: row for row in read_kept(*(name_of("quick", fold) for fold in FOLDS))}
    rows = [row for row in read_kept(*names) if row["truth_pixels"]]
    # The patients come from the folds: in the split by slice, each slice is one.
    pairs = [folds[row["id"]] for row in rows]
    gains = [row[ALWAYS] - pair[ALWAYS] for row, pair in zip(rows, pairs, strict=True)]
    return rows, mean_over_rows(pairs, gains)


if __name__ == "__main__":
    measure(tyro.cli(FoldsOptions, description=__doc__))
