"""Encode the mask of a DICOM series as DICOM-SEG. Requires highdicom."""

import hashlib
import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unet import __version__
from unet.images.dicom import one_line
from unet.images.volume import Volume, from_slices

NAME = "brain-tumor-unet"


def encode_segmentation(mask: np.ndarray, volume: Volume, paths: list[Path]) -> bytes | None:
    """A boolean mask (slices, height, width) as DICOM-SEG. None without highdicom; None and a message if it fails."""
    if not importlib.util.find_spec("highdicom"):
        return None
    voxels = from_slices(mask.astype(np.uint8), volume.image.affine, volume.axis)
    try:
        return segmentation_of(np.ascontiguousarray(voxels.transpose(2, 1, 0)), paths)
    except Exception as error:  # highdicom raises many kinds of errors for incomplete headers
        tqdm.write(f"No DICOM-SEG for '{paths[0]}': {one_line(error)}.", file=sys.stderr)
        return None


def segmentation_of(pixels: np.ndarray, paths: list[Path]) -> bytes:
    """DICOM-SEG of a mask of 0 and 1, uint8 (slices, rows, columns), for the files it was made from."""
    import highdicom
    import pydicom
    from pydicom.sr.codedict import codes

    sources = [pydicom.dcmread(path) for path in paths]
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
