"""Read NIfTI files as volumes, and encode masks on their grid. Headers are checked before voxels are decompressed."""

import gzip
import math
from pathlib import Path
from typing import BinaryIO

import nibabel
import numpy as np
from nibabel.orientations import io_orientation

from unet.errors import ImageError
from unet.images.reading import regular_file_size
from unet.images.volume import Volume, from_slices, to_slices, to_volume
from unet.options import ReadingOptions

VOLUME_SUFFIXES = (".nii", ".nii.gz")
MAX_OFFSET = 2**24  # bytes before the voxels: the header, and optional extensions


def is_volume(path: Path) -> bool:
    """Whether a file has the suffix of a NIfTI volume."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_volume(path: Path, axis: int | None = None, reading: ReadingOptions = ReadingOptions()) -> Volume:
    """A 3-D NIfTI file as slices in radiological orientation: front or top up, the patient's right on the left.
    `axis` of the array is sliced; None takes the one with the largest spacing. ImageError if it is unreadable."""
    image = read_nifti(path, reading)
    voxels = np.asarray(image.dataobj, np.float32).reshape(image.shape[:3])
    if not np.isfinite(voxels).all():
        raise ImageError(f"'{path}' has voxels that are NaN or infinite: replace them with numbers.")
    axis = int(np.argmax(image.header.get_zooms()[:3])) if axis is None else axis
    return to_volume(path, image, voxels, axis)


def read_nifti(path: Path, reading: ReadingOptions) -> nibabel.Nifti1Image:
    """A NIfTI file with a checked header; ImageError if it is damaged, too large or of another kind."""
    try:
        with open_unpacked(path) as file:
            start = file.read(540)
            kind, header = header_of(start)
            size = check_nifti_header(path, header, reading)
            content = start + file.read(max(0, size - len(start)))
            if len(content) < size:
                raise ImageError(f"'{path}' is cut off: it has only {len(content):,} of {size:,} bytes. Copy it again.")
            if len(content) > size or file.read(1):
                raise ImageError(f"'{path}' holds more than the {size:,} bytes in its header: save it again.")
        image = kind.from_bytes(content)
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except Exception as error:  # gzip, zlib and nibabel raise many kinds of errors for damaged files
        raise ImageError(f"'{path}' is not a readable NIfTI file: {error}.") from error
    check_affine(path, image)
    return image


def open_unpacked(path: Path) -> BinaryIO:
    """Open a file, decompressed if its name ends in .gz; ImageError if it is not a regular file."""
    regular_file_size(path)
    return gzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb")


def header_of(start: bytes) -> tuple[type, nibabel.Nifti1Header]:
    """Image type (NIfTI-1 or NIfTI-2) and unchecked header, from the first bytes of a file."""
    kind = nibabel.Nifti2Image if start[4:7] == b"n+2" else nibabel.Nifti1Image
    return kind, kind.header_class(start[: kind.header_class.sizeof_hdr], check=False)


def count_slices(path: Path, reading: ReadingOptions = ReadingOptions()) -> int:
    """Number of slices that read_volume returns, from the header alone; ImageError if the header is invalid."""
    try:
        with open_unpacked(path) as file:
            _, header = header_of(file.read(540))
        check_nifti_header(path, header, reading)
        return int(header.get_data_shape()[int(np.argmax(header.get_zooms()[:3]))])
    except ImageError:
        raise
    except Exception as error:  # gzip, zlib and nibabel raise many kinds of errors for damaged files
        raise ImageError(f"'{path}' is not a readable NIfTI file: {error}.") from error


def read_volume_mask(path: Path, volume: Volume, reading: ReadingOptions = ReadingOptions()) -> np.ndarray:
    """The mask of a volume, bool (slices, height, width); ImageError if it is on another grid or has several labels."""
    image = read_nifti(path, reading)
    shape = volume.image.shape[:3]
    if image.shape[:3] != shape or not np.allclose(image.affine, volume.image.affine, atol=1e-3):
        raise ImageError(f"'{path}' is not on its image's grid (shape or affine): resample it.")
    voxels = np.asarray(image.dataobj).reshape(shape)
    values = np.unique(voxels)
    if not np.isfinite(values).all() or np.count_nonzero(values) > 1:
        raise ImageError(f"'{path}' has {len(values)} labels: a mask has only 0 and one other. Merge them.")
    return to_slices(voxels != 0, volume.image.affine, volume.axis)


def check_nifti_header(path: Path, header: nibabel.Nifti1Header, reading: ReadingOptions) -> int:
    """Size of the decompressed file in bytes; ImageError if it cannot be read or is too large."""
    if not bytes(header["magic"]).startswith((b"n+1", b"n+2")):
        raise ImageError(f"'{path}' is not a single-file NIfTI: save it as .nii or .nii.gz.")
    dimensions = int(header["dim"][0])
    shape = [int(length) for length in header["dim"][1 : 1 + max(0, dimensions)]]
    while len(shape) > 3 and shape[-1] == 1:
        del shape[-1]
    if len(shape) != 3 or min(shape) < 1:
        raise ImageError(f"'{path}' has the shape {shape}: save it as a volume with three dimensions.")
    if math.prod(shape) > reading.max_pixels:
        raise ImageError(
            f"'{path}' has {' x '.join(map(str, shape))} voxels, more than --max-pixels {reading.max_pixels}: "
            "scale it down or raise the limit."
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise ImageError(f"'{path}' has {dtype} voxels: only grey values can be read. Convert it.")
    offset = float(header["vox_offset"])
    if not 0 <= offset <= MAX_OFFSET:
        raise ImageError(f"'{path}' is damaged: its voxels start at byte {offset:.0f}. Save it again.")
    return int(offset) + math.prod(shape) * dtype.itemsize


def check_affine(path: Path, image: nibabel.Nifti1Image) -> None:
    """ImageError if the affine or the spacing of a file is invalid."""
    affine, spacing = image.affine, np.array(image.header.get_zooms()[:3])
    if not (np.isfinite(affine).all() and np.isfinite(spacing).all() and (spacing > 0).all()):
        raise ImageError(f"'{path}' has an invalid affine or spacing (NaN, infinite, zero or negative): fix it.")
    if np.isnan(io_orientation(affine)).any() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ImageError(f"'{path}' has an affine that flattens the volume: fix it.")


def encode_volume_mask(mask: np.ndarray, volume: Volume) -> bytes:
    """A boolean mask (slices, height, width) as .nii.gz of 0 and 1, on the grid of the volume's file."""
    voxels = from_slices(mask.astype(np.uint8), volume.image.affine, volume.axis)
    header = volume.image.header.copy()
    header.set_data_dtype(np.uint8)
    header.set_slope_inter(1, 0)
    header["cal_min"], header["cal_max"] = 0, 1
    # No affine: the header keeps its own, unchanged.
    image = type(volume.image)(voxels.reshape(volume.image.shape), None, header)
    return gzip.compress(image.to_bytes(), mtime=0)
