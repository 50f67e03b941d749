"""Augmentation moves image and mask together and depends only on its seed."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from unet.data import augmentation
from unet.data.augmentation import Draws, augment, hide_part, output_to_input, paste_tumors, resample
from unet.options import AugmentationConfig

CHANGES = ("spatial", "noise", "blur", "brightness", "contrast", "low_resolution", "gamma", "inverted_gamma")
ALWAYS = AugmentationConfig(**dict.fromkeys(CHANGES, 1))
NEVER = AugmentationConfig(**dict.fromkeys((*CHANGES, "mirror_left_right", "mirror_up_down", "copy_paste"), 0))
IMAGE = tf.constant(np.random.default_rng(0).random((32, 32, 1)), tf.float32)
BLOB = np.zeros((32, 32, 1), np.float32)
BLOB[8:20, 10:18] = 1


def seed(number: int) -> tf.Tensor:
    return tf.constant([3, number], tf.int32)


def test_nothing_changes_if_all_probabilities_are_zero():
    image, mask = augment(IMAGE, BLOB, NEVER, seed(0))
    np.testing.assert_allclose(image, IMAGE, atol=1e-6)
    np.testing.assert_array_equal(mask, BLOB)


def test_the_same_seed_gives_the_same_pixels():
    first, again, other = (augment(IMAGE, BLOB, ALWAYS, seed(n)) for n in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("changed", CHANGES)
def test_a_change_to_one_augmentation_leaves_the_random_numbers_of_the_others(changed, monkeypatch):
    def numbers(config: AugmentationConfig) -> dict[tuple, float]:
        """Every uniform number that augment draws, by its seed."""
        drawn = {}
        uniform = Draws.uniform

        def record(draws: Draws, name: str, low: float, high: float) -> tf.Tensor:
            number = uniform(draws, name, low, high)
            key = (name, *draws.seed_of(name).numpy().tolist())
            assert key not in drawn, "two draws with one name"
            drawn[key] = float(number)
            return number

        with monkeypatch.context() as patch:
            patch.setattr(Draws, "uniform", record)
            augment(IMAGE, BLOB, config, seed(1))
        return drawn

    everything, others = numbers(ALWAYS), numbers(replace(ALWAYS, **{changed: 0}))
    assert len(everything) == 7 + 7 * 2  # the moves, and per change whether it happens and by how much
    assert others.items() <= everything.items()
    assert len(others) == len(everything) - (0 if changed == "spatial" else 2)


@pytest.mark.parametrize("number", range(5))
def test_image_and_mask_move_together(number):
    config = replace(NEVER, spatial=1, mirror_left_right=0.5, mirror_up_down=0.5)
    image, mask = augment(tf.constant(BLOB), tf.constant(BLOB), config, seed(number))
    assert set(np.unique(mask)) <= {0, 1}
    # Bilinear above 1/2 and nearest can only differ in border pixels.
    assert np.mean((image.numpy() >= 0.5) != (mask.numpy() > 0)) < 0.03


def test_mirroring_is_exact():
    flipped, _ = augment(IMAGE, BLOB, replace(NEVER, mirror_left_right=1), seed(0))
    np.testing.assert_allclose(flipped, IMAGE[:, ::-1], atol=1e-5)
    flipped, _ = augment(IMAGE, BLOB, replace(NEVER, mirror_up_down=1), seed(0))
    np.testing.assert_allclose(flipped, IMAGE[::-1], atol=1e-5)


def test_a_quarter_turn_and_a_magnification_worked_by_hand():
    pixels = tf.reshape(tf.range(9.0), (3, 3, 1))
    turned = resample(pixels, output_to_input(np.pi / 2, 1.0, (0.0, 0.0), (1, 1), 3), "NEAREST")
    # 0 1 2        6 3 0
    # 3 4 5   ->   7 4 1
    # 6 7 8        8 5 2
    assert turned[..., 0].numpy().tolist() == [[6, 3, 0], [7, 4, 1], [8, 5, 2]]
    # Magnified by 3, the middle pixel fills the image.
    large = resample(pixels, output_to_input(0.0, 3.0, (0.0, 0.0), (1, 1), 3), "NEAREST")
    assert large[..., 0].numpy().tolist() == [[4, 4, 4]] * 3


@pytest.mark.parametrize("change", ["change_gamma", "change_inverted_gamma"])
def test_gamma_keeps_mean_and_standard_deviation(change):
    changed = getattr(augmentation, change)(IMAGE, Draws(seed(4))).numpy()
    assert changed.mean() == pytest.approx(IMAGE.numpy().mean(), abs=1e-5)
    assert changed.std() == pytest.approx(IMAGE.numpy().std(), abs=1e-5)
    assert not np.allclose(changed, IMAGE, atol=1e-3)


def test_contrast_keeps_the_range_and_blur_keeps_the_mean():
    contrasted = augmentation.change_contrast(IMAGE, Draws(seed(5))).numpy()
    assert contrasted.min() >= IMAGE.numpy().min() and contrasted.max() <= IMAGE.numpy().max()
    blurred = augmentation.blur(tf.ones((16, 16, 1)), Draws(seed(6))).numpy()
    np.testing.assert_allclose(blurred[4:-4, 4:-4], 1, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_images_stay_finite(value):
    image, mask = augment(tf.fill((32, 32, 1), value), tf.zeros((32, 32, 1)), ALWAYS, seed(7))
    assert np.isfinite(image).all() and not mask.numpy().any()


def test_parallel_calls_in_tf_data_give_the_same_pixels():
    numbers = tf.data.Dataset.range(24)
    parallel = numbers.map(
        lambda n: augment(IMAGE, tf.constant(BLOB), ALWAYS, tf.random.fold_in(seed(0), n)), num_parallel_calls=4
    )
    for number, (image, mask) in zip(range(24), parallel, strict=True):
        item_seed = tf.random.fold_in(seed(0), tf.constant(number, tf.int64))
        expected_image, expected_mask = augment(IMAGE, tf.constant(BLOB), ALWAYS, item_seed)
        np.testing.assert_allclose(image, expected_image, atol=1e-4)
        np.testing.assert_array_equal(mask, expected_mask)


def test_a_pasted_tumor_is_complete_and_fades_into_the_slice():
    images = np.zeros((2, 16, 16, 1), np.float32)
    masks = np.zeros_like(images)
    images[0], masks[0, 6:10, 6:10], masks[1, 0, 0] = 1.0, 1.0, 1.0
    pasted, pasted_masks = paste_tumors(images, masks, [True])
    # The dark second slice gets the tumor of the bright first one, 16 pixels, and keeps its own, 1 pixel.
    assert (pasted[0, 6:10, 6:10] == 1).numpy().all() and pasted_masks[0].numpy().sum() == 17
    edge = pasted[0, 8, :, 0].numpy()
    np.testing.assert_allclose(edge, [0, 0, 0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2, 0, 0], atol=1e-6)
    unchanged, same_masks = paste_tumors(images, masks, [False])
    np.testing.assert_array_equal(unchanged, images[1:])
    np.testing.assert_array_equal(same_masks, masks[1:])


def test_a_pasted_tumor_covers_the_one_that_was_there():
    images = np.zeros((2, 16, 16, 1), np.float32)
    masks = np.zeros_like(images)
    masks[0, 6:10, 6:10], masks[1, 8, :] = 1, 1
    _, (pasted,) = paste_tumors(images, masks, [True])
    # The own tumor is a line along row 8. Of its 16 pixels, the pasted tumor has 4. Beside these, 2 on each side show
    # more of the other slice than of this one (0.8 and 0.6), so they are no tumor any more.
    np.testing.assert_array_equal(pasted[8, :, 0], [1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1])
    assert pasted.numpy().sum() == 12 + 12  # the rest of the pasted tumor, and row 8


@pytest.mark.parametrize("number", range(16))
def test_all_of_the_tumor_is_hidden_or_none_of_it(number):
    image = tf.ones((64, 64, 1)) * 0.5
    mask = np.zeros((64, 64, 1), np.float32)
    mask[20:30, 36:44] = 1
    draws = Draws(seed(number))
    shown, kept = hide_part(image, tf.constant(mask), tf.constant(False), draws)
    np.testing.assert_array_equal(kept, mask)
    np.testing.assert_allclose(shown.numpy()[mask > 0], 0.5, atol=1e-6)
    hidden, empty = hide_part(image, tf.constant(mask), tf.constant(True), draws)
    # Covered in one grey level, black or not.
    assert not empty.numpy().any() and np.ptp(hidden.numpy()[mask > 0]) < 1e-6
    assert abs(hidden.numpy()[mask > 0][0] - 0.5) > 1e-3


def test_a_part_of_a_head_without_tumor_is_hidden():
    shares = []
    for number in range(20):
        shown, mask = hide_part(tf.ones((64, 64, 1)), tf.zeros((64, 64, 1)), tf.constant(True), Draws(seed(number)))
        assert not mask.numpy().any()
        shares.append(float(tf.reduce_mean(tf.cast(shown == 1, tf.float32))))
    assert 0 < min(shares) < 0.7 and max(shares) < 1
