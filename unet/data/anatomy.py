"""Phantoms, the embedded default data set: simulated T1-weighted contrast-enhanced head MRI.

Each slice is painted back to front on one grey canvas, in millimetres from its centre: a head drawn
from outlines, a tumor, then the scanner with its bends, bias and noise. A patient has one anatomy,
one contrast, one plane and one tumor; the slices are neighbours. No pixel comes from a real scan.
"""

from functools import cache
from typing import NamedTuple

import cv2
import numpy as np

FIELD_OF_VIEW_MM = 250


class Shape(NamedTuple):
    """A closed smooth outline, or with a width an open stroke, through "x,y x,y ..." in mm.

    x points right, y down. On symmetric sections every shape has a mirror image on the left, and an
    outline that starts on the midline is the right half of one shape.
    """

    tissue: str
    points: str
    half_width_mm: float = 0


def is_symmetric(section):
    return not section.startswith("sagittal")


@cache
def grid_mm(size):
    """x and y of the pixel centres, two float32 (size, size), in mm from the image centre."""
    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size - 0.5) * FIELD_OF_VIEW_MM
    return np.meshgrid(axis, axis)


@cache
def shape_distance(section, name, size):
    """Signed distance to a shape's border, negative inside, float32 (size, size), in mm."""
    half_width_mm = SECTIONS[section][name].half_width_mm
    # Drawn at twice the size and to 1/16 pixel, so that the borders have no stairs.
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
    """A shape's points joined by a Catmull-Rom curve, (n, 2), in mm."""
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


SAGITTAL = {
    "head": Shape(
        "fat",
        "0,-110 40,-104 73,-84 92,-52 96,-14 90,18 80,40 77,60 80,90 90,140 "
        "-50,140 -56,116 -74,112 -92,104 -98,92 -94,80 -102,72 -98,62 -102,52 -114,40 "
        "-104,14 -94,-2 -96,-18 -90,-44 -76,-78 -46,-102",
    ),
    "nape": Shape("muscle", "44,58 64,52 72,80 80,140 44,140"),
    "tongue": Shape("muscle", "-82,78 -66,60 -36,60 -14,78 -16,110 -50,120 -78,104"),
    "nose": Shape("mucosa", "-98,20 -80,6 -48,4 -40,30 -44,46 -80,46 -100,40"),
    "upper meatus": Shape("air", "-90,16 -70,15 -48,10", 2.5),
    "middle meatus": Shape("air", "-96,34 -74,26 -48,28", 3),
    "lower meatus": Shape("air", "-90,42 -70,40 -46,40", 1.5),
    "palate": Shape("bone", "-92,52 -66,51 -36,55", 2.5),
    "pharynx": Shape("air", "-44,36 -26,44 -11,66 -8,140", 4.5),
    "frontal sinus": Shape("air", "-90,-8 -87,-24 -81,-12 -84,2"),
    "vertebrae": Shape("marrow", "2,54 13,54 17,140 3,140"),
    "first disc": Shape("bone", "0,70 16,70", 1.5),
    "second disc": Shape("bone", "0,86 16,86", 1.5),
    "canal": Shape("csf", "10,40 32,40 34,80 40,140 16,140 14,80"),
    "cranium": Shape(
        "brain",
        "0,-98 40,-93 70,-72 83,-36 80,0 66,26 50,40 32,46 22,36 14,16 "
        "4,6 -14,2 -30,0 -58,-6 -76,-14 -82,-36 -70,-68 -40,-91",
    ),
    "clivus": Shape("marrow", "-12,14 2,12 14,34 10,46 -8,34"),
    "sphenoid sinus": Shape("sinus", "-34,4 -16,6 -13,16 -22,28 -38,26 -42,12"),
    "cingulate sulcus": Shape("csf", "-46,-12 -54,-38 -30,-62 4,-67 40,-60 56,-44", 1),
    "callosum": Shape("white", "-40,-20 -43,-38 -26,-51 2,-55 32,-49 48,-30 42,-22 32,-32 6,-42 -20,-40 -32,-28"),
    "ventricle": Shape("csf", "-31,-26 -23,-38 4,-43 28,-35 37,-23 20,-29 4,-32 -14,-26 -25,-20"),
    "chiasmatic cistern": Shape("csf", "6,4 4,-6 -8,-1 -20,-2", 3),
    "tectal cistern": Shape("csf", "30,-18 29,-6 26,4", 2.5),
    "cerebellum": Shape("cerebellum", "30,0 48,-8 76,2 74,20 56,36 38,39 28,28 25,14"),
    "stem": Shape("white", "4,-18 18,-16 24,2 25,22 25,46 28,80 33,140 21,140 18,80 16,54 11,40 3,28 1,12 6,2"),
    "fourth ventricle": Shape("csf", "25,6 29,15 26,28", 1.8),
    "straight sinus": Shape("vessel", "32,-24 42,-17 62,-6 82,4", 0.9),
}
SAGITTAL_SIDE = {
    "head": Shape(
        "fat",
        "0,-104 40,-99 72,-78 90,-46 92,-10 84,22 74,48 66,72 50,96 30,118 "
        "-10,122 -50,116 -76,100 -84,70 -86,44 -100,20 -98,-2 -92,-30 -80,-66 -46,-95",
    ),
    "nape": Shape("muscle", "40,50 62,44 60,70 40,100 18,110 22,60"),
    "masseter": Shape("muscle", "-30,38 -10,42 -4,68 -14,96 -30,92"),
    "mandible": Shape("bone", "4,40 6,70 -8,104 -50,110", 2.5),
    "maxillary sinus": Shape("sinus", "-76,38 -56,34 -48,48 -58,66 -74,62"),
    "eye wall": Shape("muscle", "-88,13 -87,13", 13),
    "eye": Shape("csf", "-88,13 -87,13", 10.5),
    "optic nerve": Shape("muscle", "-84,14 -64,16 -46,18", 2.2),
    "cranium": Shape(
        "brain",
        "0,-92 40,-87 68,-66 79,-34 77,2 64,26 46,37 28,34 18,22 "
        "-8,26 -34,22 -42,8 -58,-4 -76,-10 -81,-34 -68,-64 -38,-84",
    ),
    "mastoid": Shape("sinus", "4,32 18,26 28,38 26,52 10,52"),
    "sylvian fissure": Shape("csf", "-44,-2 -22,-12 14,-24 34,-36", 1.4),
    "ventricle": Shape("csf", "22,-20 32,-22 34,-12 26,-6"),
    "choroid plexus": Shape("vessel", "25,-13 30,-17", 1.8),
    "tentorium": Shape("csf", "20,14 42,4 80,6", 1),
    "cerebellum": Shape("cerebellum", "24,14 44,7 74,8 68,22 52,35 36,34 26,24"),
    "transverse sinus": Shape("vessel", "74,8 78,8", 2.5),
}
CORONAL = {
    "head": Shape("fat", "0,-109 30,-105 58,-86 74,-54 78,-16 80,10 78,40 72,76 62,100 54,140 0,140"),
    "masseter": Shape("muscle", "62,30 72,36 69,76 60,84 60,56"),
    "pterygoid": Shape("muscle", "28,42 46,36 48,60 34,84 24,70"),
    "mandible": Shape("bone", "57,30 55,60 46,92", 2.5),
    "tongue": Shape("muscle", "0,94 16,92 27,104 22,122 0,128"),
    "nasopharynx": Shape("air", "0,52 5,56 7,80 0,88"),
    "cranium": Shape("brain", "0,-97 27,-94 52,-76 66,-46 70,-14 66,12 50,25 30,27 18,14 0,11"),
    "sphenoid sinus": Shape("sinus", "0,23 12,26 13,38 0,42"),
    "sylvian fissure": Shape("csf", "68,-10 52,-9 41,-18", 1.3),
    "insula": Shape("csf", "43,-28 40,-16 43,-4", 1.2),
    "callosum": Shape("white", "0,-49 20,-50 26,-44 0,-43"),
    "ventricle": Shape("csf", "1,-36 6,-42 20,-46 25,-42 17,-35 8,-28 3,-20"),
    "third ventricle": Shape("csf", "0,-18 0,-5", 1.3),
    "suprasellar cistern": Shape("csf", "-15,5 0,4 15,6 25,12", 3),
    "falx": Shape("vessel", "0,-97 0,-62", 0.5),
    "sagittal sinus": Shape("vessel", "0,-101 5,-100 0,-93"),
    "carotid": Shape("air", "16,15 16,17", 2.4),
}
AXIAL = {
    "head": Shape("fat", "0,-96 30,-91 58,-68 73,-30 75,10 67,50 46,82 20,95 0,97"),
    "cranium": Shape("brain", "0,-85 26,-81 48,-62 62,-28 65,10 57,46 38,72 16,85 0,86"),
    "frontal horn": Shape("csf", "2,-28 6,-36 16,-45 19,-41 13,-28 8,-14 3,-12"),
    "occipital horn": Shape("csf", "11,22 20,21 29,32 31,45 24,37 13,28"),
    "third ventricle": Shape("csf", "0,-4 0,8", 1.4),
    "sylvian fissure": Shape("csf", "65,-12 50,-14 40,-4", 1.4),
    "putamen": Shape("grey", "24,-20 31,-6 28,8 20,2"),
    "thalamus": Shape("grey", "3,-4 12,-6 18,8 12,16 3,12"),
    "choroid plexus": Shape("vessel", "16,25 23,31", 1.2),
    "front falx": Shape("vessel", "0,-86 0,-58", 0.5),
    "back falx": Shape("vessel", "0,86 0,50", 0.5),
    "sagittal sinus": Shape("vessel", "0,90 5,89 0,81"),
}
AXIAL_BASE = {
    "head": Shape("fat", "0,-110 7,-106 20,-95 50,-96 70,-74 81,-30 83,10 75,50 52,84 24,99 0,102"),
    "ear": Shape("mucosa", "82,4 92,12 90,24 84,20"),
    "ethmoid": Shape("sinus", "0,-98 10,-96 17,-64 13,-36 0,-32"),
    "optic nerve": Shape("muscle", "38,-66 28,-46 20,-34", 2.2),
    "lateral rectus": Shape("muscle", "54,-78 46,-58 28,-38", 2),
    "eye wall": Shape("muscle", "38,-81 39,-80", 13),
    "eye": Shape("csf", "38,-81 39,-80", 10.5),
    "temporalis": Shape("muscle", "62,-62 74,-42 76,-14 68,-34"),
    "cranium": Shape("brain", "0,-8 18,-12 24,-30 38,-50 54,-52 66,-34 71,0 66,36 46,70 20,85 0,86"),
    "sphenoid bone": Shape("marrow", "0,-28 10,-28 12,-14 0,-10"),
    "pontine cistern": Shape("csf", "0,-11 14,-9 22,4 16,16 0,18"),
    "pons": Shape("white", "0,-6 12,-4 17,6 12,22 0,26"),
    "petrous bone": Shape("bone", "69,15 52,10 32,2", 3.5),
    "sigmoid sinus": Shape("vessel", "63,36 60,42", 2),
    "fourth ventricle": Shape("csf", "0,24 6,26 0,33"),
    "carotid": Shape("air", "15,-15 16,-13", 2.4),
    "sagittal sinus": Shape("vessel", "0,90 5,89 0,81"),
}
SECTIONS = {
    "axial": AXIAL,
    "axial base": AXIAL_BASE,
    "coronal": CORONAL,
    "sagittal": SAGITTAL,
    "sagittal side": SAGITTAL_SIDE,
}
SELLA_MM = {"axial base": (0, -19), "coronal": (0, 14), "sagittal": (-8, 6)}
