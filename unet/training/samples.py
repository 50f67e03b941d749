"""Pictures of a training: learning curves, a few validation slices, and a film strip of how they were learned."""

import contextlib
import io
from pathlib import Path

import numpy as np

from unet.data.batches import validation_batches
from unet.data.slices import Slices
from unet.files import write_whole
from unet.network.saved_run import SavedRun
from unet.pictures import training_plots
from unet.training.final import is_final
from unet.training.learner import Learner
from unet.training.material import indices_of

SAMPLES_SHOWN = 6
FRAMES = 8  # of the film strip


class Samples:
    """The same few validation slices with tumor (or training slices, if none validate), drawn again and again as
    training goes on."""

    def __init__(self, run: SavedRun, slices: Slices, learner: Learner):
        self.run = run
        self.learner = learner
        self.kind = "train" if is_final(run) else "val"
        shown = evenly_spaced(indices_of(run, slices, self.kind, has_tumor=True), SAMPLES_SHOWN)
        self.ids = [slices.ids[index] for index in shown]
        self.inputs, masks = next(iter(validation_batches(slices, shown, len(shown))))
        self.images = self.inputs.numpy()[..., 0]
        self.truths = masks.numpy()[..., 0] > 0.5

    def draw(self, history: list[dict]) -> Path:
        """Draw curves.png and samples.png; returns the path of samples.png."""
        training_plots.draw_curves(history, self.run.folder / "curves.png")
        path = self.run.folder / "samples.png"
        heading = f"{'Validation' if self.kind == 'val' else 'Training slices'} after epoch {len(history)}"
        tiles = (self.images, self.truths, self._probabilities())
        training_plots.draw_samples(tiles, self.run.config.outline_rule.threshold, self.ids, heading, path)
        return path

    def draw_film_strip(self, epoch: int) -> Path:
        """Add a frame to film.npz, and draw film_strip.png of all frames so far; returns its path."""
        frames = add_frame(self.run.folder / "film.npz", epoch, self._probabilities())
        path = self.run.folder / "film_strip.png"
        training_plots.draw_film_strip(self.images, self.truths, frames, self.run.config.outline_rule.threshold, path)
        return path

    def _probabilities(self) -> np.ndarray:
        return self.learner.folded(self.inputs)["outline"].numpy()[..., 0]


def add_frame(path: Path, epoch: int, probabilities: np.ndarray) -> dict[int, np.ndarray]:
    """Add probabilities (slices, size, size) to film.npz, in 8 bits; returns all frames so far by epoch."""
    frames = {}
    # If the file is missing or damaged, the film starts again.
    with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as saved:
        frames = {int(name): saved[name] for name in saved.files if int(name) < epoch}
    frames[epoch] = np.rint(255 * probabilities).astype(np.uint8)
    content = io.BytesIO()
    np.savez_compressed(content, **{str(name): frame for name, frame in frames.items()})
    write_whole(path, content.getvalue())
    return {epoch: frame / 255 for epoch, frame in frames.items()}


def film_epochs(epochs: int) -> set[int]:
    """The few epochs, more early than late ones, after which a frame is added to the film strip."""
    return set(np.geomspace(1, epochs, FRAMES).round().astype(int).tolist())


def evenly_spaced(indices: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` evenly spaced indices. Since ids are sorted, they mostly belong to different patients."""
    return indices[np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)]
