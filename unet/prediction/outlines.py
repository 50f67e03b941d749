"""Outline images and volumes: mask, overlay and measurements of each."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace

import cv2
import numpy as np
from tqdm import tqdm

from unet.errors import ImageError
from unet.images.dicom import read_series
from unet.images.dicom_seg import encode_segmentation
from unet.images.encoding import encode_jpeg, encode_mask, encode_png
from unet.images.nifti import encode_volume_mask, read_volume
from unet.images.preprocessing import resize_into_square, to_training_image
from unet.images.reading import read_image
from unet.images.volume import Volume
from unet.network.confidence import confidence
from unet.network.predictor import Prediction, Predictor
from unet.options import PredictionOptions
from unet.pictures.overlays import TILE, draw_overlay, montage
from unet.prediction.inputs import Input
from unet.prediction.names import mask_name, overlay_name, segmentation_name

SLICES_SHOWN = 20


@dataclass(frozen=True)
class PredictionRow:
    """A row of predictions.csv. What is None is an empty cell there."""

    path: str
    status: str = "ok"  # or why the file was skipped
    width: int | None = None
    height: int | None = None
    slices: int | None = None  # of a volume
    tumor_probability: float | None = None  # that there is a tumor; the highest one of a volume's slices
    tumor_pixels: int | None = None  # voxels of a volume
    tumor_percent: float | None = None  # of the image or volume
    tumor_mm3: float | None = None  # of a volume, if its voxel size is known
    left: int | None = None  # bounding box of the tumor in an image, including right and bottom
    top: int | None = None
    right: int | None = None
    bottom: int | None = None
    mean_probability: float | None = None  # over the tumor's pixels
    expected_dice: float | None = None  # estimated without the truth, if anything is outlined
    review: str = ""  # why a person should look at it

    @property
    def is_ok(self) -> bool:
        return self.status == "ok"

    @classmethod
    def from_cells(cls, cells: dict[str, str]) -> "PredictionRow":
        """A row as read from predictions.csv."""
        values: dict[str, object] = {}
        for column in fields(cls):
            cell = cells[column.name]
            types = getattr(column.type, "__args__", ())  # of "int | None": int and None
            values[column.name] = (types[0](cell) if cell else None) if types else cell
        return cls(**values)


COLUMNS = [column.name for column in fields(PredictionRow)]


@dataclass(frozen=True)
class Outlined:
    """Everything that is written for one input."""

    row: PredictionRow
    files: dict[str, bytes] = field(default_factory=dict)  # by their paths in the output folder


def outline_inputs(
    predictor: Predictor,
    inputs: list[Input],
    options: PredictionOptions,
    use: Callable[[Outlined], object] = lambda outlined: outlined,
) -> Iterator:
    """use(outlined) for each image, then for each volume, in order. Images are processed in threads."""

    def read(input: Input) -> np.ndarray:
        with input.local_file() as path:
            return read_image(path, options.reading)

    images = [input for input in inputs if not input.is_volume]
    yield from predictor.stream(images, read, lambda prediction: use(outline_image(prediction, predictor)))
    for input in inputs:
        if input.is_volume:
            yield use(outline_volume(predictor, input, options))


def outline_image(prediction: Prediction, predictor: Predictor) -> Outlined:
    """Mask, overlay and measurements of one image."""
    input = prediction.source
    if prediction.error:
        return Outlined(PredictionRow(input.path, status=str(prediction.error)))
    mask = predictor.mask(prediction)
    visible = predictor.visible_probability(prediction, mask)
    overlay = draw_overlay(prediction.image, visible, predictor.rule.threshold)
    row = measure(PredictionRow(input.path), mask, prediction.probability)
    files = {
        mask_name(input.name, is_volume=False): encode_mask(mask),
        overlay_name(input.name, is_volume=False): encode_jpeg(overlay),
    }
    return Outlined(judge(row, predictor, prediction, confidence(prediction.probability, mask)), files)


def outline_volume(predictor: Predictor, input: Input, options: PredictionOptions) -> Outlined:
    """Mask, picture of the slices, and measurements of one volume."""
    try:
        if input.series:
            volume = read_series(input.series, options.reading)
        else:
            with input.local_file() as path:
                volume = read_volume(path, options.axis, options.reading)
    except ImageError as error:
        return Outlined(PredictionRow(input.path, status=str(error)))
    count, height, width = volume.slices.shape
    mask = np.zeros(volume.slices.shape, bool)
    inside = total = 0.0  # sums of probabilities in the mask, and everywhere in slices with a tumor
    strongest = Prediction(None, evidence=0.0)  # of the slice that speaks most for a tumor
    predictions = predictor.stream(range(count), volume.square_pixels, prepare=lambda index: resize_into_square)
    for prediction in tqdm(predictions, input.name, count, leave=False, disable=None):
        if prediction.evidence >= strongest.evidence:
            strongest = prediction
        prediction = replace(prediction, probability=cv2.resize(prediction.probability, (width, height)))
        slice_mask = mask[prediction.source] = predictor.mask(prediction)
        if predictor.finds_tumor(prediction):
            inside += float(prediction.probability[slice_mask].sum())
            total += float(prediction.probability.sum())
    files = {
        mask_name(input.name, is_volume=True): encode_volume_mask(mask, volume),
        overlay_name(input.name, is_volume=True): encode_png(draw_slices(predictor, volume, mask)),
    }
    if input.series and (segmentation := encode_segmentation(mask, volume, input.series)):
        files[segmentation_name(input.name)] = segmentation
    voxels = int(np.count_nonzero(mask))
    row = PredictionRow(
        path=input.path,
        width=width,
        height=height,
        slices=count,
        tumor_pixels=voxels,
        tumor_percent=round(100 * voxels / mask.size, 4),
        tumor_mm3=round(voxels * math.prod(volume.spacing_mm), 2) if volume.spacing_known else None,
        mean_probability=round(inside / voxels, 4) if voxels else None,
    )
    # The middle slice as if it were an image, since the network was trained on those.
    square = to_training_image(volume.square_pixels(count // 2), predictor.size)
    judged = replace(strongest, square=square)
    return Outlined(judge(row, predictor, judged, 2 * inside / max(voxels + total, 1.0)), files)


def draw_slices(predictor: Predictor, volume: Volume, mask: np.ndarray) -> np.ndarray:
    """A sheet of evenly spaced slices, from the first with tumor to the last, or of the whole volume if none has."""
    with_tumor = np.flatnonzero(mask.any(axis=(1, 2)))
    first, last = (with_tumor[0], with_tumor[-1]) if len(with_tumor) else (0, len(mask) - 1)
    shown = np.unique(np.linspace(first, last, min(SLICES_SHOWN, last - first + 1)).astype(int))
    threshold = predictor.rule.threshold
    tiles = [
        draw_overlay(prediction.image, predictor.visible_probability(prediction), threshold, TILE)
        for prediction in predictor.stream(shown, volume.square_pixels, prepare=lambda index: resize_into_square)
    ]
    cm2 = mask[shown].sum(axis=(1, 2)) * math.prod(volume.spacing_mm[1:]) / 100
    labels = [
        f"slice {index + 1} of {len(mask)}" + (f": {area:.1f} cm2" if volume.spacing_known else "")
        for index, area in zip(shown, cm2, strict=True)
    ]
    return montage(tiles, labels)


def measure(row: PredictionRow, mask: np.ndarray, probability: np.ndarray) -> PredictionRow:
    """A row with size, area, bounding box and mean probability of a mask; an empty mask has no box and no mean."""
    height, width = mask.shape
    pixels = int(np.count_nonzero(mask))
    percent = round(100 * pixels / mask.size, 4)
    row = replace(row, width=width, height=height, tumor_pixels=pixels, tumor_percent=percent)
    if not pixels:
        return row
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    mean = round(float(probability[mask].mean()), 4)
    right, bottom = left + width - 1, top + height - 1
    return replace(row, left=left, top=top, right=right, bottom=bottom, mean_probability=mean)


def judge(row: PredictionRow, predictor: Predictor, prediction: Prediction, confidence: float) -> PredictionRow:
    """A row with its tumor probability, expected Dice and the reason to review it, as far as the run can tell."""
    presence, model = predictor.tumor_probability(prediction), predictor.confidence_model
    return replace(
        row,
        tumor_probability=None if presence is None else round(presence, 4),
        expected_dice=round(model.expect_dice(confidence), 4) if model and row.tumor_pixels else None,
        review=predictor.review_reason(prediction, confidence),
    )
