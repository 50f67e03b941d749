"""The convolutions that the network is made of."""

import keras
from keras import layers

from unet.network.normalization import EPSILON

Normalization = type[layers.BatchNormalization] | None  # None: convolutions have a bias instead, for fold_normalization


def convolution(
    x: keras.KerasTensor, filters: int, side: int, name: str, part: str, normalization: Normalization
) -> keras.KerasTensor:
    """Convolution with a square kernel, batch normalization, ReLU; (batch, h, w, any) -> (batch, h, w, filters)."""
    # Batch normalization has a shift of its own.
    options = {"padding": "same", "use_bias": normalization is None, "kernel_initializer": "he_normal"}
    x = layers.Conv2D(filters, side, **options, name=f"{name}_convolution_{part}")(x)
    if normalization:
        x = normalization(momentum=0.95, epsilon=EPSILON, name=f"{name}_normalization_{part}")(x)
    return layers.Activation("relu", name=f"{name}_relu_{part}")(x)


def conv_block(x: keras.KerasTensor, filters: int, name: str, normalization: Normalization) -> keras.KerasTensor:
    """Twice a convolution with a 3 x 3 kernel, batch normalization and ReLU."""
    for part in ("a", "b"):
        x = convolution(x, filters, 3, name, part, normalization)
    return x
