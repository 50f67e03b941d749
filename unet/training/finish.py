"""The end of a training: choose the rules for outlines, fit the confidence model, and report the scores."""

import numpy as np

from unet.command_line import command
from unet.data.pairs import Pair
from unet.data.patients import interval_basis
from unet.data.slices import Slices
from unet.evaluation import metrics
from unet.evaluation.fitting import MOST_FITTED, fit_confidence_model, fit_presence
from unet.evaluation.intervals import interval_over_patients, interval_text
from unet.evaluation.scoring import score_pairs
from unet.network.confidence import confidence as confidence_of
from unet.network.outlining import PEAKS, THRESHOLDS, best_rule, dice_by_rule
from unet.network.predictor import Prediction, Predictor
from unet.network.presence import PresenceRule
from unet.network.saved_run import SavedRun
from unet.training.material import healed_validation_slices, indices_of, patients_of
from unet.training.presence import NEEDED_TO_VALIDATE, learns_presence
from unet.training.samples import evenly_spaced


def finish(run: SavedRun, slices: Slices, history: list[dict]) -> None:
    """Choose how the best network outlines, write confidence.json and metrics.json, and print the scores."""
    predictor = Predictor(run, precision=run.config.precision)
    pairs = [slices.pairs[index] for index in indices_of(run, slices, "val", has_tumor=True)]
    dice, confidence, evidence = choose_outlining(run, predictor, pairs)
    if not confidence.any():
        print(
            "Warning: no pixel of the validation slices reaches a threshold, so outlines will be guesses: train "
            "longer, or check the masks."
        )
    free = evidence_without_tumor(run, predictor, slices)
    if len(free["tumor_free"]) and has_learned_presence(run, slices):
        run.update_config(presence_rule=fit_presence(evidence, np.concatenate(list(free.values()))))
        outline_the_rest(run, predictor, pairs, dice, confidence)
    fitted = evenly_spaced(indices_of(run, slices, "train", has_tumor=True), MOST_FITTED)
    run.save_confidence_model(fit_confidence_model(confidence, dice, slices.images[fitted]))
    report_scores(run, slices, history, dice, evidence, free)


def has_learned_presence(run: SavedRun, slices: Slices) -> bool:
    """Whether the presence head was trained, here or in the run that this one started from."""
    origin = run.origin()
    return learns_presence(run, slices) or bool(origin and origin.config.presence_rule)


def choose_outlining(run: SavedRun, predictor: Predictor, pairs: list[Pair]) -> tuple[np.ndarray, ...]:
    """Choose threshold and peak on validation slices with tumor, and save them.

    Returns their Dice, their confidence (0 if nothing is outlined) and their evidence, float64 (n,) each.
    """

    def score(prediction: Prediction, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        return *dice_by_rule(truth, prediction.probability, THRESHOLDS, PEAKS), prediction.evidence

    scores = score_pairs(predictor, pairs, score, "Choosing the threshold")
    dice, confidence, evidence = (np.stack(values) for values in zip(*scores, strict=True))
    rule = best_rule(dice.mean(axis=0))
    run.update_config(outline_rule=rule)
    place = np.searchsorted(THRESHOLDS, rule.threshold), np.searchsorted(PEAKS, rule.peak)
    return dice[:, *place], confidence[:, *place], evidence


def outline_the_rest(
    run: SavedRun, predictor: Predictor, pairs: list[Pair], dice: np.ndarray, confidence: np.ndarray
) -> None:
    """Score what is outlined in slices where no pixel reached the threshold, as a tumor is now known to be there."""
    rule = run.config.outline_rule

    def score(prediction: Prediction, truth: np.ndarray) -> tuple[float, float]:
        mask = rule.mask(rule.at_least_one_region(prediction.probability))
        return metrics.score(truth, mask)["dice"], confidence_of(prediction.probability, mask)

    rest = np.flatnonzero(confidence == 0)
    scores = score_pairs(predictor, [pairs[index] for index in rest], score, "Outlining faint tumors")
    dice[rest], confidence[rest] = np.reshape(scores, (-1, 2)).T


def evidence_without_tumor(run: SavedRun, predictor: Predictor, slices: Slices) -> dict[str, np.ndarray]:
    """Evidence of validation slices without tumor, and if there are any, of healed ones, (n,) each."""
    indices = indices_of(run, slices, "val", has_tumor=False)
    pairs = [slices.pairs[index] for index in indices]
    evidence = score_pairs(predictor, pairs, lambda prediction, _: prediction.evidence, "Slices without tumor")
    result = {"tumor_free": np.array(evidence)}
    if len(indices):
        healed = predictor(list(healed_validation_slices(run, slices).images), lambda image, size: image)
        result["healed"] = np.array([prediction.evidence for prediction in healed])
    return result


def report_scores(
    run: SavedRun,
    slices: Slices,
    history: list[dict],
    dice: np.ndarray,
    evidence: np.ndarray,
    free: dict[str, np.ndarray],
) -> None:
    """Write metrics.json and print the scores, given the Dice and evidence of validation slices with tumor, and the
    evidence of slices without tumor."""
    best = max(history, key=lambda row: row["val_dice"])
    rule = run.config.presence_rule
    dice = np.where(found(rule, evidence), dice, 0.0)
    patients = patients_of(run, slices, indices_of(run, slices, "val", has_tumor=True))
    interval = interval_over_patients(dice, patients)
    run.write_metrics(
        {
            "best_epoch": best["epoch"],
            "epochs": len(history),
            "val_dice": float(dice.mean()),
            "val_dice_95_percent_interval_over_patients": interval,
            "val_iou": float(np.mean(dice / (2 - dice))),
            "val_patients": len(set(patients)),
            "val_slices_with_tumor": len(dice),
            "val_tumors_found": float(found(rule, evidence).mean()) if rule else None,  # then nothing decides
            "val_false_alarms": {
                name: {"slices": len(values), "outlined": float(found(rule, values).mean()) if rule else None}
                for name, values in free.items()
                if len(values)
            },
        }
    )
    print(
        f"Validation Dice {dice.mean():.3f} (95% interval over {interval_basis(patients)}: {interval_text(interval)}) "
        f"on slices with tumor at epoch {best['epoch']}, with mirror averaging and the chosen thresholds.\n"
        f"{describe_presence(rule, evidence, free)}\n"
        f"Look at {run.folder}/curves.png, samples.png and film_strip.png, then run:\n"
        f"  {command('evaluate')} {run.folder}\n"
        f"  {command('predict')} IMAGES --run {run.folder} --output FOLDER"
    )


def found(rule: PresenceRule | None, evidence: np.ndarray) -> np.ndarray:
    """Whether a tumor is found, bool (n,), for evidence (n,): always if there is no rule."""
    return np.array([rule is None or rule.finds_tumor(value) for value in evidence], bool)


def describe_presence(rule: PresenceRule | None, evidence: np.ndarray, free: dict[str, np.ndarray]) -> str:
    """How often a tumor is found in slices with and without one, in a sentence."""
    if not rule and len(free["tumor_free"]):
        return (
            "Every image may get an outline, as nothing has learned to tell whether there is a tumor: that needs "
            "slices without tumor among the training slices, and --presence-epochs of 1 or more."
        )
    if not rule:
        return (
            "Every image may get an outline, as there are no validation slices without tumor. With --no-tumor, these "
            f"need {NEEDED_TO_VALIDATE}."
        )
    alarms = f"{found(rule, free['tumor_free']).mean():.1%} of {len(free['tumor_free'])} without"
    healed = free["healed"]
    if len(healed):
        alarms += (
            f", and in {found(rule, healed).mean():.1%} of {len(healed)} with the tumor replaced by healthy tissue"
        )
    return f"A tumor is found in {found(rule, evidence).mean():.1%} of {len(evidence)} slices with tumor, in {alarms}."
