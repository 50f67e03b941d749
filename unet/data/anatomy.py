"""The anatomy of the phantoms: drawings of head sections in mm, and the distance of each pixel to their borders.

anatomy.json has the shapes of each section in painting order, and the position of the sella in sections that show it.
"""

import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

FIELD_OF_VIEW_MM = 250


class Shape(NamedTuple):
    """A smooth curve through points "x,y x,y ..." in mm: a closed outline, or an open stroke if it has a width.

    x points right and y down. Symmetric sections are mirrored; an outline from the midline is half of one shape.
    """

    tissue: str
    points: str
    half_width_mm: float = 0


_DRAWINGS = json.loads(Path(__file__).with_name("anatomy.json").read_bytes())
SECTIONS = {
    section: {name: Shape(**shape) for name, shape in shapes.items()}
    for section, shapes in _DRAWINGS["sections"].items()
}
SELLA_MM = _DRAWINGS["sella_mm"]


def is_symmetric(section):
    return not section.startswith("sagittal")


@cache
def grid_mm(size):
    """x and y of the pixel centers in mm from the image center, two float32 (size, size)."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * FIELD_OF_VIEW_MM
    return np.meshgrid(axis, axis)


@cache
def shape_distance(section, name, size):
    """Signed distance to the border of a shape in mm, negative inside, float32 (size, size)."""
    half_width_mm = SECTIONS[section][name].half_width_mm
    # Drawn at twice the size and with 1/16 pixel precision, for smooth borders.
    pixels_per_mm = 2 * size / FIELD_OF_VIEW_MM
    points = np.round((outline_mm(section, name) + FIELD_OF_VIEW_MM / 2) * pixels_per_mm * 16)
    drawn = np.zeros((2 * size, 2 * size), np.uint8)
    if half_width_mm:
        cv2.polylines(drawn, [points.astype(np.int32)], False, 1, shift=4)
    else:
        cv2.fillPoly(drawn, [points.astype(np.int32)], 1, shift=4)
    if is_symmetric(section):
        drawn |= drawn[:, ::-1]
    outside, inside = (cv2.distanceTransform(part, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for part in (1 - drawn, drawn))
    signed = cv2.resize(outside - inside, (size, size), interpolation=cv2.INTER_AREA)
    return np.float32(signed / pixels_per_mm - half_width_mm)


def outline_mm(section, name):
    """Points (n, 2) in mm along the Catmull-Rom curve through the points of a shape."""
    shape = SECTIONS[section][name]
    points = np.array([pair.split(",") for pair in shape.points.split()], float)
    if is_symmetric(section) and points[0, 0] == 0 and not shape.half_width_mm:
        points = np.concatenate([points, points[-2:0:-1] * (-1, 1)])
    before, after = ([0], [-1]) if shape.half_width_mm else ([-1], [0, 1])
    knots = np.concatenate([points[before], points, points[after]])
    t = np.linspace(0, 1, 16)[:, None]
    return np.concatenate(
        [
            b + (c - a) * t / 2 + (a - 2.5 * b + 2 * c - d / 2) * t**2 + (1.5 * (b - c) + (d - a) / 2) * t**3
            for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False)
        ]
    )
