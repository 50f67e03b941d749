"""Phantoms, the embedded default data set: simulated T1-weighted contrast-enhanced head MRI.

Each slice is painted back to front on one grey canvas, in millimetres from its centre: a head drawn
from outlines, a tumor, then the scanner with its bends, bias and noise. A patient has one anatomy,
one contrast, one plane and one tumor; the slices are neighbours. No pixel comes from a real scan.
"""

import csv
import math
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

PLANES = ("axial", "coronal", "sagittal")
FIELD_OF_VIEW_MM = 250

GREY_LEVELS = {
    "air": 3, "sinus": 3, "bone": 10, "csf": 24, "muscle": 62, "grey": 68, "white": 80,
    "marrow": 95, "mucosa": 115, "vessel": 150, "fat": 160,
}


class Phantom(NamedTuple):
    """One slice: `image` uint8 (size, size), and `mask` alike with 255 inside the tumor, else 0."""

    image: np.ndarray
    mask: np.ndarray
    tumor: str
    plane: str


def write_phantoms(folder: Path, patients: int = 100, slices: int = 3, size: int = 256,
                   seed: int = 0) -> None:
    """Write `images/<id>.png`, `masks/<id>.png` and `patients.csv`: the whole folder or nothing.

    Raises FileExistsError if `folder` exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"'{folder}' exists already: remove it or name another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".phantoms-", dir=folder.parent) as scratch:
        draft = Path(scratch) / folder.name
        all_patients = tqdm(range(patients), "Simulating patients", disable=None, leave=False)
        rows = [write_slice(draft, seed, patient, slice_index, slices, size)
                for patient in all_patients for slice_index in range(slices)]
        with open(draft / "patients.csv", "w", newline="") as file:
            csv.writer(file).writerows([("id", "patient", "tumor", "plane"), *rows])
        os.replace(draft, folder)


def write_slice(folder, seed, patient, slice_index, slices, size):
    """Write one image and its mask; return the slice's row (id, patient, tumor, plane)."""
    phantom = phantom_slice(seed, patient, slice_index, slices, size)
    patient_id = f"phantom_{patient:03d}"
    slice_id = f"{patient_id}_{slice_index}"
    for kind, pixels in (("images", phantom.image), ("masks", phantom.mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        # Not cv2.imwrite: it tells of a full disk only by returning False.
        (folder / kind / f"{slice_id}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return slice_id, patient_id, phantom.tumor, phantom.plane


def phantom_slice(seed: int, patient: int, slice_index: int, slices: int, size: int) -> Phantom:
    """Slice `slice_index` of 0 .. slices - 1; the same arguments give the same pixels.

    Tumor kinds and planes take turns: nine patients in a row show every combination.
    """
    tumor, plane = list(TUMORS)[patient % 3], PLANES[patient // 3 % 3]
    position = (2 * slice_index + 1) / slices - 1
    noise = TurningNoise(np.random.default_rng([seed, patient]), 0.7 * position, size)
    section = str(noise.rng.choice([
        name for name in SECTIONS
        if name.startswith(plane) and (tumor != "pituitary" or name in SELLA_MM)
    ]))
    canvas = paint_anatomy(section, noise)
    border_mm = paint_tumor(canvas, section, tumor, position, noise)
    canvas *= coil_gain(section, size)
    canvas, border_mm = pose(canvas, border_mm, noise)
    image = scan(canvas, noise, np.random.default_rng([seed, patient, slice_index]))
    return Phantom(image, np.uint8(255) * (border_mm < 0), tumor, plane)


class TurningNoise:
    """Smooth random fields that turn slowly into other fields from slice to slice.

    cos(turn) A + sin(turn) B of two random fields has the same variance at every turn, and slices
    that are d radians apart correlate with cos(d). All slices of a patient draw the same numbers
    from `rng`, in the same order.
    """

    def __init__(self, rng: np.random.Generator, turn: float, size: int):
        self.rng, self.turn, self.size = rng, turn, size

    def __call__(self, rows: int, columns: int | None = None):
        """Field (size, size) of about zero mean and unit variance, from a random coarse grid."""
        first, second = self.rng.standard_normal((2, rows, columns or rows), dtype=np.float32)
        grid = math.cos(self.turn) * first + math.sin(self.turn) * second
        return cv2.resize(grid, (self.size, self.size), interpolation=cv2.INTER_CUBIC)


# Anatomy


def paint_anatomy(section, noise):
    """A head without a tumor, float32 (size, size), in grey levels."""
    canvas = np.zeros((noise.size, noise.size), np.float32)
    rough_mm, mottle = 0.8 * noise(26), 0.06 * noise(30) + 0.06 * noise(24, 80)
    for name, shape in SECTIONS[section].items():
        distance = shape_distance(section, name, noise.size)
        if name == "head":
            paint_head(canvas, section, noise)
        elif name == "cranium":
            paint_cranium(canvas, section, noise)
        elif name == "cerebellum":
            paint(canvas, cover(distance - 1.5), GREY_LEVELS["csf"])
            paint_folds(canvas, distance, (10, 14), 130, 24, noise)
        else:
            level = GREY_LEVELS[shape.tissue] * (1 + mottle)
            if shape.tissue == "sinus":
                level += 80 * cover(np.abs(mottle) - 0.012, 0.02)  # walls between the air cells
            paint(canvas, cover(distance + rough_mm), level)
    return canvas


def paint_head(canvas, section, noise):
    """Skin, scalp fat and, deeper and away from the skull, a marbling of fat, muscle and bone."""
    head = shape_distance(section, "head", noise.size)
    cranium = shape_distance(section, "cranium", noise.size)
    marbling = noise(14) + 0.8 * noise(28) + 0.5 * noise(60)
    if is_symmetric(section):
        marbling = 0.7 * (marbling + marbling[:, ::-1]) + 0.4 * noise(40)
    flesh = cover(np.maximum(10 - cranium, head + 5 + 2 * noise(10)), 6)
    tissue = GREY_LEVELS["fat"] + 12 * noise(40)
    paint(tissue, flesh, 88 + 62 * np.tanh(1.2 * marbling))
    paint(tissue, flesh * cover(np.abs(marbling + 0.2) - 0.1, 0.3) * 0.7, GREY_LEVELS["bone"])
    paint(canvas, cover(head, 2.5), tissue)
    paint(canvas, 0.6 * cover(np.abs(head + 1) - 0.5), GREY_LEVELS["white"])


def paint_cranium(canvas, section, noise):
    """Skull (marrow between two dark tables), patches of bright dura, CSF, cerebrum and vessels."""
    cranium = shape_distance(section, "cranium", noise.size)
    inside, uneven_mm = cover(cranium), noise(7)
    paint(canvas, cover(cranium - 6.5 - uneven_mm, 2), GREY_LEVELS["bone"])
    marrow = cover(np.abs(cranium - 4 - 0.5 * uneven_mm) - 1 - 0.6 * uneven_mm)
    paint(canvas, 0.8 * marrow, GREY_LEVELS["marrow"] * (1 + 0.3 * noise(30)))
    paint(canvas, inside, GREY_LEVELS["csf"])
    paint(canvas, cover(np.abs(cranium - 0.4) - 0.5) * cover(0.2 - noise(20), 2), 110)
    paint_folds(canvas, cranium + 1.8 + noise(14), (0, -15), 80, 18, noise)
    if is_symmetric(section):
        x, y = grid_mm(noise.size)
        fissure = cover(np.abs(x + 0.9 * noise(14)) - 0.4) * cover(34 - np.abs(y), 10)
        paint(canvas, fissure * inside, GREY_LEVELS["csf"])
    vessels = cover(np.abs(noise(22)) - 0.04, 0.1) * cover(1.1 - noise(16), 0.3)
    paint(canvas, 0.7 * vessels * inside, GREY_LEVELS["vessel"])


def paint_folds(canvas, distance, centre, gyri, reach_mm, noise):
    """White matter, and from the surface inward a grey ribbon that follows dark sulci.

    The sulci are the zero lines of a noise that is stretched along the rays from `centre`.
    """
    x, y = grid_mm(noise.size)
    angle = (np.arctan2(x - centre[0], centre[1] - y) / (2 * np.pi) + 0.5) * noise.size
    rays = cv2.remap(noise(8, gyri), angle, -distance * noise.size / 50, cv2.INTER_LINEAR)
    # Near the centre the rays would crowd into a star.
    rays *= np.minimum(np.hypot(x - centre[0], y - centre[1]) / 60, 1)
    folds = np.abs(rays + 0.8 * noise(22))
    near_surface = cover(-distance - reach_mm * (1 + 0.4 * noise(9)), 8)
    sulci = near_surface * cover(folds - 0.06 - 0.22 * cover(-distance - 2, 10), 0.25)
    ribbon = np.maximum(cover(-distance - 3, 3), near_surface * cover(folds - 0.5, 0.4))
    tissue = GREY_LEVELS["white"] * (1 + 0.04 * noise(16))
    paint(tissue, ribbon, GREY_LEVELS["white"] - noise.rng.uniform(10, 24))
    paint(tissue, 0.85 * sulci, GREY_LEVELS["csf"])
    paint(canvas, cover(distance), tissue)


# Tumor


def paint_tumor(canvas, section, tumor, position, noise):
    """Paint the tumor and return the signed distance to its border, negative inside, in mm."""
    paint_kind, radius_range_mm = TUMORS[tumor]
    radius = noise.rng.uniform(*radius_range_mm)
    site_x, site_y = tumor_site(section, tumor, radius, noise.rng)
    stretch = noise.rng.uniform(0.85, 1.15)
    radius *= math.sqrt(1 - (0.7 * position) ** 2)  # the cross sections of a ball
    x, y = grid_mm(noise.size)
    ball = np.hypot((x - site_x) * stretch, (y - site_y) / stretch) - radius
    return paint_kind(canvas, shape_distance(section, "cranium", noise.size), ball, radius, noise)


def tumor_site(section, tumor, radius, rng):
    """Centre (x, y) in mm: in the sella, against the dura (meningioma) or deep in the brain."""
    if tumor == "pituitary":
        return (SELLA_MM[section] + rng.normal(0, 1.5, 2)).tolist()
    dura = outline(section, "cranium")
    # Not along the skull base: the drawings crowd there.
    top, bottom = {"axial": (-99, 99), "axial base": (20, 70)}.get(section, (-99, -10))
    edge = rng.choice(dura[(top < dura[:, 1]) & (dura[:, 1] < bottom)])
    inward = (0, -10) - edge
    length = np.hypot(*inward)
    depth = 0.7 * radius if tumor == "meningioma" else rng.uniform(0.4, 0.7) * length
    return (edge + depth * inward / length).tolist()


def paint_meningioma(canvas, cranium, ball, radius, noise):
    """A bright even ball on the dura, with a dark rim, a bright dural tail and some oedema."""
    border = np.maximum(ball + 0.1 * radius * noise(9), cranium)
    oedema = cover(border - noise.rng.uniform(0, 9) + 5 * noise(12), 8)
    paint(canvas, 0.35 * oedema * cover(cranium), 40)
    paint(canvas, 0.5 * cover(border - 1.5) * cover(cranium), 40)
    paint(canvas, cover(np.abs(cranium) - 1) * cover(ball - 10, 8), 125)
    paint(canvas, cover(border), noise.rng.uniform(105, 135) + 7 * noise(24) + 5 * noise(60))
    return border


def paint_glioma(canvas, cranium, ball, radius, noise):
    """A ragged, soft, enhancing ring around a dark core, amid oedema that is no part of it."""
    border = np.maximum(ball + radius * (0.17 * noise(12) + 0.08 * noise(24)), cranium + 2)
    oedema = np.maximum(ball - noise.rng.uniform(0, 12) + 5 * noise(12), cranium + 3)
    paint(canvas, 0.4 * cover(oedema, 8), 45)
    ring = noise.rng.uniform(90, 145) + 18 * noise(16) + 12 * noise(40)
    paint(canvas, cover(border + 1, 4), ring)
    core = border + radius * (noise.rng.uniform(0.2, 0.5) + 0.25 * noise(16) + 0.12 * noise(40))
    paint(canvas, cover(core, 4), noise.rng.uniform(35, 65) + 8 * noise(16))
    return border


def paint_pituitary(canvas, cranium, ball, radius, noise):
    """A small lobed mass in the sella, little brighter than the brain, in a bright thin rim."""
    border = ball + 0.12 * radius * noise(14)
    paint(canvas, 0.6 * cover(border - 1.5), 130)
    paint(canvas, cover(border), noise.rng.uniform(88, 118) + 7 * noise(30) + 5 * noise(60))
    return border


TUMORS = {  # how to paint it, and the range of its radius in mm
    "meningioma": (paint_meningioma, (11, 24)),
    "glioma": (paint_glioma, (11, 26)),
    "pituitary": (paint_pituitary, (10, 15)),
}


# Scanner


def coil_gain(section, size):
    """Surface coils hear the scalp louder than the middle of the head."""
    return np.exp(0.25 * np.exp(np.minimum(shape_distance(section, "head", size), 0) / 12))


def pose(canvas, border_mm, noise):
    """Turn, scale, shift and bend the head, and the tumor's border with it."""
    x, y = grid_mm(noise.size)
    angle = math.radians(noise.rng.normal(0, 4))
    zoom = noise.rng.uniform(0.9, 1.12) * (1 + 0.03 * math.sin(noise.turn))
    cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
    shift_x, shift_y = noise.rng.uniform(-7, 7, 2).tolist()
    from_x = cosine * x + sine * y + shift_x + 3.5 * noise(4) + 0.7 * noise(16)
    from_y = cosine * y - sine * x + shift_y + 3.5 * noise(4) + 0.7 * noise(16)
    maps = [(mm / FIELD_OF_VIEW_MM + 0.5) * noise.size - 0.5 for mm in (from_x, from_y)]
    # Replicate: a neck goes on below the drawing.
    return (cv2.remap(canvas, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),
            cv2.remap(border_mm, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def scan(canvas, noise, slice_rng):
    """The patient's contrast and bias field and the slice's Rician noise; uint8 (size, size)."""
    contrast, gain = noise.rng.uniform(0.85, 1.15), noise.rng.uniform(0.8, 1.1)
    signal = 255 * gain * np.exp(0.16 * noise(2)) * np.maximum(canvas / 255, 0) ** contrast
    deviation = noise.rng.uniform(1.5, 4)
    real, imaginary = deviation * slice_rng.standard_normal((2, *canvas.shape), np.float32)
    return np.clip(np.hypot(signal + real, imaginary), 0, 255).astype(np.uint8)


# Drawing


class Shape(NamedTuple):
    """A closed smooth outline, or with a width an open stroke, through "x,y x,y ..." in mm.

    x points right, y down. On symmetric sections every shape has a mirror image on the left, and an
    outline that starts on the midline is the right half of one shape.
    """

    tissue: str
    points: str
    half_width_mm: float = 0


def cover(distance_mm, softness_mm=1.5):
    """The part of each pixel inside a signed distance, in [0, 1]; 0.5 on the border."""
    return np.clip(0.5 - distance_mm / softness_mm, 0, 1)


def paint(canvas, opacity, level):
    """Lay a grey level over the canvas, in place."""
    canvas += opacity * (level - canvas)


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
    points = np.round((outline(section, name) + FIELD_OF_VIEW_MM / 2) * pixels_per_mm * 16)
    drawn = np.zeros((2 * size, 2 * size), np.uint8)
    if half_width_mm:
        cv2.polylines(drawn, [points.astype(np.int32)], False, 1, shift=4)
    else:
        cv2.fillPoly(drawn, [points.astype(np.int32)], 1, shift=4)
    if is_symmetric(section):
        drawn |= drawn[:, ::-1]
    outside, inside = (cv2.distanceTransform(part, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
                       for part in (1 - drawn, drawn))
    signed = cv2.resize(outside - inside, (size, size), interpolation=cv2.INTER_AREA)
    return np.float32(signed / pixels_per_mm - half_width_mm)


def outline(section, name):
    """A shape's points joined by a Catmull-Rom curve, (n, 2), in mm."""
    shape = SECTIONS[section][name]
    points = np.array([pair.split(",") for pair in shape.points.split()], float)
    if is_symmetric(section) and points[0, 0] == 0 and not shape.half_width_mm:
        points = np.concatenate([points, points[-2:0:-1] * (-1, 1)])
    before, after = ([0], [-1]) if shape.half_width_mm else ([-1], [0, 1])
    knots = np.concatenate([points[before], points, points[after]])
    t = np.linspace(0, 1, 16)[:, None]
    return np.concatenate([
        b + (c - a) * t / 2 + (a - 2.5 * b + 2 * c - d / 2) * t**2
        + (1.5 * (b - c) + (d - a) / 2) * t**3
        for a, b, c, d in zip(knots, knots[1:], knots[2:], knots[3:], strict=False)
    ])


# The drawings, painted in this order


SAGITTAL = {
    "head": Shape("fat", "0,-110 40,-104 73,-84 92,-52 96,-14 90,18 80,40 77,60 80,90 90,140 "
                  "-50,140 -56,116 -74,112 -92,104 -98,92 -94,80 -102,72 -98,62 -102,52 -114,40 "
                  "-104,14 -94,-2 -96,-18 -90,-44 -76,-78 -46,-102"),
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
    "cranium": Shape("brain", "0,-98 40,-93 70,-72 83,-36 80,0 66,26 50,40 32,46 22,36 14,16 "
                     "4,6 -14,2 -30,0 -58,-6 -76,-14 -82,-36 -70,-68 -40,-91"),
    "clivus": Shape("marrow", "-12,14 2,12 14,34 10,46 -8,34"),
    "sphenoid sinus": Shape("sinus", "-34,4 -16,6 -13,16 -22,28 -38,26 -42,12"),
    "cingulate sulcus": Shape("csf", "-46,-12 -54,-38 -30,-62 4,-67 40,-60 56,-44", 1),
    "callosum": Shape("white", "-40,-20 -43,-38 -26,-51 2,-55 32,-49 48,-30 42,-22 32,-32 6,-42 "
                      "-20,-40 -32,-28"),
    "ventricle": Shape("csf", "-31,-26 -23,-38 4,-43 28,-35 37,-23 20,-29 4,-32 -14,-26 -25,-20"),
    "chiasmatic cistern": Shape("csf", "6,4 4,-6 -8,-1 -20,-2", 3),
    "tectal cistern": Shape("csf", "30,-18 29,-6 26,4", 2.5),
    "cerebellum": Shape("cerebellum", "30,0 48,-8 76,2 74,20 56,36 38,39 28,28 25,14"),
    "stem": Shape("white", "4,-18 18,-16 24,2 25,22 25,46 28,80 33,140 21,140 18,80 16,54 11,40 "
                  "3,28 1,12 6,2"),
    "fourth ventricle": Shape("csf", "25,6 29,15 26,28", 1.8),
    "straight sinus": Shape("vessel", "32,-24 42,-17 62,-6 82,4", 0.9),
}

SAGITTAL_SIDE = {
    "head": Shape("fat", "0,-104 40,-99 72,-78 90,-46 92,-10 84,22 74,48 66,72 50,96 30,118 "
                  "-10,122 -50,116 -76,100 -84,70 -86,44 -100,20 -98,-2 -92,-30 -80,-66 -46,-95"),
    "nape": Shape("muscle", "40,50 62,44 60,70 40,100 18,110 22,60"),
    "masseter": Shape("muscle", "-30,38 -10,42 -4,68 -14,96 -30,92"),
    "mandible": Shape("bone", "4,40 6,70 -8,104 -50,110", 2.5),
    "maxillary sinus": Shape("sinus", "-76,38 -56,34 -48,48 -58,66 -74,62"),
    "eye wall": Shape("muscle", "-88,13 -87,13", 13),
    "eye": Shape("csf", "-88,13 -87,13", 10.5),
    "optic nerve": Shape("muscle", "-84,14 -64,16 -46,18", 2.2),
    "cranium": Shape("brain", "0,-92 40,-87 68,-66 79,-34 77,2 64,26 46,37 28,34 18,22 "
                     "-8,26 -34,22 -42,8 -58,-4 -76,-10 -81,-34 -68,-64 -38,-84"),
    "mastoid": Shape("sinus", "4,32 18,26 28,38 26,52 10,52"),
    "sylvian fissure": Shape("csf", "-44,-2 -22,-12 14,-24 34,-36", 1.4),
    "ventricle": Shape("csf", "22,-20 32,-22 34,-12 26,-6"),
    "choroid plexus": Shape("vessel", "25,-13 30,-17", 1.8),
    "tentorium": Shape("csf", "20,14 42,4 80,6", 1),
    "cerebellum": Shape("cerebellum", "24,14 44,7 74,8 68,22 52,35 36,34 26,24"),
    "transverse sinus": Shape("vessel", "74,8 78,8", 2.5),
}

CORONAL = {
    "head": Shape("fat", "0,-109 30,-105 58,-86 74,-54 78,-16 80,10 78,40 72,76 62,100 54,140 "
                  "0,140"),
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
    "cranium": Shape("brain", "0,-8 18,-12 24,-30 38,-50 54,-52 66,-34 71,0 66,36 46,70 20,85 "
                     "0,86"),
    "sphenoid bone": Shape("marrow", "0,-28 10,-28 12,-14 0,-10"),
    "pontine cistern": Shape("csf", "0,-11 14,-9 22,4 16,16 0,18"),
    "pons": Shape("white", "0,-6 12,-4 17,6 12,22 0,26"),
    "petrous bone": Shape("bone", "69,15 52,10 32,2", 3.5),
    "sigmoid sinus": Shape("vessel", "63,36 60,42", 2),
    "fourth ventricle": Shape("csf", "0,24 6,26 0,33"),
    "carotid": Shape("air", "15,-15 16,-13", 2.4),
    "sagittal sinus": Shape("vessel", "0,90 5,89 0,81"),
}

SECTIONS = {"axial": AXIAL, "axial base": AXIAL_BASE, "coronal": CORONAL,
            "sagittal": SAGITTAL, "sagittal side": SAGITTAL_SIDE}
SELLA_MM = {"axial base": (0, -19), "coronal": (0, 14), "sagittal": (-8, 6)}
