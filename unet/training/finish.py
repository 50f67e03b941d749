"""The end of a training: choose threshold and peak, fit the confidence model, and report the scores."""

import numpy as np

from unet.data.pairs import Pair
from unet.data.patients import interval_basis
from unet.data.slices import Slices
from unet.evaluation.fitting import MOST_FITTED, fit_confidence_model
from unet.evaluation.intervals import interval_over_patients, interval_text
from unet.evaluation.scoring import score_pairs
from unet.network.outlining import PEAKS, THRESHOLDS, best_rule, dice_by_rule
from unet.network.predictor import Prediction, Predictor
from unet.network.saved_run import SavedRun
from unet.training.samples import evenly_spaced


def finish(run: SavedRun, slices: Slices, history: list[dict]) -> None:
    """Choose how the best network outlines, write confidence.json and metrics.json, and print the score."""
    train_ids, val_ids = run.slices.split["train"], run.slices.split["val"]
    best = max(history, key=lambda row: row["val_dice"])
    dice, confidence = choose_outlining(run, [slices.pairs[index] for index in slices.indices(val_ids)])
    fitted = evenly_spaced(slices.indices(train_ids), MOST_FITTED)
    run.save_confidence_model(fit_confidence_model(confidence, dice, slices.images[fitted]))
    patients = np.array([run.slices.facts[id]["patient"] for id in val_ids])
    interval = interval_over_patients(dice, patients)
    run.write_metrics(
        {
            "best_epoch": best["epoch"],
            "epochs": len(history),
            "val_dice": float(dice.mean()),
            "val_dice_95_percent_interval_over_patients": interval,
            "val_iou": float(np.mean(dice / (2 - dice))),
            "val_patients": len(set(patients)),
            "val_slices": len(val_ids),
        }
    )
    basis = interval_basis(run.slices.facts)
    print(
        f"Validation Dice {dice.mean():.3f} (95% interval over {basis}: {interval_text(interval)}) at epoch "
        f"{best['epoch']}, with mirror averaging and the chosen thresholds.\n"
        f"Look at {run.folder}/curves.png, samples.png and film_strip.png, then run:\n"
        f"  python evaluate.py {run.folder}\n"
        f"  python predict.py IMAGES --run {run.folder} --output FOLDER"
    )


def choose_outlining(run: SavedRun, pairs: list[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Choose threshold and peak on validation slices and save them; returns their Dice and confidence, (n,) each."""

    def score(prediction: Prediction, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return dice_by_rule(truth, prediction.probability, THRESHOLDS, PEAKS)

    scores = score_pairs(Predictor(run), pairs, score, "Choosing the threshold")
    dice, confidence = (np.stack(values) for values in zip(*scores, strict=True))
    rule = best_rule(dice.mean(axis=0))
    run.update_config(outline_rule=rule)
    place = np.searchsorted(THRESHOLDS, rule.threshold), np.searchsorted(PEAKS, rule.peak)
    return dice[:, *place], confidence[:, *place]
