"""A page that shows one scan in three planes and in 3-D, with NiiVue and no network. Its template is viewer.html."""

import base64
import gzip
import html
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template

import nibabel
import numpy as np

BUNDLE = Path(__file__).parent / "niivue" / "niivue.umd.js"  # pages need a copy of this file

# A graphics card needs up to 20 bytes per voxel, here 400 MB, measured as the textures that NiiVue 0.69 keeps.
MAX_VOXELS = 20_000_000


@dataclass(frozen=True)
class Spot:
    """A region of the mask, as listed on the page."""

    number: int
    label: str  # such as "Region 1: 12.3 ml, 41 x 33 mm"
    detail: str  # such as "tumor probability 0.97"
    place_mm: tuple[float, float, float]  # of a voxel in it, in the scanner: to the patient's right, to the front, up


def viewer_page(
    title: str,
    grey: np.ndarray,
    mask: np.ndarray,
    probability: np.ndarray,
    affine: np.ndarray,
    spots: list[Spot],
    bundle: str,
    back: str,
) -> str:
    """The page as HTML. It contains the scan, and needs only the file at `bundle`.

    A scan with more than MAX_VOXELS voxels is shown with fewer, larger ones, and the page says so.

    Args:
        title: Any text.
        grey: The scan, uint8 (x, y, z): to the patient's right, to the front, up.
        mask: The predicted tumor, bool (x, y, z).
        probability: Of a tumor, float32 (x, y, z) in [0, 1]; shown in steps of 1/255.
        affine: (4, 4), from voxel indices to scanner coordinates in mm.
        spots: Regions of the mask, in the order of the list. If empty, the page says that no tumor was found.
        bundle: URL of a copy of BUNDLE, relative to the page.
        back: URL of the report, relative to the page.
    """
    factors = shrink_factors(grey.shape, affine, MAX_VOXELS)
    note = ""
    if max(factors) > 1:
        note = f"This scan is large: the page shows blocks of {' x '.join(map(str, factors))} voxels as one."
        grey = np.rint(shrink(grey, factors, np.mean)).astype(np.uint8)
        # The maximum, so that no region is lost.
        mask, probability = shrink(mask, factors, np.max), shrink(probability, factors, np.max)
        affine = shrink_affine(affine, factors)
    data = {
        "grey": embed(grey, affine),
        "mask": embed(mask.astype(np.uint8), affine),
        "probability": embed(np.rint(probability * 255).astype(np.uint8), affine),
        "spots": [asdict(spot) for spot in spots],
    }
    return Template(Path(__file__).with_suffix(".html").read_text()).substitute(
        title=html.escape(title),
        note=html.escape(note),
        bundle=html.escape(bundle),
        back=html.escape(back),
        # Escaped, so that no text can end the script.
        data=json.dumps(data).replace("<", "\\u003c"),
    )


def embed(voxels: np.ndarray, affine: np.ndarray) -> str:
    """A uint8 array (x, y, z) as a NIfTI file, in gzip and base64."""
    content = nibabel.Nifti1Image(voxels, affine).to_bytes()
    return base64.b64encode(gzip.compress(content, compresslevel=6, mtime=0)).decode()


def shrink_factors(shape: tuple[int, ...], affine: np.ndarray, limit: int) -> list[int]:
    """How many voxels along each axis to merge into one, to have at most `limit`; the finest axis comes first."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    factors = np.ones(3, int)
    while np.prod(-(-np.array(shape) // factors)) > limit:
        # An axis of one voxel cannot shrink.
        factors[np.argmin(np.where(factors < shape, spacing * factors, np.inf))] += 1
    return factors.tolist()


def shrink(voxels: np.ndarray, factors: list[int], merge) -> np.ndarray:
    """Blocks of an array (x, y, z) merged by np.mean or np.max; blocks beyond the end repeat the last voxel."""
    for axis, factor in enumerate(factors):
        missing = [(0, -size % factor if i == axis else 0) for i, size in enumerate(voxels.shape)]
        padded = np.pad(voxels, missing, mode="edge")
        blocks = (*padded.shape[:axis], -1, factor, *padded.shape[axis + 1 :])
        voxels = merge(padded.reshape(blocks), axis=axis + 1)
    return voxels


def shrink_affine(affine: np.ndarray, factors: list[int]) -> np.ndarray:
    """The affine of merged voxels: the first one's center is the center of its block."""
    merged = np.diag([*factors, 1.0])
    merged[:3, 3] = (np.array(factors) - 1) / 2
    return affine @ merged
