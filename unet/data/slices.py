"""All slices of a data folder in memory: read, checked, and scaled to the size of the network's input."""

import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unet.data.pairs import Pair, find_all_pairs
from unet.errors import ImageError, UserError, raise_problems
from unet.fingerprints import fingerprints_of
from unet.images.preprocessing import to_training_mask
from unet.machine import thread_count
from unet.options import PairingOptions


@dataclass(frozen=True)
class Slices:
    """Checked slices at the network's input size."""

    pairs: list[Pair]
    pixels: np.ndarray  # uint8 (slices, 2, size, size): image, and mask of 0 and 1
    fingerprints: list[str]  # of each slice's image and mask at their own size
    tumor_percent: np.ndarray  # of each mask at its own size, float (slices,)
    copies: list[tuple[Pair, Pair]] = field(default_factory=list)  # exact copies, left out, each with its original
    kept_copies: list[tuple[Pair, Pair]] = field(default_factory=list)  # in one folder without tumors

    @property
    def ids(self) -> list[str]:
        return [pair.id for pair in self.pairs]

    @property
    def images(self) -> np.ndarray:
        return self.pixels[:, 0]

    @property
    def masks(self) -> np.ndarray:
        return self.pixels[:, 1]

    @property
    def has_tumor(self) -> np.ndarray:
        """Whether each slice contains tumor, bool (slices,)."""
        return self.tumor_percent > 0

    @property
    def fingerprint_by_id(self) -> dict[str, str]:
        return dict(zip(self.ids, self.fingerprints, strict=True))

    def of_folder(self, no_tumor: Path | None = None) -> "Slices":
        """The slices of the data folder, or those of a folder without tumors, in the same memory."""
        prefix = f"{no_tumor.resolve().name}/" if no_tumor else ""
        belongs = [(not pair.mask_path) == bool(prefix) and pair.id.startswith(prefix) for pair in self.pairs]
        start, count = belongs.index(True) if any(belongs) else 0, sum(belongs)
        part = slice(start, start + count)  # neighbors, in the order of load_slices
        copies = [pair for pair in self.kept_copies if pair[0].id.startswith(prefix)] if prefix else self.copies
        return Slices(self.pairs[part], self.pixels[part], self.fingerprints[part], self.tumor_percent[part], copies)

    def indices(self, ids: Iterable[str]) -> np.ndarray:
        """Index of each of these ids, int64 (ids,)."""
        index_of = {id: index for index, id in enumerate(self.ids)}
        return np.array([index_of[id] for id in ids], np.int64)


def load_slices(
    folder: Path | None,
    size: int,
    memory_gib: float = 4.0,
    reading: PairingOptions = PairingOptions(),
    no_tumor: tuple[Path, ...] = (),
) -> Slices:
    """Read, check and scale every pair in a data folder, if there is one, and in folders without tumors.
    Pixels beyond `memory_gib` are kept in a temporary file. Exact copies of an image and its mask are left out.
    UserError if anything is wrong with any file; the message lists the first ten problems and counts the others."""
    pairs, problems = find_all_pairs(folder, no_tumor, reading)
    pixels = allocate((len(pairs), 2, size, size), memory_gib)
    fingerprints, of_images = [""] * len(pairs), [""] * len(pairs)
    tumor_percent = np.zeros(len(pairs))
    unreadable = []

    def load(index: int) -> None:
        try:
            image = pairs[index].read_image()
            mask = pairs[index].read_mask(image)
        except ImageError as error:
            unreadable.append(str(error))
            return
        pixels[index] = pairs[index].preparation(image, size), to_training_mask(mask, size)
        of_images[index], fingerprints[index] = fingerprints_of(image, mask)
        tumor_percent[index] = 100 * mask.mean()

    with ThreadPoolExecutor(thread_count()) as threads:
        loaded = threads.map(load, range(len(pairs)))
        list(tqdm(loaded, "Reading slices", len(pairs), disable=None, leave=False))
    # A set: every slice of an unreadable volume reports the same problem.
    raise_problems(problems + sorted(set(unreadable)))
    copies, kept_copies = find_copies(pairs, fingerprints, of_images)
    names = {copy.name for copy, _ in copies}
    kept = [index for index, pair in enumerate(pairs) if pair.name not in names]
    for target, source in enumerate(kept if copies else []):
        pixels[target] = pixels[source]
    pairs, fingerprints = [pairs[index] for index in kept], [fingerprints[index] for index in kept]
    return Slices(pairs, pixels[: len(kept)], fingerprints, tumor_percent[kept], copies, kept_copies)


def allocate(shape: tuple[int, ...], memory_gib: float) -> np.ndarray:
    """A uint8 array in memory, or beyond that size in a temporary file; UserError if the disk has no room."""
    needed = int(np.prod(shape, dtype=np.int64))
    if needed <= memory_gib * 2**30:
        return np.zeros(shape, np.uint8)
    free = shutil.disk_usage(".").free
    if free < needed:
        raise UserError(
            f"The slices need {needed / 2**30:.1f} GiB, more than --memory-gib {memory_gib:g}, and the disk of "
            f"the current folder has only {free / 2**30:.1f} GiB free: free some space or raise --memory-gib."
        )
    try:
        file = tempfile.TemporaryFile(dir=".")
    except OSError as error:
        raise UserError(
            f"Cannot write to the current folder '{Path.cwd()}': {error.strerror}. Run from another folder or "
            "raise --memory-gib."
        ) from error
    return np.memmap(file, np.uint8, "w+", shape=shape)


def original_first(pair: Pair) -> tuple:
    """A key that sorts images with masks first, and among these the shortest names."""
    return pair.mask_path is None, len(pair.name), pair.name


def find_copies(
    pairs: list[Pair], fingerprints: list[str], of_images: list[str]
) -> tuple[list[tuple[Pair, Pair]], list[tuple[Pair, Pair]]]:
    """Each image or scan that is an exact copy, and its original, which has the shortest name: their first slices.

    `fingerprints` are those of images with masks, and `of_images` those of images alone. Returns copies to leave out,
    and those to keep: images in one folder without tumors, where similar slices are in one group, so in one split.
    UserError if a copy has another mask.
    """
    slices_of_name: dict[str, list[int]] = {}
    for index, pair in enumerate(pairs):
        slices_of_name.setdefault(pair.name, []).append(index)
    originals: dict[tuple[str, ...], list[int]] = {}
    copies, kept_copies, problems = [], [], []
    # The shortest name is the original's: copies are called x_copy or "x (1)".
    for own in sorted(slices_of_name.values(), key=lambda own: original_first(pairs[own[0]])):
        content = tuple(of_images[index] for index in own)
        its = originals.setdefault(content, own) if any(content) else own
        copy, original = pairs[own[0]], pairs[its[0]]
        if its is own:
            continue
        is_image = copy.slice_index is None
        if is_image and copy.no_tumor_folder and copy.no_tumor_folder == original.no_tumor_folder:
            kept_copies.append((copy, original))
            continue
        copies.append((copy, original))
        if [fingerprints[index] for index in own] != [fingerprints[index] for index in its]:
            paths = f"'{copy.image_path}' is an exact copy of '{original.image_path}'"
            problems.append(f"{paths}, but has another mask: delete the wrong pair.")
    raise_problems(problems)
    return copies, kept_copies
