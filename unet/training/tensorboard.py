"""Scores and pictures of a training for TensorBoard, which is a package of its own.

tensorboard --logdir runs
"""

from importlib.util import find_spec
from pathlib import Path

import tensorflow as tf

from unet.errors import UserError


class Board:
    """Writes to runs/NAME/tensorboard/train and /validation, for one chart of both, or nothing."""

    def __init__(self, folder: Path, wanted: bool):
        self.writers = {
            part: tf.summary.create_file_writer(str(folder / part)) for part in ("train", "validation") if wanted
        }

    @staticmethod
    def check_installed(wanted: bool) -> None:
        """UserError where it is wanted and not installed."""
        if wanted and not find_spec("tensorboard"):
            raise UserError("--tensorboard needs: pip install tensorboard")

    def add_scores(self, row: dict[str, float | str]) -> None:
        """A row of history.csv, after its epoch."""
        for part, writer in self.writers.items():
            with writer.as_default(step=row["epoch"]):
                for name, value in row.items():
                    of = "validation" if name.startswith("val_") else "train"
                    if of == part and name != "epoch" and value != "":
                        tf.summary.scalar(name.removeprefix("val_"), value)
            writer.flush()

    def add_picture(self, path: Path, epoch: int) -> None:
        """A PNG that was drawn after an epoch, of validation slices."""
        if self.writers:
            with self.writers["validation"].as_default(step=epoch):
                tf.summary.image(path.stem, tf.io.decode_png(path.read_bytes(), 3)[tf.newaxis])
            self.writers["validation"].flush()
