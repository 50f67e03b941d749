"""Score a run on slices with known masks: a table a slice, a summary with intervals, plots."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from unet.data.pairs import Pair, read_slice, read_truth, scaling_of
from unet.data.patients import same_tumor_size
from unet.data.slices import digest
from unet.errors import UserError
from unet.evaluation import metrics, report
from unet.evaluation.calibration import pixel_histogram
from unet.evaluation.fitting import cross_validated
from unet.evaluation.selection import Selection
from unet.network.confidence import confidence
from unet.network.outlining import THRESHOLDS, dice_by_rule
from unet.network.predictor import Prediction, Predictor
from unet.network.saved_run import SavedRun
from unet.pictures.page import Tile

# Surface Dice counts borders this far apart as equal: 2 mm, or 2 pixels where no spacing is known.
TOLERANCE = 2.0
DISTANCES = ("hd95", "average_distance")


@dataclass(frozen=True)
class SliceScore:
    """What is kept of one scored slice."""

    row: dict[str, object]  # of per_slice.csv
    dice_by_threshold: np.ndarray  # at THRESHOLDS
    histogram: np.ndarray  # of its pixels' probabilities
    digest: str
    tile: Tile | None


def score_pairs(
    predictor: Predictor,
    pairs: list[Pair],
    score: Callable[[Prediction, np.ndarray], object],
    title: str,
    max_pixels: int,
) -> list:
    """score(prediction, truth) of every pair, in order; ImageError for what cannot be read."""

    def read(pair: Pair) -> np.ndarray:
        return read_slice(pair, max_pixels)

    def use(prediction: Prediction) -> object:
        if prediction.error:
            raise prediction.error
        return score(prediction, read_truth(prediction.source, prediction.image, max_pixels))

    scores = predictor.stream(pairs, read, use, scaling_of(pairs))
    return list(tqdm(scores, title, len(pairs), unit="slice", disable=None))


def score_slices(predictor: Predictor, selection: Selection, with_tiles: bool = False) -> list[SliceScore]:
    """Every slice once, at its own size."""

    def score(prediction: Prediction, truth: np.ndarray) -> SliceScore:
        pair, probability = prediction.source, prediction.probability
        mask = predictor.mask(probability)
        sure = confidence(probability, mask)
        row = {
            "id": pair.id,
            **{k: v for k, v in selection.facts[pair.id].items() if k != "tumor_percent"},
            "truth_pixels": int(truth.sum()),
            "predicted_pixels": int(mask.sum()),
            "tumor_percent": 100 * float(truth.mean()),
            **metrics.score(truth, mask),
            **distances(truth, mask, selection.pixel_mm(truth.shape[1])),
            "confidence": sure,
        }
        if predictor.quality:
            row["review"] = predictor.quality.review(prediction.square, sure, mask.any())
        curve, _ = dice_by_rule(truth, probability, THRESHOLDS, np.array([predictor.peak]))
        histogram = pixel_histogram(truth, probability)
        tile = None
        if with_tiles:
            drawn = predictor.drawn(probability, mask)
            tile = report.tile(pair.id, prediction.image, truth, drawn, predictor.threshold)
        return SliceScore(row, curve[:, 0], histogram, digest(prediction.image, truth), tile)

    return score_pairs(predictor, selection.pairs, score, "Evaluating", selection.max_pixels)


def expect_dice(predictor: Predictor, selection: Selection, rows: list[dict]) -> None:
    """Give each row the Dice to expect without the truth, by a curve fitted on other patients' slices.

    Empty where nothing is outlined.
    """
    if not predictor.quality:
        return  # the training has not finished
    outlined = [row for row in rows if row["predicted_pixels"]]
    if selection.split == "val":
        # The run's own curve was fitted on these.
        columns = ("confidence", "dice", "patient")
        expected = cross_validated(*(np.array([row[name] for row in outlined]) for name in columns))
    else:
        expected = [predictor.quality.expect(row["confidence"]) for row in outlined]
    for row in rows:
        row["expected_dice"] = ""
    for row, dice in zip(outlined, expected, strict=True):
        row["expected_dice"] = float(dice)


def distances(truth: np.ndarray, mask: np.ndarray, pixel_mm: float | None) -> dict[str, float]:
    """Distances between both outlines in pixels, and in mm where a pixel's side is known."""
    scores = metrics.surface_score(truth, mask, TOLERANCE / (pixel_mm or 1.0))
    named = {f"{name}_pixels": scores[name] for name in DISTANCES}
    if pixel_mm:
        named |= {f"{name}_mm": scores[name] * pixel_mm for name in DISTANCES}
    return named | {"surface_dice": scores["surface_dice"]}


def check_unchanged(run: SavedRun, selection: Selection, scores: list[SliceScore]) -> None:
    """UserError where a slice of the run's own split is not what it was in training."""
    for pair, score in zip(selection.pairs, scores, strict=True):
        if not selection.split:
            continue
        if run.config.fingerprints:
            same = score.digest == run.config.fingerprints[pair.id]
        else:
            expected = float(run.config.facts[pair.id]["tumor_percent"])
            same = same_tumor_size(score.row["tumor_percent"], expected)
        if not same:
            raise UserError(f"'{pair.image}' or its mask has changed since the run was trained: restore it.")


def say_what_was_trained_on(run: SavedRun, selection: Selection, scores: list[SliceScore]) -> None:
    """Warn where slices, or other slices of their patients, were used to train or choose the network."""
    for part, verb in (("train", "trained on"), ("val", "used to choose the network")):
        if part == selection.split == "val":
            continue  # what validation is for
        ids = run.config.split[part]
        digests = {run.config.fingerprints.get(id) for id in ids}
        patients = {run.config.facts[id]["patient"] for id in ids}
        seen = sum(
            score.digest in digests or selection.facts[pair.id]["patient"] in patients
            for pair, score in zip(selection.pairs, scores, strict=True)
        )
        if seen:
            print(
                f"Warning: {seen} of these {len(scores)} slices, or others of their patients, were "
                f"{verb}: this is no score for new patients."
            )
