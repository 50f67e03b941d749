"""Which slices train, validate and test: whole patients, always, so that scores hold for new ones."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from unet.data.patients import patient_facts
from unet.data.slices import Slices
from unet.errors import UserError, raise_problems
from unet.options import DataOptions

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """Which ids train, validate and test, whose they are, and how that was decided."""

    train: list[str]
    val: list[str]
    test: list[str]
    facts: dict[str, dict[str, str]]  # of each id: patient and, where known, tumor, plane ...
    source: str  # a sentence for the user


def split_slices(slices: Slices, folder: Path, options: DataOptions) -> Split:
    """Divide slices so that no patient is in two parts.

    The table's own split is taken where it has one; else seven stratified folds of patients make
    test, validation and (five of them) training. --fold redraws validation among all but test.
    """
    facts, origin = patient_facts(slices, folder, options)
    unplaced = [id for id, row in facts.items() if not row.get("split")]
    if unplaced and len(unplaced) < len(facts):
        raise UserError(
            f"{origin} names the split of some slices but not of {len(unplaced)} ('{unplaced[0]}', "
            "...): fill the column split, or drop it."
        )
    if not unplaced:
        part_of = {id: row["split"] for id, row in facts.items()}
        source = f"Split by patient as {origin} says"
    else:
        folds = stratified_folds(slices.ids, facts, 7)
        part_of = dict.fromkeys(slices.ids, "train")
        part_of |= dict.fromkeys(folds[0], "test") | dict.fromkeys(folds[1], "val")
        source = f"Split by patient ({origin}) into seven folds: five train, one val, one test"
    check_names(part_of, origin)
    if options.fold is not None:
        pool = [id for id in slices.ids if part_of[id] != "test"]
        validation = set(stratified_folds(pool, facts, 5)[options.fold])
        part_of |= {id: "val" if id in validation else "train" for id in pool}
        source += f"; fold {options.fold} of 5 over train and val validates"
    check_patients(part_of, facts, origin)
    parts = {name: [id for id in slices.ids if part_of[id] == name] for name in SPLITS}
    for name in ("train", "val"):
        if not parts[name]:
            raise UserError(f"No slices to {name}: {source}. Give more patients or another --patients.")
    counts = ", ".join(f"{name} {describe_part(ids, facts)}" for name, ids in parts.items())
    return Split(**parts, facts=facts, source=f"{source}: {counts}.")


def describe_part(ids: list[str], facts: dict[str, dict[str, str]]) -> str:
    patients = len({facts[id]["patient"] for id in ids})
    return f"{patients} patients / {len(ids)} slices"


def stratified_folds(ids: list[str], facts: dict[str, dict[str, str]], folds: int) -> list[list[str]]:
    """Ids in `folds` parts of whole patients, always the same; tumor types are spread evenly, if not rare."""
    patients = [facts[id]["patient"] for id in ids]
    tumors = [facts[id].get("tumor", "") for id in ids]
    folds_possible = len(set(patients))
    if folds_possible < folds:
        raise UserError(
            f"{folds_possible} patients cannot make {folds} folds: give more patients, or name the "
            "split of each in the column split of --patients."
        )
    if max(Counter(tumors).values()) < folds:
        tumors = [""] * len(ids)  # scikit-learn refuses such
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    return [
        [ids[index] for index in held_out]
        for _, held_out in splitter.split(np.zeros(len(ids)), tumors, patients)
    ]


def check_names(part_of: dict[str, str], origin: str) -> None:
    """UserError for an unknown part."""
    unknown = sorted(set(part_of.values()) - set(SPLITS))
    raise_problems([f"{origin} has the split '{name}': use train, val and test." for name in unknown])


def check_patients(part_of: dict[str, str], facts: dict[str, dict[str, str]], origin: str) -> None:
    """UserError for each patient in more than one part."""
    problems = []
    parts_of_patient: dict[str, set[str]] = {}
    for id, part in part_of.items():
        parts_of_patient.setdefault(facts[id]["patient"], set()).add(part)
    for patient, parts in parts_of_patient.items():
        if len(parts) > 1:
            both = " and ".join(sorted(parts))
            problems.append(f"{origin} has patient '{patient}' in {both}: a patient is in one part.")
    raise_problems(problems)
