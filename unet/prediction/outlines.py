"""What is written of one image or volume: its mask, a picture of the outline, and a row of measurements."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields

import cv2
import numpy as np
from tqdm import tqdm

from unet.errors import ImageError
from unet.images.dicom import read_series
from unet.images.dicom_seg import encode_segmentation
from unet.images.encoding import encode_mask, encode_picture, encode_png
from unet.images.nifti import encode_volume_mask, read_volume
from unet.images.preprocessing import resize_into_square, to_training_image
from unet.images.reading import read_image
from unet.images.volume import Volume
from unet.network.confidence import confidence
from unet.network.predictor import Prediction, Predictor
from unet.pictures.overlays import TILE, draw_overlay, montage
from unet.prediction.inputs import Input

SLICES_SHOWN = 20


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
    tumor_mm3: float | str = ""  # where the file tells its spacing: NIfTI, most DICOM
    left: int | str = ""  # bounding box of an image's tumor in pixels, right and bottom included
    top: int | str = ""
    right: int | str = ""
    bottom: int | str = ""
    mean_probability: float | str = ""  # over the tumor's pixels
    expected_dice: float | str = ""  # without the truth; where something is outlined
    review: str = ""  # why a person should look at it


COLUMNS = [column.name for column in fields(Measurement)]


@dataclass(frozen=True)
class Outlined:
    """All that is to be written of an input."""

    row: Measurement
    files: dict[str, bytes] = field(default_factory=dict)  # by their names in the output folder


def outline(
    predictor: Predictor,
    inputs: list[Input],
    axis: int | None,
    max_pixels: int,
    use: Callable[[Outlined], object] = lambda outlined: outlined,
) -> Iterator:
    """use(outlined) of every image, then of every volume, in order; images in threads beside the network."""

    def read(input: Input) -> np.ndarray:
        with input.local_file() as path:
            return read_image(path, max_pixels)

    def finish(prediction: Prediction) -> object:
        return use(outline_image(prediction, predictor))

    yield from predictor.stream([input for input in inputs if not input.is_volume], read, finish)
    for input in inputs:
        if input.is_volume:
            yield use(outline_volume(predictor, input, axis, max_pixels))


def outline_image(prediction: Prediction, predictor: Predictor) -> Outlined:
    """Mask, overlay and measurements of one image."""
    input = prediction.source
    if prediction.error:
        return Outlined(Measurement(input.path, str(prediction.error)))
    probability = prediction.probability
    mask = predictor.mask(probability)
    overlay = draw_overlay(prediction.image, predictor.drawn(probability, mask), predictor.threshold)
    height, width = mask.shape
    measures = measure(mask, probability)
    measures |= judge(predictor, prediction.square, confidence(probability, mask), mask.any())
    return Outlined(
        Measurement(input.path, "ok", width, height, **measures),
        {
            f"masks/{input.name}.png": encode_mask(mask),
            picture_name(input): encode_picture(overlay),
        },
    )


def picture_name(input: Input) -> str:
    """Where the picture of an input's outline is, in the output folder."""
    return f"overlays/{input.name}.{'png' if input.is_volume else 'jpg'}"


def outline_volume(predictor: Predictor, input: Input, axis: int | None, max_voxels: int) -> Outlined:
    """Mask, montage and measurements of one volume, slice by slice."""
    try:
        if input.series:
            volume = read_series(input.series, max_voxels)
        else:
            with input.local_file() as path:
                volume = read_volume(path, axis, max_voxels)
    except ImageError as error:
        return Outlined(Measurement(input.path, str(error)))
    count, height, width = volume.slices.shape
    mask = np.zeros(volume.slices.shape, bool)
    inside = total = 0.0  # sums of probabilities
    slices = predictor.stream(range(count), volume.square_pixels, prepare=resize_into_square)
    for prediction in tqdm(slices, input.name, count, leave=False, disable=None):
        probability = cv2.resize(prediction.probability, (width, height))
        mask[prediction.source] = predictor.mask(probability)
        inside += float(probability[mask[prediction.source]].sum())
        total += float(probability.sum())
    files = {
        f"masks/{input.name}_mask.nii.gz": encode_volume_mask(mask, volume),
        picture_name(input): encode_png(draw(predictor, volume, mask)),
    }
    if input.series:
        segmentation = encode_segmentation(mask, volume, input.series)
        files |= {f"masks/{input.name}_seg.dcm": segmentation} if segmentation else {}
    voxels = int(np.count_nonzero(mask))
    # Its middle slice as if it were an image: what the network was trained on.
    square = to_training_image(volume.square_pixels(count // 2), predictor.size)
    told = judge(predictor, square, 2 * inside / max(voxels + total, 1.0), voxels > 0)
    row = Measurement(
        input.path, "ok", width, height, count, voxels, round(100 * voxels / mask.size, 4),
        round(voxels * math.prod(volume.spacing_mm), 2) if volume.spacing_known else "",
        mean_probability=round(inside / voxels, 4) if voxels else "", **told,
    )  # fmt: skip
    return Outlined(row, files)


def draw(predictor: Predictor, volume: Volume, mask: np.ndarray) -> np.ndarray:
    """A sheet of slices at even distances: from the first with tumor to the last, or of the whole volume."""
    with_tumor = np.flatnonzero(mask.any(axis=(1, 2)))
    first, last = (with_tumor[0], with_tumor[-1]) if len(with_tumor) else (0, len(mask) - 1)
    shown = np.unique(np.linspace(first, last, min(SLICES_SHOWN, last - first + 1)).astype(int))
    tiles = [
        draw_overlay(prediction.image, predictor.drawn(prediction.probability), predictor.threshold, TILE)
        for prediction in predictor.stream(shown, volume.square_pixels, prepare=resize_into_square)
    ]
    cm2 = mask[shown].sum(axis=(1, 2)) * math.prod(volume.spacing_mm[1:]) / 100
    labels = [
        f"slice {index + 1} of {len(mask)}" + (f": {area:.1f} cm2" if volume.spacing_known else "")
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
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    box = {"left": left, "top": top, "right": left + width - 1, "bottom": top + height - 1}
    return area | box | {"mean_probability": round(float(probability[mask].mean()), 4)}
