"""Train a U-Net: one loop of our own over Keras' model, optimizer, weight average, schedule and metrics.

Keras' fit fails under tf.distribute with several hosts (keras issue 20585) and cannot resume exactly;
this loop does both, as order and augmentation depend on (seed, epoch, slice) only.
"""

import numpy as np

from unet.data.batches import validation_batches
from unet.data.slices import Slices
from unet.network.saved_run import SavedRun
from unet.pictures import training_plots
from unet.training.learner import Learner

FRAMES = 8  # of the film strip


def film_epochs(epochs: int) -> set[int]:
    """The few epochs, many early ones among them, after which a frame of the film strip is kept."""
    return set(np.geomspace(1, epochs, FRAMES).round().astype(int).tolist())


def draw(run: SavedRun, learner: Learner, slices: Slices, shown: np.ndarray, history: list[dict]) -> None:
    """The learning curves, and the same few validation slices as the network now outlines them."""
    training_plots.curves(history, run.folder / "curves.png")
    images, masks = next(iter(validation_batches(slices, shown, len(shown))))
    probability = learner.kept(images)
    training_plots.samples(
        images.numpy()[..., 0], masks.numpy()[..., 0] > 0.5, probability.numpy()[..., 0],
        run.config.threshold, [slices.ids[index] for index in shown],
        f"Validation after epoch {len(history)}", run.folder / "samples.png",
    )  # fmt: skip


def draw_film(run: SavedRun, learner: Learner, slices: Slices, shown: np.ndarray, epoch: int) -> None:
    """Keep how the network now outlines the same few slices, and draw all that was kept so far."""
    images, masks = next(iter(validation_batches(slices, shown, len(shown))))
    probability = learner.kept(images).numpy()[..., 0]
    frames = run.add_frame(epoch, np.rint(255 * probability).astype(np.uint8))
    training_plots.film_strip(
        images.numpy()[..., 0], masks.numpy()[..., 0] > 0.5,
        {epoch: frame / 255 for epoch, frame in frames.items()}, run.config.threshold,
        run.folder / "film_strip.png",
    )  # fmt: skip


def spread(indices: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` of them at even distances: with sorted ids, of different patients."""
    return indices[np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)]
