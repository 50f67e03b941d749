"""What a run trains and validates on: slices with tumor, without tumor, healed and grafted."""

import hashlib

import numpy as np

from unet.data.batches import Material
from unet.data.healing import AlteredSlices, graft, heal
from unet.data.slices import Slices
from unet.data.teacher import load_labels
from unet.errors import UserError
from unet.network.saved_run import SavedRun


def outline_material(run: SavedRun, slices: Slices, indices: np.ndarray) -> Material:
    """What outlines are learned from: these slices with tumor, and the probabilities of a teacher if there is one.
    UserError if that has changed since the run was started."""
    options = run.config.options
    if not options.teacher:
        return Material(slices, indices)
    labels = load_labels(options.teacher, slices, indices, options.data.memory_gib)
    fingerprint = hashlib.sha256(labels).hexdigest()[:16]
    if run.config.teacher not in (None, fingerprint):
        raise UserError(
            f"The probabilities in '{options.teacher}' have changed since '{run.folder}' was started: restore them, or "
            "start a new run."
        )
    run.update_config(teacher=fingerprint)
    return Material(slices, indices, labels=labels)


def presence_material(run: SavedRun, slices: Slices) -> Material:
    """What the presence head learns from: slices with tumor, without, healed and grafted."""
    with_tumor, without_tumor = (indices_of(run, slices, "train", has_tumor) for has_tumor in (True, False))
    options = run.config.options
    patients = patients_of(run, slices, with_tumor)
    healed = heal(slices, with_tumor, patients)
    is_grafting = options.augmentation.grafted > 0
    grafted = graft(slices, with_tumor, patients, options.seed) if is_grafting else AlteredSlices.none()
    return Material(slices, with_tumor, without_tumor, healed, grafted)


def healed_validation_slices(run: SavedRun, slices: Slices) -> AlteredSlices:
    """Validation slices whose tumor is replaced by tissue of the other hemisphere."""
    indices = indices_of(run, slices, "val", has_tumor=True)
    return heal(slices, indices, patients_of(run, slices, indices), mirror_only=True)


def indices_of(run: SavedRun, slices: Slices, split: str, has_tumor: bool) -> np.ndarray:
    """Indices of the slices of a split with or without tumor, int64 (n,)."""
    indices = slices.indices(run.slices.split[split])
    return indices[slices.has_tumor[indices] == has_tumor]


def patients_of(run: SavedRun, slices: Slices, indices: np.ndarray) -> np.ndarray:
    """The patient of each of these slices, (n,)."""
    return np.array([run.slices.facts[slices.ids[index]]["patient"] for index in indices])
