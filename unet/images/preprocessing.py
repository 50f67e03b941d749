"""From an image of any size to the network's input, and from its probability back to the image's grid."""

import cv2
import numpy as np

# Images are worked on in threads of our own: OpenCV's, inside each of them, would only wait for a core.
cv2.setNumThreads(1)
# Brightest and darkest half percent are clipped: a few hot pixels must not dim the rest.
PERCENTILES = (0.5, 99.5)


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
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    # As float32: for uint8 OpenCV rounds in a way of its own, that an exported network could not repeat.
    scaled = cv2.resize(pixels.astype(np.float32), (width, height), interpolation=interpolation)
    square = np.zeros((size, size), pixels.dtype)
    square[top : top + height, left : left + width] = np.rint(scaled) if pixels.dtype == np.uint8 else scaled
    return square


def stretch_contrast(image: np.ndarray) -> np.ndarray:
    """Map the range between PERCENTILES of uint8 (height, width) to 0..255; a constant image gives 0.

    TypeError for pixels of another kind: of floats in [0, 1] nothing would be left.
    """
    if image.dtype != np.uint8 or image.ndim != 2:
        raise TypeError(f"grey uint8 (height, width) is needed, not {image.dtype} {image.shape}")
    low, high = percentiles(image)
    if high <= low:
        return np.zeros_like(image)
    stretched = (np.arange(256) - low) * 255 / (high - low)
    return cv2.LUT(image, np.clip(np.rint(stretched), 0, 255).astype(np.uint8))


def percentiles(image: np.ndarray) -> tuple[float, float]:
    """PERCENTILES of uint8 pixels as numpy.percentile has them, but by counting: ten times faster."""
    at_most = cv2.calcHist([image], [0], None, [256], [0, 256]).ravel().astype(np.int64).cumsum()
    places = np.array(PERCENTILES) / 100 * (image.size - 1)
    below, above = (np.searchsorted(at_most, round_(places), side="right") for round_ in (np.floor, np.ceil))
    low, high = below + (above - below) * (places % 1)
    return float(low), float(high)


def to_training_image(image: np.ndarray, size: int) -> np.ndarray:
    """Grey uint8 (height, width) of any size -> uint8 (size, size) as training keeps it."""
    return resize_into_square(stretch_contrast(image), size)


def to_training_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Boolean (height, width) -> uint8 (size, size) of 0 and 1: 1 where tumor covers half of it or more."""
    return (resize_into_square(mask.astype(np.float32), size) >= 0.5).astype(np.uint8)


def to_network_input(images: np.ndarray) -> np.ndarray:
    """uint8 (batch, size, size) -> float32 (batch, size, size, 1) in [0, 1]."""
    return images[..., np.newaxis].astype(np.float32) / 255


def to_native_size(probability: np.ndarray, height: int, width: int) -> np.ndarray:
    """Undo resize_into_square for a float32 probability (size, size) -> (height, width), bilinearly."""
    top, left, inner_height, inner_width = placement(height, width, len(probability))
    inner = probability[top : top + inner_height, left : left + inner_width]
    return cv2.resize(inner, (width, height), interpolation=cv2.INTER_LINEAR)
