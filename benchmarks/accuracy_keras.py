"""Worker of accuracy.py in the project's environment: trains the network of the data set's author."""

import json
import sys

import keras
import numpy as np
import tensorflow as tf
from speed_keras import POLICIES, plain_unet
from timing import print_figures

from unet.data.batches import BatchPlan, Material, training_batches, validation_batches
from unet.data.slices import Slices
from unet.evaluation.metrics import MeanDice
from unet.machine import use_precision
from unet.network.losses import segmentation_loss
from unet.training.learner import learning_rate_schedule


def train(job: dict) -> None:
    """Train for job["steps"] steps, and print the Dice after every job["steps_between_points"].

    It uses our augmentation, loss and schedule, and AdamW.
    """
    keras.utils.set_random_seed(0)
    use_precision(POLICIES[job["precision"]])
    with np.load(job["slices"]) as content:
        train_slices, val_slices = (
            slices_from(content[f"{split}_images"], content[f"{split}_masks"]) for split in ("train", "val")
        )
    steps = job["steps"]
    model = plain_unet(activation=None)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # PyTorch's value: the 0.99 of Keras averages over more steps than this network trains in the time.
            layer.momentum = 0.9
    model.compile(
        keras.optimizers.AdamW(learning_rate_schedule(job["learning_rate"], steps), weight_decay=0.01),
        segmentation_loss,
        jit_compile=job["mode"] == "xla",
    )
    plan = BatchPlan(batch_size=job["batch"], epochs=range(steps))
    batches = iter(training_batches(Material(train_slices, np.arange(len(train_slices.pixels))), plan))
    for number in range(1, steps + 1):
        model.train_on_batch(*next(batches))
        if number % job["steps_between_points"] == 0 or number == steps:
            dice = validation_dice(model, val_slices, job["batch"])
            print_figures({"slices": number * job["batch"], "val_dice": dice})


def slices_from(images: np.ndarray, masks: np.ndarray) -> Slices:
    """Slices without files, from images and masks, each uint8 (slices, size, size)."""
    return Slices([], np.stack([images, masks], axis=1), [], np.zeros(len(images)))


def validation_dice(model: keras.Model, slices: Slices, batch: int) -> float:
    """Mean Dice over slices at threshold 0.5."""
    dice = MeanDice()
    run = tf.function(lambda images: tf.sigmoid(model(images, training=False)), reduce_retracing=True)
    for images, masks in validation_batches(slices, np.arange(len(slices.pixels)), batch):
        dice.update_state(masks, run(images))
    return float(dice.result())


if __name__ == "__main__":
    train(json.loads(sys.argv[1]))
