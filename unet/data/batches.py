"""Batches of slices as tf.data datasets."""

from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from unet.data.augmentation import Draws, augment, paste_tumors
from unet.data.slices import Slices
from unet.images.preprocessing import to_network_input
from unet.options import AugmentationConfig


@dataclass(frozen=True)
class BatchPlan:
    """Which training batches are made, and from what random numbers."""

    batch_size: int
    epochs: range
    seed: int = 0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    first_step: int = 0  # batches to leave out at the start of the first epoch
    part: range | None = None  # positions in each batch to make, for one of several workers; None for all


def training_batches(slices: Slices, indices: np.ndarray, plan: BatchPlan) -> tf.data.Dataset:
    """Augmented batches of images and masks, each float32 (batch, size, size, 1), for all epochs of a plan.

    Order and augmentation depend on (seed, epoch, slice) only, and copy-paste on which slices share a batch. So
    a dataset that starts at a later step continues exactly like one that ran from the start, and a part of a
    batch has the same pixels as in the whole batch. The last, smaller batch of each epoch is dropped; since the
    order changes, so do the slices in it.
    """
    batch_size = plan.batch_size
    steps = len(indices) // batch_size
    part = plan.part or range(batch_size)
    is_whole = len(part) == batch_size
    # A slice may get the tumor of the slice before it, so a part also needs the slice before its first one.
    columns = [*part] if is_whole else [(part.start - 1) % batch_size, *part]

    def one_epoch(epoch: tf.Tensor) -> tf.data.Dataset:
        epoch_seed = tf.random.fold_in(tf.constant([plan.seed, 0]), tf.cast(epoch, tf.int32))

        def seed_of(index: tf.Tensor) -> tf.Tensor:
            return tf.random.fold_in(epoch_seed, tf.cast(index, tf.int32))

        order = tf.random.experimental.stateless_shuffle(tf.constant(indices), epoch_seed)
        order = tf.reshape(order[: steps * batch_size], (steps, batch_size))
        taken = tf.reshape(tf.gather(order, columns, axis=1), [-1])
        items = tf.data.Dataset.from_tensor_slices((taken, tf.repeat(order[:, 0], len(columns))))
        return items.map(lambda index, first: (seed_of(index), seed_of(first), index))

    def load(item_seed: tf.Tensor, batch_seed: tf.Tensor, index: tf.Tensor) -> tuple:
        image, mask = to_tensors(slices, index[tf.newaxis])
        return *augment(image[0], mask[0], plan.augmentation, item_seed), batch_seed

    def paste(images: tf.Tensor, masks: tf.Tensor, seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if is_whole:
            images, masks = (tf.concat([batch[-1:], batch], axis=0) for batch in (images, masks))
        draws = tf.random.stateless_uniform((batch_size,), Draws(seeds[0]).seed_of("copy_paste"))
        return paste_tumors(images, masks, (draws < plan.augmentation.copy_paste)[part.start : part.stop])

    items = tf.data.Dataset.range(plan.epochs.start, plan.epochs.stop).flat_map(one_epoch)
    items = items.skip(plan.first_step * len(columns))
    items = items.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = items.batch(len(columns), drop_remainder=True)
    return batches.map(paste, num_parallel_calls=2, deterministic=True).prefetch(2)


def validation_batches(slices: Slices, indices: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Each of these slices once, in order and unchanged. The last batch may be smaller.

    Yields images and masks, each float32 (batch, size, size, 1).
    """
    batches = tf.data.Dataset.from_tensor_slices(indices).batch(batch_size)
    # Several workers divide the slices, not files.
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    batches = batches.with_options(options)
    return batches.map(lambda batch: to_tensors(slices, batch), num_parallel_calls=2).prefetch(2)


def to_tensors(slices: Slices, indices: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Network inputs and masks of these slices, each float32 (batch, size, size, 1)."""

    def take(indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        masks = slices.masks[indices][..., np.newaxis].astype(np.float32)
        return to_network_input(slices.images[indices]), masks

    # numpy_function: the array may be larger than memory, so it cannot become a tensor.
    images, masks = tf.numpy_function(take, [indices], (tf.float32, tf.float32))
    size = slices.pixels.shape[-1]
    shape = (indices.shape[0], size, size, 1)
    return tf.ensure_shape(images, shape), tf.ensure_shape(masks, shape)
