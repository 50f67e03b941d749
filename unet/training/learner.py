"""What learns to outline: a network, the average of its weights, the optimizer, and one step of each kind."""

import keras
import numpy as np
import tensorflow as tf

from unet.evaluation.metrics import MeanDice, MeanIoU
from unet.network.losses import segmentation_loss
from unet.network.model import build_unet, with_logits
from unet.network.normalization import FusedBatchNormalization, SynchronizedBatchNormalization, fold_normalization
from unet.network.weights import LayerWeights, take_over, weights_of
from unet.options import TrainingOptions

WARMUP = 0.05  # fraction of the steps over which the learning rate rises


class Learner:
    """The network that learns (`model`), its average (`averaged`, and `folded` for prediction), and the optimizer."""

    def __init__(self, options: TrainingOptions, batch_size: int, steps: int, strategy: tf.distribute.Strategy):
        """batch_size: slices per step over all replicas. steps: of the whole training."""
        keras.utils.set_random_seed(options.seed)
        self.batch_size = batch_size
        self.strategy = strategy
        self.averaging_steps = max(1.0, options.ema * steps)
        with strategy.scope():
            is_alone = strategy.num_replicas_in_sync == 1
            normalization = FusedBatchNormalization if is_alone else SynchronizedBatchNormalization
            self.model = build_unet(options.model, normalization)
            self.network = with_logits(self.model)
            self.averaged = build_unet(options.model)
            self.folded = build_unet(options.model, normalization=None)
            self.learning_rate = learning_rate_schedule(options.learning_rate, steps)
            self.optimizer = make_optimizer(self.learning_rate, options.weight_decay, options.precision)
            self.optimizer.build(self.network.trainable_variables)
            self.loss = keras.metrics.Mean("loss")
            self.dice = MeanDice()
            self.iou = MeanIoU()
        self.folded_network = with_logits(self.folded)

    def start_from(self, weights: LayerWeights) -> tuple[list[str], list[str]]:
        """Take over the weights of all layers that have the same shape; returns the names of these, and of the rest."""
        taken, rest = take_over(self.model, weights)
        self.averaged.set_weights(self.model.get_weights())
        return taken, rest

    @tf.function(autograph=False)
    def train_step(self, images: tf.Tensor, masks: tf.Tensor) -> None:
        """One update from a batch of images (batch, size, size, 1) and masks (batch, size, size, channels): the last
        channel is learned, and the first one is scored."""

        def on_replica(images: tf.Tensor, masks: tf.Tensor) -> None:
            with tf.GradientTape() as tape:
                logits = self.network(images, training=True)
                losses = segmentation_loss(masks[..., -1:], logits)
                # Divided by the whole batch size: a replica sees a part, and gradients are summed over replicas.
                loss = self.optimizer.scale_loss(tf.reduce_sum(losses) / self.batch_size)
            variables = self.network.trainable_variables
            gradients = tape.gradient(loss, variables)
            # Before clipping, so that the number of replicas does not matter.
            gradients = tf.distribute.get_replica_context().all_reduce("sum", gradients)
            self.optimizer.apply(gradients, variables)
            self.loss.update_state(losses)
            self.dice.update_state(masks[..., :1], tf.sigmoid(logits))

        self.strategy.run(on_replica, (images, masks))
        self.update_average()

    def update_average(self) -> None:
        """Move `averaged` towards `model`, both weights and normalization statistics."""
        rate = averaging_rate(self.optimizer.iterations, self.averaging_steps)
        for average, current in zip(self.averaged.variables, self.model.variables, strict=True):
            if average.dtype.startswith("float"):
                average.assign(average + rate * (current - average))

    def refresh_folded(self) -> None:
        fold_normalization(weights_of(self.averaged), self.folded)

    @tf.function(autograph=False, reduce_retracing=True)
    def validation_step(self, images: tf.Tensor, masks: tf.Tensor, raw: bool = False) -> None:
        """Score the averaged weights, or the raw ones, on a batch of images and masks."""
        network = self.network if raw else self.folded_network

        def on_replica(images: tf.Tensor, masks: tf.Tensor) -> None:
            logits = network(images, training=False)
            self.loss.update_state(segmentation_loss(masks, logits))
            probability = tf.sigmoid(logits)
            self.dice.update_state(masks, probability)
            self.iou.update_state(masks, probability)

        self.strategy.run(on_replica, (images, masks))

    def take_scores(self) -> dict[str, float]:
        """Mean loss, dice and (for validation) iou since the last call."""
        metrics = (self.loss, self.dice, self.iou)
        scores = {metric.name: float(metric.result()) for metric in metrics}
        for metric in metrics:
            metric.reset_state()
        return scores

    @property
    def variables(self) -> list[keras.Variable]:
        """Everything that training changes: weights, statistics, their average, optimizer and metrics."""
        parts = (self.model, self.averaged, self.optimizer, self.loss, self.dice, self.iou)
        return [variable for part in parts for variable in part.variables]

    def state(self) -> list[np.ndarray]:
        """Values of all variables, in order."""
        return [np.asarray(variable.numpy()) for variable in self.variables]

    def restore(self, arrays: list[np.ndarray]) -> None:
        """Set all variables to a saved state."""
        for variable, array in zip(self.variables, arrays, strict=True):
            variable.assign(array)


def make_optimizer(
    learning_rate: keras.optimizers.schedules.LearningRateSchedule, weight_decay: float, precision: str
) -> keras.optimizers.Optimizer:
    """AdamW with clipped gradients, for a number format."""
    optimizer = keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay, global_clipnorm=1.0)
    # Keras would sum gradients over replicas after clipping them on each; train_step does it before.
    optimizer._all_reduce_sum_gradients = lambda pairs: pairs
    # Scales and shifts of batch normalization, and biases, must be free to be large.
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    # Without scaling the loss, small gradients would be 0 in this format.
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer


def averaging_rate(step: tf.Tensor, steps: float) -> tf.Tensor:
    """How far the average of weights moves towards the current ones, float32 ().

    It spans `steps` steps, but at most a tenth of those so far, so that the random initial weights are soon forgotten.
    (The average of Keras' optimizers has no such warm-up.)
    """
    return 1 / tf.clip_by_value(tf.cast(step, tf.float32) / 10, 1.0, steps)


def learning_rate_schedule(peak: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Linear warm-up to `peak`, then a cosine to zero at the last step."""
    warmup = max(1, round(WARMUP * steps))
    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0, warmup_target=peak, warmup_steps=warmup, decay_steps=max(1, steps - warmup)
    )
