"""Phantoms: simulated T1-weighted contrast-enhanced MRI of heads with and without tumors. No pixel is from a real scan.

Each slice is painted back to front on a grey canvas: the head, then the tumor, if there is one. Then the canvas is
rotated and bent, and the scanner adds contrast, bias and noise. All slices of a patient are neighbors and share one
anatomy, contrast, plane and tumor.
"""

import csv
import math
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from tqdm import tqdm

from unet.data.anatomy import FIELD_OF_VIEW_MM, SECTIONS, SELLA_MM, grid_mm, is_symmetric, outline_mm, shape_distance

PLANES = ("axial", "coronal", "sagittal")
GREY_LEVELS = dict(
    air=3, sinus=3, bone=10, csf=24, muscle=62, grey=68, white=80, marrow=95, mucosa=115, vessel=150, fat=160
)


class Phantom(NamedTuple):
    """One slice: image and mask, each uint8 (size, size). The mask is 255 inside the tumor and 0 elsewhere.
    Without a tumor, `tumor` is "" and the mask is all zero."""

    image: np.ndarray
    mask: np.ndarray
    tumor: str
    plane: str


def write_phantoms(folder: Path, patients: int = 120, slices: int = 3, size: int = 256, seed: int = 0) -> None:
    """Write a data folder, all of it or nothing, with this many slices per patient. FileExistsError if it exists.
    The last fifth of the patients, rounded down, have no tumor."""
    if folder.exists():
        raise FileExistsError(f"'{folder}' already exists: delete it or choose another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".phantoms-", dir=folder.parent) as scratch:
        draft = Path(scratch) / folder.name
        rows = [("id", "patient", "tumor", "plane")]
        with_tumor = patients - patients // 5
        for patient in tqdm(range(patients), "Simulating patients", disable=None, leave=False):
            for slice_index in range(slices):
                phantom = phantom_slice(seed, patient, slice_index, slices, size, has_tumor=patient < with_tumor)
                rows.append(write_slice(draft, patient, slice_index, phantom))
        with open(draft / "patients.csv", "w", newline="") as file:
            csv.writer(file).writerows(rows)
        os.replace(draft, folder)


def write_slice(folder, patient, slice_index, phantom):
    """Write one image and its mask, and return the row (id, patient, tumor, plane) of the slice."""
    patient_id = f"phantom_{patient:03d}"
    slice_id = f"{patient_id}_{slice_index}"
    for kind, pixels in (("images", phantom.image), ("masks", phantom.mask)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        # Not cv2.imwrite: if the disk is full, it raises no error.
        (folder / kind / f"{slice_id}.png").write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return slice_id, patient_id, phantom.tumor, phantom.plane


def phantom_slice(seed: int, patient: int, slice_index: int, slices: int, size: int, has_tumor: bool = True) -> Phantom:
    """Slice `slice_index` in 0 .. slices - 1 of a patient. The same arguments give the same pixels.
    Tumor types and planes alternate: any nine patients in a row with tumors have every combination."""
    tumor, plane = list(TUMORS)[patient % 3] if has_tumor else "", PLANES[patient // 3 % 3]
    position = (2 * slice_index + 1) / slices - 1
    noise = TurningNoise(np.random.default_rng([seed, patient]), 0.7 * position, size)
    sections = [name for name in SECTIONS if name.startswith(plane) and (tumor != "pituitary" or name in SELLA_MM)]
    section = str(noise.rng.choice(sections))
    canvas = paint_anatomy(section, noise)
    if tumor:
        border_mm = paint_tumor(canvas, section, tumor, position, noise)
    else:
        border_mm = np.full(canvas.shape, FIELD_OF_VIEW_MM, np.float32)
    # The scalp is nearer to the coils, and brighter, than the middle of the head.
    canvas *= np.exp(0.25 * np.exp(np.minimum(shape_distance(section, "head", size), 0) / 12))
    canvas, border_mm = pose(canvas, border_mm, noise)
    image = scan(canvas, noise, np.random.default_rng([seed, patient, slice_index]))
    return Phantom(image, np.uint8(255) * (border_mm < 0), tumor, plane)


class TurningNoise:
    """Smooth random fields cos(turn) A + sin(turn) B, whose correlation in slices d radians apart is cos(d).

    All slices of a patient draw the same A, B and other numbers from `rng`, in the same order.
    """

    def __init__(self, rng: np.random.Generator, turn: float, size: int):
        self.rng, self.turn, self.size = rng, turn, size

    def __call__(self, rows: int, columns: int | None = None):
        """A field (size, size) with a mean of about 0 and a variance of about 1, from a coarse random grid."""
        first, second = self.rng.standard_normal((2, rows, columns or rows), dtype=np.float32)
        grid = math.cos(self.turn) * first + math.sin(self.turn) * second
        return cv2.resize(grid, (self.size, self.size), interpolation=cv2.INTER_CUBIC)


def paint_anatomy(section, noise):
    """Grey levels of a head without a tumor, float32 (size, size)."""
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
    """Paint skin and scalp fat and, deeper and away from the skull, a marbled mix of fat, muscle and bone."""
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
    """Paint the skull (marrow between two dark tables), patches of bright dura, CSF, cerebrum and vessels."""
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


def paint_folds(canvas, distance, center, gyri, reach_mm, noise):
    """Paint white matter, and a grey ribbon that follows the surface and the dark sulci inward from it."""
    # The sulci are the zero lines of noise that is stretched along rays from the center.
    x, y = grid_mm(noise.size)
    angle = (np.arctan2(x - center[0], center[1] - y) / (2 * np.pi) + 0.5) * noise.size
    rays = cv2.remap(noise(8, gyri), angle, -distance * noise.size / 50, cv2.INTER_LINEAR)
    # Weaker near the center, where the rays would otherwise form a star.
    rays *= np.minimum(np.hypot(x - center[0], y - center[1]) / 60, 1)
    folds = np.abs(rays + 0.8 * noise(22))
    near_surface = cover(-distance - reach_mm * (1 + 0.4 * noise(9)), 8)
    sulci = near_surface * cover(folds - 0.06 - 0.22 * cover(-distance - 2, 10), 0.25)
    ribbon = np.maximum(cover(-distance - 3, 3), near_surface * cover(folds - 0.5, 0.4))
    tissue = GREY_LEVELS["white"] * (1 + 0.04 * noise(16))
    paint(tissue, ribbon, GREY_LEVELS["white"] - noise.rng.uniform(10, 24))
    paint(tissue, 0.85 * sulci, GREY_LEVELS["csf"])
    paint(canvas, cover(distance), tissue)


def paint_tumor(canvas, section, tumor, position, noise):
    """Paint the tumor and return the signed distance to its border in mm, negative inside."""
    paint_kind, radius_range_mm = TUMORS[tumor]
    radius = noise.rng.uniform(*radius_range_mm)
    site_x, site_y = tumor_site(section, tumor, radius, noise.rng)
    stretch = noise.rng.uniform(0.85, 1.15)
    radius *= math.sqrt(1 - (0.7 * position) ** 2)  # cross section of a ball
    x, y = grid_mm(noise.size)
    ball = np.hypot((x - site_x) * stretch, (y - site_y) / stretch) - radius
    return paint_kind(canvas, shape_distance(section, "cranium", noise.size), ball, radius, noise)


def tumor_site(section, tumor, radius, rng):
    """Center (x, y) of a tumor in mm: in the sella, at the dura (meningioma) or deep in the brain."""
    if tumor == "pituitary":
        return (SELLA_MM[section] + rng.normal(0, 1.5, 2)).tolist()
    dura = outline_mm(section, "cranium")
    # Not at the skull base: the drawings have too many shapes there.
    top, bottom = {"axial": (-99, 99), "axial base": (20, 70)}.get(section, (-99, -10))
    edge = rng.choice(dura[(top < dura[:, 1]) & (dura[:, 1] < bottom)])
    inward = (0, -10) - edge
    length = np.hypot(*inward)
    depth = 0.7 * radius if tumor == "meningioma" else rng.uniform(0.4, 0.7) * length
    return (edge + depth * inward / length).tolist()


def paint_meningioma(canvas, cranium, ball, radius, noise):
    """Paint a bright, even ball on the dura with a dark rim, a bright dural tail and some edema."""
    border = np.maximum(ball + 0.1 * radius * noise(9), cranium)
    edema = cover(border - noise.rng.uniform(0, 9) + 5 * noise(12), 8)
    paint(canvas, 0.35 * edema * cover(cranium), 40)
    paint(canvas, 0.5 * cover(border - 1.5) * cover(cranium), 40)
    paint(canvas, cover(np.abs(cranium) - 1) * cover(ball - 10, 8), 125)
    paint(canvas, cover(border), noise.rng.uniform(140, 165) + 7 * noise(24) + 5 * noise(60))
    return border


def paint_glioma(canvas, cranium, ball, radius, noise):
    """Paint a ragged, soft, enhancing ring around a dark core. The edema around it is not part of the tumor."""
    border = np.maximum(ball + radius * (0.17 * noise(12) + 0.08 * noise(24)), cranium + 2)
    edema = np.maximum(ball - noise.rng.uniform(0, 12) + 5 * noise(12), cranium + 3)
    paint(canvas, 0.4 * cover(edema, 8), 45)
    ring = noise.rng.uniform(110, 150) + 18 * noise(16) + 12 * noise(40)
    paint(canvas, cover(border + 1, 4), ring)
    core = border + radius * (noise.rng.uniform(0.2, 0.5) + 0.25 * noise(16) + 0.12 * noise(40))
    paint(canvas, cover(core, 4), noise.rng.uniform(35, 65) + 8 * noise(16))
    return border


def paint_pituitary(canvas, cranium, ball, radius, noise):
    """Paint a small lobed mass in the sella, slightly brighter than the brain, with a thin bright rim."""
    border = ball + 0.12 * radius * noise(14)
    paint(canvas, 0.6 * cover(border - 1.5), 130)
    paint(canvas, cover(border), noise.rng.uniform(105, 130) + 7 * noise(30) + 5 * noise(60))
    return border


TUMORS = {  # how to paint each type, and the range of its radius in mm
    "meningioma": (paint_meningioma, (13, 25)),
    "glioma": (paint_glioma, (13, 27)),
    "pituitary": (paint_pituitary, (12, 16)),
}


def pose(canvas, border_mm, noise):
    """Rotate, scale, shift and bend the head, and the distances to the border of the tumor with it."""
    x, y = grid_mm(noise.size)
    angle = math.radians(noise.rng.normal(0, 4))
    zoom = noise.rng.uniform(0.9, 1.12) * (1 + 0.03 * math.sin(noise.turn))
    cosine, sine = math.cos(angle) / zoom, math.sin(angle) / zoom
    shift_x, shift_y = noise.rng.uniform(-7, 7, 2).tolist()
    from_x = cosine * x + sine * y + shift_x + 3.5 * noise(4) + 0.7 * noise(16)
    from_y = cosine * y - sine * x + shift_y + 3.5 * noise(4) + 0.7 * noise(16)
    maps = [(mm / FIELD_OF_VIEW_MM + 0.5) * noise.size - 0.5 for mm in (from_x, from_y)]
    # Replicate: the neck continues below the drawing.
    return (
        cv2.remap(canvas, *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE),
        cv2.remap(border_mm, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE),
    )


def scan(canvas, noise, slice_rng):
    """The image, uint8 (size, size): the canvas with contrast and bias of the patient and Rician noise of the slice."""
    contrast, gain = noise.rng.uniform(0.85, 1.15), noise.rng.uniform(0.8, 1.1)
    signal = 255 * gain * np.exp(0.16 * noise(2)) * np.maximum(canvas / 255, 0) ** contrast
    deviation = noise.rng.uniform(1.5, 4)
    real, imaginary = deviation * slice_rng.standard_normal((2, *canvas.shape), np.float32)
    return np.clip(np.hypot(signal + real, imaginary), 0, 255).astype(np.uint8)


def cover(distance_mm, softness_mm=1.5):
    """The fraction of each pixel inside a border, in [0, 1], from the signed distance: 0.5 on the border."""
    return np.clip(0.5 - distance_mm / softness_mm, 0, 1)


def paint(canvas, opacity, level):
    """Blend a grey level into the canvas, in place."""
    canvas += opacity * (level - canvas)
