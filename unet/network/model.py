"""The U-Net (Ronneberger, Fischer and Brox 2015, arXiv 1505.04597), a function from a config to Keras.

Usage:

    python -m unet.network.model            prints layers, parameters and FLOPs; --help lists the options
"""

import math

import keras
import tensorflow as tf
from keras import layers

from unet.command_line import parse, run
from unet.errors import UserError
from unet.options import DescribeOptions, ModelConfig

TUMOR_SHARE = 0.02


def conv_block(
    x: keras.KerasTensor,
    filters: int,
    name: str,
    normalization: type[layers.BatchNormalization] | None,
) -> keras.KerasTensor:
    """Twice: 3 x 3 convolution, batch normalisation, ReLU; (batch, h, w, any) -> (batch, h, w, filters)."""
    for part in ("a", "b"):
        # Batch normalisation shifts by itself: a bias before it would do nothing.
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=normalization is None,
            kernel_initializer="he_normal",
            name=f"{name}_convolution_{part}",
        )(x)
        if normalization:
            x = normalization(momentum=0.95, name=f"{name}_normalization_{part}")(x)
        x = layers.Activation("relu", name=f"{name}_relu_{part}")(x)
    return x


def build_unet(
    config: ModelConfig,
    normalization: type[layers.BatchNormalization] | None = layers.BatchNormalization,
) -> keras.Model:
    """Images (batch, height, width, 1) in [0, 1] -> tumor probability of each pixel, the same shape.

    Height and width may be any multiple of `config.divisor`. The layer "logits" has what the sigmoid takes.
    Without normalization convolutions have a bias: see fold_normalization.
    """
    *widths, bottleneck_width = config.widths
    stride = config.stem_stride
    # Windows of twice the stride overlap, so that no seams show between them.
    stem_kernel = 2 * stride if stride > 1 else 1

    image = x = keras.Input((None, None, 1), name="image")
    if stride > 1:
        x = layers.Conv2D(config.width, stem_kernel, strides=stride, padding="same", name="stem")(x)

    skip_connections = []
    for level, filters in enumerate(widths, start=1):
        x = conv_block(x, filters, f"encoder_{level}", normalization)
        skip_connections.append(x)
        x = layers.MaxPooling2D(name=f"down_{level}")(x)

    x = conv_block(x, bottleneck_width, "bottleneck", normalization)
    if config.dropout:
        x = layers.SpatialDropout2D(config.dropout, name="dropout")(x)

    for level, filters in reversed(list(enumerate(widths, start=1))):
        x = layers.Conv2DTranspose(filters, 2, strides=2, name=f"up_{level}")(x)
        x = layers.Concatenate(name=f"skip_{level}")([skip_connections.pop(), x])
        x = conv_block(x, filters, f"decoder_{level}", normalization)

    # The mirror of the stem: each coarse pixel is spread over the pixels it was merged from.
    # The bias starts at the share of pixels that is tumor, or the first epochs would only learn that.
    logits = layers.Conv2DTranspose(
        1,
        stem_kernel,
        strides=stride,
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


def check_size(size: int, config: ModelConfig) -> None:
    """UserError where images of `size` pixels a side do not fit a U-Net."""
    if size % config.divisor:
        near = max(1, round(size / config.divisor)) * config.divisor
        raise UserError(
            f"--size {size} is not a multiple of {config.divisor}, by which this network divides its input: "
            f"use --size {near}."
        )


def activation_bytes(model: keras.Model, size: int) -> int:
    """Memory of all layers' outputs for one image (size, size): close to what a training step keeps of it."""
    outputs = keras.Model(model.inputs, [layer.output for layer in model.layers])
    shapes = outputs.compute_output_shape((1, size, size, 1))
    number = keras.backend.standardize_dtype(model.compute_dtype)
    return sum(math.prod(shape) for shape in shapes) * tf.as_dtype(number).size


def flops(model: keras.Model, size: int) -> int:
    """Floating-point operations of one image (size, size) through the network: 2 a multiply-add."""
    network = tf.function(lambda image: model(image, training=False))
    graph = network.get_concrete_function(tf.TensorSpec((1, size, size, 1))).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    return profiler.profile(graph, options=options.with_empty_output().build()).total_float_ops


def describe(options: DescribeOptions) -> None:
    """Print the layers, parameters and FLOPs of a U-Net."""
    size = options.size
    check_size(size, options.model)
    model = build_unet(options.model)
    # With a fixed input size every layer's output shape is known.
    sized = keras.models.clone_model(model, input_tensors=keras.Input((size, size, 1)))
    print(f"{'layer':28}{'output (height, width, channels)':36}{'parameters':>12}")
    for layer in sized.layers:
        print(f"{layer.name:28}{layer.output.shape[1:]!s:36}{layer.count_params():12,}")
    print(f"\n{model.count_params():,} parameters")
    print(f"{flops(model, size) / 1e9:.2f} GFLOP for one image of {size} x {size}")


if __name__ == "__main__":
    run(lambda: describe(parse(DescribeOptions, __doc__)))
