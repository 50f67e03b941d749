"""What training minimizes: binary cross-entropy plus soft Dice for outlines, and the error of the presence head.

Example:
    >>> import tensorflow as tf
    >>> truth = tf.constant([[1.0, 0.0], [0.0, 0.0]])[tf.newaxis, :, :, tf.newaxis]
    >>> logits = tf.zeros((1, 2, 2, 1))  # a probability of 1/2 everywhere
    >>> float(dice_loss(truth, logits)[0])  # 1 - (2 * 1/2 + 1) / (1 + 2 + 1)
    0.5
    >>> round(float(segmentation_loss(truth, logits)[0]), 3)  # log 2 more
    1.193
"""

import tensorflow as tf

# Keeps Dice defined, and its gradient finite, if neither the mask nor the prediction contains tumor.
SMOOTHING = 1.0
CELLS_WEIGHT = 5.0  # of the cells next to the whole image
ENOUGH = 1 / 3  # a cell shows a tumor if it covers this much of it, and the less so the less it covers


def binary_cross_entropy(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy, the mean over pixels of -t log p - (1 - t) log(1 - p) for p = sigmoid(logit).

    Args:
        truth: Masks of 0 and 1, float32 (batch, height, width, 1).
        logits: Logits, float32 of the same shape.

    Returns:
        The loss of each image, 0 or more, float32 (batch,).
    """
    per_pixel = tf.nn.sigmoid_cross_entropy_with_logits(labels=truth, logits=logits)
    return tf.reduce_mean(per_pixel, axis=(1, 2, 3))


def dice_loss(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Soft Dice loss, 1 - (2 Σtp + s) / (Σt + Σp + s) with p = sigmoid(logit) and s = SMOOTHING.

    From Milletari 2016 (arXiv 1606.04797), without its squares.

    Args:
        truth: Masks of 0 and 1, float32 (batch, height, width, 1).
        logits: Logits, float32 of the same shape.

    Returns:
        The loss of each image, in [0, 1], float32 (batch,); 0 if both mask and prediction are empty.
    """
    probability = tf.sigmoid(logits)
    overlap = tf.reduce_sum(truth * probability, axis=(1, 2, 3))
    total = tf.reduce_sum(truth, axis=(1, 2, 3)) + tf.reduce_sum(probability, axis=(1, 2, 3))
    return 1.0 - (2.0 * overlap + SMOOTHING) / (total + SMOOTHING)


def segmentation_loss(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The training loss: binary cross-entropy + Dice loss.

    Args:
        truth: Masks of 0 and 1, float32 (batch, height, width, 1).
        logits: Logits, float32 of the same shape.

    Returns:
        The loss of each image, 0 or more, float32 (batch,).
    """
    return binary_cross_entropy(truth, logits) + dice_loss(truth, logits)


def presence_loss(masks: tf.Tensor, cells: tf.Tensor, logit: tf.Tensor) -> tf.Tensor:
    """Error of the presence head: binary cross-entropy of its cells and of the whole image.

    Args:
        masks: Masks of 0 and 1, float32 (batch, height, width, 1).
        cells: Logits of a tumor in each cell, float32 (batch, rows, columns, 1), of a grid over the image.
        logit: Logit of a tumor in the image, float32 (batch, 1).

    Returns:
        The loss of each image, 0 or more, float32 (batch,).
    """
    side = masks.shape[1] // cells.shape[1]
    covered = tf.nn.avg_pool2d(masks, side, side, "VALID")
    has_tumor = tf.reduce_max(masks, axis=(1, 2, 3))[:, tf.newaxis]
    whole = tf.nn.sigmoid_cross_entropy_with_logits(has_tumor, logit)[:, 0]
    return CELLS_WEIGHT * binary_cross_entropy(tf.minimum(covered / ENOUGH, 1.0), cells) + whole
