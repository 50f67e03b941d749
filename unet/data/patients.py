"""Whose slice is which: the patients table, the published one, or groups of slices that look alike."""

import csv
import functools
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import NearestNeighbors

from unet.data.layouts import SPLIT_OF_FOLDER, plain_id
from unet.data.pairs import Pair
from unet.data.slices import Slices
from unet.errors import UserError, raise_problems
from unet.fingerprints import image_hash
from unet.images.preprocessing import resize_into_square
from unet.tables import Facts, read_table

PUBLISHED_TABLE = Path(__file__).with_name("published.csv")
# 512 pixels of 0.49 mm (data/README.md), at any resolution.
PUBLISHED_FIELD_OF_VIEW_MM = 512 * 0.49
OF_FOLDERS = "the patients' folders, or DICOM headers"
BY_FOLDER = "the folders of the splits, "
# Columns of our own tables beside those of a patients table, in lower case.
RESERVED = set(
    "pixels truth_pixels predicted_pixels dice iou precision recall specificity surface_dice hd95_pixels hd95_mm "
    "average_distance_pixels average_distance_mm confidence expected_dice tumor_probability review used_for "
    "fingerprint".split()
)
GROUP_PREFIX = "like "  # of the names of groups of similar slices, which replace unknown patients
# Correlation of the thumbnails of near-duplicates. If it were much lower, chains of them would join most patients.
NEAR_COPY = 0.94


def patient_facts(slices: Slices, folder: Path, table_path: Path | None = None) -> tuple[Facts, str]:
    """What is known about each slice of one folder, at least its patient, and where that comes from.

    Facts come from the table at table_path, else patients.csv in the folder, else the layout of the folder, else the
    published table if it describes these slices, else each volume or group of similar slices is a patient. A table has
    one row for all slices of a volume. In a folder without tumors, patients get the folder's name in front of theirs.
    """
    if not slices.pairs:
        raise UserError(f"All images in '{folder}' are copies of others: leave this folder out.")
    shows_no_tumor = not any(pair.mask_path for pair in slices.pairs)
    prefix = f"{folder.resolve().name}/" if shows_no_tumor else ""
    path = table_path or (folder / "patients.csv")
    if table_path or path.exists():
        return facts_from_table(slices, path, prefix)
    check_copies(slices, lambda pair: pair.patient)
    if all(pair.patient for pair in slices.pairs):
        return with_splits(slices, [prefix + pair.patient for pair in slices.pairs]), OF_FOLDERS
    is_split = any(pair.split for pair in slices.pairs)
    if not is_split and describes(published_facts(), slices):
        return {id: published_facts()[id] for id in slices.ids}, "the published table"
    if slices.pairs[0].slice_index is not None:
        patients = [prefix + pair.name.removeprefix(prefix) for pair in slices.pairs]
        origin, warning = "one patient per volume", "each volume counts as one patient."
    else:
        patients, origin, warning = similar_groups(slices, folder)
    missing = "no patients.csv there" if shows_no_tumor else "no patients.csv there, no --patients"
    print(f"The patients in '{folder}' are unknown ({missing}): {warning}")
    return with_splits(slices, patients), f"{BY_FOLDER if is_split else ''}{origin}"


def with_splits(slices: Slices, patients: list[str]) -> Facts:
    """The patient of each slice, and its split if folders are splits."""
    return {
        pair.id: {"patient": patient} | ({"split": pair.split} if pair.split else {})
        for pair, patient in zip(slices.pairs, patients, strict=True)
    }


def facts_from_table(slices: Slices, path: Path, prefix: str) -> tuple[Facts, str]:
    """The row of a patients table for each slice, with this prefix of the patient, and where the facts come from: the
    split may be that of the folders. UserError if there is no row for a slice."""
    table = read_patients(path)
    names = [plain_id(pair.name.removeprefix(prefix)) for pair in slices.pairs]
    missing = [name for name in dict.fromkeys(names) if name not in table]
    raise_problems([f"'{path}' has no row for the image '{name}': add one." for name in missing])
    check_copies(slices, lambda pair: table.get(plain_id(pair.name.removeprefix(prefix)), {}).get("patient", ""))
    has_split = any("split" in row for row in table.values())
    facts = {
        pair.id: ({"split": pair.split} if pair.split and not has_split else {})
        | table[name]
        | {"patient": prefix + table[name]["patient"]}
        for pair, name in zip(slices.pairs, names, strict=True)
    }
    return facts, f"{BY_FOLDER if not has_split and any(pair.split for pair in slices.pairs) else ''}'{path}'"


def similar_groups(slices: Slices, folder: Path) -> tuple[list[str], str, str]:
    """For each slice the name of its group of slices that look alike and have the same split, where these patients come
    from, and what to expect of them."""
    groups = near_copy_groups(slices.images)
    # Named after their pixels, so that groups from two folders have different names. Blank slices are alike everywhere.
    names = []
    for pair, image, fingerprint in zip(slices.pairs, slices.images, slices.fingerprints, strict=True):
        name = f"{GROUP_PREFIX}{image_hash(fingerprint) or 'blank'}"
        if not np.ptp(image):
            name += f" in {folder.resolve().name} {pair.split}".rstrip()
        names.append(name)
    keys = [(group, pair.split) for group, pair in zip(groups, slices.pairs, strict=True)]
    patient_of = dict(zip(keys, names, strict=True))
    patients = [patient_of[key] for key in keys]
    count, torn = len(set(patients)), len(patient_of) - len(set(groups))
    how = "the slices are split by folder. " if any(pair.split for pair in slices.pairs) else ""
    more = f", {torn} of them also in another split" if torn else ""
    hint = " If the folders of the images are patients, list them in a patients.csv." if has_folders(slices) else ""
    warning = (
        f"{how}{count} groups of slices that look alike count as patients{more}. Slices of one patient that look "
        f"different may be on both sides of a split, so scores may be too high.{hint}"
    )
    return patients, f"{count} groups of similar slices", warning


def has_folders(slices: Slices) -> bool:
    """Whether every image is in a subfolder, and there are several of these."""
    folders = {pair.name.rpartition("/")[0] for pair in slices.pairs}
    return len(folders) > 1 and "" not in folders


def check_copies(slices: Slices, patient_of: Callable[[Pair], str]) -> None:
    """UserError for exact copies that belong to different patients; "" if a patient is unknown."""
    problems = []
    for copy, original in slices.copies:
        patients = patient_of(copy), patient_of(original)
        if all(patients) and patients[0] != patients[1]:
            problems.append(
                f"'{copy.image_path}' of patient '{patients[0]}' is an exact copy of '{original.image_path}' of "
                f"patient '{patients[1]}': delete the wrong one."
            )
    raise_problems(problems)


def merge_facts(of_folders: list[Facts]) -> Facts:
    """Facts of the slices of several folders, all with the same columns: "" where a table has no such column."""
    facts = {id: row for one in of_folders for id, row in one.items()}
    columns = dict.fromkeys(column for row in facts.values() for column in row)
    return {id: dict.fromkeys(columns, "") | row for id, row in facts.items()}


def unit_of(patients: Iterable[str]) -> str:
    """What these patients are, in the plural: groups of similar slices if the patients are unknown."""
    return "groups" if any(patient.startswith(GROUP_PREFIX) for patient in patients) else "patients"


def interval_basis(patients: Iterable[str]) -> str:
    """What intervals over these patients are computed over, in words."""
    if unit_of(patients) == "groups":
        return "groups of similar slices, too narrow because the patients are unknown"
    return "patients"


def read_patients(path: Path) -> Facts:
    """Rows of a patients table by id, without suffix; UserError if it is unreadable, ragged or has no id or patient."""
    try:
        rows = read_table(path)
    except OSError as error:
        raise UserError(f"Cannot read the patients table '{path}': {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Cannot read the patients table '{path}': {error}. Save it as CSV in UTF-8.") from error
    rows = [
        {plain_name(name): cell.strip() if isinstance(cell, str) else cell for name, cell in row.items()}
        for row in rows
    ]
    rows = [row for row in rows if any(row.values())]  # spreadsheets may add empty ones
    if not rows or not {"id", "patient"} <= rows[0].keys():
        found = f", not {', '.join(map(repr, rows[0]))}" if rows else ""
        raise UserError(
            f"'{path}' must be a comma-separated CSV with columns id and patient (and optionally tumor, "
            f"plane and split){found}."
        )
    if taken := [column for column in rows[0] if column and column.lower() in RESERVED]:
        raise UserError(f"'{path}' has a column '{min(taken)}', which our own tables have: rename it.")
    # csv collects extra cells under None, and fills missing ones with None.
    ragged = [row["id"] for row in rows if None in row or None in row.values()]
    raise_problems([f"'{path}' has more or fewer cells than columns at id '{id}': fix it." for id in ragged])
    raise_problems([f"'{path}' has no patient for id '{row['id']}': add one." for row in rows if not row["patient"]])
    for row in rows:
        row["id"] = plain_id(row["id"])
        if "split" in row:
            row["split"] = SPLIT_OF_FOLDER.get(row["split"].lower(), row["split"])
    repeated = [id for id, count in Counter(row["id"] for row in rows).items() if count > 1]
    raise_problems([f"'{path}' has several rows for id '{id}': keep one." for id in repeated])
    return {row.pop("id"): row for row in rows}


def plain_name(column: str | None) -> str | None:
    """The name of a column, in lower case if it is one that we know."""
    lower = (column or "").strip().lower()
    return lower if lower in ("id", "patient", "tumor", "split", "plane") else column


def is_published(id: str, facts: dict[str, str]) -> bool:
    """Whether a slice belongs to the published set: the published table has the same patient id for it."""
    return "pid" in facts and facts["pid"] == published_facts().get(id, {}).get("pid")


@functools.cache
def published_facts() -> Facts:
    """The published table: patient, tumor, split and tumor size of each slice."""
    return read_patients(PUBLISHED_TABLE)


def describes(table: Facts, slices: Slices) -> bool:
    """Whether the published table has the ids of these slices and, as any data may use those, the tumor sizes."""
    if not table.keys() >= set(slices.ids):
        return False
    known = [bool(table[id]["tumor_percent"]) for id in slices.ids]
    expected = [float(table[id]["tumor_percent"] or 0) for id in slices.ids]
    close = is_same_tumor_size(slices.tumor_percent, np.array(expected))
    return any(known) and bool(np.all(close[known]))


def is_same_tumor_size(percent: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Whether tumor sizes, in percent of the image, are equal up to the effect of rescaling the mask."""
    return np.isclose(percent, expected, rtol=0.1, atol=0.05)


def near_copy_groups(images: np.ndarray) -> np.ndarray:
    """Group number (n,) of images uint8 (n, size, size). Near-copies share a group, also indirect and mirrored ones."""
    small, mirrored = thumbnails(images), thumbnails(images[..., ::-1])
    # The squared distance of unit vectors with correlation r is 2 - 2r.
    neighbors = NearestNeighbors(radius=np.sqrt(2 - 2 * NEAR_COPY)).fit(small)
    near = neighbors.radius_neighbors_graph(small) + neighbors.radius_neighbors_graph(mirrored)
    return connected_components(near, directed=False)[1]


def thumbnails(images: np.ndarray, side: int = 32) -> np.ndarray:
    """Images uint8 (n, size, size) as vectors float32 (n, side²) whose products are correlations."""
    small = np.stack([resize_into_square(image, side).ravel() for image in images]).astype(np.float32)
    small -= small.mean(axis=1, keepdims=True)
    return small / np.maximum(np.linalg.norm(small, axis=1, keepdims=True), 1e-6)
