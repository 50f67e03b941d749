"""Pairs of an image and its mask: what a data folder contains, and how a pair is read.

unet/data/layouts.py finds the files. A scan is a NIfTI volume, or a folder with the files of one DICOM series. Each of
its slices is a pair. Images in a folder without tumors have no mask files: their masks are empty.
"""

import contextlib
import functools
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from unet.data.layouts import (
    IMAGES,
    MASKS,
    find_layout,
    find_layouts,
    find_sources,
    is_scan,
    name_problem,
    place_problem,
)
from unet.errors import ImageError, UserError
from unet.images.dicom import is_dicom, read_series, slices_in_series
from unet.images.dicom_frames import read_header
from unet.images.dicom_seg import read_segmentation
from unet.images.folders import is_named_mask, without_suffix
from unet.images.masks import read_mask
from unet.images.nifti import read_volume, read_volume_mask, slices_in
from unet.images.preprocessing import resize_into_square, to_training_image
from unet.images.reading import read_image
from unet.images.volume import Volume, slices_of
from unet.options import PairingOptions


@dataclass(frozen=True)
class Pair:
    """An image file and its mask file, or one slice of a scan and its mask."""

    id: str  # path below images/ without suffix; "name@axial-07" for a slice of a scan; "folder/..." without a mask
    image_path: Path  # a folder if it is a DICOM series
    mask_path: Path | None  # a folder if it contains DICOM-SEG files; None: the image has no tumor
    reading: PairingOptions = PairingOptions()
    plane: str = ""  # of a slice of a scan, which has this index in this plane
    slice_index: int | None = None
    patient: str = ""  # if the layout of the data folder says so
    split: str = ""

    @property
    def name(self) -> str:
        """Id of the image, or of the scan that contains the slice."""
        return self.id if self.slice_index is None else self.id.rpartition("@")[0]

    @property
    def no_tumor_folder(self) -> str:
        """Name of the folder without tumors that the image is in; "" for an image with a mask."""
        return "" if self.mask_path else self.id.partition("/")[0]

    @property
    def preparation(self) -> Callable[[np.ndarray, int], np.ndarray]:
        """The function that turns the image, and the network's size, into an input."""
        # Slices of volumes keep their contrast: it has been stretched over the whole volume.
        return to_training_image if self.slice_index is None else resize_into_square

    def read_image(self) -> np.ndarray:
        """The image, grey uint8 (height, width); ImageError if the file cannot be used."""
        if self.slice_index is None:
            return read_image(self.image_path, self.reading)
        return self.read_volume()[0].square_pixels(self.plane, self.slice_index)

    def read_mask(self, image: np.ndarray) -> np.ndarray:
        """The mask of `image`, bool (height, width); ImageError if unusable or not of the image's size."""
        if not self.mask_path:
            return np.zeros(image.shape, bool)
        if self.slice_index is not None:
            volume, voxels = self.read_volume()
            mask = slices_of(voxels, self.plane)[self.slice_index].astype(np.uint8)
            # Nearest: bilinear would invent values between background and tumor. Without EXACT, OpenCV takes the left
            # edge of a pixel for its center, and the mask would be shifted against the image.
            return volume.resample_to_square_pixels(self.plane, mask, cv2.INTER_NEAREST_EXACT).astype(bool)
        mask = read_mask(self.mask_path, self.reading)
        if image.shape != mask.shape:
            raise ImageError(
                f"'{self.mask_path}' has {mask.shape[1]} x {mask.shape[0]} pixels but its image has "
                f"{image.shape[1]} x {image.shape[0]}: they must have the same size."
            )
        return mask

    def read_volume(self) -> tuple[Volume, np.ndarray]:
        """The volume that contains the slice, and its mask, bool (x, y, z); ImageError if either cannot be used."""
        # Locked: otherwise, each thread would read the volume for its own slice.
        with _VOLUME_LOCKS[hash(self.image_path) % len(_VOLUME_LOCKS)]:
            return _read_volume_and_mask(self.image_path, self.mask_path, self.reading)


BOTH_KINDS = "'{}' contains both images and volumes: use a separate folder for each."
_VOLUME_LOCKS = [threading.Lock() for _ in range(64)]


@functools.lru_cache(maxsize=max(8, 2 * (os.cpu_count() or 1)))
def _read_volume_and_mask(
    image_path: Path, mask_path: Path | None, reading: PairingOptions
) -> tuple[Volume, np.ndarray]:
    series = dicom_files(image_path)
    volume = read_series(series, reading) if series else read_volume(image_path, reading)
    if not mask_path:
        return volume, np.zeros(volume.grey.shape, bool)
    if not (segmentations := dicom_files(mask_path)):
        return volume, read_volume_mask(mask_path, volume, reading)
    if not series:
        raise ImageError(f"'{mask_path}' is DICOM, but its image '{image_path}' is not: save the mask as NIfTI.")
    return volume, read_segmentation(segmentations, series, volume, reading)


def dicom_files(path: Path) -> list[Path]:
    """A DICOM file, or those in a folder, sorted by name; empty for another file."""
    return sorted(filter(is_dicom, path.iterdir() if path.is_dir() else [path]))


def find_all_pairs(
    folder: Path | None, no_tumor: tuple[Path, ...] = (), reading: PairingOptions = PairingOptions()
) -> tuple[list[Pair], list[str]]:
    """Pairs in a data folder, if there is one, then those in folders without tumors, and one message per problem."""
    _read_volume_and_mask.cache_clear()  # the files may have changed since they were read
    pairs, problems = find_pairs(folder, reading) if folder else ([], [])
    for other in no_tumor:
        more, more_problems = find_images_without_tumor(other, reading)
        pairs, problems = pairs + more, problems + more_problems
    first: dict[str, Pair] = {}
    for pair in pairs:
        if first.setdefault(pair.id, pair) is not pair:
            other = first[pair.id].image_path
            problems.append(f"'{pair.image_path}' and '{other}' have the same id '{pair.id}': rename one of them.")
    return pairs, problems


def find_images_without_tumor(folder: Path, reading: PairingOptions = PairingOptions()) -> tuple[list[Pair], list[str]]:
    """All images and slices of scans in a folder without tumors, or in its images/, sorted by id, and one message per
    file that has a problem."""
    masks = [f"a folder {MASKS}/"] if (folder / MASKS).is_dir() else []
    for layout in find_layouts(folder, reading):
        # Beside a scan, there may be a mask of something else, such as the brain.
        if layout.complete and not (layout.name == "beside" and is_scan(layout.files[layout.complete[0]][IMAGES])):
            masks.append(layout.describe())
    if masks:
        raise UserError(f"'{folder}' has masks ({masks[0]}), but images without a tumor need none: use --data for it.")
    root = folder / IMAGES if (folder / IMAGES).is_dir() else folder
    images, scans, problems, sources = [], [], [], find_sources(root)
    if root != folder and (beside := len(find_sources(folder)) - len(sources)):
        print(f"Ignored {beside} images in '{folder}' that are not in its folder {IMAGES}/.")
    names = {without_suffix(path.as_posix()) for path in sources}
    for path, id in sources.items():
        if is_named_mask(path, names):
            print(f"Skipping '{path}': by its name, it is a mask.")
            continue
        pair = Pair(f"{folder.resolve().name}/{id}", path, None, reading)
        if problem := name_problem(path, pair.id) or place_problem(path):
            problems.append(problem)
            continue
        (scans if is_scan(path) else images).append(pair)
    if images and scans:
        problems.append(BOTH_KINDS.format(folder))
    slices, unreadable = slice_pairs(with_dicom_patients(scans)) if scans else (images, [])
    problems += unreadable
    if not slices and not problems:
        problems.append(f"'{root}' contains no image files.")
    return slices, problems


def find_pairs(folder: Path, reading: PairingOptions = PairingOptions()) -> tuple[list[Pair], list[str]]:
    """All pairs in a data folder, sorted by id, and one message per file that has a problem."""
    layout = find_layout(folder, reading)
    problems = layout.problems + layout.unpaired() + layout.without_split()
    if not layout.files and not problems:
        problems.append(f"'{layout.parts[0].images}' contains no image files.")
    patients, splits = layout.patients(), layout.splits()
    pairs = [
        Pair(id, layout.files[id][IMAGES], layout.files[id][MASKS], reading, patient=patients[id], split=splits[id])
        for id in layout.complete
    ]
    scans = [is_scan(path) for pair in pairs for path in (pair.image_path, pair.mask_path)]
    if any(scans) and not all(scans):
        problems.append(BOTH_KINDS.format(folder))
    elif any(scans):
        pairs, unreadable = slice_pairs(with_dicom_patients(pairs))
        problems += unreadable
    return pairs, problems


def with_dicom_patients(scans: list[Pair]) -> list[Pair]:
    """The scans with the patients in their DICOM headers, if all have one, and not the same, as anonymous ones may."""
    patients = [dicom_patient(scan.image_path) for scan in scans]
    if not all(patients) or len(set(patients)) == 1:
        return scans
    return [replace(scan, patient=scan.patient or id) for scan, id in zip(scans, patients, strict=True)]


def dicom_patient(path: Path) -> str:
    """The patient id in the header of a DICOM series; "" for another scan, or if it has none."""
    with contextlib.suppress(ImageError):  # reading its slices reports the problem
        for file in dicom_files(path)[:1]:
            return str(read_header(file).get("PatientID") or "")
    return ""


def slice_pairs(scans: list[Pair]) -> tuple[list[Pair], list[str]]:
    """One pair per slice of these scans, and one message per scan that cannot be read."""
    pairs, problems = [], []
    for scan in scans:
        series = dicom_files(scan.image_path)
        try:
            planes = slices_in_series(series, scan.reading) if series else slices_in(scan.image_path, scan.reading)
        except ImageError as error:
            problems.append(str(error))
            continue
        for plane, count in planes.items():
            digits = len(str(count - 1))
            pairs += [
                replace(scan, id=f"{scan.id}@{plane}-{index:0{digits}d}", plane=plane, slice_index=index)
                for index in range(count)
            ]
    return pairs, problems
