"""What predict.py does: images and volumes in, masks, overlays and a table of measurements out."""

import errno
import glob
import json
import math
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import chain, zip_longest
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from unet import prediction_report
from unet.files import (
    IMAGE_SUFFIXES,
    ImageError,
    UserError,
    append_whole,
    encode_mask,
    encode_picture,
    encode_png,
    image_files_below,
    only_process_in,
    read_image,
    read_table,
    table_text,
    without_suffix,
    write_json,
    write_whole,
)
from unet.inference import Prediction, Predictor, in_batches
from unet.options import PredictionOptions
from unet.overlays import draw_overlay, montage
from unet.preprocessing import resize_into_square, to_training_image
from unet.quality import confidence
from unet.saved_run import SavedRun
from unet.volumes import VOLUME_SUFFIXES, Volume, encode_volume_mask, is_volume, read_volume

TABLE, SETTINGS = "predictions.csv", "prediction.json"
OUTPUTS = (SETTINGS, TABLE, "report.html", "contact_sheet.jpg", "masks", "overlays")
SLICES_SHOWN = 20


@dataclass(frozen=True)
class Input:
    """A file and the name, relative and without suffix, of what is written for it."""

    path: Path
    name: str

    @property
    def is_volume(self) -> bool:
        return is_volume(self.path)


@dataclass(frozen=True)
class Measurement:
    """A row of predictions.csv; empty after `status` where the file was skipped."""

    path: str
    status: str  # "ok", or why the image was skipped
    width: int | str = ""
    height: int | str = ""
    slices: int | str = ""  # of a volume
    tumor_pixels: int | str = ""  # or voxels
    tumor_percent: float | str = ""  # of the image or volume
    tumor_mm3: float | str = ""  # where the file tells its spacing: NIfTI
    left: int | str = ""  # bounding box of an image's tumor in pixels, right and bottom included
    top: int | str = ""
    right: int | str = ""
    bottom: int | str = ""
    mean_probability: float | str = ""  # over the tumor's pixels
    expected_dice: float | str = ""  # without the truth; where something is outlined
    review: str = ""  # why a person should look at it


COLUMNS = [column.name for column in fields(Measurement)]


def predict(options: PredictionOptions) -> int:
    """Write masks, overlays and predictions.csv for all images; returns 3 if any was skipped, else 0."""
    run = SavedRun.open(options.run)
    inputs = find_inputs(options.images, options.output)
    options, inputs = part_of(options, inputs)
    predictor = Predictor(run, options.batch_size, options.mirror)
    with only_process_in(options.output):
        # After all that may fail: --overwrite deletes earlier results.
        done = prepare_output(options, settings_of(run, options), inputs)
        tally = Counter()
        try:
            for row in chain(done, outline(predictor, inputs, len(done), options)):
                tally["outlined" if row["status"] == "ok" else "skipped"] += 1
                tally["with tumor"] += row["tumor_pixels"] not in ("", "0", 0)
                tally["to review"] += bool(row["review"])
        except KeyboardInterrupt:
            print("Go on with the same command and --resume.")
            raise
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            raise UserError(
                f"Out of memory: start again with a --batch-size below {options.batch_size} and "
                "--overwrite, or with smaller images."
            ) from error
        outputs = outputs_of(inputs, options.output)
        prediction_report.write(outputs, settings_of(run, options), options.output)
    print(
        f"{tally['outlined']} of {len(inputs)} images outlined, {tally['with tumor']} with tumor, "
        f"{tally['to review']} to review, {tally['skipped']} skipped: see {options.output}/report.html and "
        f"{options.output}/{TABLE}."
    )
    return 3 if tally["skipped"] else 0


def part_of(
    options: PredictionOptions, inputs: list[Input]
) -> tuple[PredictionOptions, list[Input]]:
    """What --shard leaves of options and inputs; UserError where that is nothing."""
    told = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", options.shard)
    number, count = map(int, told.groups()) if told else (0, 0)
    if not 1 <= number <= count:
        raise UserError(f"--shard {options.shard} is no part of a whole: give I/N, such as 3/8.")
    if count == 1:
        return options, inputs
    # Every count-th: neighbours are alike in size, so the parts take about as long.
    part = inputs[number - 1 :: count]
    if not part:
        raise UserError(f"--shard {options.shard} is empty: there are {len(inputs)} files only.")
    return replace(options, output=options.output / f"shard-{number}-of-{count}"), part


def outline(
    predictor: Predictor, inputs: list[Input], first: int, options: PredictionOptions
) -> Iterator[dict]:
    """Write the outputs of all inputs from `first` on, and their rows a batch at a time; yields the rows."""

    def read(input: Input) -> np.ndarray:
        return read_image(input.path, options.max_pixels)

    def write(prediction: Prediction) -> Measurement:
        return write_outputs(prediction, predictor, options.output)

    images = [input for input in inputs[first:] if not input.is_volume]
    volumes = [input for input in inputs[first:] if input.is_volume]
    batches = in_batches(predictor.stream(images, read, write), options.batch_size)
    one_by_one = ([outline_volume(predictor, input, options)] for input in volumes)
    with tqdm(
        total=len(inputs), desc="Predicting", initial=first, unit="file", disable=None
    ) as bar:
        for batch in chain(batches, one_by_one):
            batch = [asdict(measurement) for measurement in batch]
            # After their masks: what has a row is done.
            append_whole(options.output / TABLE, table_text(COLUMNS, batch, header=False))
            for row in batch:
                if row["status"] != "ok":
                    bar.write(f"skipped: {row['status']}")
                yield row
            bar.update(len(batch))


def outputs_of(inputs: list[Input], folder: Path) -> list[tuple[Path, Path | None, dict]]:
    """Of each input the picture of its outline, its mask (None of a volume) and its row of the table."""
    rows = read_table(folder / TABLE, errors="surrogateescape")
    return [
        (folder / "overlays" / f"{input.name}.png", None, row)
        if input.is_volume
        else (
            folder / "overlays" / f"{input.name}.jpg",
            folder / "masks" / f"{input.name}.png",
            row,
        )
        for input, row in zip(inputs, rows, strict=True)
    ]


def find_inputs(arguments: tuple[str, ...], output: Path) -> list[Input]:
    """Every image that the arguments name, once, then every volume; UserError for one that names none.

    What lies in the output folder is no input. Results keep the files' folders below the deepest
    folder that all arguments share; files that differ only in their suffix keep it in the name.
    """
    paths: dict[str, None] = {}  # a set that keeps its order
    roots = []
    for argument in arguments:
        if os.path.isdir(argument):
            found = image_files_below(Path(argument), IMAGE_SUFFIXES + VOLUME_SUFFIXES)
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
    stems = {path: without_suffix(name) for path, name in names.items()}
    count = Counter(stems.values())
    inputs = [
        Input(Path(path), stems[path] if count[stems[path]] == 1 else names[path]) for path in paths
    ]
    return sorted(inputs, key=lambda input: input.is_volume)


def settings_of(run: SavedRun, options: PredictionOptions) -> dict[str, object]:
    """What decides the results, beside the images: content of prediction.json."""
    return {
        "network": run.network_digest(),
        "threshold": run.config.threshold,
        "peak": run.config.peak,
        "mirror": options.mirror,
        "max_pixels": options.max_pixels,
        "axis": options.axis,
        # The last digits of a probability may depend on how many images are computed at once.
        "batch_size": options.batch_size,
    }


def prepare_output(
    options: PredictionOptions, settings: dict[str, object], inputs: list[Input]
) -> list[dict[str, str]]:
    """Make the output folder ready; returns the rows that an earlier prediction finished (--resume).

    Raises UserError where the folder cannot be written, or holds what must not be replaced or mixed.
    """
    folder = options.output
    old = [name for name in OUTPUTS if (folder / name).exists()]
    if old and SETTINGS not in old:
        # A data set has masks/ too: those must never be replaced.
        raise UserError(f"'{folder}' holds {old[0]} of something else: choose another --output.")
    if old and not (options.resume or options.overwrite):
        raise UserError(
            f"'{folder}' holds results: choose another --output, go on with --resume or replace them "
            "with --overwrite."
        )
    done = finished_rows(folder, settings, inputs) if old and options.resume else []
    try:
        if not done:
            # The table first: without it nothing counts as done.
            (folder / TABLE).unlink(missing_ok=True)
            for name in ("report.html", "contact_sheet.jpg"):
                (folder / name).unlink(missing_ok=True)
            for name in ("masks", "overlays"):
                if (folder / name).exists():
                    shutil.rmtree(folder / name)
            write_json(folder / SETTINGS, settings)
            for name in ("masks", "overlays"):
                (folder / name).mkdir()
    except OSError as error:
        raise UserError(f"Cannot write to --output '{folder}': {error.strerror}.") from error
    write_whole(folder / TABLE, table_text(COLUMNS, done))
    return done


def finished_rows(
    folder: Path, settings: dict[str, object], inputs: list[Input]
) -> list[dict[str, str]]:
    """Rows of the batches that an earlier prediction finished; UserError where it was another one."""
    begun_with = json.loads((folder / SETTINGS).read_text())
    for name, value in settings.items():
        if begun_with.get(name) != value:
            raise UserError(
                f"'{folder}' was begun with {name} {begun_with.get(name)}, not {value}: go on with the "
                "same, or start again with --overwrite."
            )
    if not (folder / TABLE).exists():
        return []
    rows = read_table(folder / TABLE, errors="surrogateescape")
    if not (folder / TABLE).read_bytes().endswith(b"\n"):
        del rows[-1:]  # half-written
    rows = [row for row in rows if None not in row.values()]
    for row, input in zip_longest(rows, inputs[: len(rows)]):
        if input is None or row["path"] != str(input.path):
            raise UserError(
                f"'{folder}' was begun with other images ('{row['path']}'): go on with the same, or "
                "start again with --overwrite."
            )
    if len(rows) < sum(not input.is_volume for input in inputs):
        # Whole batches only, so that the rest is computed as if nothing had happened.
        rows = rows[: len(rows) // settings["batch_size"] * settings["batch_size"]]
    return rows


def write_outputs(prediction: Prediction, predictor: Predictor, folder: Path) -> Measurement:
    """Write mask and overlay of one image and measure its tumor."""
    input = prediction.source
    if prediction.error:
        return Measurement(str(input.path), str(prediction.error))
    probability = prediction.probability
    mask = predictor.mask(probability)
    overlay = draw_overlay(
        prediction.image, predictor.drawn(probability, mask), predictor.threshold
    )
    try:
        write_whole(folder / "masks" / f"{input.name}.png", encode_mask(mask), durable=False)
        write_whole(
            folder / "overlays" / f"{input.name}.jpg", encode_picture(overlay), durable=False
        )
    except UserError as error:
        if error.__cause__.errno != errno.ENAMETOOLONG:
            raise
        return Measurement(str(input.path), str(error))
    height, width = mask.shape
    measures = measure(mask, probability)
    measures |= judge(predictor, prediction.square, confidence(probability, mask), mask.any())
    return Measurement(str(input.path), "ok", width, height, **measures)


def outline_volume(predictor: Predictor, input: Input, options: PredictionOptions) -> Measurement:
    """Write mask and montage of one volume, slice by slice, and measure its tumor."""
    try:
        volume = read_volume(input.path, options.axis, options.max_pixels)
    except ImageError as error:
        return Measurement(str(input.path), str(error))
    count, height, width = volume.slices.shape
    mask = np.zeros(volume.slices.shape, bool)
    inside = total = 0.0  # sums of probabilities
    slices = predictor.stream(range(count), volume.square_pixels, prepare=resize_into_square)
    for prediction in tqdm(slices, input.path.name, count, leave=False, disable=None):
        probability = cv2.resize(prediction.probability, (width, height))
        mask[prediction.source] = predictor.mask(probability)
        inside += float(probability[mask[prediction.source]].sum())
        total += float(probability.sum())
    write_whole(
        options.output / "masks" / f"{input.name}_mask.nii.gz", encode_volume_mask(mask, volume)
    )
    write_whole(
        options.output / "overlays" / f"{input.name}.png", encode_png(draw(predictor, volume, mask))
    )
    voxels = int(np.count_nonzero(mask))
    # Its middle slice as if it were an image: what the network was trained on.
    square = to_training_image(volume.square_pixels(count // 2), predictor.size)
    told = judge(predictor, square, 2 * inside / max(voxels + total, 1.0), voxels > 0)
    return Measurement(
        str(input.path), "ok", width, height, count, voxels, round(100 * voxels / mask.size, 4),
        round(voxels * math.prod(volume.spacing_mm), 2),
        mean_probability=round(inside / voxels, 4) if voxels else "", **told,
    )  # fmt: skip


def draw(predictor: Predictor, volume: Volume, mask: np.ndarray) -> np.ndarray:
    """A sheet of slices at even distances: from the first with tumor to the last, or of the whole volume."""
    with_tumor = np.flatnonzero(mask.any(axis=(1, 2)))
    first, last = (with_tumor[0], with_tumor[-1]) if len(with_tumor) else (0, len(mask) - 1)
    shown = np.unique(np.linspace(first, last, min(SLICES_SHOWN, last - first + 1)).astype(int))
    tiles = [
        draw_overlay(prediction.image, predictor.drawn(prediction.probability), predictor.threshold)
        for prediction in predictor.stream(shown, volume.square_pixels, prepare=resize_into_square)
    ]
    cm2 = mask[shown].sum(axis=(1, 2)) * math.prod(volume.spacing_mm[1:]) / 100
    labels = [
        f"slice {index + 1} of {len(mask)}: {area:.1f} cm2"
        for index, area in zip(shown, cm2, strict=True)
    ]
    return montage(tiles, labels)


def judge(
    predictor: Predictor, square: np.ndarray, confidence: float, outlined: bool
) -> dict[str, float | str]:
    """How good an outline is likely to be, and why a person should look at it."""
    quality = predictor.quality
    if not quality:
        return {}  # the training has not finished
    expected = round(quality.expect(confidence), 4) if outlined else ""
    return {"expected_dice": expected, "review": quality.review(square, confidence, outlined)}


def measure(mask: np.ndarray, probability: np.ndarray) -> dict[str, float | str]:
    """Area, bounding box and mean probability of a boolean mask; boxes of empty masks are empty."""
    pixels = int(np.count_nonzero(mask))
    area = {"tumor_pixels": pixels, "tumor_percent": round(100 * pixels / mask.size, 4)}
    if not pixels:
        return area
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    box = {"left": left, "top": top, "right": left + width - 1, "bottom": top + height - 1}
    return area | box | {"mean_probability": round(float(probability[mask].mean()), 4)}
