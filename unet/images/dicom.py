"""Read a DICOM slice or series as a volume. Requires pydicom. Headers are checked before pixels are decoded."""

import importlib.util
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np

from unet.errors import ImageError, UserError
from unet.images.reading import regular_file_size
from unet.images.volume import Volume, to_volume
from unet.options import ReadingOptions

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
# In DICOM, x points to the patient's left and y to the back. In NIfTI, x points to the right and y to the front.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MAX_BYTES = 800_000_000
DEFLATED = "1.2.840.10008.1.2.1.99"
TOLERANCE_MM = 0.02  # headers contain rounded numbers


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its suffix, or by its first bytes if it has no suffix or a number as its suffix."""
    if path.suffix and not path.suffix[1:].isdecimal():
        return path.name.lower().endswith(DICOM_SUFFIXES)
    if path.name == "DICOMDIR":
        return False  # the index of a disc, without pixels
    try:
        regular_file_size(path)
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except (OSError, ImageError):
        return False


def series_of(paths: list[Path]) -> list[list[Path]]:
    """Files grouped by folder and series and sorted by position; each unreadable file is its own group."""
    if paths and not importlib.util.find_spec("pydicom"):
        raise UserError('DICOM files need pydicom: pip install ".[dicom]".')
    series: dict[tuple, list[tuple]] = defaultdict(list)
    for path in paths:
        try:
            header = read_header(path)
            key = (path.parent, str(header.get("SeriesInstanceUID", path)))
            place = (float(directions_of(header)[2] @ position_of(header)), path.name)
        except (ImageError, ValueError, TypeError):
            key, place = (path,), (0.0, path.name)
        series[key].append((*place, path))
    return [[path for *_, path in sorted(files)] for files in series.values()]


def read_header(path: Path):
    """The pydicom dataset of a file, without pixels; ImageError if it cannot be read."""
    import pydicom
    from pydicom.filereader import read_file_meta_info

    try:
        if regular_file_size(path) > MAX_BYTES:
            raise ImageError(f"'{path}' has more than {MAX_BYTES:,} bytes: split it into slices.")
        # pydicom decompresses a deflated file completely, whatever its size.
        if read_file_meta_info(path).get("TransferSyntaxUID") == DEFLATED:
            raise ImageError(f"'{path}' is deflated: save it uncompressed.")
        return pydicom.dcmread(path, stop_before_pixels=True)
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except Exception as error:  # pydicom raises many kinds of errors for damaged files
        raise ImageError(f"'{path}' is not a readable DICOM file: {one_line(error)}.") from error


def read_series(paths: list[Path], reading: ReadingOptions = ReadingOptions()) -> Volume:
    """One slice, or the slices of a series in order, as a volume, with grey values scaled over all slices.
    ImageError if a file is not a grey image with one frame, or if the slices are not parallel and evenly spaced."""
    headers = [read_header(path) for path in paths]
    try:
        for path, header in zip(paths, headers, strict=True):
            check_slice_header(path, header, headers, reading)
        affine = affine_of(paths, headers)
    except (ValueError, TypeError) as error:  # a field with a value of the wrong type
        raise ImageError(f"'{paths[0]}' or its series is damaged: {one_line(error)}.") from error
    # In the order of NIfTI: columns, rows, slices.
    voxels = np.stack([read_pixels(path) for path in paths]).transpose(2, 1, 0)
    image = nibabel.Nifti1Image(voxels.astype(np.float32), affine)
    image.header.set_xyzt_units("mm")
    spacing_known = bool(headers[0].get("PixelSpacing") and (len(paths) > 1 or thickness_of(headers[0])))
    return replace(to_volume(paths[0], image, voxels, axis=2), spacing_known=spacing_known)


def check_slice_header(path: Path, header, series: list, reading: ReadingOptions) -> None:
    """ImageError if a slice is too large, is not a grey image with one frame, or does not match its series."""
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    if not rows * columns:
        raise ImageError(f"'{path}' contains no image: pass only slices.")
    if rows * columns * len(series) > reading.max_pixels:
        raise ImageError(
            f"'{path}' has {columns} x {rows} pixels, and its series has more than --max-pixels {reading.max_pixels}: "
            "scale it down or raise the limit."
        )
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError(f"'{path}' has {frames} frames: save each as a separate file.")
    if not str(header.get("PhotometricInterpretation", "")).startswith("MONOCHROME"):
        raise ImageError(f"'{path}' is in color: convert it to grey.")
    if (rows, columns) != (series[0].get("Rows"), series[0].get("Columns")):
        raise ImageError(f"'{path}' has a different size than its series: move it to a new folder.")


def read_pixels(path: Path) -> np.ndarray:
    """Grey values of a slice, float32 (rows, columns), negated if low values are shown bright."""
    import pydicom

    try:
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array.astype(np.float32)
        slope = float(dataset.get("RescaleSlope") or 1)
        pixels = pixels * slope + float(dataset.get("RescaleIntercept") or 0)
    except Exception as error:  # pydicom and its decoders raise many kinds of errors
        raise ImageError(f"'{path}' has pixels that cannot be read: {one_line(error)}.") from error
    if pixels.shape != (dataset.Rows, dataset.Columns):
        raise ImageError(f"'{path}' is not a grey slice of {dataset.Columns} x {dataset.Rows} pixels: fix its header.")
    if not np.isfinite(pixels).all():
        raise ImageError(f"'{path}' has pixels that are NaN or infinite: replace them with numbers.")
    return -pixels if dataset.PhotometricInterpretation == "MONOCHROME1" else pixels


def numbers(header, name: str, default: list[float]) -> np.ndarray:
    """The numbers in a field, float64, or the default if it is missing or empty; ImageError if they are invalid."""
    field = header.get(name)
    values = np.array([float(value) for value in field] if field else default, float)
    if len(values) != len(default) or not np.isfinite(values).all():
        raise ImageError(f"'{header.filename}' has an invalid {name}: fix it.")
    return values


def directions_of(header) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along a row, along a column, and across the slice; those of an axial slice if unspecified."""
    orientation = numbers(header, "ImageOrientationPatient", [1, 0, 0, 0, 1, 0])
    along_row, along_column = orientation[:3], orientation[3:]
    across = np.cross(along_row, along_column)
    if abs(np.linalg.norm(across) - 1) > 0.01:
        raise ImageError(f"'{header.filename}' has an invalid ImageOrientationPatient: fix it.")
    return along_row, along_column, across


def position_of(header) -> np.ndarray:
    """Position (x, y, z) of a slice's first pixel in mm; the origin if unspecified."""
    return numbers(header, "ImagePositionPatient", [0, 0, 0])


def affine_of(paths: list[Path], headers: list) -> np.ndarray:
    """Affine (4, 4) from column, row and slice to mm right, front and up; ImageError if the slices form no grid."""
    first = headers[0]
    along_row, along_column, across = directions_of(first)
    row_mm, column_mm = spacing = numbers(first, "PixelSpacing", [1, 1])
    positions = np.array([position_of(header) for header in headers])
    gaps = np.diff(positions @ across)
    for path, header in zip(paths, headers, strict=True):
        parallel = np.allclose(directions_of(header), (along_row, along_column, across), atol=1e-3)
        if not parallel or not np.allclose(numbers(header, "PixelSpacing", [1, 1]), spacing, atol=1e-3):
            raise ImageError(f"'{path}' is not parallel to its series or differs in spacing: move it to a new folder.")
    if len(gaps) and (gaps.min() < TOLERANCE_MM or np.ptp(gaps) > max(TOLERANCE_MM, 0.1 * gaps.min())):
        worst = paths[1 + int(np.argmin(gaps) if gaps.min() < TOLERANCE_MM else np.argmax(gaps))]
        raise ImageError(
            f"'{worst}' is not evenly spaced in its series (distances of {gaps.min():.2f} to {gaps.max():.2f} mm): "
            "add the missing slice, or put each series in a separate folder."
        )
    thickness = across * (thickness_of(first) or 1)
    step = (positions[-1] - positions[0]) / (len(paths) - 1) if len(gaps) else thickness
    if min(row_mm, column_mm, np.linalg.norm(step)) <= 0:
        raise ImageError(f"'{paths[0]}' has a spacing that is not positive: fix it.")
    affine = np.eye(4)
    affine[:3] = np.column_stack([along_row * column_mm, along_column * row_mm, step, positions[0]])
    return LPS_TO_RAS @ affine


def thickness_of(header) -> float | None:
    """Distance to the next slice, or the slice's thickness, in mm; None if the file has neither."""
    thickness = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
    return abs(float(thickness)) if thickness else None


def one_line(error: Exception) -> str:
    """First line of an error's text without its period, or the error's type if it has no text."""
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
