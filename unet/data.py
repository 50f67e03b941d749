"""A folder of images and masks -> checked pixels in memory -> batches by tf.data.

The folder holds images/ and masks/ with equal names (Kaggle's layout); sizes may differ between pairs.
Files are images, or NIfTI volumes, of which every slice is a pair.
"""

import functools
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from unet.augmentation import augment, paste_tumors
from unet.download import FOLDER, download
from unet.files import (
    IMAGE_SUFFIXES,
    ImageError,
    UserError,
    image_files_below,
    read_image,
    read_mask,
    without_suffix,
)
from unet.options import MAX_PIXELS, AugmentationConfig
from unet.phantoms import write_phantoms
from unet.preprocessing import (
    resize_into_square,
    to_network_input,
    to_training_image,
    to_training_mask,
)
from unet.volumes import (
    VOLUME_SUFFIXES,
    Volume,
    count_slices,
    is_volume,
    read_volume,
    read_volume_mask,
)


@dataclass(frozen=True)
class Pair:
    """An image file and its mask file, or one slice of two volumes.

    The id is the name without suffix, below images/; of a slice "name@index".
    """

    id: str
    image: Path
    mask: Path
    index: int | None = None  # of the slice in the volume

    @property
    def name(self) -> str:
        """The id of an image, or of the volume that a slice is of."""
        return self.id if self.index is None else self.id.rpartition("@")[0]


@dataclass(frozen=True)
class Slices:
    """Checked slices at training size."""

    pairs: list[Pair]
    pixels: np.ndarray  # uint8 (slices, 2, size, size): image, mask of 0 and 1
    digests: list[str]  # of each slice's native image and mask
    tumor_percent: np.ndarray  # share of each native mask that is tumor, float (slices,)

    @property
    def ids(self) -> list[str]:
        return [pair.id for pair in self.pairs]

    @property
    def images(self) -> np.ndarray:
        """uint8 (slices, size, size)"""
        return self.pixels[:, 0]

    @property
    def masks(self) -> np.ndarray:
        """uint8 (slices, size, size) of 0 and 1"""
        return self.pixels[:, 1]

    @property
    def fingerprints(self) -> dict[str, str]:
        """The digest of each id."""
        return dict(zip(self.ids, self.digests, strict=True))

    def indices(self, ids: Iterable[str]) -> np.ndarray:
        """Where those ids stand."""
        position = {id: index for index, id in enumerate(self.ids)}
        return np.array([position[id] for id in ids], np.int64)


def data_folder(data: str) -> Path:
    """The folder that --data names; the default is downloaded, 'phantom' made, where it is not there yet."""
    if data == "phantom":
        folder = Path("data/phantom")
        try:
            if not folder.exists():
                write_phantoms(folder)
        except OSError as error:
            raise UserError(f"Cannot write '{folder}': {error.strerror}.") from error
        return folder
    folder = Path(data)
    if folder == FOLDER:
        download()
    if not folder.is_dir():
        raise UserError(
            f"No data in '{folder}': put images/ and masks/ there (README, 'The real data'), "
            "name another folder with --data, or try --data phantom."
        )
    return folder


def find_pairs(folder: Path, max_pixels: int = MAX_PIXELS) -> tuple[list[Pair], list[str]]:
    """All pairs of a data folder in the order of their ids, and a problem for each file without partner."""
    found: dict[str, dict[str, Path]] = {}
    problems = []
    for kind in ("images", "masks"):
        if not (folder / kind).is_dir():
            raise UserError(f"'{folder}' has no folder {kind}/: expected images/ and masks/ in it.")
        for path in image_files_below(folder / kind, IMAGE_SUFFIXES + VOLUME_SUFFIXES):
            id = without_suffix(path.relative_to(folder / kind).as_posix())
            if not is_text(id):
                problems.append(f"The name of {os.fsencode(path)!r} is not UTF-8: rename it.")
                continue
            if kind in found.setdefault(id, {}):
                problems.append(f"'{path}' and '{found[id][kind]}' have one name: rename one.")
            found[id][kind] = path
    for id, files in found.items():
        for kind, missing in (("images", "masks"), ("masks", "images")):
            if missing not in files:
                suffix = ".nii.gz" if is_volume(files[kind]) else ".png"
                problems.append(
                    f"No {missing[:-1]} for '{files[kind]}': expected '{missing}/{id}{suffix}'."
                )
    if not found:
        problems.append(f"'{folder}/images' holds no image files.")
    whole = sorted((id for id, files in found.items() if len(files) == 2), key=by_number)
    pairs = [Pair(id, found[id]["images"], found[id]["masks"]) for id in whole]
    volumes = [is_volume(path) for pair in pairs for path in (pair.image, pair.mask)]
    if any(volumes) and not all(volumes):
        problems.append(f"'{folder}' holds both images and volumes: give each a folder of its own.")
    elif any(volumes):
        pairs, unreadable = slices_of(pairs, max_pixels)
        problems += unreadable
    return pairs, problems


def slices_of(volumes: list[Pair], max_pixels: int) -> tuple[list[Pair], list[str]]:
    """A pair for every slice of pairs of volumes, and a problem for each that cannot be read."""
    pairs, problems = [], []
    for pair in volumes:
        try:
            count = count_slices(pair.image, max_pixels)
        except ImageError as error:
            problems.append(str(error))
            continue
        digits = len(str(count - 1))
        pairs += [
            Pair(f"{pair.id}@{index:0{digits}d}", pair.image, pair.mask, index)
            for index in range(count)
        ]
    return pairs, problems


def is_text(name: str) -> bool:
    """Whether a file's name can be written to a table or JSON: Linux allows any bytes."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False


def by_number(id: str) -> tuple[int, str]:
    """Sort key that puts 9 before 10."""
    return (int(id) if id.isdecimal() else -1, id)


def raise_problems(problems: list[str]) -> None:
    """UserError with the first ten problems and their count, if there are any."""
    if problems:
        more = f"\n... and {len(problems) - 10} more" if len(problems) > 10 else ""
        raise UserError("\n".join(problems[:10]) + more)


def read_volumes(image: Path, mask: Path, max_voxels: int) -> tuple[Volume, np.ndarray]:
    """A volume and its mask as slices; kept for the next slices."""
    with _reading[hash(image) % len(_reading)]:  # or every thread would read it for its own slice
        return _read_volumes(image, mask, max_voxels)


# One a volume, but for a few that share one.
_reading = [threading.Lock() for _ in range(64)]


@functools.lru_cache(maxsize=max(4, os.cpu_count() or 1))
def _read_volumes(image: Path, mask: Path, max_voxels: int) -> tuple[Volume, np.ndarray]:
    volume = read_volume(image, max_voxels=max_voxels)
    return volume, read_volume_mask(mask, volume, max_voxels)


def read_slice(pair: Pair, max_pixels: int) -> np.ndarray:
    """Image of a pair, grey uint8 (height, width); a volume's grey values are scaled over the whole of it."""
    if pair.index is None:
        return read_image(pair.image, max_pixels)
    volume, _ = read_volumes(pair.image, pair.mask, max_pixels)
    return volume.square_pixels(pair.index)


def scaling_of(pairs: list[Pair]) -> Callable[[np.ndarray, int], np.ndarray]:
    """How their images become network inputs: those of volumes are scaled in grey already."""
    in_volumes = bool(pairs) and pairs[0].index is not None
    return resize_into_square if in_volumes else to_training_image


def read_truth(pair: Pair, image: np.ndarray, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Mask of a pair, bool (height, width); ImageError where it has not the image's size."""
    if pair.index is not None:
        volume, masks = read_volumes(pair.image, pair.mask, max_pixels)
        mask = masks[pair.index].astype(np.uint8)
        # Nearest: a mask between 0 and 1 is none.
        return volume.squared(mask, cv2.INTER_NEAREST).astype(bool)
    mask = read_mask(pair.mask, max(MAX_PIXELS, image.size))
    if image.shape != mask.shape:
        raise ImageError(
            f"'{pair.mask}' is {mask.shape[1]} x {mask.shape[0]} pixels but its image is "
            f"{image.shape[1]} x {image.shape[0]}: a mask has its image's size."
        )
    return mask


def digest(image: np.ndarray, mask: np.ndarray) -> str:
    """Hash of a slice's pixels, whatever its files are called or compressed with."""
    content = str(image.shape).encode() + image.tobytes() + mask.tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def load_slices(
    folder: Path, size: int, memory_gib: float = 4.0, max_pixels: int = MAX_PIXELS
) -> Slices:
    """Read, check and scale every pair of a folder; UserError lists all that is wrong at once."""
    pairs, problems = find_pairs(folder, max_pixels)
    to_input = scaling_of(pairs)
    pixels = allocate((len(pairs), 2, size, size), memory_gib)
    digests = [""] * len(pairs)
    tumor_percent = np.zeros(len(pairs))
    unreadable = []

    def load(index: int) -> None:
        try:
            image = read_slice(pairs[index], max_pixels)
            mask = read_truth(pairs[index], image, max_pixels)
        except ImageError as error:
            unreadable.append(str(error))
            return
        pixels[index] = to_input(image, size), to_training_mask(mask, size)
        digests[index] = digest(image, mask)
        tumor_percent[index] = 100 * mask.mean()

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        work = threads.map(load, range(len(pairs)))
        list(tqdm(work, "Reading slices", len(pairs), disable=None, leave=False))
    # Of a volume every slice tells the same.
    raise_problems(problems + sorted(set(unreadable)) + copies(pairs, digests))
    return Slices(pairs, pixels, digests, tumor_percent)


def allocate(shape: tuple[int, ...], memory_gib: float) -> np.ndarray:
    """An uint8 array: in memory, or past that size in a file that vanishes with the process.

    UserError where there is no room for the file.
    """
    needed = int(np.prod(shape, dtype=np.int64))
    if needed <= memory_gib * 2**30:
        return np.zeros(shape, np.uint8)
    free = shutil.disk_usage(".").free
    if free < needed:
        raise UserError(
            f"The slices take {needed / 2**30:.1f} GiB, more than --memory-gib {memory_gib:g}, and the disk "
            f"of this folder has {free / 2**30:.1f} free: free some space, or raise --memory-gib."
        )
    try:
        file = tempfile.TemporaryFile(dir=".")
    except OSError as error:
        raise UserError(
            f"Cannot write to this folder, '{Path.cwd()}': {error.strerror}. Work in another, or raise "
            "--memory-gib."
        ) from error
    return np.memmap(file, np.uint8, "w+", shape=shape)


def copies(pairs: list[Pair], digests: list[str]) -> list[str]:
    """A problem for each image or volume that is another one's exact copy."""
    content: dict[Path, list[str]] = {}
    for pair, digest in zip(pairs, digests, strict=True):
        content.setdefault(pair.image, []).append(digest)
    first: dict[tuple[str, ...], Path] = {}
    problems = []
    for path, all_digests in content.items():
        original = first.setdefault(tuple(all_digests), path)
        if all(all_digests) and original is not path:
            problems.append(f"'{path}' is a copy of '{original}': delete one.")
    return problems


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
