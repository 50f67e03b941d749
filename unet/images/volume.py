"""Volume: a 3-D scan as a stack of slices, oriented as viewers show them, and the way back to the file's grid."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, io_orientation, ornt_transform

from unet.errors import ImageError
from unet.images.preprocessing import PERCENTILES

MAX_PIXEL_ASPECT = 20  # with a larger ratio of the sides, square pixels could fill any memory
MM = {"meter": 1e3, "micron": 1e-3}
RAS = axcodes2ornt("RAS")  # x points to the patient's right, y to the front, z up


@dataclass(frozen=True)
class Volume:
    """A scan as a stack of slices, and their orientation in the file."""

    slices: np.ndarray  # grey uint8 (slices, height, width), as viewers show them
    spacing_mm: tuple[float, float, float]  # between slices, rows and columns
    image: nibabel.Nifti1Image  # the file's header and affine
    axis: int  # of the file's array, along which it is sliced
    spacing_known: bool = True  # if False, spacing_mm contains defaults

    def square_pixels(self, index: int) -> np.ndarray:
        """A slice, uint8 (height, width), with square pixels: unchanged, or stretched along its longer pixel side."""
        return self.resample_to_square_pixels(self.slices[index], cv2.INTER_LINEAR)

    def resample_to_square_pixels(self, pixels: np.ndarray, interpolation: int) -> np.ndarray:
        """Pixels of a slice or its mask, uint8 (height, width), resampled to square pixels."""
        _, row_mm, column_mm = self.spacing_mm
        finer = min(row_mm, column_mm)
        if max(row_mm, column_mm) < 1.01 * finer:
            return pixels
        height, width = pixels.shape
        size = (max(1, round(width * column_mm / finer)), max(1, round(height * row_mm / finer)))
        return cv2.resize(pixels, size, interpolation=interpolation)


def to_volume(path: Path, image: nibabel.Nifti1Image, voxels: np.ndarray, axis: int) -> Volume:
    """Voxels of a NIfTI image as slices along `axis` of its array; ImageError if its pixels are too elongated."""
    slices = to_slices(stretch_contrast_of(voxels), image.affine, axis)
    # to_slices puts the file's axes in this order.
    place = io_orientation(image.affine)[:, 0]
    columns, rows = sorted({0, 1, 2} - {axis}, key=lambda other: place[other])
    # Files without a unit are in mm, like most files.
    to_mm = MM.get(image.header.get_xyzt_units()[0], 1.0)
    spacing_mm = [float(image.header.get_zooms()[i]) * to_mm for i in (axis, rows, columns)]
    if max(spacing_mm[1:]) > MAX_PIXEL_ASPECT * min(spacing_mm[1:]):
        raise ImageError(f"'{path}' has pixels of {spacing_mm[2]:g} x {spacing_mm[1]:g} mm: fix its spacing.")
    return Volume(slices, tuple(spacing_mm), image, axis)


def stretch_contrast_of(voxels: np.ndarray) -> np.ndarray:
    """Map the range between PERCENTILES of all voxels to 0..255 (uint8); a constant volume becomes 0."""
    low, high = np.percentile(voxels, PERCENTILES)
    if high <= low:
        return np.zeros(voxels.shape, np.uint8)
    return np.rint(np.clip((voxels - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)


def to_slices(voxels: np.ndarray, affine: np.ndarray, axis: int) -> np.ndarray:
    """Array in the file's orientation -> (slices, height, width) along one of its axes, as viewers show them."""
    to_ras = ornt_transform(io_orientation(affine), RAS)
    stack = np.moveaxis(apply_orientation(voxels, to_ras), int(io_orientation(affine)[axis, 0]), 0)
    return np.ascontiguousarray(stack.swapaxes(1, 2)[:, ::-1, ::-1])


def from_slices(slices: np.ndarray, affine: np.ndarray, axis: int) -> np.ndarray:
    """Undo to_slices."""
    from_ras = ornt_transform(RAS, io_orientation(affine))
    stack = slices[:, ::-1, ::-1].swapaxes(1, 2)
    return apply_orientation(np.moveaxis(stack, 0, int(io_orientation(affine)[axis, 0])), from_ras)
