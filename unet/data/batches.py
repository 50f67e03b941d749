"""A folder of images and masks -> checked pixels in memory -> batches by tf.data.

The folder holds images/ and masks/ with equal names (Kaggle's layout); sizes may differ between pairs.
Files are images, or NIfTI volumes, of which every slice is a pair.
"""

import numpy as np
import tensorflow as tf

from unet.data.augmentation import augment, paste_tumors
from unet.data.slices import Slices
from unet.images.preprocessing import to_network_input
from unet.options import AugmentationConfig


def training_batches(
    slices: Slices,
    indices: np.ndarray,
    batch_size: int,
    epochs: range,
    seed: int,
    config: AugmentationConfig,
    first_step: int = 0,
    part: range | None = None,
) -> tf.data.Dataset:
    """Augmented batches of those epochs: images and masks, float32 (batch, size, size, 1).

    The first `first_step` batches are left out. Of each batch there is only `part`, where given: it is
    the same, pixel by pixel, as in the whole batch.

    Order and augmentation are functions of (seed, epoch, slice) alone, and with it of who is in a
    batch, so a dataset that starts at a later epoch goes on exactly as one that ran through. The
    last, smaller batch of each epoch is left out; as the order changes, so does what it holds.
    """
    steps = len(indices) // batch_size
    part = part or range(batch_size)
    whole = len(part) == batch_size
    # A slice may get the tumor of the one before it: in a part, the first needs one that is not in it.
    columns = [*part] if whole else [(part.start - 1) % batch_size, *part]

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = tf.random.fold_in(tf.constant([seed, 0]), tf.cast(epoch, tf.int32))

        def seed_of(index: tf.Tensor) -> tf.Tensor:
            return tf.random.fold_in(epoch_seed, tf.cast(index, tf.int32))

        order = tf.random.experimental.stateless_shuffle(tf.constant(indices), epoch_seed)
        order = tf.reshape(order[: steps * batch_size], (steps, batch_size))
        taken = tf.reshape(tf.gather(order, columns, axis=1), [-1])
        items = tf.data.Dataset.from_tensor_slices((taken, tf.repeat(order[:, 0], len(columns))))
        return items.map(lambda index, first: (seed_of(index), seed_of(first), index))

    def load(item_seed: tf.Tensor, batch_seed: tf.Tensor, index: tf.Tensor) -> tuple:
        image, mask = read(slices, index[tf.newaxis])
        return *augment(image[0], mask[0], config, item_seed), batch_seed

    def paste(images: tf.Tensor, masks: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if whole:
            images, masks = (tf.concat([some[-1:], some], axis=0) for some in (images, masks))
        draws = tf.random.stateless_uniform((batch_size,), tf.random.fold_in(seeds[0], 0))
        return paste_tumors(images, masks, (draws < config.copy_paste)[part.start : part.stop])

    items = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(one_epoch)
    items = items.skip(first_step * len(columns))
    items = items.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = items.batch(len(columns), drop_remainder=True)
    return batches.map(paste, num_parallel_calls=2, deterministic=True).prefetch(2)


def validation_batches(slices: Slices, indices: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Every one of those slices once, in order, as they are; the last batch may be smaller."""
    batches = tf.data.Dataset.from_tensor_slices(indices).batch(batch_size)
    # Each of several workers takes its part of the slices, not of files.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = batches.with_options(options)
    return batches.map(lambda some: read(slices, some), num_parallel_calls=2).prefetch(2)


def read(slices: Slices, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Network inputs and masks of those slices, float32 (batch, size, size, 1) each."""

    def take(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        masks = slices.masks[indices][..., np.newaxis].astype(np.float32)
        return to_network_input(slices.images[indices]), masks

    # The arrays may be larger than memory, so they stay numpy's and are read a batch at a time.
    images, masks = tf.numpy_function(take, [indices], (tf.float32, tf.float32))
    size = slices.pixels.shape[-1]
    shape = (indices.shape[0], size, size, 1)
    return tf.ensure_shape(images, shape), tf.ensure_shape(masks, shape)
