"""Read a mask file as booleans: which of its values or colors are tumor."""

import math
import re
from pathlib import Path

import numpy as np
from PIL import Image

from unet.errors import ImageError, UserError
from unet.images.reading import DEEP_MODES, decode
from unet.options import PairingOptions

GREY = 0x010101  # times a grey value is its color
FEW = 8  # values of a mask that a message lists


def read_mask(path: Path, reading: PairingOptions = PairingOptions()) -> np.ndarray:
    """A mask file, bool (height, width), True for tumor; ImageError if it does not say which pixels that are."""
    return decode(path, reading, lambda image: select_tumor(path, *values_and_colors(image), reading))


def values_and_colors(image: Image.Image) -> tuple[np.ndarray, np.ndarray | None]:
    """The value of each pixel of a decoded mask, and its color as 0xRRGGBB, both (height, width); None if it is grey.

    The value of a color is its index in a palette, or else its largest channel. Transparent pixels are 0. If
    transparency is all that varies, the values are those of the alpha channel.
    """
    if image.mode in ("1", "L", *DEEP_MODES):
        return np.asarray(image), None
    pixels = np.asarray(image.convert("RGBA"))
    rgb, alpha = pixels[..., :3], pixels[..., 3]
    if alpha.min() < alpha.max() and (rgb == rgb[0, 0]).all():
        return alpha, None
    rgb = rgb * (alpha > 0)[..., np.newaxis]
    colors = rgb.astype(np.int64) @ (2**16, 2**8, 1)
    values = np.asarray(image) * (colors > 0) if image.mode == "P" else rgb.max(axis=2)
    return values, None if (rgb == values[..., np.newaxis]).all() else colors


def select_tumor(path: Path, values: np.ndarray, colors: np.ndarray | None, reading: PairingOptions) -> np.ndarray:
    """Where the values or colors of a mask are tumor, bool of the same shape.

    ImageError if that is unclear: without --labels and --mask-threshold, there must be only one besides 0.
    """
    if not np.isfinite(values).all():
        raise ImageError(f"'{path}' has values that are NaN or infinite: replace them with numbers.")
    if reading.mask_threshold is not None and reading.labels is not None:
        raise UserError("--labels and --mask-threshold contradict each other: give only one of them.")
    if reading.mask_threshold is not None:
        brightest = values if colors is None else np.max([colors >> 16, colors >> 8 & 255, colors & 255], axis=0)
        return brightest >= (min(reading.mask_threshold, 1) if values.dtype == bool else reading.mask_threshold)
    if reading.labels not in (None, "any"):
        numbers, wanted_colors = parse_labels(reading.labels)
        return np.isin(values, numbers) | np.isin(values * np.int64(GREY) if colors is None else colors, wanted_colors)
    kinds = values if colors is None else colors
    mask = kinds != 0
    found = kinds[mask]
    if reading.labels is None and found.size and (found != found[0]).any():
        raise ImageError(f"'{path}' {describe(np.unique(found), colors is None)}")
    return mask


def parse_labels(labels: str) -> tuple[list[float], list[int]]:
    """The values and the colors that --labels names; UserError if it is invalid."""
    numbers, colors = [], []
    for part in labels.split(","):
        if re.fullmatch("#?[0-9a-fA-F]{6}", part):
            colors.append(int(part.removeprefix("#"), 16))
        elif re.fullmatch(r"-?\d+(\.\d+)?", part):
            numbers.append(float(part))
        else:
            raise UserError(
                f"--labels {labels} is invalid: give values such as 1 or 1,2,4, colors such as ff0000, or any."
            )
    return numbers, colors


def describe(found: np.ndarray, is_grey: bool) -> str:
    """What is wrong with a mask that has these values or colors besides 0, and what to do."""
    kind, shown = ("values", "{:g}") if is_grey else ("colors", "{:06x}")
    largest = float(found.max()) if is_grey else 255.0
    half = math.ceil(largest / 2) if largest > 1 else largest / 2
    threshold = f"the smallest value that counts as tumor, such as --mask-threshold {half:g}"
    if len(found) > FEW:
        return f"has {len(found)} {kind} besides 0, but a mask has only one: give {threshold}."
    names = [shown.format(value) for value in found.tolist()]
    return (
        f"has the {kind} {', '.join(names[:-1])} and {names[-1]} besides 0: choose those of the tumor with --labels "
        f"{names[0]} or --labels any, or give {threshold}."
    )
