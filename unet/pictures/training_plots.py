"""The pictures of a run and of an evaluation, as PNG files."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from unet.pictures.style import NEUTRAL, PREDICTION, TRAINING, TRUTH, legend_of_contours, outline, save, show


def curves(history: list[dict[str, float]], path: Path) -> None:
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


def samples(
    images: np.ndarray,
    truths: np.ndarray,
    probabilities: np.ndarray,
    threshold: float,
    titles: list[str],
    heading: str,
    path: Path,
) -> None:
    """Image, truth, and predicted probability with both contours, a column a slice (n, size, size)."""
    figure, grid = plt.subplots(
        3, len(images), figsize=(2.1 * len(images), 6.8), layout="constrained", squeeze=False
    )
    figure.suptitle(heading, fontweight="bold")
    for column, image, truth, probability, title in zip(
        grid.T, images, truths, probabilities, titles, strict=True
    ):
        show(column[0], image, title)
        show(column[1], image)
        outline(column[1], truth, TRUTH)
        show(column[2], image)
        outline(column[2], probability, PREDICTION, threshold)
    legend_of_contours(figure)
    save(figure, path)


def film_strip(
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
        for axes, title, image, truth, probability in zip(
            column, titles, images, truths, probabilities, strict=True
        ):
            show(axes, image, title)
            outline(axes, truth, TRUTH)
            outline(axes, probability, PREDICTION, threshold)
    legend_of_contours(figure)
    save(figure, path)
