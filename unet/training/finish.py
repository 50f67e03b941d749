"""Train a U-Net: one loop of our own over Keras' model, optimizer, weight average, schedule and metrics.

Keras' fit fails under tf.distribute with several hosts (keras issue 20585) and cannot resume exactly;
this loop does both, as order and augmentation depend on (seed, epoch, slice) only.
"""

import numpy as np

from unet.data.pairs import Pair
from unet.data.patients import intervals_over
from unet.data.slices import Slices
from unet.evaluation import intervals
from unet.evaluation.fitting import MOST_FITTED, fit_quality
from unet.evaluation.scoring import score_pairs
from unet.network.outlining import PEAKS, THRESHOLDS, best_rule, dice_by_rule
from unet.network.predictor import Prediction, Predictor
from unet.network.saved_run import SavedRun
from unet.training.samples import spread


def finish(run: SavedRun, slices: Slices, history: list[dict]) -> None:
    """Choose how the kept network outlines, write metrics.json and say what was reached."""
    train_ids, val_ids = run.config.split["train"], run.config.split["val"]
    best = max(history, key=lambda row: row["val_dice"])
    pairs = [slices.pairs[index] for index in slices.indices(val_ids)]
    dice, confidence = choose_outlining(run, pairs)
    some = spread(slices.indices(train_ids), MOST_FITTED)
    run.save_quality(fit_quality(confidence, dice, slices.images[some]))
    patients = np.array([run.config.facts[id]["patient"] for id in val_ids])
    interval = intervals.interval_over_patients(dice, patients)
    run.write_metrics(
        {
            "best_epoch": best["epoch"],
            "epochs": len(history),
            "val_dice": float(dice.mean()),
            "val_dice_95_percent_interval_over_patients": interval,
            "val_iou": float(np.mean(dice / (2 - dice))),
            "val_patients": len(set(patients)),
            "val_slices": len(val_ids),
        },
    )
    print(
        f"Validation Dice {dice.mean():.3f} (95 % interval {intervals_over(run.config.facts)}: "
        f"{intervals.interval_text(interval)}) "
        f"at epoch {best['epoch']}.\n"
        f"Look at {run.folder}/curves.png, samples.png and film_strip.png, then:\n"
        f"  python evaluate.py {run.folder}\n"
        f"  python predict.py IMAGES --run {run.folder} --output FOLDER"
    )


def choose_outlining(run: SavedRun, pairs: list[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Choose threshold and peak on validation slices and keep them; their Dice and confidence, (n,) each."""

    def score(prediction: Prediction, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return dice_by_rule(truth, prediction.probability, THRESHOLDS, PEAKS)

    max_pixels = run.config.options.data.max_pixels
    scores = score_pairs(Predictor(run), pairs, score, "Choosing the threshold", max_pixels)
    dice, confidence = (np.stack(values) for values in zip(*scores, strict=True))
    threshold, peak = best_rule(dice.mean(axis=0))
    run.set_outlining(threshold, peak)
    rule = np.searchsorted(THRESHOLDS, threshold), np.searchsorted(PEAKS, peak)
    return dice[:, *rule], confidence[:, *rule]
