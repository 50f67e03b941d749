"""Score every slice of a selection once, at its own size."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from unet.data.pairs import Pair
from unet.data.patients import is_same_tumor_size
from unet.errors import UserError
from unet.evaluation.calibration import pixel_histogram
from unet.evaluation.contenders import GivenMasks
from unet.evaluation.fitting import cross_validated_dice
from unet.evaluation.metrics import score, surface_score
from unet.evaluation.selection import Selection
from unet.fingerprints import fingerprints_of
from unet.network.confidence import soft_dice
from unet.network.outliner import Prediction
from unet.network.outlining import THRESHOLDS, dice_by_rule
from unet.network.predictor import Predictor
from unet.network.saved_run import UNKNOWN_ORIGIN, SavedRun
from unet.pictures.page import Tile, outlined_tile

# Surface Dice tolerates borders this far apart: 2 mm, or 2 pixels if the pixel size is unknown.
TOLERANCE = 2.0


@dataclass(frozen=True)
class SliceScore:
    """What is kept of one scored slice."""

    row: dict[str, object]  # of per_slice.csv
    dice_by_threshold: np.ndarray  # at THRESHOLDS
    histogram: np.ndarray  # of its pixels by probability
    fingerprint: str
    tile: Tile  # of the report


def score_pairs(
    predictor: Predictor | GivenMasks, pairs: list[Pair], score: Callable[[Prediction, np.ndarray], object], title: str
) -> list:
    """score(prediction, true mask) of each pair, in order; ImageError for a file that cannot be read."""

    def use(prediction: Prediction) -> object:
        if prediction.error:
            raise prediction.error
        return score(prediction, prediction.source.read_mask(prediction.image))

    scores = predictor.stream(pairs, Pair.read_image, use, lambda pair: pair.preparation)
    return list(tqdm(scores, title, len(pairs), unit="slice", disable=None))


def outline_again(predictor: Predictor | GivenMasks, pair: Pair) -> Prediction:
    """The prediction for one pair."""
    (prediction,) = predictor.stream([pair], Pair.read_image, lambda made: made, lambda pair: pair.preparation)
    return prediction


def score_slices(predictor: Predictor | GivenMasks, selection: Selection) -> list[SliceScore]:
    """The score of each slice of a selection, in order."""

    def score_slice(prediction: Prediction, truth: np.ndarray) -> SliceScore:
        pair, probability = prediction.source, prediction.probability
        mask = predictor.mask(prediction)
        tumor_probability = predictor.tumor_probability(prediction.evidence)
        scores = score(truth, mask) | distances(truth, mask, selection.pixel_mm(pair, truth.shape[1]))
        if not truth.any():
            scores = dict.fromkeys(scores, "")  # so that no mean can include slices without tumor
        row = {
            "id": pair.id,
            **{name: fact for name, fact in selection.facts[pair.id].items() if name.lower() != "tumor_percent"},
            "pixels": truth.size,
            "truth_pixels": int(truth.sum()),
            "predicted_pixels": int(mask.sum()),
            "tumor_percent": 100 * float(truth.mean()),
            **scores,
        }
        if not isinstance(predictor, GivenMasks):
            row["confidence"] = soft_dice(probability, mask)
        if tumor_probability is not None:
            row["tumor_probability"] = tumor_probability
        if predictor.confidence_model:
            row["review"] = predictor.review_reason(prediction.square, prediction.evidence, row["confidence"])
        curve, _ = dice_by_rule(truth, probability, THRESHOLDS, np.array([predictor.rule.peak]))
        visible = predictor.visible_probability(prediction, mask)
        tile = outlined_tile(pair.id, prediction.image, truth, visible, predictor.rule.threshold)
        histogram = pixel_histogram(truth, probability)
        curve = curve[:, 0] * predictor.finds_tumor(prediction.evidence)
        return SliceScore(row, curve, histogram, fingerprints_of(prediction.image, truth)[1], tile)

    return score_pairs(predictor, selection.pairs, score_slice, "Evaluating")


def distances(truth: np.ndarray, mask: np.ndarray, pixel_mm: float | None) -> dict[str, float]:
    """Distances between the borders of two masks in pixels, and also in mm if the side of a pixel is known."""
    scores = surface_score(truth, mask, TOLERANCE / (pixel_mm or 1.0))
    surface_dice = scores.pop("surface_dice")
    named = {f"{name}_pixels": distance for name, distance in scores.items()}
    if pixel_mm:
        named |= {f"{name}_mm": distance * pixel_mm for name, distance in scores.items()}
    return named | {"surface_dice": surface_dice}


def add_expected_dice(predictor: Predictor | GivenMasks, selection: Selection, rows: list[dict]) -> None:
    """Add the Dice expected without the truth, by a curve fitted on other patients; "" if nothing is outlined."""
    if not predictor.confidence_model:
        return  # the training has not finished, or there is no network
    for row in rows:
        is_outlined = row["predicted_pixels"] > 0
        row["expected_dice"] = predictor.confidence_model.expect_dice(row["confidence"]) if is_outlined else ""
    if selection.split == "val":
        # The run's own curve was fitted on the outlined slices with tumor.
        fitted = [row for row in rows if row["predicted_pixels"] and row["truth_pixels"]]
        columns = (np.array([row[name] for row in fitted]) for name in ("confidence", "dice", "patient"))
        for row, dice in zip(fitted, cross_validated_dice(*columns), strict=True):
            row["expected_dice"] = float(dice)


def check_unchanged(run: SavedRun | None, selection: Selection, scores: list[SliceScore]) -> None:
    """UserError if a slice of the run's own split has changed since the training."""
    if not selection.split:
        return
    for pair, slice_score in zip(selection.pairs, scores, strict=True):
        expected = run.slices.fingerprints[pair.id]
        if expected:
            is_same = slice_score.fingerprint == expected
        else:
            percent = float(run.slices.facts[pair.id]["tumor_percent"] or 0.0)
            is_same = is_same_tumor_size(slice_score.row["tumor_percent"], percent)
        if not is_same:
            raise UserError(f"'{pair.image_path}' or its mask has changed since the training: restore it.")


def known_patients(runs: list[SavedRun], selection: Selection, scores: list[SliceScore]) -> str:
    """A warning if patients in the selection were used to train or choose a network, or one of an ensemble, or to train
    the network that it started from; "" otherwise."""
    warnings = []
    patients = [selection.facts[pair.id]["patient"] for pair in selection.pairs]
    fingerprints = [slice_score.fingerprint for slice_score in scores]
    names = " and ".join(f"'{run.folder}'" for run in runs)
    for split, use in (("train", "train"), ("val", "choose the epoch and the thresholds of")):
        if split == selection.split == "val":
            continue  # this is what validation is for
        origins = [one for run in runs for one in (run.lineage if split == "train" else [run])]
        known = {run.folder: run.slices.are_known(split, fingerprints, patients) for run in origins}
        if seen := sum(map(any, zip(*known.values(), strict=True))):
            used = " and ".join(f"'{folder}'" for folder, are_known in known.items() if any(are_known))
            warnings.append(
                f"Warning: {seen} of these {len(scores)} slices, or others of the same patients, were used to {use} "
                f"{used}: expect lower scores on new patients."
            )
    warnings += [f"Warning: {UNKNOWN_ORIGIN.format(lost)}" for run in runs if (lost := run.lost_origin)]
    is_free = any(pair.no_tumor_folder for pair in selection.pairs)
    if is_free and any(run.config.options.data.no_tumor and not run.config.no_tumor_folders for run in runs):
        warnings.append(
            f"Warning: {names} learned from many of the images that python -m unet.data.download --no-tumor downloads, "
            "and does not know which ones: if these are among them, expect more false alarms on new images."
        )
    return "\n".join(warnings)
