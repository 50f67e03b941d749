"""The training of the presence head, after that of the U-Net: does an image contain a tumor?

It looks at the features of the U-Net, which stays as it is. So the outlines stay the same, and an epoch is short.
"""

import time
from itertools import islice

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from unet.data.batches import BatchPlan, training_batches
from unet.data.slices import Slices
from unet.network.losses import presence_loss
from unet.network.normalization import FusedBatchNormalization
from unet.network.presence_head import presence_head
from unet.network.saved_run import PRESENCE_CHECKPOINTS, SavedRun
from unet.network.weights import take_over, weights_of
from unet.signals import Stopped, StopRequest
from unet.training.checkpoints import load_checkpoint, save_checkpoint
from unet.training.final import validating_runs
from unet.training.learner import averaging_rate, learning_rate_schedule, make_optimizer
from unet.training.material import indices_of, presence_material

# What slices without tumor need, to be validation slices.
NEEDED_TO_VALIDATE = "seven patients or groups of similar images, or a patients.csv with the column split"
LEARNING_RATE, WEIGHT_DECAY = 2e-3, 2e-2
AVERAGING_STEPS = 30.0  # that the average of the weights spans


class PresenceLearner:
    """The head that learns, the average of its weights, the frozen U-Net before it, and the optimizer."""

    def __init__(self, run: SavedRun, steps: int):
        options = run.config.options
        keras.utils.set_random_seed(options.seed)
        unet = run.load_network(run.config.precision)  # its normalization is folded, which is faster
        features = unet.get_layer("presence_features").input
        self.unet = keras.Model(unet.input, features)
        inputs = [keras.Input((None, None, feature.shape[-1])) for feature in features]
        self.head = keras.Model(inputs, presence_head(inputs, options.model, FusedBatchNormalization))
        if options.init:
            # Those of the initial run, as the run's own may have been trained already, before --epochs made it longer.
            take_over(self.head, weights_of((run.origin() or run).load_trainable_network()))
        self.averaged = [tf.Variable(variable) for variable in self.head.variables]
        schedule = learning_rate_schedule(LEARNING_RATE, steps)
        self.optimizer = make_optimizer(schedule, WEIGHT_DECAY, run.config.precision)
        self.optimizer.build(self.head.trainable_variables)

    @tf.function(autograph=False)
    def train_step(self, images: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
        """One update from a batch of images and masks, each (batch, size, size, 1); returns its loss."""
        features = self.unet(images, training=False)
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(presence_loss(masks, *self.head(features, training=True)))
            scaled = self.optimizer.scale_loss(loss + tf.add_n(self.head.losses))
        variables = self.head.trainable_variables
        self.optimizer.apply(tape.gradient(scaled, variables), variables)
        rate = averaging_rate(self.optimizer.iterations, AVERAGING_STEPS)
        for average, current in zip(self.averaged, self.head.variables, strict=True):
            average.assign(average + rate * (current - average))
        return loss

    @property
    def variables(self) -> list:
        """Everything that training changes."""
        return [*self.head.variables, *self.averaged, *self.optimizer.variables]

    def state(self) -> list[np.ndarray]:
        """Values of all variables, in order."""
        return [variable.numpy() for variable in self.variables]

    def restore(self, state: list[np.ndarray]) -> None:
        """Give all variables these values."""
        for variable, array in zip(self.variables, state, strict=True):
            variable.assign(array)

    def save_to(self, run: SavedRun) -> None:
        """Save the run's network with the averaged head."""
        network = run.load_trainable_network()
        for variable, average in zip(self.head.variables, self.averaged, strict=True):
            variable.assign(average)
        is_new = False
        for layer in filter(lambda layer: layer.weights, self.head.layers):
            old, new = network.get_layer(layer.name).get_weights(), layer.get_weights()
            is_new |= not all(map(np.array_equal, old, new))
            network.get_layer(layer.name).set_weights(new)
        if is_new:  # otherwise, a finished run that is resumed keeps its fingerprint
            run.save_network(network)


def learns_presence(run: SavedRun, slices: Slices) -> bool:
    """Whether the presence head is trained: if there are epochs for it, and slices without tumor to learn from and to
    choose its threshold."""
    is_learning = run.config.options.presence_epochs and len(indices_of(run, slices, "train", has_tumor=False))
    return bool(is_learning and validates_presence(run, slices))


def validates_presence(run: SavedRun, slices: Slices) -> bool:
    """Whether there are validation slices without tumor."""
    return any(len(indices_of(one, slices, "val", has_tumor=False)) for one in validating_runs(run))


def train_presence(run: SavedRun, slices: Slices) -> None:
    """Train the presence head of a run whose U-Net is trained, if it has anything to learn from.
    An interrupted training continues after its last epoch. Stopped after SIGINT or SIGTERM."""
    epochs = run.config.options.presence_epochs
    if not learns_presence(run, slices):
        return
    material = presence_material(run, slices)
    batch_size = min(run.config.options.batch_size, len(material.with_tumor))
    steps = len(material.with_tumor) // batch_size
    learner = PresenceLearner(run, steps * epochs)
    history = []
    if checkpoint := load_checkpoint(run, PRESENCE_CHECKPOINTS):
        learner.restore(checkpoint[0])
        history = checkpoint[1]["history"]
        print(f"Resuming the presence head after epoch {len(history)} of {epochs}.")
    first = len(history)
    plan = BatchPlan(
        batch_size=batch_size,
        without_tumor=batch_size,
        epochs=range(first, epochs),
        seed=run.config.options.seed,
        augmentation=run.config.options.augmentation,
    )
    batches = iter(training_batches(material, plan))
    stop = StopRequest()
    with stop, tqdm(total=steps * epochs, initial=steps * first, unit="step", disable=None) as bar:
        for epoch in range(first, epochs):
            bar.set_description(f"Presence head: epoch {epoch + 1}/{epochs}")
            start, losses = time.monotonic(), []
            for images, masks in islice(batches, steps):
                losses.append(float(learner.train_step(images, masks)))
                bar.update()
                if stop.number:
                    raise Stopped(stop.number)
            history.append({"epoch": epoch + 1, "loss": float(np.mean(losses))})
            run.write_presence_history(history)
            save_checkpoint(run, epoch + 1, learner.state(), {"history": history}, PRESENCE_CHECKPOINTS)
            seconds = time.monotonic() - start
            bar.write(f"Presence head: epoch {epoch + 1:3d}  loss {history[-1]['loss']:.4f}  ({seconds:.0f} s)")
            if stop.number:
                raise Stopped(stop.number)
    learner.save_to(run)
