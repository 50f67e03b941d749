"""The presence head: from what the U-Net sees, how strongly an image speaks for a tumor.

It looks at the U-Net's features at its lowest levels and at its outline, and answers twice: for each cell of a coarse
grid, and for the image as a whole. The U-Net never learns from it, so that it cannot cost any accuracy of the outlines.
"""

import keras
from keras import layers, ops

from unet.network.blocks import Normalization, conv_block, convolution
from unet.options import ModelConfig

LEVELS = 3  # the lowest ones above the bottleneck; the grid is that of the middle one
WHOLE_DECAY = 1e-2  # L2 penalty of the weights that judge the image as a whole: it has many features and few images
WIDTH = 4  # channels, in widths of the U-Net
RARE = -3.0  # logit of a cell before training, as few cells show a tumor
SHARPNESS = 2.0  # of the maximum over the cells: the larger, the less the other cells count


def presence_features(unet: keras.Model, config: ModelConfig) -> list[keras.KerasTensor]:
    """Outputs of layers of a U-Net that the head looks at, each (batch, rows, columns, any), on the same grid."""
    levels, middle = levels_and_middle(config)
    blocks = {f"{part}_{level}": level for level in levels for part in ("encoder", "decoder")}
    features = []
    for block, level in (blocks | {"bottleneck": config.depth}).items():
        output = unet.get_layer(f"{block}_relu_b").output
        scale = 2 ** abs(level - middle)
        if level < middle:
            output = layers.MaxPooling2D(scale, name=f"presence_{block}")(output)
        elif level > middle:
            output = layers.UpSampling2D(scale, name=f"presence_{block}")(output)
        features.append(output)
    outline, cell = unet.get_layer("outline").output, cell_side(config)
    features.append(layers.AveragePooling2D(cell, name="presence_outline_mean")(outline))
    features.append(layers.MaxPooling2D(cell, name="presence_outline_max")(outline))
    return features


def levels_and_middle(config: ModelConfig) -> tuple[list[int], int]:
    """The levels that the head looks at, none of a U-Net that has only a bottleneck, and the one with its grid."""
    levels = list(range(1, config.depth))[-LEVELS:]
    return levels, levels[len(levels) // 2] if levels else 1


def cell_side(config: ModelConfig) -> int:
    """Side of a cell of the head's grid, in pixels of the input."""
    _, middle = levels_and_middle(config)
    return config.stem_stride * 2 ** (middle - 1)


def presence_head(
    features: list[keras.KerasTensor], config: ModelConfig, normalization: Normalization
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Logits of a tumor in each cell, float32 (batch, rows, columns, 1), and in the image, float32 (batch, 1)."""
    filters = WIDTH * config.width
    seen = layers.Concatenate(name="presence_features")(features)
    x = shortcut = convolution(seen, filters, 1, "presence", "mix", normalization)
    x = layers.Add(name="presence_sum")([conv_block(x, filters, "presence", normalization), shortcut])
    x = convolution(x, filters, 3, "presence", "c", normalization)
    rare = keras.initializers.Constant(RARE)
    cells = layers.Conv2D(1, 1, dtype="float32", bias_initializer=rare, name="presence_cells")(x)
    pooled = [
        pooling(dtype="float32", name=f"presence_{what}_{name}")(part)
        for what, pooling in (("mean", layers.GlobalAveragePooling2D), ("max", layers.GlobalMaxPooling2D))
        for name, part in (("seen", seen), ("mixed", x))
    ]
    pooled = layers.Concatenate(dtype="float32", name="presence_pooled")(pooled)
    scaled = layers.BatchNormalization(
        momentum=0.95, center=False, scale=False, dtype="float32", name="presence_scaled"
    )(pooled)
    penalty = keras.regularizers.L2(WHOLE_DECAY)
    whole = layers.Dense(1, kernel_regularizer=penalty, dtype="float32", name="presence_whole")(scaled)
    # A soft maximum: every cell that shows a tumor learns from the answer for the image.
    highest = ops.logsumexp(SHARPNESS * cells, axis=(1, 2)) / SHARPNESS
    return cells, layers.Add(dtype="float32", name="presence_logit")([highest, whole])
