"""Training steps, and the average of the weights."""

from dataclasses import replace

import keras
import numpy as np
import tensorflow as tf

from unet.options import ModelConfig, TrainingOptions
from unet.training.learner import Learner

OPTIONS = TrainingOptions(ema=0.5, model=ModelConfig(width=2, depth=2), weight_decay=0.0)


def batch(seed: int):
    random = np.random.default_rng(seed)
    images = random.random((4, 8, 8, 1)).astype(np.float32)
    return tf.constant(images), tf.constant((images > 0.7).astype(np.float32))


def test_the_average_starts_with_the_first_step_and_then_spans_more_of_them():
    learner = Learner(OPTIONS, 4, steps=100, strategy=tf.distribute.get_strategy())
    learner.train_step(*batch(0))
    # After one step, the average equals that step's weights: nothing is left of the random initial ones.
    for average, current in zip(learner.averaged.variables, learner.model.variables, strict=True):
        np.testing.assert_allclose(average, current, atol=1e-7)
    for step in range(1, 20):
        before = [variable.numpy() for variable in learner.averaged.variables]
        learner.train_step(*batch(step))
    # The average spans a tenth of 20 steps, so it moves halfway.
    for old, average, current in zip(before, learner.averaged.variables, learner.model.variables, strict=True):
        np.testing.assert_allclose(average, (old + current.numpy()) / 2, atol=1e-6)


def test_gradients_in_float16_are_close_to_those_in_float32():
    def first_moments(precision: str) -> np.ndarray:
        """First moments of the gradients of one step, from AdamW."""
        keras.config.set_dtype_policy(precision)
        try:
            options = replace(OPTIONS, precision=precision, model=ModelConfig(width=8, depth=4))
            learner = Learner(options, 16, steps=10, strategy=tf.distribute.get_strategy())
        finally:
            keras.config.set_dtype_policy("float32")
        random = np.random.default_rng(0)
        # With many pixels, the gradient of each is small enough to become 0 in float16.
        images = random.random((2, 256, 256, 1)).astype(np.float32)
        learner.train_step(tf.constant(images), tf.constant((images > 0.99).astype(np.float32)))
        adam = getattr(learner.optimizer, "inner_optimizer", learner.optimizer)
        return np.concatenate([moment.numpy().ravel() for moment in adam._momentums])

    exact, rounded = first_moments("float32"), first_moments("mixed_float16")
    assert np.linalg.norm(exact) > 0
    assert np.linalg.norm(rounded - exact) < 0.2 * np.linalg.norm(exact)


def test_a_restored_learner_continues_identically():
    one, other = (Learner(OPTIONS, 4, steps=10, strategy=tf.distribute.get_strategy()) for _ in range(2))
    one.train_step(*batch(0))
    other.restore(one.state())
    for learner in (one, other):
        learner.train_step(*batch(1))
    for ours, theirs in zip(one.state(), other.state(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
