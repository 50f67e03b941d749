"""Which slices train, validate and test: whole patients, always, so that scores hold for new ones."""

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
from unet.tables import read_table

PUBLISHED_PATIENTS = Path(__file__).with_name("published.csv")
# 512 pixels of 0.49 mm (data/README.md), whatever size its images now have.
PUBLISHED_FIELD_OF_VIEW_MM = 512 * 0.49
# How groups of slices that look alike are called where no patients are known.
LIKE = "like "
# Two slices count as near-copies from this correlation of their thumbnails on. Much lower, and chains
# of alike slices join most patients of the real set into one group.
NEAR_COPY = 0.94


def patient_facts(
    slices: Slices, folder: Path, options: DataOptions
) -> tuple[dict[str, dict[str, str]], str]:
    """The table row of each id, with at least its patient, and where that was found.

    In a table the slices of a volume have one row, of the volume.
    """
    names = {pair.id: pair.name for pair in slices.pairs}
    named = options.patients or (folder / "patients.csv")
    if options.patients or named.exists():
        table = read_patients(named)
        missing = [name for name in dict.fromkeys(names.values()) if name not in table]
        raise_problems([f"'{named}' has no row for the image '{name}': add one." for name in missing])
        return {id: table[name] for id, name in names.items()}, f"'{named}'"
    if slices.pairs[0].index is not None:
        print(
            f"No patients are known for '{folder}' (no patients.csv there, no --patients): every volume "
            "counts as a patient."
        )
        return {id: {"patient": name} for id, name in names.items()}, "a patient a volume"
    table = published_facts()
    if describes(table, slices):
        return {id: table[id] for id in slices.ids}, "data/patients.csv"
    groups = near_copy_groups(slices.images)
    # Named after their pixels, so that a group of one folder is never taken for one of another.
    names = {group: f"{LIKE}{digest}" for group, digest in zip(groups, slices.digests, strict=True)}
    facts = {id: {"patient": names[group]} for id, group in zip(slices.ids, groups, strict=True)}
    print(
        f"No patients are known for '{folder}' (no patients.csv there, no --patients): its slices "
        f"are split as {len(names)} groups of near-copies. Slices of one patient that look different "
        "may be on both sides of the split, so scores will be too high for new patients."
    )
    return facts, f"{len(names)} groups of near-copies"


def patients_known(facts: dict[str, dict[str, str]]) -> bool:
    """Whether slices have patients, and not only groups that look alike."""
    return not any(row["patient"].startswith(LIKE) for row in facts.values())


def intervals_over(facts: dict[str, dict[str, str]]) -> str:
    """What an interval over "patients" is."""
    if patients_known(facts):
        return "over patients"
    return "over groups of slices that look alike, too narrow as patients are not known"


def read_patients(path: Path) -> dict[str, dict[str, str]]:
    """Rows of a patients table by id; UserError where there is none or it lacks id or patient."""
    try:
        rows = read_table(path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"Cannot read the patients table '{path}': {error}.") from error
    rows = [row for row in rows if any(row.values())]  # spreadsheets may add empty ones
    if not rows or not {"id", "patient"} <= rows[0].keys():
        found = f", not {', '.join(map(repr, rows[0]))}" if rows else ""
        raise UserError(
            f"'{path}' must be a CSV, separated by commas, with columns id and patient (and tumor, split)"
            f"{found}."
        )
    # csv puts surplus cells under None, and None into missing ones.
    ragged = [row["id"] for row in rows if None in row or None in row.values()]
    raise_problems([f"'{path}' has more or fewer cells than columns at id '{id}'." for id in ragged])
    repeated = [id for id, count in Counter(row["id"] for row in rows).items() if count > 1]
    raise_problems([f"'{path}' has several rows for id '{id}': keep one." for id in repeated])
    return {row.pop("id"): row for row in rows}


def is_published(id: str, facts: dict[str, str]) -> bool:
    """Whether a slice is one of the published set: the published table has the same facts of it."""
    published = published_facts().get(id, {})
    return "pid" in facts and facts["pid"] == published.get("pid")


@functools.cache
def published_facts() -> dict[str, dict[str, str]]:
    return read_patients(PUBLISHED_PATIENTS)


def describes(table: dict[str, dict[str, str]], slices: Slices) -> bool:
    """Whether the published table is about these slices: ids are plain numbers that any set may use,
    so the tumors' sizes must agree as well."""
    if not all(id in table for id in slices.ids):
        return False
    known = [bool(table[id]["tumor_percent"]) for id in slices.ids]
    expected = [float(table[id]["tumor_percent"] or 0) for id in slices.ids]
    close = same_tumor_size(slices.tumor_percent, np.array(expected))
    return any(known) and bool(np.all(close[known]))


def same_tumor_size(percent: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Whether tumors, in percent of their images, are the same but for scaling of the masks."""
    # Scaling a mask from 512 to 256 pixels moves its border by a fraction of a pixel.
    return np.isclose(percent, expected, rtol=0.1, atol=0.05)


def near_copy_groups(images: np.ndarray) -> np.ndarray:
    """Group number of each slice (n,): slices that resemble each other, directly or through others."""
    thumbnails = np.stack([resize_into_square(image, 32) for image in images]).astype(np.float32)
    thumbnails = thumbnails.reshape(len(images), -1)
    thumbnails -= thumbnails.mean(axis=1, keepdims=True)
    thumbnails /= np.maximum(np.linalg.norm(thumbnails, axis=1, keepdims=True), 1e-6)
    # Of unit vectors with correlation r, the squared distance is 2 - 2r.
    radius = np.sqrt(2 - 2 * NEAR_COPY)
    return connected_components(radius_neighbors_graph(thumbnails, radius), directed=False)[1]
