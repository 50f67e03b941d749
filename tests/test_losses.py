"""Losses of 2 x 2 images, computed by hand."""

import math

import pytest
import tensorflow as tf

from unet.network.losses import binary_cross_entropy, dice_loss, segmentation_loss


def images(*pixels):
    """A batch of 2 x 2 images from four numbers each."""
    return tf.reshape(tf.constant(pixels, tf.float32), (len(pixels), 2, 2, 1))


LOGIT_OF_THREE_QUARTERS = math.log(3)  # sigmoid(log 3) = 3 / 4


def test_binary_cross_entropy():
    # p = 3/4 everywhere: -log(3/4) for tumor pixels, -log(1/4) for the others.
    truth = images((1, 1, 1, 0), (0, 0, 0, 0))
    logits = tf.fill((2, 2, 2, 1), LOGIT_OF_THREE_QUARTERS)
    expected = [(3 * -math.log(0.75) - math.log(0.25)) / 4, -math.log(0.25)]
    assert binary_cross_entropy(truth, logits).numpy() == pytest.approx(expected)


def test_dice_loss_of_each_image():
    # p = 1/2 everywhere, 2 of 4 pixels are tumor: 1 - (2*1 + 1) / (2 + 2 + 1); none is: 1 - 1 / (0 + 2 + 1).
    truth = images((1, 1, 0, 0), (0, 0, 0, 0))
    logits = tf.zeros((2, 2, 2, 1))
    assert dice_loss(truth, logits).numpy() == pytest.approx([2 / 5, 2 / 3])


def test_a_perfect_prediction_has_no_loss_even_without_tumor():
    truth = images((1, 0, 0, 1), (0, 0, 0, 0))
    certain = (2 * truth - 1) * 100
    assert segmentation_loss(truth, certain).numpy() == pytest.approx([0, 0], abs=1e-6)


def test_the_gradient_is_finite_without_tumor():
    truth, logits = images((0, 0, 0, 0)), tf.fill((1, 2, 2, 1), -200.0)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = segmentation_loss(truth, logits)
    assert bool(tf.reduce_all(tf.math.is_finite(tape.gradient(loss, logits))))
