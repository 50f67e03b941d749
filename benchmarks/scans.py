"""Whole scans: false alarms in healthy heads, and tumors implanted into one of them, in one plane and in three, and in
thick slices.

Usage:

    python benchmarks/scans.py ch2.nii.gz mni152.nii.gz --run runs/NAME

The machine must be idle at the start: predict.py is timed on the first head, resampled to the usual grid of BraTS.
Heads are NIfTI volumes without a tumor. Tumors are implanted into the first one: spheres with a soft, wavy border,
bright, ring-shaped or dark, 5 to 40 mm across, from a seed. Before, its white and grey matter are darkened and its
vessels and skin stay bright, as contrast agent and the scaling of contrast-enhanced scans do. Results are written to
benchmarks/results/scans.json.
"""

import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import tyro
from running import ROOT, provenance
from scipy import ndimage
from timing import peak_gib
from tqdm import tqdm

from unet.evaluation.scans import score_scan
from unet.files import write_json
from unet.images.nifti import read_volume
from unet.images.volume import PLANES, Volume
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.network.scan import outline_scan, predict_scan
from unet.pictures.viewer import shrink, shrink_affine

KINDS = ("bright", "ring", "dark")
SMALLEST_MM, LARGEST_MM = 5, 40
THICK_MM = 5  # distance of slices in many scans of hospitals
TIMED_SHAPE, TIMED_RUNS = (240, 240, 155), 3  # voxels of 1 mm, as in BraTS
BRIGHT, DARK, RIM = 230, 60, 0.3  # grey values, and the share of the radius that a ring takes


@dataclass(frozen=True)
class ScansOptions:
    """Which heads, and which network."""

    heads: tyro.conf.Positional[tuple[Path, ...]]
    """NIfTI volumes without a tumor; tumors are implanted into the first."""
    run: Path | None = None
    """Folder of the run whose network to use. Default: the pretrained network."""
    tumors: int = 20
    """Number of tumors, each in its own copy of the head."""
    output: Path = ROOT / "benchmarks" / "results" / "scans.json"
    """File for the figures."""


def measure(options: ScansOptions) -> None:
    """Measure, and write the figures."""
    timing = time_prediction(options)
    predictor = Predictor(SavedRun.open(options.run))
    heads = {path.name: read_volume(path) for path in options.heads}
    nothing = {name: np.zeros(head.grey.shape, bool) for name, head in heads.items()}
    first = next(iter(heads.values()))
    diameters_mm = np.geomspace(SMALLEST_MM, LARGEST_MM, options.tumors)
    implanted = [implant(first, seed, diameter_mm) for seed, diameter_mm in enumerate(diameters_mm.tolist())]
    figures = {**provenance(), "timing": timing, "tumors": [about for *_, about in implanted], "planes": {}}
    for name, planes, thickness in (
        ("three planes", PLANES, 1),
        ("axial", ("axial",), 1),
        (f"axial, slices of {THICK_MM} mm", ("axial",), THICK_MM),
    ):
        healthy = {
            head: outline(predictor, *thicken(volume, nothing[head], planes, thickness))
            for head, volume in heads.items()
        }
        rows = [
            outline(predictor, *thicken(volume, truth, planes, thickness))
            for volume, truth, _ in tqdm(implanted, name, disable=None)
        ]
        figures["planes"][name] = {"healthy": healthy, "implanted": rows, "means": means(rows)}
        print(name, {head: row["predicted_ml"] for head, row in healthy.items()}, means(rows))
    write_json(options.output, figures)


def time_prediction(options: ScansOptions) -> dict[str, object]:
    """Seconds and peak memory of predict.py, from start to end, for one scan in three planes."""
    grey = read_volume(options.heads[0]).grey
    resampled = ndimage.zoom(grey, np.divide(TIMED_SHAPE, grey.shape), order=1)
    command = [sys.executable, ROOT / "predict.py", "scan.nii.gz", "--output", "out", "--overwrite"]
    command += ["--run", options.run.resolve()] if options.run else []
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        nibabel.save(nibabel.Nifti1Image(resampled, np.eye(4)), Path(folder) / "scan.nii.gz")
        for _ in range(TIMED_RUNS):
            start = time.perf_counter()
            subprocess.run(command, cwd=folder, check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
    peak = peak_gib(resource.getrusage(resource.RUSAGE_CHILDREN))
    return {"shape": TIMED_SHAPE, "seconds": seconds, "peak_memory_gib": peak}


def outline(predictor: Predictor, volume: Volume, truth: np.ndarray) -> dict[str, object]:
    """How a scan is outlined, next to its true mask, bool (x, y, z)."""
    outlines = outline_scan(predictor, volume, predict_scan(predictor, volume, "Slices"))
    probability = predictor.tumor_probability(outlines.highest_evidence)
    return score_scan(truth, outlines.labels, volume) | {"tumor_probability": probability}


def thicken(volume: Volume, truth: np.ndarray, planes: tuple[str, ...], thickness: int) -> tuple[Volume, np.ndarray]:
    """A head of 1 mm voxels and its mask with some axial slices averaged into one, sliced in these planes."""
    grey, share = (shrink(voxels, [1, 1, thickness], np.mean) for voxels in (volume.grey, truth))
    image = nibabel.Nifti1Image(grey, shrink_affine(volume.affine, [1, 1, thickness]))
    spacing_mm = (*volume.spacing_mm[:2], thickness * volume.spacing_mm[2])
    return Volume(np.rint(grey).astype(np.uint8), spacing_mm, planes, image), share >= 0.5


def means(rows: list[dict]) -> dict[str, float]:
    """Share of tumors found, mean Dice of scans, and false alarms per scan."""
    return {
        "found": float(np.mean([row["found_regions"] > 0 for row in rows])),
        "dice": float(np.mean([row["dice"] for row in rows])),
        "false_regions": float(np.mean([row["false_regions"] for row in rows])),
    }


def implant(head: Volume, seed: int, diameter_mm: float) -> tuple[Volume, np.ndarray, dict[str, object]]:
    """A head with one tumor inside the brain, the tumor's mask, bool (x, y, z), and a description."""
    random = np.random.default_rng(seed)
    grey = ndimage.gaussian_filter(head.grey.astype(np.float32), 0.5)
    inside = ndimage.binary_erosion(ndimage.gaussian_filter(grey, 2) > 40, iterations=18)
    center = random.permutation(np.argwhere(inside))[0]
    kind = KINDS[seed % len(KINDS)]
    offsets = (np.indices(grey.shape).transpose(1, 2, 3, 0) - center) * head.spacing_mm * random.uniform(0.85, 1.15, 3)
    waves = ndimage.gaussian_filter(random.normal(0, 1, grey.shape).astype(np.float32), 4)
    distance = np.linalg.norm(offsets, axis=-1) / (diameter_mm / 2) + 0.1 * waves / waves.std()
    tumor = distance < 1
    values = {"bright": BRIGHT, "dark": DARK, "ring": np.where(distance > 1 - RIM, BRIGHT, DARK)}[kind]
    texture = ndimage.gaussian_filter(random.normal(0, 40, grey.shape).astype(np.float32), 1)
    share = ndimage.gaussian_filter(tumor.astype(np.float32), 0.7)
    mixed = enhanced(grey) * (1 - share) + (values + texture) * share
    volume = replace(head, grey=np.clip(mixed, 0, 255).astype(np.uint8))
    return volume, tumor, {"kind": kind, "diameter_mm": round(diameter_mm, 1), "center": center.tolist()}


def enhanced(grey: np.ndarray) -> np.ndarray:
    """Grey values of a scan without contrast agent, made to look like one with it: tissue becomes darker, and only the
    brightest parts stay as they are."""
    return 255 * (grey / 255) ** 1.6


if __name__ == "__main__":
    measure(tyro.cli(ScansOptions, description=__doc__))
