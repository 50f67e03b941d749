"""NIfTI volumes: read slice by slice as viewers show them, and masks written on the same grid.

Whatever a file claims, its header is checked before its voxels are read, and no more of it is unpacked
than the header says.
"""

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
# Before the voxels stand a header of 348 or 540 bytes and notes of other programs.
MAX_OFFSET = 2**24


def is_volume(path: Path) -> bool:
    """Whether a file's name is that of a volume."""
    return path.name.lower().endswith(VOLUME_SUFFIXES)


def read_volume(path: Path, axis: int | None = None, reading: ReadingOptions = ReadingOptions()) -> Volume:
    """A 3-D NIfTI file as slices along `axis` of its array, or where the spacing is largest.

    Grey values are scaled over the whole volume: its PERCENTILES become 0 and 255. Slices stand as
    radiologists see them: front or top up, the patient's right on the left. Raises ImageError, naming
    the file, for what is no such volume.
    """
    image = read_nifti(path, reading)
    voxels = np.asarray(image.dataobj, np.float32).reshape(image.shape[:3])
    if not np.isfinite(voxels).all():
        raise ImageError(f"'{path}' has voxels that are no numbers (NaN or infinite): mend them.")
    axis = int(np.argmax(image.header.get_zooms()[:3])) if axis is None else axis
    return to_volume(path, image, voxels, axis)


def read_nifti(path: Path, reading: ReadingOptions) -> nibabel.Nifti1Image:
    """A NIfTI file, header checked first; ImageError where it is damaged, too large or of another kind."""
    try:
        with open_unpacked(path) as file:
            start = file.read(540)
            kind, header = header_of(start)
            size = check_nifti_header(path, header, reading)
            content = start + file.read(max(0, size - len(start)))
            if len(content) < size:
                raise ImageError(f"'{path}' is cut off: {len(content):,} of {size:,} bytes are there.")
            if len(content) > size or file.read(1):
                raise ImageError(f"'{path}' holds more than the {size:,} bytes its header tells of.")
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


def count_slices(path: Path, reading: ReadingOptions = ReadingOptions()) -> int:
    """How many slices read_volume would give; ImageError as there, but voxels are not read."""
    try:
        with open_unpacked(path) as file:
            _, header = header_of(file.read(540))
        check_nifti_header(path, header, reading)
        return int(header.get_data_shape()[int(np.argmax(header.get_zooms()[:3]))])
    except ImageError:
        raise
    except Exception as error:  # gzip, zlib and nibabel raise many kinds for damaged files
        raise ImageError(f"'{path}' is not a readable NIfTI file: {error}.") from error


def read_volume_mask(path: Path, volume: Volume, reading: ReadingOptions = ReadingOptions()) -> np.ndarray:
    """The mask of a volume, a NIfTI file on its grid, as its slices: boolean (slices, height, width).

    It holds 0 and one other value. Raises ImageError, naming the file, for anything else.
    """
    image = read_nifti(path, reading)
    shape = volume.image.shape[:3]
    if image.shape[:3] != shape or not np.allclose(image.affine, volume.image.affine, atol=1e-3):
        raise ImageError(f"'{path}' is not on its image's grid (shape or affine): resample it.")
    voxels = np.asarray(image.dataobj).reshape(shape)
    values = np.unique(voxels)
    if not np.isfinite(values).all() or np.count_nonzero(values) > 1:
        raise ImageError(f"'{path}' holds {len(values)} labels: a mask is 0 and one other.")
    return to_slices(voxels != 0, volume.image.affine, volume.axis)


def check_nifti_header(path: Path, header: nibabel.Nifti1Header, reading: ReadingOptions) -> int:
    """Bytes of the whole file up to its last voxel; ImageError for what is not to be read."""
    if not bytes(header["magic"]).startswith((b"n+1", b"n+2")):
        raise ImageError(f"'{path}' is not a NIfTI file of one part (.nii or .nii.gz).")
    dimensions = int(header["dim"][0])
    shape = [int(length) for length in header["dim"][1 : 1 + max(0, dimensions)]]
    while len(shape) > 3 and shape[-1] == 1:
        del shape[-1]
    if len(shape) != 3 or min(shape) < 1:
        raise ImageError(f"'{path}' has the shape {shape}: only volumes of three dimensions.")
    if math.prod(shape) > reading.max_pixels:
        raise ImageError(
            f"'{path}' has {' x '.join(map(str, shape))} voxels, more than --max-pixels {reading.max_pixels}: "
            "scale it down or raise the limit."
        )
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise ImageError(f"'{path}' holds {dtype} voxels, such as colours: only grey values.")
    offset = float(header["vox_offset"])
    if not 0 <= offset <= MAX_OFFSET:
        raise ImageError(f"'{path}' says that its voxels start at byte {offset:.0f}: it is damaged.")
    return int(offset) + math.prod(shape) * dtype.itemsize


def check_affine(path: Path, image: nibabel.Nifti1Image) -> None:
    """ImageError where a file does not say how its voxels lie in space."""
    affine, spacing = image.affine, np.array(image.header.get_zooms()[:3])
    if not (np.isfinite(affine).all() and np.isfinite(spacing).all() and (spacing > 0).all()):
        raise ImageError(f"'{path}' has an affine or spacing that is no number or zero: mend it.")
    if np.isnan(io_orientation(affine)).any() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise ImageError(f"'{path}' has an affine that flattens the volume: mend it.")


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
