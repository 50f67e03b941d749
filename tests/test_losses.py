"""Losses of 2 x 2 images, worked by hand."""

import math

import pytest
import tensorflow as tf

from unet.network.losses import binary_cross_entropy, dice_loss, segmentation_loss


def images(*pixels):
    """A batch of 2 x 2 images from four numbers each."""
    return tf.reshape(tf.constant(pixels, tf.float32), (len(pixels), 2, 2, 1))


LOGIT_OF_THREE_QUARTERS = math.log(3)  # sigmoid(log 3) = 3 / 4


def test_binary_cross_entropy():
    # p = 3/4 everywhere: -log(3/4) where tumor is, -log(1/4) where not.
    truth = images((1, 1, 1, 0), (0, 0, 0, 0))
    logits = tf.fill((2, 2, 2, 1), LOGIT_OF_THREE_QUARTERS)
    expected = [(3 * -math.log(0.75) - math.log(0.25)) / 4, -math.log(0.25)]
    assert binary_cross_entropy(truth, logits).numpy() == pytest.approx(expected)


def test_dice_of_each_image():
    # p = 1/2 everywhere, truth 2 of 4: 1 - (2*1 + 1) / (2 + 2 + 1); truth empty: 1 - 1 / (0 + 2 + 1).
    truth = images((1, 1, 0, 0), (0, 0, 0, 0))
    logits = tf.zeros((2, 2, 2, 1))
    assert dice_loss(truth, logits, "image").numpy() == pytest.approx([2 / 5, 2 / 3])


def test_dice_of_the_batch():
    # Over both images: overlap 1, truth 2, prediction 4: 1 - (2*1 + 1) / (2 + 4 + 1), for each image.
    truth = images((1, 1, 0, 0), (0, 0, 0, 0))
    logits = tf.zeros((2, 2, 2, 1))
    assert dice_loss(truth, logits, "batch").numpy() == pytest.approx([4 / 7, 4 / 7])


@pytest.mark.parametrize("over", ["image", "batch"])
def test_perfect_and_empty_cost_nothing(over):
    truth = images((1, 0, 0, 1), (0, 0, 0, 0))
    sure = (2 * truth - 1) * 100
    assert segmentation_loss(truth, sure, over).numpy() == pytest.approx([0, 0], abs=1e-6)


def test_gradient_is_finite_where_nothing_is_there():
    truth, logits = images((0, 0, 0, 0)), tf.fill((1, 2, 2, 1), -200.0)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = segmentation_loss(truth, logits)
    assert bool(tf.reduce_all(tf.math.is_finite(tape.gradient(loss, logits))))
