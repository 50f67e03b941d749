"""What learns: a network, the average of its weights, the optimizer, and one step of each kind."""

import keras
import numpy as np
import tensorflow as tf

from unet.evaluation.metrics import MeanDice, MeanIoU
from unet.network.losses import segmentation_loss
from unet.network.model import build_unet, with_logits
from unet.network.normalization import (
    FusedBatchNormalization,
    SynchronizedBatchNormalization,
    fold_normalization,
)
from unet.options import TrainingOptions


class Learner:
    """The network that learns, the average of its weights, that average as it is kept, and the optimizer."""

    def __init__(
        self,
        options: TrainingOptions,
        batch_size: int,
        steps: int,
        strategy: tf.distribute.Strategy,
    ):
        """batch_size: slices a step over all replicas; steps: of the whole training."""
        keras.utils.set_random_seed(options.seed)
        self.dice_over = options.dice
        self.batch_size = batch_size
        self.strategy = strategy
        self.average_over_steps = max(1.0, options.ema * steps)
        with strategy.scope():
            alone = strategy.num_replicas_in_sync == 1
            self.model = build_unet(
                options.model,
                FusedBatchNormalization if alone else SynchronizedBatchNormalization,
            )
            self.averaged = build_unet(options.model)
            self.kept = build_unet(options.model, normalization=None)
            self.learning_rate = learning_rate_schedule(options, steps)
            self.optimizer = keras.optimizers.AdamW(
                self.learning_rate,
                weight_decay=options.weight_decay,
                global_clipnorm=1.0,
            )
            # Keras would sum them after it has clipped each replica's.
            self.optimizer._all_reduce_sum_gradients = lambda pairs: pairs
            # Scale and shift of batch normalisation, and biases, must be free to be large.
            self.optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
            if options.precision == "mixed_float16":
                # Small gradients would be 0 in it.
                self.optimizer = keras.optimizers.LossScaleOptimizer(self.optimizer)
            self.optimizer.build(self.model.trainable_variables)
            self.loss = keras.metrics.Mean("loss")
            self.dice = MeanDice()
            self.iou = MeanIoU()
        self.network = with_logits(self.model)
        self.kept_network = with_logits(self.kept)

    @tf.function
    def train_step(self, images: tf.Tensor, masks: tf.Tensor) -> None:
        """One update from a batch (batch, size, size, 1)."""

        def on_replica(images: tf.Tensor, masks: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                logits = self.network(images, training=True)
                losses = segmentation_loss(masks, logits, self.dice_over)
                # Each replica sees a part of the batch; gradients are summed over replicas, before they are
                # clipped: their number must not matter.
                loss = self.optimizer.scale_loss(tf.reduce_sum(losses) / self.batch_size)
            variables = self.model.trainable_variables
            gradients = tape.gradient(loss, variables)
            gradients = tf.distribute.get_replica_context().all_reduce("sum", gradients)
            self.optimizer.apply(gradients, variables)
            self.loss.update_state(losses)
            self.dice.update_state(masks, tf.sigmoid(logits))

        self.strategy.run(on_replica, (images, masks))
        self.update_average()

    def update_average(self) -> None:
        """Move `averaged` towards `model`, weights and normalisation statistics alike.

        The average spans what --ema says, but never more than a tenth of the steps so far: the random
        weights of the start leave it soon. (Keras' own average in the optimizer has no such start.)
        """
        step = tf.cast(self.optimizer.iterations, tf.float32)
        share = 1 / tf.clip_by_value(step / 10, 1.0, self.average_over_steps)
        for average, current in zip(self.averaged.variables, self.model.variables, strict=True):
            if average.dtype.startswith("float"):
                average.assign(average + share * (current - average))

    def refresh_kept(self) -> None:
        """Make `kept` what `averaged` is now."""
        fold_normalization(self.averaged, self.kept)

    @tf.function(reduce_retracing=True)
    def validation_step(self, images: tf.Tensor, masks: tf.Tensor, raw: bool = False) -> None:
        """Score the network that is kept, or the raw weights, on a batch."""
        network = self.network if raw else self.kept_network

        def on_replica(images: tf.Tensor, masks: tf.Tensor) -> None:
            logits = network(images, training=False)
            self.loss.update_state(segmentation_loss(masks, logits, self.dice_over))
            probability = tf.sigmoid(logits)
            self.dice.update_state(masks, probability)
            self.iou.update_state(masks, probability)

        self.strategy.run(on_replica, (images, masks))

    def take_scores(self) -> dict[str, float]:
        """Means since the last call: loss, dice and (validation only) iou."""
        scores = {metric.name: float(metric.result()) for metric in (self.loss, self.dice, self.iou)}
        for metric in (self.loss, self.dice, self.iou):
            metric.reset_state()
        return scores

    @property
    def variables(self) -> list[keras.Variable]:
        """All that training changes: weights, statistics, dropout's seed state, average, optimizer, means."""
        metrics = (self.loss, self.dice, self.iou)
        parts = (self.model, self.averaged, self.optimizer, *metrics)
        return [variable for part in parts for variable in part.variables]

    def state(self) -> list[np.ndarray]:
        return [np.asarray(variable.numpy()) for variable in self.variables]

    def restore(self, arrays: list[np.ndarray]) -> None:
        for variable, array in zip(self.variables, arrays, strict=True):
            variable.assign(array)


def learning_rate_schedule(
    options: TrainingOptions, steps: int
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up to options.learning_rate, then a cosine to zero at the last step."""
    warmup_steps = max(1, round(options.warmup * steps))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0,
        warmup_target=options.learning_rate,
        warmup_steps=warmup_steps,
        decay_steps=max(1, steps - warmup_steps),
    )
