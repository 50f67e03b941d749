"""Read NIfTI files as volumes, and encode masks on their grid. Headers are checked before voxels are decompressed."""

import contextlib
import gzip
import math
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np
from nibabel.orientations import io_orientation, ornt_transform

from unet.errors import ImageError, one_line, warn_once
from unet.images.grid import grid_difference
from unet.images.masks import select_tumor
from unet.images.reading import regular_file_size, without_nan
from unet.images.volume import Volume, slices_by_plane, to_volume, turn, turn_back
from unet.options import PairingOptions, ReadingOptions

VOLUME_SUFFIXES = (".nii", ".nii.gz")
GZIP = b"\x1f\x8b"
ONLY = 0  # instead of the number of a volume: the file must not have several
LARGEST_AFFINE = 1e6  # mm
MAX_OFFSET = 2**24  # bytes before the voxels: the header, and optional extensions


def is_volume(path: Path) -> bool:
    """Whether a file has the suffix of a NIfTI volume."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_volume(path: Path, reading: ReadingOptions = ReadingOptions()) -> Volume:
    """A NIfTI file as a volume; of a 4-D file, the volume that the options name. NaN counts as background.
    ImageError if it is unreadable."""
    image = read_nifti(path, reading, reading.volume)
    voxels = without_nan(path, np.array(image.dataobj, np.float32).reshape(image.shape[:3]))
    return to_volume(path, image, voxels, reading.plane)


def read_nifti(path: Path, reading: ReadingOptions, number: int | None = None) -> nibabel.Nifti1Image:
    """A NIfTI file with a checked header. Of a 4-D file, it is the volume with this number, counted from 1, or for None
    the first one, with a warning. ImageError if the file is damaged, too large or of another kind."""
    with damage_named(path), open_unpacked(path) as file:
        kind, header = read_header(file)
        size = check_nifti_header(path, header, reading)
        before, count = int(header["vox_offset"]), count_volumes(header)
        start = before + choose_volume(path, count, number) * size
        file.seek(0)
        content = file.read(before)
        file.seek(start)
        content += file.read(size)
        if len(content) < before + size:
            raise ImageError(f"'{path}' is cut off: it should have {start + size:,} bytes. Copy it again.")
        if count == 1 and file.read(1):
            raise ImageError(f"'{path}' has more than the {start + size:,} bytes that it should have: save it again.")
        if count > 1:
            header.set_data_shape(header.get_data_shape()[:3])
            content = header.binaryblock + content[header.sizeof_hdr :]
        image = kind.from_bytes(content)
    check_affine(path, image.affine)
    return image


@contextlib.contextmanager
def damage_named(path: Path) -> Iterator[None]:
    """A context in which a file is read, and every error is an ImageError that names it and the remedy."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:  # gzip, zlib and nibabel raise many kinds of errors for damaged files
        if isinstance(error, OSError) and error.strerror:
            raise ImageError(f"Cannot read '{path}': {error.strerror}.") from error
        raise ImageError(
            f"'{path}' is not a readable NIfTI file: {one_line(error)}. Copy it again, or save it again."
        ) from error


def open_unpacked(path: Path) -> BinaryIO:
    """Open a file, decompressed if it is compressed, whatever its name; ImageError if it is not a regular file."""
    regular_file_size(path)
    with open(path, "rb") as file:
        is_compressed = file.read(2) == GZIP
    return gzip.open(path) if is_compressed else open(path, "rb")


def read_header(file: BinaryIO) -> tuple[type, nibabel.Nifti1Header]:
    """Image type (NIfTI-1 or NIfTI-2) and unchecked header at the start of a file."""
    start = file.read(nibabel.Nifti2Header.sizeof_hdr)
    kind = nibabel.Nifti2Image if start[4:7] == b"n+2" else nibabel.Nifti1Image
    return kind, kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)


def count_volumes(header: nibabel.Nifti1Header) -> int:
    """Number of volumes in a file with this header: 1 unless it is 4-D."""
    return math.prod(header.get_data_shape()[3:])


def choose_volume(path: Path, count: int, number: int | None) -> int:
    """Index of the volume with this number in a file with `count` volumes; the first, with a warning, for None.
    ImageError if there is no such volume, or there are several for ONLY."""
    if number == ONLY and count > 1:
        raise ImageError(f"'{path}' has {count} volumes, but a mask is one: save the one that belongs to the image.")
    if (number or 1) > count:
        raise ImageError(f"'{path}' has {count} volume{'s' * (count > 1)}: give --volume a smaller number.")
    if count > 1 and not number:
        warn_once(f"Warning: '{path}' has {count} volumes, and only the first is used. Choose one with --volume N.")
    return (number or 1) - 1


def slices_in(path: Path, reading: ReadingOptions = ReadingOptions()) -> dict[str, int]:
    """Number of slices in each plane in which read_volume slices a file, from its header alone.
    ImageError if the header is invalid."""
    with damage_named(path):
        with open_unpacked(path) as file:
            kind, header = read_header(file)
        check_nifti_header(path, header, reading)
        voxels = np.broadcast_to(np.uint8(0), header.get_data_shape()[:3])
        image = kind(voxels, header.get_best_affine(), header)
        check_affine(path, image.affine)
        return slices_by_plane(image, reading.plane)


def read_volume_mask(path: Path, volume: Volume, reading: PairingOptions = PairingOptions()) -> np.ndarray:
    """The mask of a volume, bool (x, y, z); ImageError if it is on another grid or its labels are unclear."""
    image = read_nifti(path, reading, ONLY)
    if grid_difference(image, volume.image):  # maybe only in the order or direction of its axes
        axes = ornt_transform(io_orientation(image.affine), io_orientation(volume.image.affine))
        image = image.slicer[..., *[0] * (image.ndim - 3)].as_reoriented(axes)
    if difference := grid_difference(image, volume.image):
        raise ImageError(f"'{path}' is not on its image's grid: {difference}.")
    voxels = np.asarray(image.dataobj).reshape(image.shape[:3])
    return turn(select_tumor(path, voxels, None, reading), volume.image.affine)


def check_nifti_header(path: Path, header: nibabel.Nifti1Header, reading: ReadingOptions) -> int:
    """Size of one volume in bytes; ImageError if the file cannot be read or a volume is too large."""
    if not bytes(header["magic"]).startswith((b"n+1", b"n+2")):
        raise ImageError(f"'{path}' is not a single-file NIfTI: save it as .nii or .nii.gz.")
    dimensions = int(header["dim"][0])
    shape = [int(length) for length in header["dim"][1 : 1 + max(0, dimensions)]]
    while len(shape) > 4 and shape[-1] == 1:
        del shape[-1]
    if not 3 <= len(shape) <= 4 or min(shape) < 1:
        raise ImageError(f"'{path}' has the shape {shape}: save it as a volume with three dimensions.")
    voxels = math.prod(shape[:3])
    if voxels > reading.max_pixels:
        raise ImageError(
            f"'{path}' has {' x '.join(map(str, shape[:3]))} voxels, more than --max-pixels {reading.max_pixels}: "
            "scale it down or raise the limit."
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise ImageError(f"'{path}' has {dtype} voxels: only grey values can be read. Convert it.")
    offset = float(header["vox_offset"])
    if not header.single_vox_offset <= offset <= MAX_OFFSET:
        raise ImageError(f"'{path}' is damaged: its voxels start at byte {offset:.0f}. Save it again.")
    return voxels * dtype.itemsize


def check_affine(path: Path, affine: np.ndarray) -> None:
    """ImageError if an affine (4, 4), and so the spacing, is invalid."""
    if not np.isfinite(affine).all() or np.abs(affine).max() > LARGEST_AFFINE:
        raise ImageError(f"'{path}' has an invalid affine or spacing (NaN, infinite or too large): fix it.")
    if np.isnan(io_orientation(affine)).any() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ImageError(f"'{path}' has an affine that flattens the volume: fix it.")


def encode_volume_mask(mask: np.ndarray, volume: Volume) -> bytes:
    """A boolean mask (x, y, z) as .nii.gz of 0 and 1, on the grid of the volume's file."""
    return encode_voxels(mask.astype(np.uint8), volume)


def encode_voxels(voxels: np.ndarray, volume: Volume) -> bytes:
    """Voxels (x, y, z) with values from 0 to 1 as .nii.gz, on the grid of the volume's file."""
    header = volume.image.header.copy()
    header.set_data_dtype(voxels.dtype)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 1
    # No affine: the header keeps its own, unchanged.
    voxels = turn_back(voxels, volume.image.affine).reshape(volume.image.shape)
    image = type(volume.image)(voxels, None, header)
    return gzip.compress(image.to_bytes(), mtime=0)
