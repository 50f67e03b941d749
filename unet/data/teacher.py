"""A teacher: another network, whose probabilities the outlines are learned from, together with the masks.

A probability says more than a mask: how clear a border is, and which tumors cannot be seen (Hinton 2015, arXiv
1503.02531). The teacher must not have been trained on the slices whose probabilities it gives.
"""

from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from unet.data.slices import Slices, allocate
from unet.errors import UserError, raise_problems
from unet.images.preprocessing import resize_into_square

WEIGHT = 0.7  # of the probability in what is learned; the rest is the mask


def load_labels(folder: Path, slices: Slices, indices: np.ndarray, memory_gib: float) -> np.ndarray:
    """What is learned about each pixel: 255 for tumor, 0 for none, or between, uint8 (slices, size, size).

    Args:
        folder: Contains ID.png for each of these slices, with 8 or 16 bits, as predict.py --probabilities writes it.
        slices: All slices.
        indices: Those with a probability, int64 (n,). All others are 0.
        memory_gib: Labels beyond this size are kept in a temporary file.

    Raises:
        UserError: If probabilities are missing or unreadable, or the slices are those of scans.
    """
    if any(slices.pairs[index].plane for index in indices):
        raise UserError("--teacher is only for images, not for scans: leave it out.")
    if not folder.is_dir():
        raise UserError(f"--teacher '{folder}' is not a folder: name one with a probability ID.png for each slice.")
    size = slices.pixels.shape[-1]
    labels = allocate((len(slices.pairs), size, size), memory_gib)
    problems = []
    for index in tqdm(indices, "Reading the teacher's probabilities", disable=None, leave=False):
        path = folder / f"{slices.ids[index]}.png"
        content = np.fromfile(path, np.uint8) if path.is_file() else np.empty(0, np.uint8)
        pixels = cv2.imdecode(content, cv2.IMREAD_UNCHANGED) if len(content) else None
        if pixels is None or pixels.ndim != 2:
            problems.append(f"'{path}' is not a probability map, which --teacher needs: a grey PNG with 8 or 16 bits.")
            continue
        rows, columns = pixels.shape
        if rows != columns:  # a square may show the image with margins, as the network sees it
            height, width = slices.pairs[index].read_image().shape
            if abs(rows / columns - height / width) > 0.01 * height / width:
                problems.append(f"'{path}' has other proportions than its image of {width} x {height}: make it again.")
                continue
        probability = resize_into_square(pixels.astype(np.float32) * (255 / np.iinfo(pixels.dtype).max), size)
        labels[index] = np.rint(WEIGHT * probability + (1 - WEIGHT) * 255 * slices.masks[index])
    raise_problems(problems)
    return labels
