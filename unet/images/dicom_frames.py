"""The frames of a DICOM file, from its header alone: where each lies, and how its grey values are scaled."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unet.errors import ImageError, UserError, one_line
from unet.images.reading import regular_file_size
from unet.options import ReadingOptions

# In DICOM, x points to the patient's left and y to the back. In NIfTI, x points to the right and y to the front.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MAX_BYTES = 800_000_000
LONGEST_SIDE = 2**15 - 1  # of a NIfTI-1 file, which masks are
DEFLATED = "1.2.840.10008.1.2.1.99"
# JPEG Extended with 12 bits, and JPEG Lossless.
JPEG = ("1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70")
# In Enhanced DICOM, these contain the fields below: once for all frames, or for each frame.
GROUPS = (
    "PlanePositionSequence",
    "PlaneOrientationSequence",
    "PixelMeasuresSequence",
    "PixelValueTransformationSequence",
)
DEFAULTS = {  # of single slices without these fields
    "ImagePositionPatient": (0, 0, 0),
    "ImageOrientationPatient": (1, 0, 0, 0, 1, 0),
    "PixelSpacing": (1, 1),
    "RescaleSlope": (1,),
    "RescaleIntercept": (0,),
    "SpacingBetweenSlices": (0,),
    "SliceThickness": (0,),
}


@dataclass(frozen=True, eq=False)
class Frame:
    """A grey slice: a DICOM file, or one of the frames in an Enhanced file."""

    path: Path
    number: int  # index in the file
    series: str  # UID
    segmentation: str  # type of a DICOM-SEG, such as BINARY; "" for an image
    shape: tuple[int, int]  # rows, columns
    position: np.ndarray  # (3,) of the first pixel in mm, in DICOM's directions
    directions: np.ndarray  # (3, 3) unit vectors along a row, along a column, and across the slice
    pixel_mm: np.ndarray  # height and width of a pixel
    thickness_mm: float  # distance to the next slice, or the slice's thickness; 0 if unknown
    slope: float  # a grey value is pixel * slope + intercept; both are negated if low values are shown bright
    intercept: float
    missing: tuple[str, ...]  # fields that have DEFAULTS

    def affine(self, step: np.ndarray) -> np.ndarray:
        """From column, row and slice to mm right, front and up, float64 (4, 4). The step to the next slice is in mm, in
        DICOM's directions."""
        (along_row, along_column, _), (row_mm, column_mm) = self.directions, self.pixel_mm
        columns = (along_row * column_mm, along_column * row_mm, step, self.position)
        return LPS_TO_RAS @ np.vstack([np.column_stack(columns), [0, 0, 0, 1]])


def read_header(path: Path):
    """The pydicom dataset of a file, without pixels; ImageError if it cannot be read, UserError without pydicom."""
    try:
        import pydicom
        from pydicom.filereader import read_file_meta_info
    except ImportError as error:
        raise UserError('DICOM files need pydicom: pip install pydicom, or ".[dicom]" for all of DICOM.') from error
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


def read_frames(path: Path) -> list[Frame]:
    """The frames of a file in its order, without pixels. ImageError if it is not grey, or does not contain the position
    of each of several frames."""
    header = read_header(path)
    try:
        if not (header.get("Rows") and header.get("Columns")):
            raise ImageError(f"'{path}' contains no image: pass only slices.")
        if not str(header.get("PhotometricInterpretation", "")).startswith("MONOCHROME"):
            raise ImageError(f"'{path}' is in color: convert it to grey.")
        count = int(header.get("NumberOfFrames") or 1)
        groups = header.get("PerFrameFunctionalGroupsSequence") or []
        if count == 1 and not groups:
            return [to_frame(path, 0, header, header)]
        if len(groups) != count:
            raise ImageError(
                f"'{path}' has {count} frames, but positions for {len(groups)}: export one file per slice."
            )
        shared = header.get("SharedFunctionalGroupsSequence") or []
        return [to_frame(path, number, header, merge(*shared, group)) for number, group in enumerate(groups)]
    except ImageError:
        raise
    except Exception as error:  # pydicom converts values, and may fail, when they are used
        raise ImageError(f"'{path}' is damaged: {one_line(error)}.") from error


def merge(*functional_groups):
    """One pydicom dataset with the fields in GROUPS of several functional groups; later ones replace earlier ones."""
    from pydicom import Dataset

    merged = Dataset()
    for group in functional_groups:
        for name in GROUPS:
            for item in group.get(name) or []:
                merged.update(item)
    return merged


def to_frame(path: Path, number: int, header, fields) -> Frame:
    """A frame from the header of its file and the dataset that contains its fields; ImageError if one is invalid."""
    orientation = numbers(path, fields, "ImageOrientationPatient")
    directions = np.array([orientation[:3], orientation[3:], np.cross(orientation[:3], orientation[3:])])
    if np.abs(np.linalg.norm(directions, axis=1) - 1).max() > 0.01:
        raise ImageError(f"'{path}' has an invalid ImageOrientationPatient: fix it.")
    pixel_mm = numbers(path, fields, "PixelSpacing")
    if pixel_mm.min() <= 0:
        raise ImageError(f"'{path}' has a spacing that is not positive: fix it.")
    distance_mm, thickness_mm = (numbers(path, fields, name)[0] for name in ("SpacingBetweenSlices", "SliceThickness"))
    sign = -1 if header.PhotometricInterpretation == "MONOCHROME1" else 1
    return Frame(
        path=path,
        number=number,
        # Without a UID, slices with positions in one folder are one series.
        series=str(header.get("SeriesInstanceUID") or ("" if "ImagePositionPatient" in fields else path)),
        segmentation=str(header.get("SegmentationType", "")),
        shape=(int(header.Rows), int(header.Columns)),
        position=numbers(path, fields, "ImagePositionPatient"),
        directions=directions,
        pixel_mm=pixel_mm,
        thickness_mm=abs(distance_mm or thickness_mm),  # a distance may be negative
        slope=sign * numbers(path, fields, "RescaleSlope")[0],
        intercept=sign * numbers(path, fields, "RescaleIntercept")[0],
        missing=tuple(name for name in DEFAULTS if not fields.get(name)),
    )


def numbers(path: Path, fields, name: str) -> np.ndarray:
    """The numbers in a field, float64, or its default if it is missing or empty; ImageError if they are invalid."""
    default = DEFAULTS[name]
    values = np.atleast_1d(np.array(fields.get(name) or default, float))
    if values.shape != (len(default),) or not np.isfinite(values).all():
        raise ImageError(f"'{path}' has an invalid {name}: fix it.")
    return values


def check_size(frames: list[Frame], reading: ReadingOptions) -> None:
    """ImageError if frames of one size have too many pixels together, or are too long for NIfTI."""
    rows, columns = frames[0].shape
    if max(rows, columns, len(frames)) > LONGEST_SIDE:
        raise ImageError(
            f"'{frames[0].path}' has {columns} x {rows} pixels, with a side longer than {LONGEST_SIDE}: crop it."
        )
    if rows * columns * len(frames) > reading.max_pixels:
        raise ImageError(
            f"'{frames[0].path}' has {columns} x {rows} x {len(frames)} voxels, more than --max-pixels "
            f"{reading.max_pixels}: scale it down or raise the limit."
        )


def read_pixels(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Stored pixels of all frames of a file, in this shape (frames, rows, columns). ImageError if unreadable."""
    import pydicom
    from pydicom.pixels import get_decoder

    try:
        dataset = pydicom.dcmread(path)
        syntax = dataset.file_meta.TransferSyntaxUID
        is_jpeg = syntax in JPEG
        if not (importlib.util.find_spec("imagecodecs") if is_jpeg else get_decoder(syntax).is_available):
            raise ImageError(
                f"'{path}' is compressed ({syntax.name}): pip install imagecodecs, or save it uncompressed."
            )
        pixels = decode_jpeg(dataset, shape) if is_jpeg else dataset.pixel_array
        if pixels.shape not in (shape, shape[1:] if shape[0] == 1 else shape):
            raise ImageError(
                f"'{path}' does not contain grey slices of {shape[2]} x {shape[1]} pixels: fix its header."
            )
        return without_padding(pixels.reshape(shape), dataset)
    except ImageError:
        raise
    except Exception as error:  # pydicom and its decoders raise many kinds of errors
        raise ImageError(
            f"'{path}' has pixels that cannot be read: {one_line(error)}. Copy it again, or save it uncompressed."
        ) from error


def without_padding(pixels: np.ndarray, dataset) -> np.ndarray:
    """Pixels in which those that the scanner did not measure are as dark as the darkest of the others."""
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    if value is None:  # missing or empty
        return pixels
    ends = int(value), int(value if limit is None else limit)
    is_measured = (pixels < min(ends)) | (pixels > max(ends))
    if is_measured.all() or not is_measured.any():
        return pixels
    measured = pixels[is_measured]
    is_inverted = dataset.PhotometricInterpretation == "MONOCHROME1"
    return np.where(is_measured, pixels, measured.max() if is_inverted else measured.min())


def decode_jpeg(dataset, shape: tuple[int, int, int]) -> np.ndarray:
    """Pixels (frames, rows, columns) of a dataset that is compressed as one of the kinds of JPEG in JPEG."""
    # Of pydicom's own decoders, one is GPL, and GDCM ends the process if some bytes of a lossless JPEG are damaged.
    import imagecodecs
    from pydicom.encaps import generate_frames

    pixels = np.empty(shape, np.uint8 if dataset.BitsStored <= 8 else np.uint16)
    for frame, content in zip(pixels, generate_frames(dataset.PixelData, number_of_frames=len(pixels)), strict=True):
        imagecodecs.jpeg8_decode(content, out=frame)  # an error if the frame has another shape
    if dataset.PixelRepresentation == 0:
        return pixels
    unused = 8 * pixels.itemsize - dataset.BitsStored
    return (pixels << unused).view(f"i{pixels.itemsize}") >> unused  # extends the sign
