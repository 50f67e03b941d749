"""DICOM: a slice or a series of slices as a volume, and its mask as DICOM-SEG.

Needs pydicom, and for DICOM-SEG highdicom: requirements-dicom.txt. Headers are checked before pixels are
decoded.
"""

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
# DICOM's x points to the patient's left and y to the back, NIfTI's to the right and the front.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MAX_BYTES = 800_000_000
DEFLATED = "1.2.840.10008.1.2.1.99"
NO_PYDICOM = "DICOM files need pydicom: pip install -r requirements-dicom.txt."
# Numbers in headers are rounded.
TOLERANCE_MM = 0.02


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its name, or by its first bytes where that is a number or has no suffix."""
    if path.suffix and not path.suffix[1:].isdecimal():
        return path.name.lower().endswith(DICOM_SUFFIXES)
    if path.name == "DICOMDIR":
        return False  # the list of files that stands on every disc
    try:
        regular_file_size(path)
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except (OSError, ImageError):
        return False


def series_of(paths: list[Path]) -> list[list[Path]]:
    """Files of equal folder and series together, in the order of their positions; unreadable ones alone."""
    if paths and not importlib.util.find_spec("pydicom"):
        raise UserError(NO_PYDICOM)
    series: dict[tuple, list[tuple]] = defaultdict(list)
    for path in paths:
        try:
            header = read_header(path)
            key = (path.parent, str(header.get("SeriesInstanceUID", path)))
            place = (position_along_normal(header), path.name)
        except (ImageError, ValueError, TypeError):
            key, place = (path,), (0.0, path.name)
        series[key].append((*place, path))
    return [[path for *_, path in sorted(files)] for files in series.values()]


def read_header(path: Path):
    """pydicom's dataset of a file without its pixels; ImageError, naming the file, where it is none."""
    import pydicom
    from pydicom.filereader import read_file_meta_info

    try:
        if regular_file_size(path) > MAX_BYTES:
            raise ImageError(f"'{path}' has more than {MAX_BYTES:,} bytes: too large for a slice.")
        # A deflated file may unpack to any size, and pydicom unpacks it whole.
        if read_file_meta_info(path).get("TransferSyntaxUID") == DEFLATED:
            raise ImageError(f"'{path}' is deflated: save it uncompressed.")
        return pydicom.dcmread(path, stop_before_pixels=True)
    except ImageError:
        raise
    except OSError as error:
        raise ImageError(f"Cannot read '{path}': {error.strerror or error}.") from error
    except Exception as error:  # pydicom raises many kinds for damaged files
        raise ImageError(f"'{path}' is not a readable DICOM file: {one_line(error)}.") from error


def read_series(paths: list[Path], reading: ReadingOptions = ReadingOptions()) -> Volume:
    """One slice, or the slices of a series in order, as a volume.

    Grey values are scaled over the whole of it, as of a NIfTI file. Raises ImageError, naming a file, for
    what is no grey image of one frame, or no series of evenly spaced parallel slices.
    """
    headers = [read_header(path) for path in paths]
    try:
        for path, header in zip(paths, headers, strict=True):
            check_slice_header(path, header, headers, reading)
        affine = affine_of(paths, headers)
    except (ValueError, TypeError) as error:  # a field of another kind than its name says
        raise ImageError(f"'{paths[0]}' or its series is damaged: {one_line(error)}.") from error
    # As NIfTI has them: columns, rows, slices.
    voxels = np.stack([read_pixels(path) for path in paths]).transpose(2, 1, 0)
    image = nibabel.Nifti1Image(voxels.astype(np.float32), affine)
    image.header.set_xyzt_units("mm")
    told = headers[0].get("PixelSpacing") and (len(paths) > 1 or thickness_of(headers[0]))
    return replace(to_volume(paths[0], image, voxels, axis=2), spacing_known=bool(told))


def check_slice_header(path: Path, header, series: list, reading: ReadingOptions) -> None:
    """ImageError for what must not be decoded, or does not belong to the series."""
    rows, columns = int(header.get("Rows") or 0), int(header.get("Columns") or 0)
    if not rows * columns:
        raise ImageError(f"'{path}' holds no image: pass slices.")
    if rows * columns * len(series) > reading.max_pixels:
        raise ImageError(
            f"'{path}' has {columns} x {rows} pixels, with its series more than --max-pixels: scale it "
            "down or raise the limit."
        )
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageError(f"'{path}' has {frames} frames: save each as a file of its own.")
    if not str(header.get("PhotometricInterpretation", "")).startswith("MONOCHROME"):
        raise ImageError(f"'{path}' is in colour: only grey slices.")
    if (rows, columns) != (series[0].get("Rows"), series[0].get("Columns")):
        raise ImageError(f"'{path}' has another size than its series: give each a folder.")


def read_pixels(path: Path) -> np.ndarray:
    """Grey values (rows, columns), float32, bright as shown."""
    import pydicom

    try:
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array.astype(np.float32)
        slope = float(dataset.get("RescaleSlope") or 1)
        pixels = pixels * slope + float(dataset.get("RescaleIntercept") or 0)
    except Exception as error:  # pydicom and its decoders raise many kinds
        raise ImageError(f"'{path}' has pixels that cannot be read: {one_line(error)}.") from error
    if pixels.shape != (dataset.Rows, dataset.Columns):
        raise ImageError(f"'{path}' is no grey slice of {dataset.Columns} x {dataset.Rows} pixels.")
    if not np.isfinite(pixels).all():
        raise ImageError(f"'{path}' has pixels that are no numbers (NaN or infinite): mend them.")
    return -pixels if dataset.PhotometricInterpretation == "MONOCHROME1" else pixels


def numbers(header, name: str, default: list[float]) -> np.ndarray:
    """Numbers of a field; the default where it is missing or empty, ImageError where they are none."""
    told = header.get(name)
    values = np.array([float(value) for value in told] if told else default, float)
    if len(values) != len(default) or not np.isfinite(values).all():
        raise ImageError(f"'{header.filename}' has a {name} that is no position: mend it.")
    return values


def directions_of(header) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors along a row, along a column, and across; an axial slice where the file says nothing."""
    told = numbers(header, "ImageOrientationPatient", [1, 0, 0, 0, 1, 0])
    along_row, along_column = told[:3], told[3:]
    across = np.cross(along_row, along_column)
    if abs(np.linalg.norm(across) - 1) > 0.01:
        raise ImageError(f"'{header.filename}' has an ImageOrientationPatient that is none: mend it.")
    return along_row, along_column, across


def position_along_normal(header) -> float:
    """Where a slice lies along the line across it, in mm."""
    return float(directions_of(header)[2] @ numbers(header, "ImagePositionPatient", [0, 0, 0]))


def affine_of(paths: list[Path], headers: list) -> np.ndarray:
    """Column, row and slice -> mm to the right, front and top, (4, 4); ImageError for uneven slices."""
    first = headers[0]
    along_row, along_column, across = directions_of(first)
    row_mm, column_mm = spacing = numbers(first, "PixelSpacing", [1, 1])
    places = np.array([numbers(header, "ImagePositionPatient", [0, 0, 0]) for header in headers])
    gaps = np.diff(places @ across)
    for path, header in zip(paths, headers, strict=True):
        same = np.allclose(directions_of(header), (along_row, along_column, across), atol=1e-3)
        if not same or not np.allclose(numbers(header, "PixelSpacing", [1, 1]), spacing, atol=1e-3):
            raise ImageError(f"'{path}' is not parallel to its series: give each a folder.")
    if len(gaps) and (gaps.min() < TOLERANCE_MM or np.ptp(gaps) > max(TOLERANCE_MM, 0.1 * gaps.min())):
        worst = paths[1 + int(np.argmin(gaps) if gaps.min() < TOLERANCE_MM else np.argmax(gaps))]
        raise ImageError(
            f"'{worst}' does not follow the slice before it at an even distance ({gaps.min():.2f} to "
            f"{gaps.max():.2f} mm in its series): a slice is missing, or there are several series."
        )
    alone = across * (thickness_of(first) or 1)
    step = (places[-1] - places[0]) / (len(paths) - 1) if len(gaps) else alone
    if min(row_mm, column_mm, np.linalg.norm(step)) <= 0:
        raise ImageError(f"'{paths[0]}' has a spacing of zero: mend it.")
    affine = np.eye(4)
    affine[:3] = np.column_stack([along_row * column_mm, along_column * row_mm, step, places[0]])
    return LPS_TO_RAS @ affine


def thickness_of(header) -> float | None:
    """From a slice to the next in mm, or how thick it is; None where the file tells neither."""
    told = header.get("SpacingBetweenSlices") or header.get("SliceThickness")
    return abs(float(told)) if told else None


def one_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
