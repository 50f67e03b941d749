"""The end of a training: choose the rules for outlines, fit the confidence model, and report the scores."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unet.command_line import command
from unet.data.patients import interval_basis
from unet.data.slices import Slices
from unet.evaluation import metrics
from unet.evaluation.fitting import MOST_FITTED, fit_confidence_model, fit_presence
from unet.evaluation.intervals import interval_over_patients, interval_text
from unet.evaluation.scoring import score_pairs
from unet.network.confidence import soft_dice
from unet.network.outliner import Prediction
from unet.network.outlining import PEAKS, THRESHOLDS, best_rule, dice_by_rule
from unet.network.predictor import Predictor
from unet.network.presence import PresenceRule
from unet.network.saved_run import SavedRun
from unet.training.final import is_final, validating_runs
from unet.training.material import healed_validation_slices, indices_of, patients_of
from unet.training.presence import NEEDED_TO_VALIDATE, learns_presence
from unet.training.samples import evenly_spaced


class Validation:
    """Networks, each with slices that it never learned from: the run's own network with its validation slices, or for
    --fold final those of the five folds."""

    def __init__(self, run: SavedRun, slices: Slices):
        self.slices = slices
        self.networks = [(one, Predictor(one, precision=run.config.precision)) for one in validating_runs(run)]
        # Not all folds have slices without tumor to validate a presence head: theirs is not trained.
        trained = [network for network in self.networks if has_learned_presence(network[0], slices)]
        self.has_presence_head = bool(trained)
        self.with_presence_head = trained or self.networks

    def score(self, score: Callable, title: str, has_tumor: bool = True, chosen: np.ndarray | None = None) -> list:
        """score(prediction, true mask) of each slice with or without tumor, or of those that are chosen, bool (n,)."""
        results = []
        for one, predictor in self.networks if has_tumor else self.with_presence_head:
            indices = indices_of(one, self.slices, "val", has_tumor)
            if chosen is not None:
                own, chosen = chosen[: len(indices)], chosen[len(indices) :]
                indices = indices[own]
            results += score_pairs(predictor, [self.slices.pairs[index] for index in indices], score, title)
        return results

    def evidence_of_healed(self) -> list[float]:
        """Evidence of slices whose tumor is replaced by tissue of the other hemisphere."""
        return [
            prediction.evidence
            for one, predictor in self.with_presence_head
            for prediction in predictor(
                list(healed_validation_slices(one, self.slices).images), lambda image, size: image
            )
        ]

    def has_evidence(self) -> np.ndarray:
        """For each slice with tumor, whether its network has a trained presence head, bool (n,)."""
        counts = [len(indices_of(one, self.slices, "val", True)) for one, _ in self.networks]
        return np.repeat([network in self.with_presence_head for network in self.networks], counts)

    def patients(self) -> np.ndarray:
        """The patient of each slice with tumor, (n,)."""
        found = [patients_of(one, self.slices, indices_of(one, self.slices, "val", True)) for one, _ in self.networks]
        return np.concatenate(found)


@dataclass
class TumorScores:
    """What is known about validation slices with tumor, one value each, (n,)."""

    patients: np.ndarray
    dice: np.ndarray
    confidence: np.ndarray  # 0 if nothing is outlined
    evidence: np.ndarray  # of a tumor; NaN if the presence head was not trained

    @property
    def known_evidence(self) -> np.ndarray:
        """The evidence without NaN."""
        return self.evidence[~np.isnan(self.evidence)]


def finish(run: SavedRun, slices: Slices, history: list[dict]) -> None:
    """Choose how the best network outlines, write confidence.json and metrics.json, and print the scores."""
    validation = Validation(run, slices)
    scores = choose_outlining(run, validation)
    if not scores.confidence.any():
        print(
            "Warning: no pixel of the validation slices reaches a threshold, so outlines will be guesses: train "
            "longer, or check the masks."
        )
    without_tumor = evidence_without_tumor(validation)
    if len(without_tumor["no_tumor"]) and validation.has_presence_head:
        rule = fit_presence(scores.known_evidence, np.concatenate(list(without_tumor.values())))
        run.update_config(presence_rule=rule)
        outline_the_rest(run, validation, scores)
    fitted = evenly_spaced(indices_of(run, slices, "train", has_tumor=True), MOST_FITTED)
    run.save_confidence_model(fit_confidence_model(scores.confidence, scores.dice, slices.images[fitted]))
    report_scores(run, history, scores, without_tumor)


def has_learned_presence(run: SavedRun, slices: Slices) -> bool:
    """Whether the presence head was trained, here or in the run that this one started from."""
    if learns_presence(run, slices):
        return True
    origin = run.origin()
    # Of a network of another shape, not all weights fit.
    has_same_shape = origin and origin.config.options.model == run.config.options.model
    return bool(has_same_shape and origin.config.presence_rule)


def choose_outlining(run: SavedRun, validation: Validation) -> TumorScores:
    """Choose threshold and peak on validation slices with tumor, and save them."""

    def score(prediction: Prediction, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        return *dice_by_rule(truth, prediction.probability, THRESHOLDS, PEAKS), prediction.evidence

    scores = validation.score(score, "Choosing the threshold")
    dice, confidence, evidence = (np.stack(values) for values in zip(*scores, strict=True))
    rule = best_rule(dice.mean(axis=0))
    run.update_config(outline_rule=rule)
    indices = np.searchsorted(THRESHOLDS, rule.threshold), np.searchsorted(PEAKS, rule.peak)
    evidence = np.where(validation.has_evidence(), evidence, np.nan)
    return TumorScores(validation.patients(), dice[:, *indices], confidence[:, *indices], evidence)


def outline_the_rest(run: SavedRun, validation: Validation, scores: TumorScores) -> None:
    """Score what is outlined in slices where no pixel reached the threshold, as a tumor is now known to be there."""
    rule = run.config.outline_rule

    def score(prediction: Prediction, truth: np.ndarray) -> tuple[float, float]:
        mask = rule.mask(rule.at_least_one_region(prediction.probability))
        return metrics.score(truth, mask)["dice"], soft_dice(prediction.probability, mask)

    rest = scores.confidence == 0
    found = validation.score(score, "Outlining faint tumors", chosen=rest)
    scores.dice[rest], scores.confidence[rest] = np.reshape(found, (-1, 2)).T


def evidence_without_tumor(validation: Validation) -> dict[str, np.ndarray]:
    """Evidence of validation slices without tumor, and if there are any, of healed ones, (n,) each."""
    evidence = validation.score(lambda prediction, _: prediction.evidence, "Slices without tumor", has_tumor=False)
    result = {"no_tumor": np.array(evidence)}
    if evidence:
        result["healed"] = np.array(validation.evidence_of_healed())
    return result


def report_scores(
    run: SavedRun, history: list[dict], scores: TumorScores, without_tumor: dict[str, np.ndarray]
) -> None:
    """Write metrics.json and print the scores, given the evidence of slices without tumor."""
    best = history[-1] if is_final(run) else max(history, key=lambda row: row["val_dice"])
    rule, evidence, patients = run.config.presence_rule, scores.known_evidence, scores.patients
    is_outlined = found(rule, scores.evidence) | np.isnan(scores.evidence)
    dice = np.where(is_outlined, scores.dice, 0.0)
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
                for name, values in without_tumor.items()
                if len(values)
            },
            "val_networks": "those of the five folds" if is_final(run) else "this one",
        }
    )
    scored = "Dice of the five folds, each on its own validation patients," if is_final(run) else "Validation Dice"
    epoch = "" if is_final(run) else f" at epoch {best['epoch']}"
    only_test = " --split test" if is_final(run) else ""
    print(
        f"{scored} {dice.mean():.3f} (95% interval over {interval_basis(patients)}: {interval_text(interval)}) "
        f"on slices with tumor{epoch}, with mirror averaging and the chosen thresholds.\n"
        f"{describe_presence(rule, evidence, without_tumor)}\n"
        f"Look at {run.folder}/curves.png, samples.png and film_strip.png, then run:\n"
        f"  {command('evaluate')} {run.folder}{only_test}\n"
        f"  {command('predict')} IMAGES --run {run.folder} --output FOLDER"
    )


def found(rule: PresenceRule | None, evidence: np.ndarray) -> np.ndarray:
    """Whether a tumor is found, bool (n,), for evidence (n,): always if there is no rule."""
    return np.array([rule is None or rule.finds_tumor(value) for value in evidence], bool)


def describe_presence(rule: PresenceRule | None, evidence: np.ndarray, without_tumor: dict[str, np.ndarray]) -> str:
    """How often a tumor is found in slices with and without one, in a sentence."""
    if not rule and len(without_tumor["no_tumor"]):
        return (
            "The presence head was not trained, so almost every image gets an outline. Training it needs training "
            "slices without tumor, and --presence-epochs of 1 or more."
        )
    if not rule:
        return (
            "The presence head was not trained, as there are no validation slices without tumor, so almost every image "
            f"gets an outline. With --no-tumor, the split needs {NEEDED_TO_VALIDATE}."
        )
    alarms = f"{found(rule, without_tumor['no_tumor']).mean():.1%} of {len(without_tumor['no_tumor'])} without"
    healed = without_tumor["healed"]
    if len(healed):
        alarms += (
            f", and in {found(rule, healed).mean():.1%} of {len(healed)} with the tumor replaced by healthy tissue"
        )
    return f"A tumor is found in {found(rule, evidence).mean():.1%} of {len(evidence)} slices with tumor, in {alarms}."
