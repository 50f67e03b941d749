"""Each preprocessing step on images small enough to check by hand, eagerly and inside tf.data."""

import numpy as np
import pytest
import tensorflow as tf

from unet.images import preprocessing as steps

RAMP = np.arange(48, dtype=np.uint8).reshape(6, 8) * 4


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (512, 512, (0, 0, 8, 8)),
        (4, 8, (2, 0, 4, 8)),
        (8, 4, (0, 2, 8, 4)),
        (5, 7, (1, 0, 6, 8)),  # 5 * 8/7 = 5.7
        (5, 16, (2, 0, 3, 8)),  # 5 * 8/16 = 2.5
        (1, 5000, (3, 0, 1, 8)),  # thinner than a pixel, but kept
        (1, 1, (0, 0, 8, 8)),
    ],
)
def test_placement_is_centered_and_keeps_the_aspect_ratio(height, width, expected):
    assert steps.placement(height, width, 8) == expected


def test_shrinking_averages_and_leaves_a_margin():
    image = np.array([[0, 100, 40, 40], [100, 200, 40, 40]], np.uint8)
    # 2 x 4 to 2 x 2: one row with the means of two blocks, then one row of margin.
    assert steps.resize_into_square(image, 2).tolist() == [[100, 40], [0, 0]]


def test_halves_are_rounded_to_even():
    # The blocks have means of 0.5, 1.5 and 2.5. OpenCV would round uint8 to 1, 2 and 3.
    image = np.array([[0, 1, 1, 2, 2, 3], [0, 1, 1, 2, 2, 3]], np.uint8)
    assert steps.resize_into_square(image, 3)[1].tolist() == [0, 2, 2]


def test_contrast_is_stretched_between_percentiles():
    image = np.full((10, 100), 60, np.uint8)
    image[:5] = 20
    image[0, 0] = 255  # one hot pixel in a thousand is clipped
    stretched = steps.stretch_contrast(image)
    assert stretched[2, 2] == 0 and stretched[8, 8] == 255 and stretched[0, 0] == 255


@pytest.mark.parametrize("value", [0, 7, 255])
def test_a_constant_image_becomes_black(value):
    assert not steps.stretch_contrast(np.full((5, 3), value, np.uint8)).any()


def test_a_mask_pixel_is_tumor_if_half_of_it_is():
    # fmt: off
    mask = np.array(
        [
            [1, 1, 0, 0],
            [1, 0, 1, 0],
            [0, 0, 1, 1],
            [1, 0, 1, 1],
        ],
        bool,
    )
    # fmt: on
    # The blocks have 3, 1, 1 and 4 tumor pixels out of 4.
    assert steps.to_training_mask(mask, 2).tolist() == [[1, 0], [0, 1]]


def test_a_tiny_tumor_remains_a_tumor():
    mask = np.zeros((8, 8), bool)
    mask[2, 4:7] = True  # half of one pixel of 4 x 4, a quarter of another
    assert steps.to_training_mask(mask, 4).nonzero() == ([1], [2])
    assert steps.to_training_mask(mask, 2).nonzero() == ([0], [1])  # 3/16 of it
    assert not steps.to_training_mask(np.zeros((8, 8), bool), 2).any()


def test_network_input_is_between_0_and_1():
    inputs = steps.to_network_input(np.array([[[0, 51], [255, 102]]], np.uint8))
    assert inputs.shape == (1, 2, 2, 1) and inputs.dtype == np.float32
    assert inputs.ravel().tolist() == pytest.approx([0, 0.2, 1, 0.4])


@pytest.mark.parametrize("shape", [(64, 64), (100, 60), (33, 77), (1, 50), (1, 1), (16, 16)])
def test_to_native_size_undoes_resize_into_square(shape):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    image = np.exp(-(((rows / shape[0] - 0.4) ** 2 + (columns / shape[1] - 0.6) ** 2) * 8))
    image = (255 * image).astype(np.float32)
    back = steps.to_native_size(steps.resize_into_square(image, 64), *shape)
    assert back.shape == shape
    assert np.abs(back - image).mean() < 4


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 64), (101, 77)])
def test_percentiles_equal_those_of_numpy(shape):
    image = np.random.default_rng(shape[0]).integers(0, 256, shape, np.uint8)
    assert steps.percentiles(image) == pytest.approx(np.percentile(image, steps.PERCENTILES))


STEPS = {
    "stretch_contrast": (steps.stretch_contrast, tf.uint8),
    "resize_into_square": (lambda image: steps.resize_into_square(image, 4), tf.uint8),
    "to_training_image": (lambda image: steps.to_training_image(image, 4), tf.uint8),
    "to_training_mask": (lambda image: steps.to_training_mask(image > 90, 4), tf.uint8),
    "to_network_input": (lambda image: steps.to_network_input(image[np.newaxis]), tf.float32),
    "to_native_size": (lambda image: steps.to_native_size(image[:6, :6].astype(np.float32), 9, 5), tf.float32),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_gives_the_same_result_inside_tf_data(name):
    step, dtype = STEPS[name]
    dataset = tf.data.Dataset.from_tensors(RAMP).map(lambda x: tf.numpy_function(step, [x], dtype))
    np.testing.assert_array_equal(next(iter(dataset)), step(RAMP))
