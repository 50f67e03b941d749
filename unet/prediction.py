"""What predict.py does: images in, masks, overlays and a table of measurements out."""

import csv
import glob
import os
import shutil
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from unet.files import (
    UserError,
    encode_mask,
    encode_picture,
    image_files_below,
    read_image,
    write_whole,
)
from unet.inference import Prediction, Predictor
from unet.options import PredictionOptions
from unet.saved_run import SavedRun

# Orange of Okabe and Ito's colour-blind-safe palette, as OpenCV's blue, green, red.
CONTOUR_BGR = (0, 159, 230)
OUTPUTS = ("masks", "overlays", "predictions.csv")


@dataclass(frozen=True)
class Input:
    """An image file and the name, relative and without suffix, of what is written for it."""

    path: Path
    name: str


@dataclass(frozen=True)
class Measurement:
    """A row of predictions.csv; empty after `status` where the image was skipped."""

    path: str
    status: str  # "ok", or why the image was skipped
    width: int | str = ""
    height: int | str = ""
    tumor_pixels: int | str = ""
    tumor_percent: float | str = ""  # of the image
    left: int | str = ""  # bounding box of the tumor in pixels, right and bottom included
    top: int | str = ""
    right: int | str = ""
    bottom: int | str = ""
    mean_probability: float | str = ""  # over the tumor's pixels
    seconds: float | str = ""


def predict(options: PredictionOptions) -> int:
    """Write masks, overlays and predictions.csv for all images; returns 3 if any was skipped, else 0."""
    run = SavedRun.open(options.run)
    inputs = find_inputs(options.images, options.output)
    predictor = Predictor(run, options.batch_size, options.mirror)
    # After all that may fail: --overwrite deletes earlier results.
    prepare_output(options.output, options.overwrite)

    def write(prediction: Prediction) -> Measurement:
        return write_outputs(prediction, predictor, options.output)

    rows = predictor.stream(inputs, lambda input: read_image(input.path, options.max_pixels), write)
    skipped, with_tumor = 0, 0
    with open(
        options.output / "predictions.csv", "w", newline="", errors="surrogateescape"
    ) as file:
        writer = csv.DictWriter(file, Measurement.__dataclass_fields__)
        writer.writeheader()
        for row in tqdm(rows, "Predicting", len(inputs), unit="image", disable=None):
            writer.writerow(asdict(row))
            if row.status != "ok":
                skipped += 1
                tqdm.write(f"skipped: {row.status}")
            elif row.tumor_pixels:
                with_tumor += 1
    print(
        f"{len(inputs) - skipped} of {len(inputs)} images outlined, {with_tumor} with tumor, "
        f"{skipped} skipped: see {options.output}/overlays and {options.output}/predictions.csv."
    )
    return 3 if skipped else 0


def find_inputs(arguments: tuple[str, ...], output: Path) -> list[Input]:
    """Every image that the arguments name, once; UserError for one that names none.

    What lies in the output folder is no input. Results keep the files' folders below the deepest
    folder that all arguments share; images that differ only in their suffix keep it in the name.
    """
    paths: dict[str, None] = {}  # a set that keeps its order
    roots = []
    for argument in arguments:
        if os.path.isdir(argument):
            found = image_files_below(Path(argument))
            roots.append(os.path.abspath(argument))
        else:
            found = [Path(argument)] if os.path.lexists(argument) else []
            found = found or [Path(path) for path in sorted(glob.glob(argument, recursive=True))]
            roots += [os.path.dirname(os.path.abspath(path)) for path in found]
        if not found:
            raise UserError(f"'{argument}' names no image: give a file, a folder or a quoted glob.")
        paths |= dict.fromkeys(os.path.abspath(path) for path in found)
    results = os.path.join(os.path.abspath(output), "")
    paths = [path for path in paths if not path.startswith(results)]
    root = os.path.commonpath(roots)
    names = {path: os.path.relpath(path, root) for path in paths}
    stems = {path: os.path.splitext(name)[0] for path, name in names.items()}
    count = Counter(stems.values())
    return [
        Input(Path(path), stems[path] if count[stems[path]] == 1 else names[path]) for path in paths
    ]


def prepare_output(folder: Path, overwrite: bool) -> None:
    """Make the output folder; UserError where it cannot be written or holds results already."""
    old = [name for name in OUTPUTS if (folder / name).exists()]
    if old and "predictions.csv" not in old:
        # A data set has masks/ too: those must never be replaced.
        raise UserError(f"'{folder}' holds {old[0]}/ of something else: choose another --output.")
    if old and not overwrite:
        raise UserError(f"'{folder}' holds results: choose another --output or add --overwrite.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # First, as it tells that the other two are ours.
        (folder / "predictions.csv").touch()
        for name in ("masks", "overlays"):
            if (folder / name).exists():
                shutil.rmtree(folder / name)
            (folder / name).mkdir()
    except OSError as error:
        raise UserError(f"Cannot write to --output '{folder}': {error.strerror}.") from error


def write_outputs(prediction: Prediction, predictor: Predictor, folder: Path) -> Measurement:
    """Write mask and overlay of one image and measure its tumor."""
    input = prediction.source
    if prediction.error:
        return Measurement(str(input.path), str(prediction.error))
    start = time.perf_counter()
    mask = predictor.mask(prediction.probability)
    overlay = draw_overlay(prediction.image, prediction.probability, predictor.threshold)
    write_whole(folder / "masks" / f"{input.name}.png", encode_mask(mask), durable=False)
    write_whole(folder / "overlays" / f"{input.name}.jpg", encode_picture(overlay), durable=False)
    seconds = prediction.seconds + time.perf_counter() - start
    return Measurement(
        str(input.path), "ok", mask.shape[1], mask.shape[0],
        **measure(mask, prediction.probability), seconds=round(seconds, 4),
    )  # fmt: skip


def measure(mask: np.ndarray, probability: np.ndarray) -> dict[str, float | str]:
    """Area, bounding box and mean probability of a boolean mask; boxes of empty masks are empty."""
    pixels = int(np.count_nonzero(mask))
    area = {"tumor_pixels": pixels, "tumor_percent": round(100 * pixels / mask.size, 4)}
    if not pixels:
        return area
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = {"left": columns[0], "top": rows[0], "right": columns[-1], "bottom": rows[-1]}
    return area | box | {"mean_probability": round(float(probability[mask].mean()), 4)}


def draw_overlay(image: np.ndarray, probability: np.ndarray, threshold: float) -> np.ndarray:
    """The image as BGR (height, width, 3) with a smooth contour around the tumor."""
    overlay = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    mask = probability >= threshold
    if not mask.any():
        return overlay
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    # A margin of one pixel, so that the contour closes around the tumor.
    top, left = max(0, rows[0] - 1), max(0, columns[0] - 1)
    crop = probability[top : rows[-1] + 2, left : columns[-1] + 2]
    # Contours of a mask have stairs; those of the probability on a four times finer grid do not.
    fine = cv2.resize(crop, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR) >= threshold
    contours, _ = cv2.findContours(fine.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # OpenCV draws at fractions of a pixel: here sixteenths. A fine pixel's centre is at (x + 0.5) / 4 - 0.5.
    contours = [
        np.rint((((contour + 0.5) / 4 - 0.5) + (left, top)) * 16).astype(np.int32)
        for contour in contours
    ]
    thickness = max(1, round(max(image.shape) / 400))
    cv2.polylines(overlay, contours, True, CONTOUR_BGR, thickness, cv2.LINE_AA, shift=4)
    return overlay
