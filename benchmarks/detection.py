"""Does a network know when there is no tumor? Measured on validation groups, healed slices and healthy heads.

Usage:

    python benchmarks/detection.py runs/NAME FOLDER --no-tumor FOLDER --heads ch2.nii.gz mni152.nii.gz

The run must have been trained on the data and the images without a tumor in these folders. Heads are NIfTI volumes
without a tumor that it was not trained on: each is outlined slice by slice in all three planes. Results are written to
benchmarks/results/detection.json.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from lesions import show_lesions
from running import ROOT, provenance
from tqdm import tqdm

from unet.data.slices import load_slices
from unet.evaluation.detection import count_slices
from unet.evaluation.intervals import fraction_over_rows
from unet.evaluation.scoring import score_pairs
from unet.files import write_json
from unet.images.nifti import read_volume
from unet.images.preprocessing import resize_into_square
from unet.images.volume import PLANES, slices_of
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import ReadingOptions
from unet.training.material import healed_validation_slices, indices_of, patients_of


@dataclass(frozen=True)
class DetectionOptions:
    """Which run, and on what."""

    run: tyro.conf.Positional[Path]
    """Folder of a finished run."""
    folder: tyro.conf.Positional[Path]
    """Folder with images/ and masks/ that it was trained on."""
    no_tumor: tuple[Path, ...]
    """Folders of images without a tumor that it was trained on."""
    heads: tuple[Path, ...] = ()
    """NIfTI volumes without a tumor."""
    output: Path = ROOT / "benchmarks" / "results" / "detection.json"
    """File for the figures."""


def measure(options: DetectionOptions) -> None:
    """Measure how often something is outlined, and write the figures."""
    run = SavedRun.open(options.run)
    predictor = Predictor(run)
    reading = run.config.options.data.reading
    slices = load_slices(options.folder, predictor.size, reading=reading, no_tumor=options.no_tumor)
    with_tumor, free = (indices_of(run, slices, "val", has_tumor) for has_tumor in (True, False))
    has_lesion = show_lesions([slices.pairs[index].name for index in free])
    kinds = {
        "validation slices with tumor": with_tumor,
        "images without a tumor": free,
        "images without a tumor or another lesion": free[~has_lesion],
    }
    rows = {}
    for name, indices in kinds.items():
        pairs = [slices.pairs[index] for index in indices]
        outlined = score_pairs(predictor, pairs, lambda prediction, _: bool(predictor.mask(prediction).any()), name)
        rows[name] = summarize(outlined, patients_of(run, slices, indices))
    healed = healed_validation_slices(run, slices)
    predictions = predictor(list(healed.images), lambda image, _: image)
    outlined = [predictor.mask(prediction).any() for prediction in predictions]
    rows["healed slices"] = summarize(outlined, patients_of(run, slices, healed.indices))
    for path in tqdm(options.heads, "Heads", disable=None):
        for plane in PLANES:
            volume = read_volume(path, ReadingOptions(plane=plane))
            count, read = len(slices_of(volume.grey, plane)), functools.partial(volume.square_pixels, plane)
            predictions = predictor.stream(range(count), read, preparation_of=lambda index: resize_into_square)
            outlined = [predictor.mask(prediction).any() for prediction in predictions]
            rows[f"{path.name}, {plane}"] = {"slices": len(outlined), "outlined": float(np.mean(outlined))}
    figures = {**provenance(), "network": run.network_fingerprint(), "outlined": rows}
    write_json(options.output, figures)
    for name, row in rows.items():
        print(f"{name:32} {row['outlined']:6.1%} of {row['slices']} outlined")


def summarize(outlined: list[bool], patients: np.ndarray) -> dict[str, object]:
    """Fraction of slices that are outlined, with its interval over patients or groups."""
    rows = [{"patient": str(patient)} for patient in patients]
    rate = fraction_over_rows(rows, outlined)
    return count_slices(rows) | {"outlined": rate["mean"], "interval": rate["interval"]}


if __name__ == "__main__":
    measure(tyro.cli(DetectionOptions, description=__doc__))
