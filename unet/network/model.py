"""The U-Net (Ronneberger, Fischer and Brox 2015, arXiv 1505.04597), built in Keras from a config.

It answers where the tumor is if there is one. A small head (presence_head.py) answers whether there is one.
"""

import math

import keras
import tensorflow as tf
from keras import layers

from unet.errors import UserError
from unet.network.blocks import Normalization, conv_block
from unet.network.presence_head import presence_features, presence_head
from unet.options import ModelConfig

# The user may have other settings for other projects, in ~/.keras/keras.json.
keras.config.set_image_data_format("channels_last")
keras.config.set_floatx("float32")
# Fraction of all pixels that are tumor, about.
TUMOR_FRACTION = 0.02


def build_unet(config: ModelConfig, normalization: Normalization = layers.BatchNormalization) -> keras.Model:
    """Build the U-Net.

    Args:
        config: Its shape.
        normalization: The batch normalization layer. None builds convolutions with a bias instead, for
            fold_normalization.

    Returns:
        A network that maps images float32 (batch, height, width, 1) in [0, 1] to two answers, each in [0, 1]:
        "outline", where the tumor is if there is one, float32 (batch, height, width, 1), and "evidence", how strongly
        the image speaks for a tumor, float32 (batch, 1). Height and width must be multiples of config.divisor. The
        layers "logits" and "presence_logit" hold the values before the sigmoid.

    Raises:
        ValueError: From Keras, if an image of another size is passed to the network.

    Example:
        >>> network = build_unet(ModelConfig(width=4, depth=3))
        >>> answers = network(tf.zeros((1, 64, 32, 1)))
        >>> answers["outline"].shape, answers["evidence"].shape
        (TensorShape([1, 64, 32, 1]), TensorShape([1, 1]))
    """
    *widths, bottleneck_width = config.widths
    stride = config.stem_stride
    # Windows overlap (twice the stride), so that no seams are visible between them.
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

    for level, filters in reversed(list(enumerate(widths, start=1))):
        x = layers.Conv2DTranspose(filters, 2, strides=2, name=f"up_{level}")(x)
        x = layers.Concatenate(name=f"skip_{level}")([skip_connections.pop(), x])
        x = conv_block(x, filters, f"decoder_{level}", normalization)

    # The mirror image of the stem: back to full resolution. The bias starts at the fraction of pixels that are
    # tumor; otherwise, the first epochs would learn little else.
    bias = keras.initializers.Constant(math.log(TUMOR_FRACTION / (1 - TUMOR_FRACTION)))
    logits = layers.Conv2DTranspose(
        1, stem_kernel, strides=stride, padding="same", bias_initializer=bias, dtype="float32", name="logits"
    )(x)
    outline = layers.Activation("sigmoid", dtype="float32", name="outline")(logits)
    features = presence_features(keras.Model(image, outline), config)
    _, presence_logit = presence_head(features, config, normalization)
    evidence = layers.Activation("sigmoid", dtype="float32", name="evidence")(presence_logit)
    return keras.Model(image, {"outline": outline, "evidence": evidence}, name="unet")


def with_logits(network: keras.Model) -> keras.Model:
    """The same network, with shared weights and without the presence head, that returns logits of the outline."""
    return keras.Model(network.input, network.get_layer("logits").output)


def check_size(size: int, config: ModelConfig) -> None:
    """UserError if images with sides of `size` pixels do not fit a U-Net."""
    if size % config.divisor:
        near = max(1, round(size / config.divisor)) * config.divisor
        raise UserError(f"--size {size} is not a multiple of {config.divisor}, as required: use --size {near}.")


def activation_bytes(network: keras.Model, size: int) -> int:
    """Memory for the outputs of all layers for one image (size, size): about what a training step keeps."""
    outputs = keras.Model(network.inputs, [layer.output for layer in network.layers])
    shapes = outputs.compute_output_shape((1, size, size, 1))
    dtype = keras.backend.standardize_dtype(network.compute_dtype)
    return sum(math.prod(shape) for shape in shapes) * tf.as_dtype(dtype).size


def flops(network: keras.Model, size: int) -> int:
    """Floating-point operations for one image (size, size); a multiply-add counts as 2."""
    function = tf.function(lambda image: network(image, training=False), autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec((1, size, size, 1))).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(profiler.ProfileOptionBuilder.float_operation())
    return profiler.profile(graph, options=options.with_empty_output().build()).total_float_ops
