"""Outline scans (NIfTI volumes and DICOM series): mask, regions, viewer, sheet of slices, and measurements of each."""

from dataclasses import asdict

import cv2
import numpy as np

from unet.errors import ImageError
from unet.images.dicom import read_series, warn_unless_head_mri
from unet.images.dicom_seg import encode_segmentation
from unet.images.encoding import encode_png
from unet.images.nifti import encode_volume_mask, encode_voxels, read_volume
from unet.images.preprocessing import to_training_image
from unet.images.volume import Volume, slices_of, turn_back
from unet.network.confidence import soft_dice
from unet.network.predictor import Predictor
from unet.network.presence import probability_text
from unet.network.regions import REGION_COLUMNS, Region, measure_region, place_inside
from unet.network.scan import Outlines, ScanPrediction, outline_scan, predict_scan
from unet.options import PredictionOptions, ReadingOptions
from unet.pictures.overlays import TILE, draw_overlay, montage
from unet.pictures.viewer import Spot, viewer_page
from unet.prediction import names
from unet.prediction.inputs import Input
from unet.prediction.rows import Outlined, PredictionRow, judge
from unet.tables import table_text

SLICES_SHOWN = 20


def outline_scan_file(predictor: Predictor, input: Input, options: PredictionOptions) -> Outlined:
    """Mask, regions, viewer, picture of the slices, and measurements of one scan, and its probability if wanted."""
    try:
        volume = read_scan(input, options.reading)
    except ImageError as error:
        return Outlined(PredictionRow(input.path, status=str(error)))
    scan = predict_scan(predictor, volume, input.name)
    outlines = outline_scan(predictor, volume, scan)
    regions = [
        measure_region(volume, outlines.labels, number, scan.probability, predictor.tumor_probability(evidence))
        for number, evidence in enumerate(outlines.evidence, start=1)
    ]
    name, mask = input.name, outlines.mask
    files = {
        names.mask_name(name, is_volume=True): encode_volume_mask(mask, volume),
        names.regions_name(name): table_text(REGION_COLUMNS, [asdict(region) for region in regions], True).encode(),
        names.viewer_name(name): draw_page(name, volume, scan, outlines, regions).encode(errors="surrogateescape"),
        names.overlay_name(name, is_volume=True): encode_png(draw_slices(predictor, volume, scan, mask)),
    }
    if options.probabilities:
        files[names.probability_name(name, is_volume=True)] = encode_voxels(scan.probability, volume)
    if input.series and (segmentation := encode_segmentation(mask, volume, input.series)):
        files[names.segmentation_name(name)] = segmentation
    row = measure_scan(predictor, input, volume, scan, outlines)
    probability, mask = (turn_back(voxels, volume.image.affine) for voxels in (scan.probability, mask))
    return Outlined(row, files, probability, mask, tuple(regions))


def read_scan(input: Input, reading: ReadingOptions) -> Volume:
    """The volume of an input; ImageError if it cannot be read."""
    if input.series:
        volume = read_series(input.series, reading)
        warn_unless_head_mri(input.series[0])
        return volume
    with input.local_file() as path:
        return read_volume(path, reading)


def measure_scan(
    predictor: Predictor, input: Input, volume: Volume, scan: ScanPrediction, outlines: Outlines
) -> PredictionRow:
    """The row of a scan."""
    plane, mask = volume.shown_plane, outlines.mask
    voxels = int(np.count_nonzero(mask))
    slices = slices_of(mask, plane)
    row = PredictionRow(
        path=input.path,
        width=slices.shape[2],
        height=slices.shape[1],
        slices=slices.shape[0],
        regions=len(outlines.evidence),
        tumor_pixels=voxels,
        tumor_percent=round(100 * voxels / mask.size, 4),
        tumor_mm3=round(voxels * volume.voxel_mm3, 2) if volume.spacing_known else None,
        mean_probability=round(float(scan.probability[mask].mean()), 4) if voxels else None,
    )
    # Over slices with tumor only: small probabilities elsewhere add up in a scan.
    used = slices.any(axis=(1, 2))
    confidence = soft_dice(slices_of(scan.probability, plane)[used], slices[used])
    # The middle slice as if it were an image, since the network was trained on those.
    square = to_training_image(volume.square_pixels(plane, len(slices) // 2), predictor.size)
    return judge(row, predictor, square, outlines.highest_evidence, confidence)


def volume_text(ml: float) -> str:
    """A volume of 0.001 ml or more with at least two digits, without an exponent."""
    return f"{ml:.2g} ml" if ml < 10 else f"{ml:.0f} ml"


def draw_page(name: str, volume: Volume, scan: ScanPrediction, outlines: Outlines, regions: list[Region]) -> str:
    """The page with the viewer of a scan."""
    spots = []
    for region in regions:
        size, presence = f"{region.voxels} voxels", region.tumor_probability
        if volume.spacing_known:
            size = f"{volume_text(region.volume_ml)}, {region.longest_mm:.0f} x {region.perpendicular_mm:.0f} mm"
        detail = f"mean probability {probability_text(region.mean_probability)}"
        if presence is not None:
            detail = f"tumor probability {probability_text(presence)}, {detail}"
        position = place_inside(volume, outlines.labels, region)
        spots.append(Spot(region.region, f"Region {region.region}: {size}", detail, position))
    up = "../" * names.viewer_name(name).count("/")
    bundle, back = f"{up}{names.NIIVUE}", f"{up}{names.REPORT}"
    return viewer_page(
        name, volume.grey, outlines.mask, scan.probability, volume.affine, spots, bundle=bundle, back=back
    )


def draw_slices(predictor: Predictor, volume: Volume, scan: ScanPrediction, mask: np.ndarray) -> np.ndarray:
    """A sheet of evenly spaced slices, from the first with tumor to the last, or of the whole scan if none has."""
    plane = volume.shown_plane
    masks, probabilities = slices_of(mask, plane), slices_of(scan.probability, plane)
    threshold = predictor.rule.threshold
    below = np.nextafter(np.float32(threshold), np.float32(0))
    with_tumor = np.flatnonzero(masks.any(axis=(1, 2)))
    first, last = (with_tumor[0], with_tumor[-1]) if len(with_tumor) else (0, len(masks) - 1)
    shown = np.unique(np.linspace(first, last, min(SLICES_SHOWN, last - first + 1)).astype(int))
    row_mm, column_mm = volume.pixel_mm(plane)
    tiles, labels = [], []
    for index in shown:
        image = volume.square_pixels(plane, index)
        # Everything inside the outlines reaches the threshold, and nothing outside does.
        raised, lowered = np.maximum(probabilities[index], threshold), np.minimum(probabilities[index], below)
        probability = cv2.resize(np.where(masks[index], raised, lowered), image.shape[::-1])
        tiles.append(draw_overlay(image, probability, threshold, TILE))
        cm2 = np.count_nonzero(masks[index]) * row_mm * column_mm / 100
        size = f": {cm2:.1f} cm2" if volume.spacing_known else ""
        labels.append(f"{plane} {index + 1} of {len(masks)}{size}")
    return montage(tiles, labels)
