"""Scores and pictures of a training for TensorBoard, which must be installed separately.

tensorboard --logdir runs
"""

from importlib.util import find_spec
from pathlib import Path

import tensorflow as tf

from unet.errors import UserError


class Board:
    """Writes to train/ and validation/ in `folder`, so that one chart shows both; writes nothing unless wanted."""

    def __init__(self, folder: Path, wanted: bool):
        parts = ("train", "validation") if wanted else ()
        self.writers = {part: tf.summary.create_file_writer(str(folder / part)) for part in parts}

    @staticmethod
    def check_installed(wanted: bool) -> None:
        """UserError if TensorBoard is wanted but not installed."""
        if wanted and not find_spec("tensorboard"):
            raise UserError("--tensorboard needs: pip install tensorboard")

    def add_scores(self, row: dict[str, float | str]) -> None:
        """Write the scores of an epoch, a row of history.csv."""
        for part, writer in self.writers.items():
            with writer.as_default(step=row["epoch"]):
                for name, value in row.items():
                    belongs_to = "validation" if name.startswith("val_") else "train"
                    if belongs_to == part and name != "epoch" and value != "":
                        tf.summary.scalar(name.removeprefix("val_"), value)
            writer.flush()

    def add_picture(self, path: Path, epoch: int) -> None:
        """Write a PNG of validation slices that was drawn after an epoch."""
        if self.writers:
            with self.writers["validation"].as_default(step=epoch):
                tf.summary.image(path.stem, tf.io.decode_png(path.read_bytes(), 3)[tf.newaxis])
            self.writers["validation"].flush()
