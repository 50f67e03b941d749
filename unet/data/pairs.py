"""A folder of images and masks -> checked pixels in memory -> batches by tf.data.

The folder holds images/ and masks/ with equal names (Kaggle's layout); sizes may differ between pairs.
Files are images, or NIfTI volumes, of which every slice is a pair.
"""

import functools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from unet.errors import ImageError, UserError
from unet.images.folders import image_files_below, without_suffix
from unet.images.nifti import VOLUME_SUFFIXES, count_slices, is_volume, read_volume, read_volume_mask
from unet.images.preprocessing import resize_into_square, to_training_image
from unet.images.reading import IMAGE_SUFFIXES, read_image, read_mask
from unet.images.volume import Volume
from unet.options import MAX_PIXELS


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
                problems.append(f"No {missing[:-1]} for '{files[kind]}': expected '{missing}/{id}{suffix}'.")
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
            Pair(f"{pair.id}@{index:0{digits}d}", pair.image, pair.mask, index) for index in range(count)
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
