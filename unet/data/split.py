"""Which slices train, validate and test. A patient is always in one split, so that scores hold for new ones."""

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from unet.data.patients import merge_facts, patient_facts, unit_of
from unet.data.slices import Slices
from unet.errors import UserError, raise_problems
from unet.options import DataOptions
from unet.tables import Facts

SPLITS = ("train", "val", "test")
FOLDS = range(5)
USUAL_FOLDS = 7  # without --fold: five train, one val, one test
TOO_FEW = ", too few for folds"
FINAL = "final"  # the value of --fold that trains on all of them


@dataclass(frozen=True)
class Split:
    """The ids of each split, the facts about each slice, and how the split was made."""

    ids: dict[str, list[str]]  # of train, val and test
    facts: Facts
    source: str  # a sentence for the user about each folder


def split_slices(slices: Slices, folder: Path, options: DataOptions) -> Split:
    """Split the slices of the data folder, and those of each folder without tumors, by patient.

    UserError if a patients table is inconsistent, or there are too few patients.
    """
    parts = [split_folder(slices.of_folder(), folder, options)]
    parts += [split_folder(slices.of_folder(other), other, options, shows_no_tumor=True) for other in options.no_tumor]
    warn_about_shared_patients(parts, options.no_tumor)
    facts = merge_facts([part.facts for part in parts])
    ids = {name: [id for part in parts for id in part.ids[name]] for name in SPLITS}
    return Split(ids, facts, "\n".join(part.source for part in parts))


def warn_about_shared_patients(parts: list[Split], no_tumor: tuple[Path, ...]) -> None:
    """Print a warning if patients with a tumor seem to be in a folder without tumors too: these are split apart."""
    with_tumor = {row["patient"] for row in parts[0].facts.values()}
    for folder, part in zip(no_tumor, parts[1:], strict=True):
        names = {row["patient"].removeprefix(f"{folder.resolve().name}/") for row in part.facts.values()}
        if shared := sorted(with_tumor & names):
            print(
                f"Warning: '{folder}' has {len(shared)} patient names that are also in the data with tumors "
                f"('{shared[0]}'). They count as different patients. If they are the same, give them the same split in "
                "both patients tables."
            )


def split_folder(slices: Slices, folder: Path, options: DataOptions, shows_no_tumor: bool = False) -> Split:
    """Split the slices of one folder by patient.

    The column `split` of the patients table decides if it exists, otherwise seven stratified folds do. --fold validates
    on one of five folds over all patients but the test patients, or trains on all of these. If a folder without tumors
    has too few patients for folds, all of them are for training.
    """
    facts, origin = patient_facts(slices, folder, None if shows_no_tumor else options.patients)
    kinds = kinds_of(slices, facts)
    split_of, how = usual_split(facts, origin, kinds, shows_no_tumor)
    if options.fold is not None:
        pool = [id for id in slices.ids if split_of[id] != "test"]
        of_fold, how_of_fold = split_of_fold(pool, facts, kinds, options.fold, shows_no_tumor)
        split_of, how = split_of | of_fold, how.removesuffix(TOO_FEW) + how_of_fold
    elif "val" not in split_of.values():
        val = validation_from_train(facts, kinds, split_of)
        split_of, how = split_of | dict.fromkeys(val, "val"), how + (", with a seventh of train as val" if val else "")
    where = f"'{folder.resolve().name}', split" if shows_no_tumor else "Split"
    source = f"{where} by patient {how}"
    check_one_split_per_patient(split_of, facts, origin)
    ids = {name: [id for id in slices.ids if split_of[id] == name] for name in SPLITS}
    for name, purpose in (("train", "train on"), ("val", "validate on")):
        if not ids[name] and not shows_no_tumor and (name, options.fold) != ("val", FINAL):
            raise UserError(
                f"There are no slices to {purpose}. {source}: use --fold 0, which needs five patients outside of test, "
                "or another split in the table of --patients."
            )
    counts = ", ".join(
        f"{name} {count_patients(ids[name], facts)} patients / {len(ids[name])} slices" for name in SPLITS
    )
    return Split(ids, facts, f"{source}: {counts}.")


def usual_split(facts: Facts, origin: str, kinds: dict[str, str], shows_no_tumor: bool) -> tuple[dict[str, str], str]:
    """The split of each slice without --fold, and how it was made; UserError if a table has only some of the splits."""
    without_split = [id for id, row in facts.items() if not row.get("split")]
    if without_split and len(without_split) < len(facts):
        raise UserError(
            f"{origin} gives the split of some slices but not of {len(without_split)} others "
            f"('{without_split[0]}', ...): complete the column split or remove it."
        )
    if not without_split:
        split_of = {id: row["split"] for id, row in facts.items()}
        unknown = sorted(set(split_of.values()) - set(SPLITS))
        raise_problems([f"{origin} has the unknown split '{name}': use train, val or test." for name in unknown])
        return split_of, f"according to {origin}"
    split_of = dict.fromkeys(facts, "train")
    if shows_no_tumor and count_patients(facts, facts) < USUAL_FOLDS:
        return split_of, f"({origin}){TOO_FEW}"
    test, val, *_ = stratified_folds(list(facts), facts, kinds, USUAL_FOLDS)
    how = f"({origin}) into seven folds: five train, one val, one test"
    return split_of | dict.fromkeys(test, "test") | dict.fromkeys(val, "val"), how


def validation_from_train(facts: Facts, kinds: dict[str, str], split_of: dict[str, str]) -> list[str]:
    """Slices for validation from one seventh of the training patients; none if there are too few patients."""
    ids = [id for id, split in split_of.items() if split == "train"]
    return stratified_folds(ids, facts, kinds, USUAL_FOLDS)[0] if count_patients(ids, facts) >= USUAL_FOLDS else []


def count_patients(ids: Iterable[str], facts: Facts) -> int:
    """Number of patients of these slices."""
    return len({facts[id]["patient"] for id in ids})


def split_of_fold(
    ids: list[str], facts: Facts, kinds: dict[str, str], fold: int | str, shows_no_tumor: bool
) -> tuple[dict[str, str], str]:
    """The split of these slices, which are not for testing, with --fold, and how it was made."""
    if fold == FINAL:
        return dict.fromkeys(ids, "train"), "; training on both train and val, as thresholds come from the five folds"
    if shows_no_tumor and count_patients(ids, facts) < len(FOLDS):
        # Otherwise, the same patients would validate in every fold.
        return dict.fromkeys(ids, "train"), TOO_FEW
    validation = set(stratified_folds(ids, facts, kinds, len(FOLDS))[fold])
    split_of = {id: "val" if id in validation else "train" for id in ids}
    return split_of, f"; validating on fold {fold} (0 to {FOLDS[-1]}) of train and val"


def kinds_of(slices: Slices, facts: Facts) -> dict[str, str]:
    """What each slice shows, by id: its tumor type, or whether there is a tumor."""
    pairs = zip(slices.ids, slices.has_tumor, strict=True)
    return {id: facts[id].get("tumor") or ("tumor" if has_tumor else "no tumor") for id, has_tumor in pairs}


def stratified_folds(ids: list[str], facts: Facts, kinds: dict[str, str], folds: int) -> list[list[str]]:
    """Ids in folds of whole patients, always the same. Kinds of slices that are not rare are spread evenly."""
    patients = [facts[id]["patient"] for id in ids]
    labels = [kinds[id] for id in ids]
    if len(set(patients)) < folds:
        raise UserError(too_few_patients(set(patients), folds))
    if max(Counter(labels).values()) < folds:
        labels = [""] * len(ids)  # scikit-learn refuses kinds rarer than the number of folds
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # rare kinds cannot be in all folds
        held_out = [indices for _, indices in splitter.split(np.zeros(len(ids)), labels, patients)]
    return [[ids[index] for index in indices] for indices in held_out]


def too_few_patients(patients: set[str], folds: int) -> str:
    """What to do about patients that are too few for folds."""
    unit = "groups of similar slices" if unit_of(patients) == "groups" else "patients"
    start = f"{folds} folds need {folds} {unit}, not {len(patients)}: add patients, or "
    if len(patients) > 1 and folds == len(FOLDS):
        return f"{start}leave out --fold."
    return (
        f"{start}list them in a patients.csv with the columns id, patient and split, with train and val. One patient "
        "cannot be in both."
    )


def check_one_split_per_patient(split_of: dict[str, str], facts: Facts, origin: str) -> None:
    """UserError that lists each patient in more than one split."""
    splits_of_patient: dict[str, set[str]] = {}
    for id, split in split_of.items():
        splits_of_patient.setdefault(facts[id]["patient"], set()).add(split)
    raise_problems(
        [
            f"According to {origin}, patient '{patient}' is in {' and '.join(sorted(splits))}: choose one of them."
            for patient, splits in splits_of_patient.items()
            if len(splits) > 1
        ]
    )
