"""What training minimises: binary cross-entropy plus soft Dice, from masks and logits.

Shapes are (batch, height, width, 1); masks hold 0 and 1; results are float32, one per image.
"""

import tensorflow as tf

# Keeps Dice defined, and its gradient finite, where neither mask nor prediction has tumor.
SMOOTHING = 1.0


def binary_cross_entropy(truth: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean over pixels of -t log p - (1-t) log(1-p) with p = sigmoid(logit), >= 0, per image (batch,)."""
    per_pixel = tf.nn.sigmoid_cross_entropy_with_logits(labels=truth, logits=logits)
    return tf.reduce_mean(per_pixel, axis=(1, 2, 3))


def dice_loss(truth: tf.Tensor, logits: tf.Tensor, over: str = "image") -> tf.Tensor:
    """1 - (2 Σtp + s) / (Σt + Σp + s) with p = sigmoid(logit) and s = SMOOTHING, in [0, 1], (batch,).

    over="image" sums over each image (Milletari 2016, arXiv 1606.04797, without the squares);
    over="batch" over the whole batch, on all replicas, as nnU-Net does: every image gets the same loss.
    An empty mask with an empty prediction gives 0.
    """
    probability = tf.sigmoid(logits)
    overlap = tf.reduce_sum(truth * probability, axis=(1, 2, 3))
    total = tf.reduce_sum(truth, axis=(1, 2, 3)) + tf.reduce_sum(probability, axis=(1, 2, 3))
    if over == "batch":
        replicas = tf.distribute.get_replica_context()
        overlap, total = (
            tf.ones_like(part) * replicas.all_reduce("sum", tf.reduce_sum(part)) for part in (overlap, total)
        )
    return 1.0 - (2.0 * overlap + SMOOTHING) / (total + SMOOTHING)


def segmentation_loss(truth: tf.Tensor, logits: tf.Tensor, dice_over: str = "image") -> tf.Tensor:
    """Binary cross-entropy + Dice loss per image (batch,)."""
    return binary_cross_entropy(truth, logits) + dice_loss(truth, logits, dice_over)
