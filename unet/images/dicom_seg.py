"""Masks of DICOM series as DICOM-SEG: encode one, which requires highdicom, and read one, which requires pydicom."""

import hashlib
import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unet import __version__
from unet.errors import ImageError, one_line
from unet.images.dicom import frames_in_order
from unet.images.dicom_frames import check_size, read_frames, read_header, read_pixels
from unet.images.grid import affine_difference
from unet.images.volume import Volume, turn, turn_back
from unet.options import ReadingOptions

NAME = "brain-tumor-unet"


def encode_segmentation(mask: np.ndarray, volume: Volume, paths: list[Path]) -> bytes | None:
    """A boolean mask (x, y, z) as DICOM-SEG. None without highdicom; None and a message if it fails."""
    if not importlib.util.find_spec("highdicom"):
        return None
    voxels = turn_back(mask.astype(np.uint8), volume.image.affine)
    try:
        return segmentation_of(np.ascontiguousarray(voxels.transpose(2, 1, 0)), paths)
    except Exception as error:  # highdicom raises many kinds of errors for incomplete headers
        tqdm.write(
            f"No DICOM-SEG for '{paths[0]}', only the NIfTI mask: {one_line(error)}. Fix the header.", file=sys.stderr
        )
        return None


def segmentation_of(pixels: np.ndarray, paths: list[Path]) -> bytes:
    """DICOM-SEG of a mask of 0 and 1, uint8 (slices, rows, columns), for the files it was made from."""
    import highdicom
    import pydicom
    from pydicom.sr.codedict import codes

    frames = frames_in_order(paths)
    sources = [read_header(path) for path in dict.fromkeys(frame.path for frame in frames)]
    # highdicom expects the order of the source files, or of the frames in an Enhanced file.
    pixels = pixels[np.argsort([frame.number for frame in frames], kind="stable")]
    tumor = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="Tumor",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=codes.SCT.Neoplasm,
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=NAME, version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
    )
    # The UIDs depend on the sources and the pixels only, so that archives recognize a repeated prediction.
    content = [str(source.SOPInstanceUID) for source in sources] + [hashlib.sha256(pixels.tobytes()).hexdigest()]
    segmentation = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[tumor],
        series_instance_uid=pydicom.uid.generate_uid(entropy_srcs=[*content, "series"]),
        series_number=900,
        sop_instance_uid=pydicom.uid.generate_uid(entropy_srcs=[*content, "instance"]),
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=__version__,
        device_serial_number="0",
        omit_empty_frames=bool(pixels.any()),  # highdicom warns if all frames are empty
    )
    file = io.BytesIO()
    segmentation.save_as(file)
    return file.getvalue()


def read_segmentation(
    paths: list[Path], series: list[Path], volume: Volume, reading: ReadingOptions = ReadingOptions()
) -> np.ndarray:
    """The mask in the DICOM-SEG files of a series and its volume, bool (x, y, z): all segments together. Slices without
    a frame are empty. ImageError if a file is not a binary segmentation on the grid of the series."""
    slices = frames_in_order(series)
    positions = np.array([one.position for one in slices])
    step = slices[0].directions[2] * np.linalg.norm(volume.image.affine[:3, 2])
    voxels = np.zeros(volume.image.shape, bool)  # columns, rows, slices
    for path in paths:
        frames = read_frames(path)
        check_size(frames, reading)
        if frames[0].segmentation != "BINARY":
            raise ImageError(f"'{path}' is not a binary DICOM-SEG: save it as one, or as NIfTI.")
        if frames[0].shape != slices[0].shape:
            sizes = (f"{columns} x {rows}" for rows, columns in (frames[0].shape, slices[0].shape))
            raise ImageError(f"'{path}' is not on its image's grid: it has {' pixels, not '.join(sizes)}. Resample it.")
        pixels = read_pixels(path, (len(frames), *frames[0].shape))
        for frame in frames:
            nearest = int(np.linalg.norm(positions - frame.position, axis=1).argmin())
            if difference := affine_difference(frame.affine(step), slices[nearest].affine(step)):
                raise ImageError(f"'{path}' is not on its image's grid: {difference}. Resample it.")
            voxels[:, :, nearest] |= pixels[frame.number].T > 0
    return turn(voxels, volume.image.affine)
