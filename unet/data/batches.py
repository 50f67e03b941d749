"""Batches of slices as tf.data datasets."""

from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from unet.data.augmentation import Draws, augment, hide_part, paste_tumors
from unet.data.healing import AlteredSlices
from unet.data.slices import Slices
from unet.images.preprocessing import to_network_input
from unet.options import AugmentationConfig

TUMOR, WITHOUT_TUMOR, HEALED, HIDDEN = range(4)  # kinds of items: HIDDEN is a slice whose tumor is covered


@dataclass(frozen=True)
class Material:
    """What training batches are made of."""

    slices: Slices
    with_tumor: np.ndarray  # indices of slices, int64 (n,)
    without_tumor: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    healed: AlteredSlices = field(default_factory=AlteredSlices.none)
    grafted: AlteredSlices = field(default_factory=AlteredSlices.none)
    labels: np.ndarray | None = None  # of a teacher, uint8 (slices, size, size)

    def take(self, index: int, kind: int, is_grafted: bool) -> tuple[np.ndarray, np.ndarray]:
        """Image uint8 (size, size) and mask uint8 (size, size, channels) of an item. Its index is that of a slice, or
        of a healed one."""
        if kind == HEALED:
            return self.healed.images[index], np.zeros((*self.healed.images.shape[1:], self.channels), np.uint8)
        image = self.grafted.find(index) if is_grafted else None
        masks = [255 * self.slices.masks[index]] + ([] if self.labels is None else [self.labels[index]])
        return self.slices.images[index] if image is None else image, np.stack(masks, axis=-1)

    @property
    def channels(self) -> int:
        """Channels of masks: the mask, and with a teacher also what is learned."""
        return 1 if self.labels is None else 2


@dataclass(frozen=True)
class BatchPlan:
    """Which training batches are made, and from what random numbers."""

    batch_size: int  # slices with tumor
    epochs: range
    seed: int = 0
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    without_tumor: int = 0  # slices without tumor, which come after the others in each batch
    first_step: int = 0  # batches to leave out at the start of the first epoch
    worker: int = 0  # make only this worker's part of each batch,
    workers: int = 1  # if there are several


@tf.autograph.experimental.do_not_convert  # AutoGraph takes seconds, and there is no Python loop over tensors
def training_batches(material: Material, plan: BatchPlan) -> tf.data.Dataset:
    """Augmented batches of images, float32 (batch, size, size, 1), and masks, with one or two channels as in Material,
    for all epochs of a plan.

    Order and augmentation depend on (seed, epoch, slice) only, and copy-paste on which slices share a batch. So
    a dataset that starts at a later step continues exactly like one that ran from the start, and a part of a
    batch has the same pixels as in the whole batch. The last, smaller batch of each epoch is dropped; since the
    order changes, so do the slices in it.
    """
    maker = BatchMaker(material, plan)
    length = len(maker.columns)
    items = tf.data.Dataset.range(plan.epochs.start, plan.epochs.stop).flat_map(maker.items_of_epoch)
    items = items.skip(plan.first_step * length)
    items = items.map(maker.load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    batches = items.batch(length, drop_remainder=True)
    return batches.map(maker.finish, num_parallel_calls=2, deterministic=True).prefetch(2)


class BatchMaker:
    """The steps by which training batches are made. All of them work on tensors.

    An item is an index, a kind and a seed, and the seed that all items of its batch share.
    """

    def __init__(self, material: Material, plan: BatchPlan):
        self.material, self.plan = material, plan
        self.columns = columns_of_worker(plan)
        self.own = plan.batch_size // plan.workers  # slices with tumor
        self.size = material.slices.pixels.shape[-1]

    def items_of_epoch(self, epoch: tf.Tensor) -> tf.data.Dataset:
        """All items of an epoch, one batch after another."""
        plan = self.plan
        steps = len(self.material.with_tumor) // plan.batch_size
        epoch_seed = tf.random.fold_in(tf.constant([plan.seed, 0]), tf.cast(epoch, tf.int32))
        order = tf.random.experimental.stateless_shuffle(tf.constant(self.material.with_tumor), epoch_seed)
        order = tf.reshape(order[: steps * plan.batch_size], (steps, plan.batch_size))
        index, kind, seed_number = order, tf.zeros_like(order), order
        if plan.without_tumor:
            shape = (steps, plan.without_tumor)
            more_index, more_kind = self.draw_without_tumor(steps * plan.without_tumor, epoch_seed)
            index = tf.concat([index, tf.reshape(more_index, shape)], axis=1)
            kind = tf.concat([kind, tf.reshape(more_kind, shape)], axis=1)
            # Some are drawn twice in an epoch, so each gets the seed of its position.
            positions = tf.range(tf.size(more_index, tf.int64)) + len(self.material.slices.pairs)
            seed_number = tf.concat([seed_number, tf.reshape(positions, shape)], axis=1)
        parts = [tf.reshape(tf.gather(part, self.columns, axis=1), [-1]) for part in (index, kind, seed_number)]
        items = tf.data.Dataset.from_tensor_slices((*parts, tf.repeat(order[:, 0], len(self.columns))))

        def seed_of(number: tf.Tensor) -> tf.Tensor:
            return tf.random.fold_in(epoch_seed, tf.cast(number, tf.int32))

        return items.map(lambda index, kind, number, first: (index, kind, seed_of(number), seed_of(first)))

    def draw_without_tumor(self, count: int, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Indices and kinds of items without tumor, each int64 (count,): as many of each kind, in random order.

        If there are too few of a kind, they are repeated.
        """
        material = self.material
        sources = {WITHOUT_TUMOR: material.without_tumor, HEALED: np.arange(len(material.healed.indices))}
        sources[HIDDEN] = material.with_tumor if self.plan.augmentation.hidden else material.with_tumor[:0]
        sources = {kind: indices for kind, indices in sources.items() if len(indices)}
        each = -(-count // len(sources))
        drawn = []
        for kind, indices in sources.items():
            order = tf.random.experimental.stateless_shuffle(tf.constant(indices), Draws(seed).seed_of(f"kind {kind}"))
            drawn.append(tf.tile(order, [-(-each // len(indices))])[:each])
        kinds = tf.tile(tf.constant(list(sources), tf.int64), [each])
        return tf.reshape(tf.stack(drawn, axis=1), [-1])[:count], kinds[:count]

    def load(self, index: tf.Tensor, kind: tf.Tensor, item_seed: tf.Tensor, batch_seed: tf.Tensor) -> tuple:
        """The augmented image and mask of an item, and what `finish` needs to know about it."""
        config = self.plan.augmentation
        is_grafted = (kind == TUMOR) & Draws(item_seed).happens("grafted", config.grafted)
        # numpy_function: the array may be larger than memory, so it cannot become a tensor.
        taken = tf.numpy_function(self.material.take, [index, kind, is_grafted], (tf.uint8, tf.uint8))
        image = tf.ensure_shape(taken[0], (self.size, self.size))[..., tf.newaxis]
        mask = tf.ensure_shape(taken[1], (self.size, self.size, self.material.channels))
        image, mask = tf.cast(image, tf.float32) / 255, tf.cast(mask, tf.float32) / 255
        return *augment(image, mask, config, item_seed), kind, item_seed, batch_seed

    def finish(
        self, images: tf.Tensor, masks: tf.Tensor, kinds: tf.Tensor, seeds: tf.Tensor, batch_seeds: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The images and masks of a batch, after the changes that depend on several slices or on the kind."""
        plan, own = self.plan, self.own
        # The first slice only lends its tumor to the second one.
        draws = tf.random.stateless_uniform((plan.batch_size,), Draws(batch_seeds[0]).seed_of("copy_paste"))
        chosen = (draws < plan.augmentation.copy_paste)[own * plan.worker :][:own]
        pasted = paste_tumors(images[: own + 1], masks[: own + 1], chosen)
        images = tf.concat([pasted[0], images[own + 1 :]], axis=0)
        masks = tf.concat([pasted[1], masks[own + 1 :]], axis=0)
        if plan.without_tumor:
            items = (images, masks, kinds[1:], seeds[1:])
            one = tf.TensorSpec((self.size, self.size, 1))
            images, masks = tf.map_fn(self.maybe_hide, items, fn_output_signature=(one, one))
        shape = (len(self.columns) - 1, self.size, self.size)
        return tf.ensure_shape(images, (*shape, 1)), tf.ensure_shape(masks, (*shape, self.material.channels))

    def maybe_hide(self, item: tuple) -> tuple[tf.Tensor, tf.Tensor]:
        """The image and mask of an item, maybe with a part hidden."""
        image, mask, kind, seed = item
        draws = Draws(seed).of("hidden")
        is_chosen = (kind == HIDDEN) | draws.happens("happens", self.plan.augmentation.hidden)
        return tf.cond(is_chosen, lambda: hide_part(image, mask, kind != TUMOR, draws), lambda: (image, mask))


def columns_of_worker(plan: BatchPlan) -> list[int]:
    """Positions in each batch that a worker makes: its slices with tumor, after the one before them, and without."""
    own, others = plan.batch_size // plan.workers, plan.without_tumor // plan.workers
    with_tumor = [(own * plan.worker - 1 + position) % plan.batch_size for position in range(own + 1)]
    return with_tumor + [plan.batch_size + others * plan.worker + position for position in range(others)]


@tf.autograph.experimental.do_not_convert
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
