"""Pairs of an image and its mask: what a data folder contains, and how a pair is read.

images/ and masks/ contain images, or NIfTI volumes, of the same name. Each slice of a volume is a pair. Images in a
folder without tumors have no mask files: their masks are empty.
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
from unet.images.folders import find_files, without_suffix
from unet.images.nifti import VOLUME_SUFFIXES, count_slices, is_volume, read_volume, read_volume_mask
from unet.images.preprocessing import resize_into_square, to_training_image
from unet.images.reading import IMAGE_SUFFIXES, read_image, read_mask
from unet.images.volume import Volume
from unet.options import ReadingOptions

IMAGES, MASKS = "images", "masks"


@dataclass(frozen=True)
class Pair:
    """An image file and its mask file, or one slice of a volume and its mask."""

    id: str  # path below images/ without suffix; "name@index" for a slice of a volume; "folder/..." if without a mask
    image_path: Path
    mask_path: Path | None  # None: the image has no tumor
    reading: ReadingOptions = ReadingOptions()
    slice_index: int | None = None  # in the volume

    @property
    def name(self) -> str:
        """Id of the image, or of the volume that contains the slice."""
        return self.id if self.slice_index is None else self.id.rpartition("@")[0]

    @property
    def preparation(self) -> Callable[[np.ndarray, int], np.ndarray]:
        """The function that turns the image, and the network's size, into an input."""
        # Slices of volumes keep their contrast: it has been stretched over the whole volume.
        return to_training_image if self.slice_index is None else resize_into_square

    def read_image(self) -> np.ndarray:
        """The image, grey uint8 (height, width); ImageError if the file cannot be used."""
        if self.slice_index is None:
            return read_image(self.image_path, self.reading)
        return self._volume_and_masks()[0].square_pixels(self.slice_index)

    def read_mask(self, image: np.ndarray) -> np.ndarray:
        """The mask of `image`, bool (height, width); ImageError if unusable or not of the image's size."""
        if not self.mask_path:
            return np.zeros(image.shape, bool)
        if self.slice_index is not None:
            volume, masks = self._volume_and_masks()
            mask = masks[self.slice_index].astype(np.uint8)
            # Nearest: bilinear would invent values between background and tumor.
            return volume.resample_to_square_pixels(mask, cv2.INTER_NEAREST).astype(bool)
        mask = read_mask(self.mask_path, self.reading)
        if image.shape != mask.shape:
            raise ImageError(
                f"'{self.mask_path}' has {mask.shape[1]} x {mask.shape[0]} pixels but its image has "
                f"{image.shape[1]} x {image.shape[0]}: they must have the same size."
            )
        return mask

    def _volume_and_masks(self) -> tuple[Volume, np.ndarray]:
        # Locked: otherwise, each thread would read the volume for its own slice.
        with _VOLUME_LOCKS[hash(self.image_path) % len(_VOLUME_LOCKS)]:
            return _read_volume_and_masks(self.image_path, self.mask_path, self.reading)


_VOLUME_LOCKS = [threading.Lock() for _ in range(64)]


@functools.lru_cache(maxsize=max(4, os.cpu_count() or 1))
def _read_volume_and_masks(
    image_path: Path, mask_path: Path | None, reading: ReadingOptions
) -> tuple[Volume, np.ndarray | None]:
    volume = read_volume(image_path, reading=reading)
    return volume, read_volume_mask(mask_path, volume, reading) if mask_path else None


def find_all_pairs(
    folder: Path | None, no_tumor: tuple[Path, ...] = (), reading: ReadingOptions = ReadingOptions()
) -> tuple[list[Pair], list[str]]:
    """Pairs in a data folder, if there is one, then those in folders without tumors, and one message per problem."""
    pairs, problems = find_pairs(folder, reading) if folder else ([], [])
    for other in no_tumor:
        more, more_problems = find_tumor_free(other, reading)
        pairs, problems = pairs + more, problems + more_problems
    first: dict[str, Pair] = {}
    for pair in pairs:
        if first.setdefault(pair.id, pair) is not pair:
            other = first[pair.id].image_path
            problems.append(f"'{pair.image_path}' and '{other}' have the same id '{pair.id}': rename one of them.")
    return pairs, problems


def find_tumor_free(folder: Path, reading: ReadingOptions = ReadingOptions()) -> tuple[list[Pair], list[str]]:
    """All images and slices of volumes in a folder without tumors, or in its images/, sorted by id, and one message per
    file that has a problem."""
    if (folder / MASKS).is_dir():
        raise UserError(f"'{folder}' has a folder {MASKS}/, but images without a tumor need none: use --data for it.")
    root = folder / IMAGES if (folder / IMAGES).is_dir() else folder
    pairs, problems = [], []
    for path in find_files(root, IMAGE_SUFFIXES + VOLUME_SUFFIXES):
        name = without_suffix(path.relative_to(root).as_posix())
        pair = Pair(f"{folder.resolve().name}/{name}", path, None, reading)
        if problem := name_problem(path, pair.id):
            problems.append(problem)
            continue
        slices, unreadable = slice_pairs([pair]) if is_volume(path) else ([pair], [])
        pairs, problems = pairs + slices, problems + unreadable
    if not pairs and not problems:
        problems.append(f"'{root}' contains no image files.")
    return pairs, problems


def find_pairs(folder: Path, reading: ReadingOptions = ReadingOptions()) -> tuple[list[Pair], list[str]]:
    """All pairs in a data folder, sorted by id, and one message per file that has a problem."""
    paths: dict[str, dict[str, Path]] = {}
    problems = []
    for kind in (IMAGES, MASKS):
        if not (folder / kind).is_dir():
            raise UserError(f"'{folder}' has no folder {kind}/: it must contain images/ and masks/.")
        for path in find_files(folder / kind, IMAGE_SUFFIXES + VOLUME_SUFFIXES):
            id = without_suffix(path.relative_to(folder / kind).as_posix())
            if problem := name_problem(path, id):
                problems.append(problem)
                continue
            if kind in paths.setdefault(id, {}):
                problems.append(f"'{path}' and '{paths[id][kind]}' have the same name: rename one of them.")
            paths[id][kind] = path
    for id, found in paths.items():
        for kind, missing in ((IMAGES, MASKS), (MASKS, IMAGES)):
            if missing not in found:
                suffix = ".nii.gz" if is_volume(found[kind]) else ".png"
                problems.append(f"No {missing[:-1]} for '{found[kind]}': expected '{missing}/{id}{suffix}'.")
    if not paths:
        problems.append(f"'{folder / IMAGES}' contains no image files.")
    # In numeric order: 9 before 10.
    complete = (id for id, found in paths.items() if len(found) == 2)
    ids = sorted(complete, key=lambda id: (int(id) if id.isdecimal() else -1, id))
    pairs = [Pair(id, paths[id][IMAGES], paths[id][MASKS], reading) for id in ids]
    volumes = [is_volume(path) for pair in pairs for path in (pair.image_path, pair.mask_path)]
    if any(volumes) and not all(volumes):
        problems.append(f"'{folder}' contains both images and volumes: use a separate folder for each.")
    elif any(volumes):
        pairs, unreadable = slice_pairs(pairs)
        problems += unreadable
    return pairs, problems


def name_problem(path: Path, id: str) -> str:
    """What is wrong with the name of a file that has this id; "" if nothing is."""
    is_utf8 = id.encode(errors="ignore").decode() == id  # Linux allows any bytes in a name
    return "" if is_utf8 else f"The file name {os.fsencode(path)!r} is not UTF-8: rename it."


def slice_pairs(volumes: list[Pair]) -> tuple[list[Pair], list[str]]:
    """One pair per slice of these volumes, and one message per volume that cannot be read."""
    pairs, problems = [], []
    for volume in volumes:
        try:
            count = count_slices(volume.image_path, volume.reading)
        except ImageError as error:
            problems.append(str(error))
            continue
        digits = len(str(count - 1))
        pairs += [
            Pair(f"{volume.id}@{index:0{digits}d}", volume.image_path, volume.mask_path, volume.reading, index)
            for index in range(count)
        ]
    return pairs, problems
