"""Volume: a scan turned to the patient's axes, its slices in anatomical planes, and the way back to the file's grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import nibabel
import numpy as np
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform

from unet.errors import ImageError
from unet.images.preprocessing import to_8_bits

PLANES = ("sagittal", "coronal", "axial")  # perpendicular to x, y and z
RAS = axcodes2ornt("RAS")  # x points to the patient's right, y to the front, z up
THICK = 2  # ratio of the largest to the smallest spacing from which on slices are thick
SLAB = 0.25  # ratio of the shortest to the longest side below which a volume is a slab, and not a head
ROUNDING = 0.01  # relative; spacings in headers are rounded
MAX_PIXEL_ASPECT = 20  # with a larger ratio of the sides, square pixels could fill any memory
MM = {1: 1e3, 3: 1e-3}  # NIfTI's codes of meters and microns


@dataclass(frozen=True)
class Volume:
    """A scan on its voxel grid, turned so that x points to the patient's right, y to the front, and z up."""

    grey: np.ndarray  # uint8 (x, y, z)
    spacing_mm: tuple[float, float, float]  # along x, y and z
    planes: tuple[str, ...]  # in which it is sliced
    image: nibabel.Nifti1Image  # the file's header, affine and axes
    spacing_known: bool = True  # if False, spacing_mm contains defaults

    @property
    def affine(self) -> np.ndarray:
        """From voxel indices x, y and z to mm in the scanner, to the right, front and up; float64 (4, 4)."""
        affine = self.image.affine @ inv_ornt_aff(to_patient(self.image.affine), self.image.shape[:3])
        return np.diag([*[mm_per_unit(self.image)] * 3, 1]) @ affine

    @property
    def voxel_mm3(self) -> float:
        """Volume of a voxel, also on a sheared grid."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def shown_plane(self) -> str:
        """The plane of slices in pictures and tables: the only one, or axial."""
        return self.planes[0] if len(self.planes) == 1 else "axial"

    def pixel_mm(self, plane: str) -> tuple[float, float]:
        """Height and width in mm of a pixel of slices in a plane."""
        x, y, z = self.spacing_mm
        return {"sagittal": (z, y), "coronal": (z, x), "axial": (y, x)}[plane]

    def square_pixels(self, plane: str, index: int) -> np.ndarray:
        """A slice, uint8 (height, width), with square pixels: unchanged, or stretched along its longer pixel side."""
        return self.resample_to_square_pixels(plane, slices_of(self.grey, plane)[index], cv2.INTER_LINEAR)

    def resample_to_square_pixels(self, plane: str, pixels: np.ndarray, interpolation: int) -> np.ndarray:
        """Pixels of a slice in a plane, or of its mask, uint8 (height, width), resampled to square pixels."""
        row_mm, column_mm = self.pixel_mm(plane)
        finer = min(row_mm, column_mm)
        if max(row_mm, column_mm) < (1 + ROUNDING) * finer:
            return np.ascontiguousarray(pixels)
        height, width = pixels.shape
        size = (max(1, round(width * column_mm / finer)), max(1, round(height * row_mm / finer)))
        return cv2.resize(np.ascontiguousarray(pixels), size, interpolation=interpolation)


def slices_of(voxels: np.ndarray, plane: str) -> np.ndarray:
    """A view of an array (x, y, z) as slices (slices, height, width) in a plane, as viewers show them.

    Front or top is up, and the patient's right, or front, is on the left.
    """
    return np.moveaxis(voxels, PLANES.index(plane), 0).swapaxes(1, 2)[:, ::-1, ::-1]


def choose_planes(shape: Sequence[int], spacing_mm: Sequence[float]) -> tuple[str, ...]:
    """The planes in which a volume (x, y, z) is sliced: all three, or only its own if slices are thick or few."""
    sides = np.multiply(shape, spacing_mm)
    if min(shape) == 1:
        thickest = 1 / np.array(shape)
    elif max(spacing_mm) >= (1 - ROUNDING) * THICK * min(spacing_mm):
        thickest = np.array(spacing_mm)
    elif min(sides) < SLAB * max(sides):
        thickest = 1 / sides
    else:
        return PLANES
    # Of equal ones, the last: rounding must not decide.
    return (PLANES[np.flatnonzero(thickest >= (1 - ROUNDING) * thickest.max())[-1]],)


def to_volume(path: Path, image: nibabel.Nifti1Image, voxels: np.ndarray, chosen: str | None) -> Volume:
    """Voxels in the orientation of a NIfTI image as a volume, sliced in the chosen plane, or for None by choose_planes.
    ImageError if its pixels are too elongated."""
    planes = tuple(slices_by_plane(image, chosen))
    volume = Volume(turn(to_8_bits(voxels), image.affine), spacing_of(image), planes, image)
    for plane in planes:
        height, width = volume.pixel_mm(plane)
        if max(height, width) > MAX_PIXEL_ASPECT * min(height, width):
            remedy = "fix its spacing, or choose another --plane" if chosen else "fix its spacing"
            raise ImageError(f"'{path}' has {plane} pixels of {width:g} x {height:g} mm: {remedy}.")
    return volume


def slices_by_plane(image: nibabel.Nifti1Image, plane: str | None) -> dict[str, int]:
    """Number of slices in each plane in which an image is sliced: in `plane`, or in those of choose_planes for None."""
    shape = turn(np.broadcast_to(np.uint8(0), image.shape[:3]), image.affine).shape
    planes = (plane,) if plane else choose_planes(shape, spacing_of(image))
    return {plane: shape[PLANES.index(plane)] for plane in planes}


def spacing_of(image: nibabel.Nifti1Image) -> tuple[float, float, float]:
    """Spacing in mm along the patient's axes x, y and z."""
    spacing = np.empty(3)
    spacing[to_patient(image.affine)[:, 0].astype(int)] = np.linalg.norm(image.affine[:3, :3], axis=0)
    return tuple((spacing * mm_per_unit(image)).tolist())


def mm_per_unit(image: nibabel.Nifti1Image) -> float:
    """Length in mm of the unit of an image's affine. Files without a unit are in mm, like most files."""
    return MM.get(int(image.header["xyzt_units"]) & 7, 1.0)


def to_patient(affine: np.ndarray) -> np.ndarray:
    """nibabel's orientation (3, 2) that turns an array with this affine to the patient's axes."""
    return ornt_transform(io_orientation(affine), RAS)


def turn(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """An array in the orientation of a file with this affine, turned to the patient's axes (x, y, z)."""
    return apply_orientation(voxels, to_patient(affine))


def turn_back(voxels: np.ndarray, affine: np.ndarray) -> np.ndarray:
    """Undo turn."""
    return apply_orientation(voxels, ornt_transform(RAS, io_orientation(affine)))
