"""Plots of a training: learning curves, sample slices, and a film strip of their outlines over the epochs."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from unet.pictures.style import NEUTRAL, PREDICTION, TRAINING, TRUTH, add_legend, canvas, draw_contour, save, show_image

DOTTED = ".-"  # a line with a dot for each epoch, so that a single one is visible


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Loss, Dice and learning rate over the epochs, with the best epoch of the validation marked, if there is one.
    `history`: rows of history.csv."""
    epochs = [row["epoch"] for row in history]
    figure, (loss, dice, rate) = canvas(1, 3, figsize=(12, 3.4))
    for axes, name, title in ((loss, "loss", "Loss"), (dice, "dice", "Dice")):
        axes.plot(epochs, [row[name] for row in history], DOTTED, color=TRAINING, label="training")
        axes.set(title=title, xlabel="epoch")
    dice.set(ylim=(0, 1))
    if history[0]["val_dice"] != "":
        draw_validation(history, loss, dice)
    loss.legend()
    dice.legend(loc="lower right")
    rate.plot(epochs, [row["learning_rate"] for row in history], DOTTED, color=NEUTRAL)
    for axes in (loss, dice, rate):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    rate.set(title="Learning rate at the start of each epoch", xlabel="epoch")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    save(figure, path)


def draw_validation(history: list[dict[str, float]], loss: Axes, dice: Axes) -> None:
    """Add the curves of the validation to those of the training."""
    epochs = [row["epoch"] for row in history]
    best = max(history, key=lambda row: row["val_dice"])
    for axes, name in ((loss, "val_loss"), (dice, "val_dice")):
        averaged = [row[name] for row in history]
        axes.plot(epochs, averaged, DOTTED, color=PREDICTION, label="validation (averaged weights)")
        axes.axvline(best["epoch"], color=NEUTRAL, linestyle=":", linewidth=1)
    raw = [(row["epoch"], row["val_dice_raw"]) for row in history if row["val_dice_raw"] != ""]
    dice.plot(*np.reshape(raw, (-1, 2)).T, "x", color=PREDICTION, alpha=0.7, label="validation (raw weights)")
    dice.plot(best["epoch"], best["val_dice"], "o", color=PREDICTION)
    # Before the averaged weights mean anything, their loss may be so high that it would hide the rest.
    loss.set(ylim=(0, 1.2 * max([row["loss"] for row in history] + [history[-1]["val_loss"]])))
    dice.set(title=f"Dice: best {best['val_dice']:.3f}, epoch {best['epoch']}")


def draw_samples(
    tiles: tuple[np.ndarray, np.ndarray, np.ndarray], threshold: float, titles: list[str], heading: str, path: Path
) -> None:
    """One column per slice: image, true outline, predicted outline. `tiles`: the three, each (slices, size, size)."""
    images, truths, probabilities = tiles
    figure, grid = canvas(3, len(images), figsize=(2.1 * len(images), 6.8), squeeze=False)
    figure.suptitle(heading, fontweight="bold")
    for column, image, truth, probability, title in zip(grid.T, images, truths, probabilities, titles, strict=True):
        show_image(column[0], image, title)
        show_image(column[1], image)
        draw_contour(column[1], truth, TRUTH)
        show_image(column[2], image)
        draw_contour(column[2], probability, PREDICTION, threshold)
    add_legend(figure)
    save(figure, path)


def draw_film_strip(
    images: np.ndarray, truths: np.ndarray, frames: dict[int, np.ndarray], threshold: float, path: Path
) -> None:
    """One row per slice and one column per epoch, with true and predicted outlines.

    `images` and `truths` are (slices, size, size); `frames` are the probabilities of the same slices by epoch.
    """
    rows, columns = len(images), len(frames)
    figure, grid = canvas(rows, columns, figsize=(1.7 * columns, 1.75 * rows), squeeze=False)
    for column, (epoch, probabilities) in zip(grid.T, frames.items(), strict=True):
        titles = [f"epoch {epoch}"] + [""] * (rows - 1)
        for axes, title, image, truth, probability in zip(column, titles, images, truths, probabilities, strict=True):
            show_image(axes, image, title)
            draw_contour(axes, truth, TRUTH)
            draw_contour(axes, probability, PREDICTION, threshold)
    add_legend(figure)
    save(figure, path)
