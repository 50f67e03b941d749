"""Read a DICOM slice or series as a volume. Requires pydicom. Headers are checked before pixels are decoded."""

from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np

from unet.errors import ImageError, warn_once
from unet.images.dicom_frames import Frame, check_size, read_frames, read_header, read_pixels
from unet.images.nifti import check_affine
from unet.images.reading import regular_file_size
from unet.images.volume import Volume, slices_by_plane, to_volume
from unet.options import ReadingOptions

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
HEAD_NAMES = ("HEAD", "BRAIN", "SKULL", "CRANI", "NEURO", "SELLA", "PITUITARY", "ORBIT")  # in names of body parts
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
    """Files grouped by folder and series, sorted by position. A multi-frame or unreadable file is its own group."""
    series: dict[tuple, list[tuple]] = defaultdict(list)
    for path in paths:
        try:
            first, *others = read_frames(path)
            key = (path,) if others else (path.parent, first.series)
            position_mm = float(first.directions[2] @ first.position)
        except ImageError:
            key, position_mm = (path,), 0.0
        series[key].append((position_mm, path.name, path))
    return [[path for *_, path in sorted(files)] for files in series.values()]


def read_series(paths: list[Path], reading: ReadingOptions = ReadingOptions()) -> Volume:
    """One slice, the slices of a series, or an Enhanced file as a volume, with grey values scaled over all slices.
    ImageError if a file is not a grey image, or if the slices are not parallel and evenly spaced."""
    frames, image = series_grid(paths, reading)
    spacing_known = "PixelSpacing" not in frames[0].missing and (len(frames) > 1 or frames[0].thickness_mm > 0)
    return replace(to_volume(paths[0], image, read_voxels(frames), reading.plane), spacing_known=spacing_known)


def warn_unless_head_mri(path: Path) -> None:
    """Print a warning if the header of a file says that it is not MRI, or not of the head."""
    header = read_header(path)
    modality, part = (str(header.get(name, "")).upper() for name in ("Modality", "BodyPartExamined"))
    if modality not in ("", "MR") or (part and not any(word in part for word in HEAD_NAMES)):
        facts = " of ".join(filter(None, (modality, part)))
        warn_once(
            f"Warning: '{path}' is {facts}. Results are unreliable on images unlike the training data, which are most "
            "likely MRI of the head."
        )


def slices_in_series(paths: list[Path], reading: ReadingOptions = ReadingOptions()) -> dict[str, int]:
    """Number of slices in each plane in which read_series slices a series, from headers alone. ImageError as there."""
    _, image = series_grid(paths, reading)
    return slices_by_plane(image, reading.plane)


def series_grid(paths: list[Path], reading: ReadingOptions) -> tuple[list[Frame], nibabel.Nifti1Image]:
    """The frames of a series in order, and an empty image (columns, rows, slices) on their grid, from headers alone."""
    frames = frames_in_order(paths)
    check_size(frames, reading)
    check_frames(frames)
    rows, columns = frames[0].shape
    affine = affine_of(frames)
    check_affine(frames[0].path, affine)
    image = nibabel.Nifti1Image(np.broadcast_to(np.float32(0), (columns, rows, len(frames))), affine)
    image.header.set_xyzt_units("mm")
    return frames, image


def frames_in_order(paths: list[Path]) -> list[Frame]:
    """The frames of these files, sorted by their position across the first one."""
    frames = [frame for path in paths for frame in read_frames(path)]
    return sorted(frames, key=lambda frame: float(frames[0].directions[2] @ frame.position))


def check_frames(frames: list[Frame]) -> None:
    """ImageError if frames are not parallel slices of one scan with known positions."""
    first = frames[0]
    place = place_for(frames)
    for frame in frames:
        if frame.segmentation:
            raise ImageError(f"'{frame.path}' is a segmentation, not a scan: leave it out.")
        if frame.series != first.series:
            raise ImageError(f"'{frame.path}' is from another series than '{first.path}': move it to a new folder.")
        if frame.shape != first.shape:
            raise ImageError(f"'{frame.path}' has a different size than its series: move it to a new folder.")
        for name in ("ImagePositionPatient", "ImageOrientationPatient"):
            if len(frames) > 1 and name in frame.missing:
                raise ImageError(
                    f"'{frame.path}' has no {name}, so the order and distance of the slices are unknown: export the "
                    "series again with it, or convert each slice to PNG."
                )
        parallel = np.allclose(frame.directions, first.directions, atol=1e-3)
        if not parallel or not np.allclose(frame.pixel_mm, first.pixel_mm, atol=1e-3):
            raise ImageError(f"'{frame.path}' is not parallel to its series or differs in spacing: move it to {place}.")


def affine_of(frames: list[Frame]) -> np.ndarray:
    """Affine (4, 4) from column, row and slice to mm right, front and up; ImageError if the slices form no grid."""
    first = frames[0]
    positions = np.array([frame.position for frame in frames])
    gaps = np.diff(positions @ first.directions[2])
    if not len(gaps):
        return first.affine(first.directions[2] * (first.thickness_mm or 1))
    if gaps.min() < TOLERANCE_MM:
        copy, other = frames[1 + int(np.argmin(gaps))], frames[int(np.argmin(gaps))]
        raise ImageError(
            f"'{copy.path}' is at the same position as '{other.path}' in its series: delete one of them, or put each "
            f"series in {place_for(frames)}."
        )
    if np.ptp(gaps) > max(TOLERANCE_MM, 0.1 * gaps.min()):
        worst = frames[1 + int(np.argmax(gaps))]
        raise ImageError(
            f"'{worst.path}' is not evenly spaced in its series (distances of {gaps.min():.2f} to {gaps.max():.2f} "
            f"mm): add the missing slice, or put each series in {place_for(frames)}."
        )
    off = np.linalg.norm(positions - np.linspace(positions[0], positions[-1], len(frames)), axis=1)
    if off.max() > max(TOLERANCE_MM, 0.1 * gaps.min()):
        worst = frames[int(np.argmax(off))]
        raise ImageError(
            f"'{worst.path}' is {off.max():.2f} mm beside the line through the slices of its series: put each "
            f"series in {place_for(frames)}."
        )
    return first.affine((positions[-1] - positions[0]) / len(gaps))


def place_for(frames: list[Frame]) -> str:
    """Where what does not belong to a series should be, in words."""
    return "a separate file" if frames[0].path == frames[-1].path else "a separate folder"


def read_voxels(frames: list[Frame]) -> np.ndarray:
    """Grey values of frames, float32 (columns, rows, slices); ImageError if they cannot be read."""
    shape = frames[0].shape
    stored = {
        path: read_pixels(path, (count, *shape)) for path, count in Counter(frame.path for frame in frames).items()
    }
    voxels = np.empty((len(frames), *shape), np.float32)
    for index, frame in enumerate(frames):
        voxels[index] = stored[frame.path][frame.number].astype(np.float32) * frame.slope + frame.intercept
        if not np.isfinite(voxels[index]).all():
            raise ImageError(f"'{frame.path}' has pixels that are NaN or infinite: replace them with numbers.")
    return voxels.transpose(2, 1, 0)
