"""Images with the network's outline drawn on them: of one slice, or a sheet of several slices."""

import cv2
import numpy as np

# Orange of Okabe and Ito's palette for color blindness, as OpenCV's blue, green, red.
CONTOUR_BGR = (0, 159, 230)
TILE, COLUMNS = 256, 5


def contours(probability: np.ndarray, threshold: float) -> list[np.ndarray]:
    """Closed lines around all pixels at or above the threshold; empty if there are none.

    Each line is float (points, 2): x, y in pixels, with the center of the first pixel at (0, 0).
    """
    mask = probability >= threshold
    if not mask.any():
        return []
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    # A margin of one pixel, so that the contour closes around the tumor.
    bottom, right = top + height + 1, left + width + 1
    left, top = max(0, left - 1), max(0, top - 1)
    crop = probability[top:bottom, left:right]
    # The contour of a mask has steps. That of a probability is smooth on a four times finer grid.
    fine = cv2.resize(crop, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR) >= threshold
    lines, _ = cv2.findContours(fine.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    # The center of fine pixel x is at (x + 0.5) / 4 - 0.5.
    return [(line[:, 0] + 0.5) / 4 - 0.5 + (left, top) for line in lines]


def draw_overlay(image: np.ndarray, probability: np.ndarray, threshold: float, side: int = 0) -> np.ndarray:
    """A grey uint8 image (height, width) as BGR (height, width, 3), with a smooth contour around the tumor.

    An image with a longer side below `side` pixels is enlarged first, so that the line hides less of it.
    """
    scale = side / max(image.shape)
    if scale > 1:
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        probability = cv2.resize(probability, image.shape[::-1], interpolation=cv2.INTER_LINEAR)
    overlay = cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    # shift=4: OpenCV takes coordinates in sixteenths of a pixel.
    lines = [np.rint(line * 16).astype(np.int32) for line in contours(probability, threshold)]
    thickness = max(1, round(max(image.shape) / 400))
    cv2.polylines(overlay, lines, True, CONTOUR_BGR, thickness, cv2.LINE_AA, shift=4)
    return overlay


def montage(tiles: list[np.ndarray], labels: list[str]) -> np.ndarray:
    """BGR images of any size with ASCII labels of one or more lines, COLUMNS per row, on a black sheet.

    Returns BGR uint8 (height, width, 3).
    """
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.zeros((rows * TILE, min(len(tiles), COLUMNS) * TILE, 3), np.uint8)
    for index, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        scale = (TILE - 2) / max(tile.shape[:2])
        interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        size = [max(1, round(side * scale)) for side in tile.shape[1::-1]]
        small = cv2.resize(tile, size, interpolation=interpolation)
        top = index // COLUMNS * TILE + (TILE - small.shape[0]) // 2
        left = index % COLUMNS * TILE + (TILE - small.shape[1]) // 2
        sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
        for number, line in enumerate(label.split("\n")):
            left, bottom = index % COLUMNS * TILE + 8, index // COLUMNS * TILE + 18 * (number + 1)
            # A black rim made of shifted copies: thicker letters would also be wider.
            for right, down in ((-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)):
                color = (0, 0, 0) if right else (255, 255, 255)
                origin = (left + right, bottom + down)
                cv2.putText(sheet, line, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.45, color, 1, cv2.LINE_AA)
    return sheet
