"""The U-Net (Ronneberger, Fischer and Brox 2015, arXiv 1505.04597), a function from a config to Keras.

Usage:

    python -m unet.model            prints layers, parameters and FLOPs; --help lists the options
"""

import math

import keras
import tensorflow as tf
import tyro
from keras import layers

from unet.options import ModelConfig

TUMOR_SHARE = 0.02


def conv_block(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    """Twice: 3 x 3 convolution, batch normalisation, ReLU; (batch, h, w, any) -> (batch, h, w, filters)."""
    for _ in range(2):
        # Batch normalisation shifts by itself: a bias before it would do nothing.
        x = layers.Conv2D(
            filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal"
        )(x)
        x = layers.BatchNormalization(momentum=0.95)(x)
        x = layers.Activation("relu")(x)
    return x


def build_unet(config: ModelConfig) -> keras.Model:
    """Images (batch, height, width, 1) in [0, 1] -> tumor probability of each pixel, the same shape.

    Height and width may be any multiple of `config.divisor`. The layer "logits" has what the sigmoid takes.
    """
    image = x = keras.Input((None, None, 1), name="image")
    if config.stem_stride > 1:
        x = layers.Conv2D(
            config.widths[0], 2 * config.stem_stride, strides=config.stem_stride, padding="same"
        )(x)

    skip_connections = []
    for filters in config.widths[:-1]:
        x = conv_block(x, filters)
        skip_connections.append(x)
        x = layers.MaxPooling2D()(x)

    x = conv_block(x, config.widths[-1])
    if config.dropout:
        x = layers.SpatialDropout2D(config.dropout)(x)

    for filters, skip in zip(reversed(config.widths[:-1]), reversed(skip_connections), strict=True):
        x = layers.Conv2DTranspose(filters, 2, strides=2)(x)
        x = layers.Concatenate()([skip, x])
        x = conv_block(x, filters)

    # The mirror of the stem: each coarse pixel is spread over the pixels it was merged from.
    # The bias starts at the share of pixels that is tumor, or the first epochs would only learn that.
    kernel = 2 * config.stem_stride if config.stem_stride > 1 else 1
    logits = layers.Conv2DTranspose(
        1,
        kernel,
        strides=config.stem_stride,
        padding="same",
        bias_initializer=keras.initializers.Constant(math.log(TUMOR_SHARE / (1 - TUMOR_SHARE))),
        dtype="float32",
        name="logits",
    )(x)
    probability = layers.Activation("sigmoid", dtype="float32", name="probability")(logits)
    return keras.Model(image, probability, name="unet")


def with_logits(model: keras.Model) -> keras.Model:
    """The same network (weights shared) that returns the logits, for a loss that needs them."""
    return keras.Model(model.input, model.get_layer("logits").output)


def flops(model: keras.Model, size: int) -> int:
    """Floating-point operations of one image (size, size) through the network: 2 a multiply-add."""
    run = tf.function(lambda image: model(image, training=False))
    graph = run.get_concrete_function(tf.TensorSpec((1, size, size, 1))).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    return profiler.profile(graph, options=options.with_empty_output().build()).total_float_ops


def describe(config: ModelConfig, size: int = 256) -> None:
    """Print the layers, parameters and FLOPs of a U-Net for images of `size` pixels a side."""
    model = build_unet(config)
    model.summary(line_length=100)
    print(f"{model.count_params():,} parameters")
    print(f"{flops(model, size) / 1e9:.2f} GFLOP for one image of {size} x {size}")


if __name__ == "__main__":
    tyro.cli(describe)
