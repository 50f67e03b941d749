"""NIfTI volumes: read slice by slice as viewers show them, and masks written on the same grid.

Whatever a file claims, its header is checked before its voxels are read, and no more of it is unpacked
than the header says.
"""

import gzip
import math
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from unet.files import ImageError, regular_file_size
from unet.options import MAX_PIXELS
from unet.preprocessing import PERCENTILES

VOLUME_SUFFIXES = (".nii", ".nii.gz")
# Before the voxels stand a header of 348 or 540 bytes and notes of other programs.
MAX_OFFSET = 2**24
# How many times as long as wide a pixel may be.
MOST_OBLONG = 20
MM = {"meter": 1e3, "micron": 1e-3}
# x to the patient's right, y to the front, z up.
RAS = axcodes2ornt("RAS")


def is_volume(path: Path) -> bool:
    """Whether a file's name is that of a volume."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


@dataclass(frozen=True)
class Volume:
    """A scan as a stack of slices, and how they lie in its file."""

    slices: np.ndarray  # grey uint8 (slices, height, width), as viewers show them
    spacing_mm: tuple[float, float, float]  # between slices, rows and columns
    image: nibabel.Nifti1Image  # the file's header and affine
    axis: int  # of the file's array, along which the slices lie
    spacing_known: bool = True  # or else only its proportions may be right

    def square_pixels(self, index: int) -> np.ndarray:
        """A slice on a grid of square pixels: itself, or stretched along the coarser direction."""
        return self.squared(self.slices[index], cv2.INTER_LINEAR)

    def squared(self, pixels: np.ndarray, interpolation: int) -> np.ndarray:
        """uint8 (height, width) of a slice on a grid of square pixels."""
        _, row_mm, column_mm = self.spacing_mm
        finer = min(row_mm, column_mm)
        if max(row_mm, column_mm) < 1.01 * finer:
            return pixels
        height, width = pixels.shape
        size = (max(1, round(width * column_mm / finer)), max(1, round(height * row_mm / finer)))
        return cv2.resize(pixels, size, interpolation=interpolation)


def read_volume(path: Path, axis: int | None = None, max_voxels: int = MAX_PIXELS) -> Volume:
    """A 3-D NIfTI file as slices along `axis` of its array, or where the spacing is largest.

    Grey values are scaled over the whole volume: its PERCENTILES become 0 and 255. Slices stand as
    radiologists see them: front or top up, the patient's right on the left. Raises ImageError, naming
    the file, for what is no such volume.
    """
    image = read_nifti(path, max_voxels)
    voxels = np.asarray(image.dataobj, np.float32).reshape(image.shape[:3])
    if not np.isfinite(voxels).all():
        raise ImageError(f"'{path}' has voxels that are no numbers (NaN or infinite): mend them.")
    axis = int(np.argmax(image.header.get_zooms()[:3])) if axis is None else axis
    return to_volume(path, image, voxels, axis)


def to_volume(path: Path, image: nibabel.Nifti1Image, voxels: np.ndarray, axis: int) -> Volume:
    """An image's voxels as slices along an axis of its array, scaled in grey.

    ImageError, naming the file, for pixels that are no pixels: made square they could fill any memory.
    """
    slices = to_slices(stretch_contrast_of(voxels), image.affine, axis)
    # The order in which to_slices puts the file's axes.
    place = io_orientation(image.affine)[:, 0]
    columns, rows = sorted({0, 1, 2} - {axis}, key=lambda other: place[other])
    # A file that does not say is in mm, as most are.
    to_mm = MM.get(image.header.get_xyzt_units()[0], 1.0)
    spacing_mm = [float(image.header.get_zooms()[i]) * to_mm for i in (axis, rows, columns)]
    if max(spacing_mm[1:]) > MOST_OBLONG * min(spacing_mm[1:]):
        raise ImageError(
            f"'{path}' has pixels of {spacing_mm[2]:g} x {spacing_mm[1]:g} mm: mend its spacing."
        )
    return Volume(slices, tuple(spacing_mm), image, axis)


def read_nifti(path: Path, max_voxels: int) -> nibabel.Nifti1Image:
    """A NIfTI file, header checked first; ImageError where it is damaged, too large or of another kind."""
    try:
        with open_unpacked(path) as file:
            start = file.read(540)
            kind, header = header_of(start)
            size = check_header(path, header, max_voxels)
            content = start + file.read(max(0, size - len(start)))
            if len(content) < size:
                raise ImageError(
                    f"'{path}' is cut off: {len(content):,} of {size:,} bytes are there."
                )
            if len(content) > size or file.read(1):
                raise ImageError(
                    f"'{path}' holds more than the {size:,} bytes its header tells of."
                )
        image = kind.from_bytes(content)
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except Exception as error:  # gzip, zlib and nibabel raise many kinds for damaged files
        raise ImageError(f"'{path}' is not a readable NIfTI file: {error}.") from error
    check_affine(path, image)
    return image


def open_unpacked(path: Path) -> BinaryIO:
    """A regular file to read from, unpacked where it is .gz; ImageError for what is none."""
    regular_file_size(path)
    return gzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb")


def header_of(start: bytes) -> tuple[type, nibabel.Nifti1Header]:
    """NIfTI-1 or -2, and the header at the start of a file, not checked."""
    kind = nibabel.Nifti2Image if start[4:7] == b"n+2" else nibabel.Nifti1Image
    return kind, kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)


def count_slices(path: Path, max_voxels: int = MAX_PIXELS) -> int:
    """How many slices read_volume would give; ImageError as there, but voxels are not read."""
    try:
        with open_unpacked(path) as file:
            _, header = header_of(file.read(540))
        check_header(path, header, max_voxels)
        return int(header.get_data_shape()[int(np.argmax(header.get_zooms()[:3]))])
    except ImageError:
        raise
    except Exception as error:  # gzip, zlib and nibabel raise many kinds for damaged files
        raise ImageError(f"'{path}' is not a readable NIfTI file: {error}.") from error


def read_volume_mask(path: Path, volume: Volume, max_voxels: int = MAX_PIXELS) -> np.ndarray:
    """The mask of a volume, a NIfTI file on its grid, as its slices: boolean (slices, height, width).

    It holds 0 and one other value. Raises ImageError, naming the file, for anything else.
    """
    image = read_nifti(path, max_voxels)
    shape = volume.image.shape[:3]
    if image.shape[:3] != shape or not np.allclose(image.affine, volume.image.affine, atol=1e-3):
        raise ImageError(f"'{path}' is not on its image's grid (shape or affine): resample it.")
    voxels = np.asarray(image.dataobj).reshape(shape)
    values = np.unique(voxels)
    if not np.isfinite(values).all() or np.count_nonzero(values) > 1:
        raise ImageError(f"'{path}' holds {len(values)} labels: a mask is 0 and one other.")
    return to_slices(voxels != 0, volume.image.affine, volume.axis)


def check_header(path: Path, header: nibabel.Nifti1Header, max_voxels: int) -> int:
    """Bytes of the whole file up to its last voxel; ImageError for what is not to be read."""
    if not bytes(header["magic"]).startswith((b"n+1", b"n+2")):
        raise ImageError(f"'{path}' is not a NIfTI file of one part (.nii or .nii.gz).")
    dimensions = int(header["dim"][0])
    shape = [int(length) for length in header["dim"][1 : 1 + max(0, dimensions)]]
    while len(shape) > 3 and shape[-1] == 1:
        del shape[-1]
    if len(shape) != 3 or min(shape) < 1:
        raise ImageError(f"'{path}' has the shape {shape}: only volumes of three dimensions.")
    if math.prod(shape) > max_voxels:
        raise ImageError(
            f"'{path}' has {' x '.join(map(str, shape))} voxels, more than --max-pixels {max_voxels}: "
            "scale it down or raise the limit."
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise ImageError(f"'{path}' holds {dtype} voxels, such as colours: only grey values.")
    offset = float(header["vox_offset"])
    if not 0 <= offset <= MAX_OFFSET:
        raise ImageError(
            f"'{path}' says that its voxels start at byte {offset:.0f}: it is damaged."
        )
    return int(offset) + math.prod(shape) * dtype.itemsize


def check_affine(path: Path, image: nibabel.Nifti1Image) -> None:
    """ImageError where a file does not say how its voxels lie in space."""
    affine, spacing = image.affine, np.array(image.header.get_zooms()[:3])
    if not (np.isfinite(affine).all() and np.isfinite(spacing).all() and (spacing > 0).all()):
        raise ImageError(f"'{path}' has an affine or spacing that is no number or zero: mend it.")
    if np.isnan(io_orientation(affine)).any() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ImageError(f"'{path}' has an affine that flattens the volume: mend it.")


def stretch_contrast_of(voxels: np.ndarray) -> np.ndarray:
    """Map the range between PERCENTILES of all voxels to 0..255 (uint8); a constant volume gives 0."""
    low, high = np.percentile(voxels, PERCENTILES)
    if high <= low:
        return np.zeros(voxels.shape, np.uint8)
    return np.rint(np.clip((voxels - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)


def to_slices(voxels: np.ndarray, affine: np.ndarray, axis: int) -> np.ndarray:
    """An array as a file has it -> (slices, height, width) along one of its axes, as viewers show them."""
    to_ras = ornt_transform(io_orientation(affine), RAS)
    stack = np.moveaxis(apply_orientation(voxels, to_ras), int(io_orientation(affine)[axis, 0]), 0)
    return np.ascontiguousarray(stack.swapaxes(1, 2)[:, ::-1, ::-1])


def from_slices(slices: np.ndarray, affine: np.ndarray, axis: int) -> np.ndarray:
    """Undo to_slices."""
    from_ras = ornt_transform(RAS, io_orientation(affine))
    stack = slices[:, ::-1, ::-1].swapaxes(1, 2)
    return apply_orientation(np.moveaxis(stack, 0, int(io_orientation(affine)[axis, 0])), from_ras)


def encode_volume_mask(mask: np.ndarray, volume: Volume) -> bytes:
    """A boolean mask (slices, height, width) as .nii.gz of 0 and 1, on the grid of the volume's file."""
    voxels = from_slices(mask.astype(np.uint8), volume.image.affine, volume.axis)
    header = volume.image.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 1
    # No affine here: the header's own codes and numbers stay as they are.
    image = type(volume.image)(voxels.reshape(volume.image.shape), None, header)
    return gzip.compress(image.to_bytes(), mtime=0)
