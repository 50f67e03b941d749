"""A folder of images and masks -> checked pixels in memory -> batches by tf.data.

The folder holds images/ and masks/ with equal names (Kaggle's layout); sizes may differ between pairs.
Files are images, or NIfTI volumes, of which every slice is a pair.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unet.data.pairs import Pair, find_pairs, read_slice, read_truth, scaling_of
from unet.errors import ImageError, UserError, raise_problems
from unet.images.preprocessing import to_training_mask
from unet.options import MAX_PIXELS


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


def digest(image: np.ndarray, mask: np.ndarray) -> str:
    """Hash of a slice's pixels, whatever its files are called or compressed with."""
    content = str(image.shape).encode() + image.tobytes() + mask.tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def load_slices(folder: Path, size: int, memory_gib: float = 4.0, max_pixels: int = MAX_PIXELS) -> Slices:
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
