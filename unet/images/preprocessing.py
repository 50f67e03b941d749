"""Turn an image of any size into the network's input, and the network's output back to the image's size."""

import cv2
import numpy as np

cv2.setNumThreads(1)  # OpenCV's threads would compete with ours
PERCENTILES = (0.5, 99.5)  # clipped beyond, so that a few hot pixels do not dim the rest


def placement(height: int, width: int, size: int) -> tuple[int, int, int, int]:
    """Position of an image, centered and undistorted, in a square: (top, left, height, width) in pixels."""
    longest = max(height, width)
    # In whole numbers, so that exported networks, which have no float64, round alike.
    inner_height, inner_width = (max(1, (2 * side * size + longest) // (2 * longest)) for side in (height, width))
    return (size - inner_height) // 2, (size - inner_width) // 2, inner_height, inner_width


def resize_into_square(pixels: np.ndarray, size: int) -> np.ndarray:
    """Scale uint8 or float32 (height, width) to (size, size), keeping the aspect ratio; the margin is 0."""
    top, left, height, width = placement(*pixels.shape, size)
    shrinks = height < pixels.shape[0] or width < pixels.shape[1]
    # Area: bilinear would skip pixels when shrinking.
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    # float32: OpenCV rounds uint8 in its own way, which an exported network cannot reproduce.
    scaled = cv2.resize(pixels.astype(np.float32), (width, height), interpolation=interpolation)
    square = np.zeros((size, size), pixels.dtype)
    square[top : top + height, left : left + width] = np.rint(scaled) if pixels.dtype == np.uint8 else scaled
    return square


def stretch_contrast(image: np.ndarray) -> np.ndarray:
    """Map the range between PERCENTILES of uint8 (height, width) to 0..255; 0 if constant. TypeError if not uint8."""
    if image.dtype != np.uint8 or image.ndim != 2:
        raise TypeError(f"The image must be grey uint8 (height, width), not {image.dtype} {image.shape}.")
    low, high = percentiles(image)
    if high <= low:
        return np.zeros_like(image)
    stretched = (np.arange(256) - low) * 255 / (high - low)
    return cv2.LUT(image, np.clip(np.rint(stretched), 0, 255).astype(np.uint8))


def to_8_bits(values: np.ndarray) -> np.ndarray:
    """Map the range between PERCENTILES of grey values of any type and shape to 0..255 (uint8); 0 if constant."""
    low, high = np.percentile(values, PERCENTILES)
    if high <= low:
        return np.zeros(values.shape, np.uint8)
    return np.rint(np.clip((values - low) * (255 / (high - low)), 0, 255)).astype(np.uint8)


def percentiles(image: np.ndarray) -> tuple[float, float]:
    """The same PERCENTILES of uint8 pixels as numpy.percentile, ten times as fast because it counts values."""
    at_most = cv2.calcHist([image], [0], None, [256], [0, 256]).ravel().astype(np.int64).cumsum()
    places = np.array(PERCENTILES) / 100 * (image.size - 1)
    below, above = (np.searchsorted(at_most, round_(places), side="right") for round_ in (np.floor, np.ceil))
    low, high = below + (above - below) * (places % 1)
    return float(low), float(high)


def to_training_image(image: np.ndarray, size: int) -> np.ndarray:
    """Grey uint8 (height, width) of any size -> uint8 (size, size) with stretched contrast."""
    return resize_into_square(stretch_contrast(image), size)


def to_training_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Boolean (height, width) -> uint8 (size, size): 1 for pixels at least half covered by tumor, else 0. Of a smaller
    tumor, the pixels that it covers most remain: a slice with tumor must not become one without."""
    covered = resize_into_square(mask.astype(np.float32), size)
    return ((covered >= min(0.5, covered.max())) & (covered > 0)).astype(np.uint8)


def to_network_input(images: np.ndarray) -> np.ndarray:
    """uint8 (batch, size, size) -> float32 (batch, size, size, 1) in [0, 1]."""
    return images[..., np.newaxis].astype(np.float32) / 255


def to_native_size(probability: np.ndarray, height: int, width: int) -> np.ndarray:
    """Undo resize_into_square: float32 probability (size, size) -> (height, width), interpolated bilinearly."""
    top, left, inner_height, inner_width = placement(height, width, len(probability))
    inner = probability[top : top + inner_height, left : left + inner_width]
    return cv2.resize(inner, (width, height), interpolation=cv2.INTER_LINEAR)
