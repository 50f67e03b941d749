"""Compare the voxel grids of a volume and its mask, which programs round differently when they write headers."""

import contextlib

import nibabel
import numpy as np

SAME_PLACE = 0.01  # voxels by which the first voxels may differ
SAME_STEP = 2e-4  # relative; what rounding in a header does to spacing and direction
REMEDY = "If its voxels match those of the image, copy the header of the image; if not, resample it"


def grid_difference(mask: nibabel.Nifti1Image, image: nibabel.Nifti1Image) -> str:
    """How the grid of a mask differs from that of its image, and what to do; "" if only by rounding."""
    if mask.shape[:3] != image.shape[:3]:
        mask_shape, image_shape = (" x ".join(map(str, one.shape[:3])) for one in (mask, image))
        return f"it has {mask_shape} voxels, not {image_shape}. Resample it"
    differences = [affine_difference(mask.affine, affine) for affine in affines_of(image)]
    return "" if "" in differences else f"{differences[0]}. {REMEDY}"


def affines_of(image: nibabel.Nifti1Image) -> list[np.ndarray]:
    """The affine of a file, and the two in its header (sform and qform): some programs read one, some the other."""
    affines = [image.affine, image.get_sform(coded=True)[0]]
    with contextlib.suppress(ValueError):  # an invalid qform
        affines.append(image.get_qform(coded=True)[0])
    return [affine for affine in affines if affine is not None]


def affine_difference(mask: np.ndarray, image: np.ndarray) -> str:
    """How the affine of a mask differs from that of its image; "" if only by rounding."""
    mask_mm, image_mm = (np.linalg.norm(affine[:3, :3], axis=0) for affine in (mask, image))
    if not np.allclose(mask_mm, image_mm, rtol=SAME_STEP, atol=0):
        return f"its spacing is {in_words(mask_mm)} mm, not {in_words(image_mm)} mm"
    if np.abs(mask[:3, :3] / mask_mm - image[:3, :3] / image_mm).max() > SAME_STEP:
        return "its axes point in other directions"
    voxels = np.linalg.solve(image[:3, :3], mask[:3, 3] - image[:3, 3])
    if np.abs(voxels).max() > SAME_PLACE:
        return f"its origin is {in_words(mask[:3, 3])} mm, not {in_words(image[:3, 3])} mm"
    return ""


def in_words(values: np.ndarray) -> str:
    return " x ".join(f"{value:.6g}" for value in values)
