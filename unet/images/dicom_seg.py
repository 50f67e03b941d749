"""DICOM: a slice or a series of slices as a volume, and its mask as DICOM-SEG.

Needs pydicom, and for DICOM-SEG highdicom: requirements-dicom.txt. Headers are checked before pixels are
decoded.
"""

import hashlib
import importlib.util
import io
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unet.images.dicom import one_line
from unet.images.volume import Volume, from_slices

NAME, VERSION = "brain-tumor-unet", "0.1.0"


def encode_segmentation(mask: np.ndarray, volume: Volume, paths: list[Path]) -> bytes | None:
    """A boolean mask (slices, height, width) as DICOM-SEG.

    None where highdicom is not installed, or its source's header lacks what a DICOM-SEG must say: it is told.
    """
    if not importlib.util.find_spec("highdicom"):
        return None
    voxels = from_slices(mask.astype(np.uint8), volume.image.affine, volume.axis)
    try:
        return segmentation_of(np.ascontiguousarray(voxels.transpose(2, 1, 0)), paths)
    except Exception as error:  # highdicom raises many kinds for incomplete headers
        tqdm.write(f"No DICOM-SEG of '{paths[0]}': {one_line(error)}.", file=sys.stderr)
        return None


def segmentation_of(pixels: np.ndarray, paths: list[Path]) -> bytes:
    """DICOM-SEG of masks of 0 and 1, uint8 (slices, rows, columns), of those files."""
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
            name=NAME, version=VERSION, family=codes.DCM.ArtificialIntelligence
        ),
    )
    # Made of what they are of and hold: archives take a repeated prediction for the same object.
    of = [str(source.SOPInstanceUID) for source in sources]
    of.append(hashlib.sha256(pixels.tobytes()).hexdigest())
    series_uid, instance_uid = (pydicom.uid.generate_uid(entropy_srcs=[*of, kind]) for kind in ("series", "instance"))
    segmentation = highdicom.seg.Segmentation(
        source_images=sources,
        pixel_array=pixels,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[tumor],
        series_instance_uid=series_uid,
        series_number=900,
        sop_instance_uid=instance_uid,
        instance_number=1,
        manufacturer=NAME,
        manufacturer_model_name=NAME,
        software_versions=VERSION,
        device_serial_number="0",
        omit_empty_frames=bool(pixels.any()),  # where all are empty it warns
    )
    content = io.BytesIO()
    segmentation.save_as(content)
    return content.getvalue()
