"""Healed slices: a tumor and its rim are replaced by healthy tissue, so that the same head has no tumor.

The tissue comes from the mirror image of the slice, or from a similar slice of another patient. It is aligned with the
slice, matched in grey level, and faded in. So that the seam does not give it away, the same is done next to tumors:
grafted slices keep their tumor.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from tqdm import tqdm

from unet.data.patients import thumbnails
from unet.data.slices import Slices
from unet.images.preprocessing import resize_into_square
from unet.machine import thread_count

# In pixels of an image with 256 pixels a side.
RIM, FADE, RING, SMOOTH = 6, 3, 8, 12
SMALL = 64  # side of the images that are aligned
# Least correlation of aligned tissue with the slice: over the whole head, and on a ring around the region.
LEAST_ALIKE, LEAST_ALIKE_AROUND = 0.75, 0.5
OTHERS_TRIED = 10  # slices of other patients
MOST_TRIED = 4000  # slices; more would take minutes and add little
HEAD_GREY = 20  # grey level; air is darker


@dataclass(frozen=True)
class AlteredSlices:
    """New images for some slices."""

    indices: np.ndarray  # of the slices, increasing, int64 (n,)
    images: np.ndarray  # uint8 (n, size, size)

    @classmethod
    def none(cls) -> "AlteredSlices":
        return cls(np.empty(0, np.int64), np.empty((0, 0, 0), np.uint8))

    def find(self, index: int) -> np.ndarray | None:
        """The new image of a slice, uint8 (size, size), if it has one."""
        position = int(np.searchsorted(self.indices, index))
        return self.images[position] if position < len(self.indices) and self.indices[position] == index else None


def heal(slices: Slices, indices: np.ndarray, patients: np.ndarray, mirror_only: bool = False) -> AlteredSlices:
    """These slices without their tumors, as far as suitable healthy tissue exists.

    Args:
        slices: All slices.
        indices: Those to heal, int64 (n,). Their tissue comes from each other.
        patients: The patient of each of them, (n,).
        mirror_only: Take tissue from the other hemisphere only.
    """
    donors = Donors(slices, indices, patients, 0 if mirror_only else OTHERS_TRIED)

    def heal_one(position: int) -> np.ndarray | None:
        return donors.replace(position, grown(slices.masks[indices[position]], RIM))

    return alter(slices, indices, heal_one, "Healing slices")


def graft(slices: Slices, indices: np.ndarray, patients: np.ndarray, seed: int) -> AlteredSlices:
    """These slices with healthy tissue blended in beside their tumors, in regions with the shapes of other tumors."""
    donors = Donors(slices, indices, patients, 2)

    def graft_one(position: int) -> np.ndarray | None:
        random = np.random.default_rng([seed, position])
        image, tumor = slices.images[indices[position]], slices.masks[indices[position]]
        shape = grown(slices.masks[indices[random.integers(len(indices))]], RIM)
        rows, columns = np.nonzero(image > HEAD_GREY)
        if not len(rows) or not shape.any():
            return None
        target = random.integers(len(rows))
        center = np.argwhere(shape).mean(axis=0)
        shift = np.array([columns[target], rows[target]]) - center[::-1]
        region = cv2.warpAffine(shape, np.array([[1, 0, shift[0]], [0, 1, shift[1]]]), shape.shape[::-1])
        if (region & grown(tumor, RIM)).any() or np.mean(image[region > 0] > HEAD_GREY) < 0.9:
            return None
        return donors.replace(position, region)

    return alter(slices, indices, graft_one, "Grafting slices")


def alter(slices: Slices, indices: np.ndarray, change: Callable[[int], np.ndarray | None], title: str) -> AlteredSlices:
    """change(position in indices) of these slices, without those for which it is None. Of many, evenly spaced ones."""
    positions = np.unique(np.linspace(0, len(indices) - 1, min(len(indices), MOST_TRIED)).astype(int))
    with ThreadPoolExecutor(thread_count()) as threads:
        changed = list(tqdm(threads.map(change, positions), title, len(positions), disable=None, leave=False))
    kept = [position for position, image in zip(positions, changed, strict=True) if image is not None]
    images = [image for image in changed if image is not None]
    return AlteredSlices(indices[kept], np.array(images, np.uint8).reshape(len(kept), *slices.images.shape[1:]))


class Donors:
    """Where healthy tissue for a slice may come from: its mirror image, and similar slices of other patients."""

    def __init__(self, slices: Slices, indices: np.ndarray, patients: np.ndarray, others: int):
        self.slices, self.indices, self.others = slices, indices, others
        self.patients = np.unique(patients, return_inverse=True)[1]
        self.thumbnails = thumbnails(slices.images[indices]) if others else None

    def replace(self, position: int, region: np.ndarray) -> np.ndarray | None:
        """The slice with healthy tissue in a region uint8 (size, size) of 0 and 1; None if no tissue is suitable."""
        image, tumor = self.slices.images[self.indices[position]], self.slices.masks[self.indices[position]]
        for donor, donor_tumor in self._candidates(position, image, tumor):
            if (patched := transplant(image, grown(tumor, RIM) | region, donor, donor_tumor, region)) is not None:
                return patched
        return None

    def _candidates(
        self, position: int, image: np.ndarray, tumor: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield image[:, ::-1], tumor[:, ::-1]
        if not self.others:
            return
        of_others = np.flatnonzero(self.patients != self.patients[position])
        alike = self.thumbnails[of_others] @ self.thumbnails[position]
        for other in of_others[np.argsort(-alike)][: self.others]:
            yield self.slices.images[self.indices[other]], self.slices.masks[self.indices[other]]


def transplant(
    image: np.ndarray, ignored: np.ndarray, donor: np.ndarray, donor_tumor: np.ndarray, region: np.ndarray
) -> np.ndarray | None:
    """An image with tissue of a donor in a region; None if the donor is too different or has a tumor there.

    Args:
        image, donor: uint8 (size, size).
        ignored: 1 where the images must not be compared, uint8 (size, size).
        donor_tumor, region: 1 inside and 0 outside, uint8 (size, size).
    """
    transform = align(image, donor, ignored, grown(donor_tumor, RIM))
    if transform is None:
        return None
    size = image.shape[::-1]
    options = {"flags": cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP}
    donor = cv2.warpAffine(np.ascontiguousarray(donor), transform, size, **options)
    donor_tumor = cv2.warpAffine(np.ascontiguousarray(donor_tumor), transform, size, **options)
    if (grown(donor_tumor, RIM) & grown(region, FADE)).any():
        return None
    around = (grown(region, RING) > 0) & (ignored == 0)
    if not around.any() or correlation(image[around], donor[around]) < LEAST_ALIKE_AROUND:
        return None
    donor = donor * np.clip(image[around].std() / max(float(donor[around].std()), 1.0), 0.5, 2.0)  # the same contrast
    # The difference in grey level, as a smooth field measured where both are healthy.
    healthy = ((ignored == 0) & (grown(donor_tumor, RIM) == 0)).astype(np.float32)
    sigma = SMOOTH * len(image) / 256
    difference = cv2.GaussianBlur((image.astype(np.float32) - donor) * healthy, (0, 0), sigma)
    matched = donor + difference / np.maximum(cv2.GaussianBlur(healthy, (0, 0), sigma), 1e-3)
    fade = 2 * scaled(FADE, image) + 1
    share = cv2.blur(grown(region, FADE).astype(np.float32), (fade, fade))  # still 1 everywhere in the region
    return np.clip(np.rint(image + share * (matched - image)), 0, 255).astype(np.uint8)


def align(image: np.ndarray, donor: np.ndarray, ignored: np.ndarray, donor_ignored: np.ndarray) -> np.ndarray | None:
    """The affine transform (2, 3) from pixels of an image to those of a donor; None if the two are not alike.

    Pixels are not compared where `ignored` is 1 in the image, or `donor_ignored` in the donor, uint8 (size, size) each.
    By the enhanced correlation coefficient (Evangelidis and Psarakis 2008), on small images.
    """
    small = [resize_into_square(pixels.astype(np.float32), SMALL) for pixels in (image, donor)]
    compared = [
        (resize_into_square(mask.astype(np.float32), SMALL) < 0.1).astype(np.uint8) for mask in (ignored, donor_ignored)
    ]
    centers = [np.argwhere(pixels > HEAD_GREY).mean(axis=0)[::-1] for pixels in small if (pixels > HEAD_GREY).any()]
    if len(centers) < 2:
        return None
    transform = np.eye(2, 3, dtype=np.float32)
    transform[:, 2] = centers[1] - centers[0]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    try:
        alike, transform = cv2.findTransformECCWithMask(*small, *compared, transform, cv2.MOTION_AFFINE, criteria, 5)
    except cv2.error:  # it does not converge
        return None
    if alike < LEAST_ALIKE:
        return None
    scale = len(image) / SMALL
    # The center of small pixel x is at scale · (x + 0.5) - 0.5 of the image.
    transform[:, 2] = scale * transform[:, 2] + (scale - 1) / 2 * (1 - transform[:, :2].sum(axis=1))
    return transform


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask uint8 (size, size), larger on all sides by this many pixels of an image with 256 a side."""
    radius = scaled(pixels, mask)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask, kernel)


def scaled(pixels: int, image: np.ndarray) -> int:
    """This many pixels of an image with 256 a side, in pixels of this one."""
    return max(1, round(pixels * len(image) / 256))


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of two lists of grey values, in [-1, 1]; 0 if one of them is constant."""
    first, second = (values.astype(np.float32) - values.mean() for values in (first, second))
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(first @ second) / norm if norm else 0.0
