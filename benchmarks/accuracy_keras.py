"""Worker of accuracy.py in the project's environment: trains the data set author's network."""

import json
import sys

import keras
import numpy as np
import tensorflow as tf
from speed_keras import POLICIES, plain_unet
from timing import tell

from unet.data.batches import training_batches, validation_batches
from unet.data.slices import Slices
from unet.evaluation.metrics import MeanDice
from unet.machine import use_precision
from unet.network.losses import segmentation_loss
from unet.options import AugmentationConfig, TrainingOptions
from unet.training.learner import learning_rate_schedule


def train(job: dict) -> None:
    """Train job["steps"] steps and tell the Dice now and then.

    Our augmentation and loss, AdamW with a warm-up and a cosine over the steps.
    """
    keras.utils.set_random_seed(0)
    use_precision(POLICIES[job["precision"]])
    with np.load(job["slices"]) as content:
        train_slices, val_slices = (
            slices_from(content[f"{part}_images"], content[f"{part}_masks"]) for part in ("train", "val")
        )
    steps = job["steps"]
    schedule = TrainingOptions(learning_rate=job["learning_rate"], warmup=job["warmup"])
    model = plain_unet(activation=None)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Keras' 0.99 averages over more steps than this network does in the time: PyTorch's rate.
            layer.momentum = 0.9
    model.compile(
        keras.optimizers.AdamW(learning_rate_schedule(schedule, steps), weight_decay=0.01),
        lambda masks, logits: segmentation_loss(masks, logits, "image"),
        jit_compile=job["mode"] == "xla",
    )
    batches = iter(
        training_batches(
            train_slices,
            np.arange(len(train_slices.pixels)),
            job["batch"],
            range(steps),
            0,
            AugmentationConfig(),
        )  # fmt: skip
    )
    for number in range(1, steps + 1):
        model.train_on_batch(*next(batches))
        if number % job["steps_between_points"] == 0 or number == steps:
            dice = validation_dice(model, val_slices, job["batch"])
            tell({"slices": number * job["batch"], "val_dice": dice})


def slices_from(images: np.ndarray, masks: np.ndarray) -> Slices:
    return Slices([], np.stack([images, masks], axis=1), [], np.zeros(len(images)))


def validation_dice(model: keras.Model, slices: Slices, batch: int) -> float:
    """Mean over slices of the Dice at threshold 0.5."""
    dice = MeanDice()
    run = tf.function(lambda images: tf.sigmoid(model(images, training=False)), reduce_retracing=True)
    for images, masks in validation_batches(slices, np.arange(len(slices.pixels)), batch):
        dice.update_state(masks, run(images))
    return float(dice.result())


if __name__ == "__main__":
    train(json.loads(sys.argv[1]))
