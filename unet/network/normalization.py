"""The U-Net (Ronneberger, Fischer and Brox 2015, arXiv 1505.04597), a function from a config to Keras.

Usage:

    python -m unet.network.model            prints layers, parameters and FLOPs; --help lists the options
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers


class FusedBatchNormalization(layers.BatchNormalization):
    """Keras' batch normalisation through TensorFlow's fused kernel: on a CPU a quarter faster training.

    Same variables and, to rounding, same results; only the moving variance differs, by n / (n - 1) for
    the n values of a channel. Each replica normalises by itself.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        normalized, mean, variance = tf.compat.v1.nn.fused_batch_norm(
            tf.cast(inputs, tf.float32),  # in bfloat16 the kernel takes seven times as long
            tf.cast(self.gamma, tf.float32),
            tf.cast(self.beta, tf.float32),
            None if training else tf.convert_to_tensor(self.moving_mean),
            None if training else tf.convert_to_tensor(self.moving_variance),
            epsilon=self.epsilon,
            is_training=training,
        )
        if training:
            update_moving(self, mean, variance)
        return tf.cast(normalized, inputs.dtype)


class SynchronizedBatchNormalization(layers.BatchNormalization):
    """Batch normalisation over the equal batches of all replicas: their number does not matter.

    Replicas meet once a call, in Keras' own layer three times: between hosts that is what takes the time.
    """

    def call(self, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
        x = tf.cast(inputs, tf.float32)
        mean, variance = self.moving_mean, self.moving_variance
        if training:
            moments = tf.stack([tf.reduce_mean(power, [0, 1, 2]) for power in (x, tf.square(x))])
            replicas = tf.distribute.get_replica_context()
            mean, mean_square = tf.unstack(replicas.all_reduce("mean", moments))
            variance = tf.maximum(mean_square - tf.square(mean), 0.0)
            update_moving(self, mean, variance)
        normalized = tf.nn.batch_normalization(
            x, mean, variance, tf.cast(self.beta, tf.float32), tf.cast(self.gamma, tf.float32),
            self.epsilon,
        )  # fmt: skip
        return tf.cast(normalized, inputs.dtype)


def update_moving(layer: layers.BatchNormalization, mean: tf.Tensor, variance: tf.Tensor) -> None:
    """Move a layer's statistics towards those of a batch."""
    for moving, current in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + current * (1 - layer.momentum))


def fold_normalization(model: keras.Model, folded: keras.Model) -> None:
    """Give a network without normalization the weights with which it does what `model` does in prediction."""
    for layer in folded.layers:
        weights = model.get_layer(layer.name).get_weights()
        if len(weights) < len(layer.weights):
            normalization = model.get_layer(layer.name.replace("convolution", "normalization"))
            gamma, beta, mean, variance = normalization.get_weights()
            scale = gamma / np.sqrt(variance + normalization.epsilon)
            weights = [weights[0] * scale, beta - mean * scale]
        layer.set_weights(weights)
