"""The pictures of a run and of an evaluation, as PNG files."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from unet.pictures.style import NEUTRAL, PREDICTION, TRAINING, TRUTH, add_contour_legend, draw_contour, save, show_image


def draw_curves(history: list[dict[str, float]], path: Path) -> None:
    """Loss, Dice and learning rate over epochs, the best epoch marked."""
    epochs = [row["epoch"] for row in history]
    best = max(history, key=lambda row: row["val_dice"])
    figure, (loss, dice, rate) = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    for axes, name, title in ((loss, "loss", "Loss"), (dice, "dice", "Dice")):
        axes.plot(epochs, [row[name] for row in history], color=TRAINING, label="training")
        axes.plot(
            epochs, [row[f"val_{name}"] for row in history], color=PREDICTION,
            label="validation (averaged weights)",
        )  # fmt: skip
        axes.axvline(best["epoch"], color=NEUTRAL, linestyle=":", linewidth=1)
        axes.set(title=title, xlabel="epoch")
    raw = [row for row in history if row["val_dice_raw"] != ""]
    dice.plot(
        [row["epoch"] for row in raw], [row["val_dice_raw"] for row in raw], "x",
        color=PREDICTION, alpha=0.7, label="validation (raw weights)",
    )  # fmt: skip
    loss.legend()
    dice.legend(loc="lower right")
    dice.plot(best["epoch"], best["val_dice"], "o", color=PREDICTION)
    dice.set(ylim=(0, 1), title=f"Dice: best {best['val_dice']:.3f}, epoch {best['epoch']}")
    rate.plot(epochs, [row["learning_rate"] for row in history], color=NEUTRAL)
    for axes in (loss, dice, rate):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    rate.set(title="Learning rate at the epoch's start", xlabel="epoch")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
    save(figure, path)


def draw_samples(
    tiles: tuple[np.ndarray, np.ndarray, np.ndarray], threshold: float, titles: list[str], heading: str, path: Path
) -> None:
    """One column per slice: image, true and predicted outline. tiles: images, truths, probabilities (n, size, size)."""
    images, truths, probabilities = tiles
    figure, grid = plt.subplots(3, len(images), figsize=(2.1 * len(images), 6.8), layout="constrained", squeeze=False)
    figure.suptitle(heading, fontweight="bold")
    for column, image, truth, probability, title in zip(grid.T, images, truths, probabilities, titles, strict=True):
        show_image(column[0], image, title)
        show_image(column[1], image)
        draw_contour(column[1], truth, TRUTH)
        show_image(column[2], image)
        draw_contour(column[2], probability, PREDICTION, threshold)
    add_contour_legend(figure)
    save(figure, path)


def draw_film_strip(
    images: np.ndarray,
    truths: np.ndarray,
    frames: dict[int, np.ndarray],
    threshold: float,
    path: Path,
) -> None:
    """The same slices (n, size, size), a row each, with outlines of truth and network after some epochs."""
    figure, grid = plt.subplots(
        len(images), len(frames), figsize=(1.7 * len(frames), 1.75 * len(images)),
        layout="constrained", squeeze=False,
    )  # fmt: skip
    for column, (epoch, probabilities) in zip(grid.T, frames.items(), strict=True):
        titles = [f"epoch {epoch}"] + [""] * (len(images) - 1)
        for axes, title, image, truth, probability in zip(column, titles, images, truths, probabilities, strict=True):
            show_image(axes, image, title)
            draw_contour(axes, truth, TRUTH)
            draw_contour(axes, probability, PREDICTION, threshold)
    add_contour_legend(figure)
    save(figure, path)
