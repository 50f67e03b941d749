"""Scores and pictures of a training for TensorBoard, which is a package of its own.

tensorboard --logdir runs
"""

from importlib.util import find_spec
from pathlib import Path

import tensorflow as tf

from unet.files import UserError


class Board:
    """Writes to runs/NAME/tensorboard, or nothing where it is not wanted."""

    def __init__(self, folder: Path, wanted: bool):
        self.writer = tf.summary.create_file_writer(str(folder)) if wanted else None

    @staticmethod
    def check(wanted: bool) -> None:
        """UserError where it is wanted and not installed."""
        if wanted and not find_spec("tensorboard"):
            raise UserError("--tensorboard needs: pip install tensorboard")

    def scores(self, row: dict[str, float | str]) -> None:
        """A row of history.csv, after its epoch."""
        if not self.writer:
            return
        with self.writer.as_default(step=row["epoch"]):
            for name, value in row.items():
                if name != "epoch" and value != "":
                    tf.summary.scalar(name, value)
        self.writer.flush()

    def picture(self, path: Path, epoch: int) -> None:
        """A PNG that was drawn after an epoch."""
        if self.writer:
            with self.writer.as_default(step=epoch):
                tf.summary.image(path.stem, tf.io.decode_png(path.read_bytes(), 3)[tf.newaxis])
            self.writer.flush()
