"""What training minimizes: binary cross-entropy plus soft Dice, from masks and logits, and the error of the evidence.

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


def presence_loss(has_tumor: tf.Tensor, evidence: tf.Tensor) -> tf.Tensor:
    """Binary cross-entropy of whole images, -t log e - (1 - t) log(1 - e).

    Args:
        has_tumor: 1 for images with a tumor and 0 for others, float32 (batch,).
        evidence: How strongly each image speaks for a tumor, float32 (batch,), in [0, 1].

    Returns:
        The loss of each image, 0 or more, float32 (batch,).
    """
    evidence = tf.clip_by_value(evidence, 1e-6, 1 - 1e-6)
    return -has_tumor * tf.math.log(evidence) - (1 - has_tumor) * tf.math.log(1 - evidence)
