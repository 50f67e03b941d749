"""Measurements of the regions that are outlined in a scan: volume, diameters, place."""

from dataclasses import dataclass, fields

import cv2
import numpy as np

from unet.images.volume import Volume, slices_of


@dataclass(frozen=True)
class Region:
    """A row of regions.csv. Lengths are None if the size of a voxel is unknown."""

    region: int  # number in its scan, from the largest to the smallest
    voxels: int
    volume_mm3: float | None
    volume_ml: float | None
    longest_mm: float | None  # diameter in the slice where the region is largest, as in RANO
    perpendicular_mm: float | None  # longest diameter perpendicular to it
    center_x_mm: float  # in the scanner, to the patient's right
    center_y_mm: float  # to the front
    center_z_mm: float  # up
    plane: str
    first_slice: int  # in this plane, counted from 1 as in a viewer
    largest_slice: int
    last_slice: int
    mean_probability: float
    tumor_probability: float | None  # None if the run cannot tell


REGION_COLUMNS = [column.name for column in fields(Region)]


def measure_region(
    volume: Volume, labels: np.ndarray, number: int, probability: np.ndarray, tumor_probability: float | None
) -> Region:
    """Measure the region with a number.

    Args:
        volume: The scan.
        labels: Its regions, int32 (x, y, z), with at least one voxel of this number.
        number: Which one.
        probability: Of tumor, float32 (x, y, z).
        tumor_probability: That the region is a tumor, in [0, 1].
    """
    inside = labels == number
    voxels = int(np.count_nonzero(inside))
    plane = volume.shown_plane
    slices = slices_of(inside, plane)
    areas = np.count_nonzero(slices, axis=(1, 2))
    used = np.flatnonzero(areas)
    largest = int(areas.argmax())
    center = volume.affine @ [*np.argwhere(inside).mean(axis=0), 1]
    mm3 = longest = perpendicular = None
    if volume.spacing_known:
        mm3 = round(voxels * volume.voxel_mm3, 1)
        longest, perpendicular = (round(length, 1) for length in diameters_mm(slices[largest], *volume.pixel_mm(plane)))
    return Region(
        number,
        voxels,
        mm3,
        None if mm3 is None else round(mm3 / 1000, 3),
        longest,
        perpendicular,
        *(round(float(mm), 1) for mm in center[:3]),
        plane,
        *(int(index) + 1 for index in (used[0], largest, used[-1])),
        round(float(probability[inside].mean()), 4),
        None if tumor_probability is None else round(tumor_probability, 4),
    )


def place_inside(volume: Volume, labels: np.ndarray, region: Region) -> tuple[float, float, float]:
    """The voxel of a region that is nearest to its center in the slice where it is largest, as x, y and z in mm in the
    scanner. The center itself may lie outside, as in a ring."""
    voxels = np.zeros(labels.shape, bool)
    slices_of(voxels, region.plane)[region.largest_slice - 1] = True
    inside = np.argwhere(voxels & (labels == region.region))
    places = inside @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    nearest = np.linalg.norm(places - places.mean(axis=0), axis=1).argmin()
    return tuple(float(mm) for mm in places[nearest])


def diameters_mm(mask: np.ndarray, row_mm: float, column_mm: float) -> tuple[float, float]:
    """Longest diameter of a mask, and the longest one perpendicular to it, in mm, as in RANO (Wen et al. 2010).

    Args:
        mask: bool (height, width), with at least one pixel.
        row_mm: Height of a pixel.
        column_mm: Width of a pixel.
    """
    pixel_mm = np.sqrt(row_mm * column_mm)  # between centers, a diameter is one pixel too short
    points = np.argwhere(mask)[:, ::-1] * (column_mm, row_mm)
    hull = cv2.convexHull(points.astype(np.float32))[:, 0].astype(np.float64)
    lengths = np.linalg.norm(hull[:, np.newaxis] - hull, axis=2)
    one, other = np.unravel_index(lengths.argmax(), lengths.shape)
    direction = (hull[other] - hull[one]) / max(lengths[one, other], 1e-9)
    along, across = points @ direction, points @ (-direction[1], direction[0])
    # In strips one pixel wide, perpendicular to the longest diameter.
    strip = np.rint((along - along.min()) / pixel_mm).astype(int)
    lowest, highest = np.full(strip.max() + 1, np.inf), np.full(strip.max() + 1, -np.inf)
    np.minimum.at(lowest, strip, across)
    np.maximum.at(highest, strip, across)
    is_used = np.isfinite(lowest)
    return float(lengths.max() + pixel_mm), float((highest - lowest)[is_used].max() + pixel_mm)
