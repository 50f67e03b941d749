"""Outline images: mask, overlay and measurements of each."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from unet.images.encoding import encode_jpeg, encode_mask, encode_png
from unet.images.reading import read_image
from unet.network.confidence import soft_dice
from unet.network.ensemble import open_runs
from unet.network.outliner import Prediction
from unet.network.outlining import OutlineRule
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import PredictionOptions
from unet.pictures.overlays import draw_overlay
from unet.prediction.inputs import Input
from unet.prediction.names import mask_name, overlay_name, probability_name
from unet.prediction.rows import Outlined, PredictionRow, judge
from unet.prediction.scans import outline_scan_file


def open_run(folders: Sequence[Path], options: PredictionOptions) -> SavedRun:
    """The run or ensemble in folders, with a given peak and threshold, which is strict unless all is outlined."""
    run = open_runs(folders)
    rule, is_strict = run.config.outline_rule, bool(options.threshold) and not options.always_outline
    peak = rule.peak if options.peak is None else options.peak
    run.config = replace(run.config, outline_rule=OutlineRule(options.threshold or rule.threshold, peak, is_strict))
    return run


def as_trained(run: SavedRun, options: PredictionOptions) -> PredictionOptions:
    """The options, with images read as in the training of the run unless they say otherwise."""
    return replace(options, reading=run.reading_with(options.reading))


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
    yield from predictor.stream(images, read, lambda prediction: use(outline_image(prediction, predictor, options)))
    for input in inputs:
        if input.is_volume:
            yield use(outline_scan_file(predictor, input, options))


def outline_image(prediction: Prediction, predictor: Predictor, options: PredictionOptions) -> Outlined:
    """Mask, overlay and measurements of one image, and its probability if the options want it."""
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
    if options.probabilities:
        levels = np.rint(prediction.probability * 65535).astype(np.uint16)
        files[probability_name(input.name, is_volume=False)] = encode_png(levels)
    confidence = soft_dice(prediction.probability, mask)
    row = judge(row, predictor, prediction.square, prediction.evidence, confidence)
    return Outlined(row, files, prediction.probability, mask)


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
