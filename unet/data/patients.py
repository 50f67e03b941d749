"""Whose slice is which: the patients table, the published one, or groups of slices that look alike."""

import csv
import functools
from collections import Counter
from pathlib import Path

import numpy as np
from scipy.sparse.csgraph import connected_components
from sklearn.neighbors import radius_neighbors_graph

from unet.data.slices import Slices
from unet.errors import UserError, raise_problems
from unet.images.preprocessing import resize_into_square
from unet.options import DataOptions
from unet.tables import Facts, read_table

PUBLISHED_TABLE = Path(__file__).with_name("published.csv")
# 512 pixels of 0.49 mm (data/README.md), at any resolution.
PUBLISHED_FIELD_OF_VIEW_MM = 512 * 0.49
GROUP_PREFIX = "like "  # of the names of groups of similar slices, which replace unknown patients
# Correlation of the thumbnails of near-copies. If it were much lower, chains of them would join most patients.
NEAR_COPY = 0.94


def patient_facts(slices: Slices, folder: Path, options: DataOptions) -> tuple[Facts, str]:
    """What is known about each slice, at least its patient, and where that comes from.

    Facts come from options.patients, else patients.csv in the folder, else the published table if it describes these
    slices, else each volume or group of similar slices is a patient. A table has one row for all slices of a volume.
    """
    names = {pair.id: pair.name for pair in slices.pairs}
    path = options.patients or (folder / "patients.csv")
    unknown = f"The patients in '{folder}' are unknown (no patients.csv there, no --patients): "
    if options.patients or path.exists():
        table = read_patients(path)
        missing = [name for name in dict.fromkeys(names.values()) if name not in table]
        raise_problems([f"'{path}' has no row for the image '{name}': add one." for name in missing])
        return {id: table[name] for id, name in names.items()}, f"'{path}'"
    if slices.pairs[0].slice_index is not None:
        print(f"{unknown}each volume counts as one patient.")
        return {id: {"patient": name} for id, name in names.items()}, "one patient per volume"
    table = published_facts()
    if describes(table, slices):
        return {id: table[id] for id in slices.ids}, "the published table"
    groups = near_copy_groups(slices.images)
    # Named after their pixels, so that groups from two folders never have the same name.
    names = [f"{GROUP_PREFIX}{fingerprint}" for fingerprint in slices.fingerprints]
    patients = dict(zip(groups, names, strict=True))
    facts = {id: {"patient": patients[group]} for id, group in zip(slices.ids, groups, strict=True)}
    print(
        f"{unknown}the slices are split as {len(patients)} groups that look alike. Slices of one patient that "
        "look different may be on both sides of the split, so the scores will be too high for new patients."
    )
    return facts, f"{len(patients)} groups of similar slices"


def interval_basis(facts: Facts) -> str:
    """What intervals are computed over, in words."""
    if any(row["patient"].startswith(GROUP_PREFIX) for row in facts.values()):
        return "groups of similar slices, too narrow because the patients are unknown"
    return "patients"


def read_patients(path: Path) -> Facts:
    """Rows of a patients table by id; UserError if it cannot be read, is ragged, or has no id or patient."""
    try:
        rows = read_table(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Cannot read the patients table '{path}': {error}.") from error
    rows = [row for row in rows if any(row.values())]  # spreadsheets may add empty ones
    if not rows or not {"id", "patient"} <= rows[0].keys():
        found = f", not {', '.join(map(repr, rows[0]))}" if rows else ""
        raise UserError(
            f"'{path}' must be a comma-separated CSV with columns id and patient (and optionally tumor and "
            f"split){found}."
        )
    # csv collects extra cells under None, and fills missing ones with None.
    ragged = [row["id"] for row in rows if None in row or None in row.values()]
    raise_problems([f"'{path}' has more or fewer cells than columns at id '{id}': fix it." for id in ragged])
    repeated = [id for id, count in Counter(row["id"] for row in rows).items() if count > 1]
    raise_problems([f"'{path}' has several rows for id '{id}': keep one." for id in repeated])
    return {row.pop("id"): row for row in rows}


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
    """Group number (n,) of images uint8 (n, size, size). Near-copies, also indirect ones, share a group."""
    thumbnails = np.stack([resize_into_square(image, 32).ravel() for image in images]).astype(np.float32)
    thumbnails -= thumbnails.mean(axis=1, keepdims=True)
    thumbnails /= np.maximum(np.linalg.norm(thumbnails, axis=1, keepdims=True), 1e-6)
    # The squared distance of unit vectors with correlation r is 2 - 2r.
    radius = np.sqrt(2 - 2 * NEAR_COPY)
    return connected_components(radius_neighbors_graph(thumbnails, radius), directed=False)[1]
