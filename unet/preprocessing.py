"""From an image of any size to the network's input, and from its probability back to the image's grid."""

from typing import NamedTuple

import cv2
import numpy as np

# Brightest and darkest half percent are clipped: a few hot pixels must not dim the rest.
PERCENTILES = (0.5, 99.5)
# A stretched pixel above this is no air; a bright spot smaller than this share of the side is noise.
HEAD_LEVEL = 25
HEAD_SPECK = 0.02


class Box(NamedTuple):
    """A rectangle of an image, in its pixels."""

    top: int
    left: int
    height: int
    width: int

    def cut(self, pixels: np.ndarray) -> np.ndarray:
        """That part of (height, width), as a view."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


def placement(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Where an image lands, centred and undistorted, in a square: (top, left, height, width) in pixels."""
    scale = size / max(height, width)
    inner_height = max(1, round(height * scale))
    inner_width = max(1, round(width * scale))
    return (size - inner_height) // 2, (size - inner_width) // 2, inner_height, inner_width


def resize_into_square(pixels: np.ndarray, size: int) -> np.ndarray:
    """Scale uint8 or float32 (height, width) to (size, size), keeping its shape; the margin is 0."""
    top, left, height, width = placement(*pixels.shape, size)
    shrinks = height < pixels.shape[0] or width < pixels.shape[1]
    # Area averages every pixel when shrinking, where bilinear would skip some.
    scaled = cv2.resize(
        pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    )
    square = np.zeros((size, size), pixels.dtype)
    square[top : top + height, left : left + width] = scaled
    return square


def stretch_contrast(image: np.ndarray) -> np.ndarray:
    """Map the range between PERCENTILES of uint8 (height, width) to 0..255; a constant image gives 0."""
    low, high = percentiles(image)
    if high <= low:
        return np.zeros_like(image)
    stretched = (np.arange(256) - low) * (255 / (high - low))
    return cv2.LUT(image, np.clip(np.rint(stretched), 0, 255).astype(np.uint8))


def percentiles(image: np.ndarray) -> tuple[float, float]:
    """PERCENTILES of uint8 pixels as numpy.percentile has them, but by counting: ten times faster."""
    at_most = np.bincount(image.ravel(), minlength=256).cumsum()
    places = np.array(PERCENTILES) / 100 * (image.size - 1)
    below, above = (
        np.searchsorted(at_most, round_(places), side="right") for round_ in (np.floor, np.ceil)
    )
    low, high = below + (above - below) * (places % 1)
    return float(low), float(high)


def head_box(stretched: np.ndarray) -> Box:
    """What of a stretched slice is not dark background; all of it where nothing is bright.

    Scanners leave more or less air around a head: without it, heads are shown to the network at about
    one size and as large as they can be. Anything thinner than HEAD_SPECK of the image is noise.
    """
    height, width = stretched.shape
    speck = round(max(height, width) * HEAD_SPECK) | 1  # odd, or all would shift
    bright = (stretched > HEAD_LEVEL).astype(np.uint8)
    bright = cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((speck, speck), np.uint8))
    left, top, box_width, box_height = cv2.boundingRect(bright)
    if not box_width:
        return Box(0, 0, height, width)
    return Box(top, left, box_height, box_width)


def to_training_image(image: np.ndarray, size: int) -> tuple[np.ndarray, Box]:
    """Grey uint8 (height, width) of any size -> uint8 (size, size) as training keeps it, and its box."""
    stretched = stretch_contrast(image)
    box = head_box(stretched)
    return resize_into_square(box.cut(stretched), size), box


def to_training_mask(mask: np.ndarray, box: Box, size: int) -> np.ndarray:
    """Boolean (height, width) -> uint8 (size, size) of 0 and 1: 1 where tumor covers half of it or more."""
    return (resize_into_square(box.cut(mask).astype(np.float32), size) >= 0.5).astype(np.uint8)


def to_network_input(images: np.ndarray) -> np.ndarray:
    """uint8 (batch, size, size) -> float32 (batch, size, size, 1) in [0, 1]."""
    return images[..., np.newaxis].astype(np.float32) / 255


def to_native_size(probability: np.ndarray, box: Box, height: int, width: int) -> np.ndarray:
    """A float32 probability (size, size) on the image's grid (height, width), bilinear; 0 around the box."""
    top, left, inner_height, inner_width = placement(box.height, box.width, len(probability))
    inner = probability[top : top + inner_height, left : left + inner_width]
    native = np.zeros((height, width), np.float32)
    box.cut(native)[:] = cv2.resize(inner, (box.width, box.height), interpolation=cv2.INTER_LINEAR)
    return native
