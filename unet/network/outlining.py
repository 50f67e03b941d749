"""From tumor probability to outline: regions above a threshold that reach a higher peak somewhere.

Both are chosen on validation patients and saved in the run. A region that is only half likely everywhere is more often
a false alarm than a tumor, unless there is no stronger one (hysteresis thresholding, as in Canny 1986).
"""

from dataclasses import dataclass

import cv2
import numpy as np

from unet.options import Fraction

THRESHOLDS = np.arange(1, 20) / 20
PEAKS = np.array([0.0, 0.6, 0.7, 0.8, 0.9, 0.95])
# If no region reaches the peak, the strongest one is kept if it is more likely tumor than not.
LIKELY = 0.5


@dataclass(frozen=True)
class OutlineRule:
    """How a probability becomes a mask."""

    threshold: Fraction = 0.5  # probability at which a pixel counts as tumor
    peak: Fraction = 0.0  # probability that a region must reach somewhere
    is_strict: bool = False  # nothing below the threshold is outlined, even if it is known that there is a tumor

    def __str__(self) -> str:
        words = f"where the probability is {self.threshold:g} or more"
        if self.peak > self.threshold:
            words += f", in regions that reach {self.peak:g}, or else in the strongest one if it reaches {LIKELY:g}"
        return words

    @property
    def faint(self) -> str:
        """What at_least_one_region outlines, in words."""
        if self.is_strict:
            return "nothing"
        share = self.threshold / self._wanted
        return f"the region with the highest probability, where the probability is {share:.0%} of that or more"

    @property
    def _wanted(self) -> float:
        """The highest probability after at_least_one_region has scaled it up."""
        return max(2 * self.threshold, LIKELY)  # at least LIKELY, or no region would be kept

    def mask(self, probability: np.ndarray) -> np.ndarray:
        """Boolean mask of a probability float32 (height, width): True is tumor."""
        mask = probability >= self.threshold
        if self.peak <= self.threshold or not mask.any():
            return mask
        peak = reachable(self.peak, probability)
        left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
        # Only inside the bounding box: most of an image is far from any tumor.
        box = np.s_[top : top + height, left : left + width]
        count, regions = cv2.connectedComponents(mask[box].astype(np.uint8))
        is_kept = np.zeros(count, bool)
        is_kept[regions[probability[box] >= peak]] = True
        mask[box] = is_kept[regions]
        return mask

    def at_least_one_region(self, probability: np.ndarray) -> np.ndarray:
        """The probability (height, width), scaled up if its mask would be empty: so that pixels of half its maximum or
        more reach the threshold. All zeros stay as they are."""
        highest = probability.max()
        # The same as whether the mask has any pixel, without computing it.
        has_outline = self.is_strict or (highest >= self.threshold and highest >= min(self.peak, LIKELY))
        if has_outline or not highest:
            return probability
        # Divided first: the highest probability is then exactly what is wanted, not a rounding error below.
        return np.minimum(probability / highest * np.float32(self._wanted), np.float32(1))

    def hide_weak_regions(self, probability: np.ndarray, mask: np.ndarray) -> np.ndarray:
        """The probability with 0 in regions that are not in its mask, so that its contour is that of the mask."""
        reached = probability >= self.threshold
        if np.count_nonzero(reached) == np.count_nonzero(mask):
            return probability
        return np.where(reached & ~mask, np.float32(0), probability)


def reachable(peak: float | np.ndarray, probability: np.ndarray) -> float | np.ndarray:
    """The peak, or the highest probability if no pixel reaches the peak, but at least LIKELY."""
    return np.minimum(peak, max(LIKELY, float(probability.max())))


def dice_by_rule(
    truth: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, peaks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Dice of the masks of many rules, and their confidence, each float64 (thresholds, peaks), in [0, 1].

    Takes the true mask, bool (height, width), and the probability, float32 of the same shape. Two empty masks have a
    Dice of 1; an empty mask has a confidence of 0.
    """
    dice, confidence = np.empty((2, len(thresholds), len(peaks)))
    tumor, expected = np.count_nonzero(truth), float(probability.sum())
    peaks = reachable(peaks, probability)
    for row, threshold in enumerate(thresholds):
        mask = probability >= threshold
        count, regions = cv2.connectedComponents(mask.astype(np.uint8))
        region = regions[mask]
        size = np.bincount(region, minlength=count)
        overlap = np.bincount(region[truth[mask]], minlength=count)
        inside = np.bincount(region, weights=probability[mask], minlength=count)
        highest = np.zeros(count, np.float32)
        np.maximum.at(highest, region, probability[mask])
        is_kept = highest >= np.maximum(peaks, threshold)[:, np.newaxis]
        is_kept[:, 0] = False  # the background
        pixels = is_kept @ size
        total = pixels + tumor
        dice[row] = np.where(total > 0, 2 * (is_kept @ overlap) / np.maximum(total, 1), 1.0)
        confidence[row] = 2 * (is_kept @ inside) / np.maximum(pixels + expected, 1e-9)
    return dice, confidence


def best_rule(mean_dice: np.ndarray) -> OutlineRule:
    """The rule with the highest mean Dice, given (THRESHOLDS, PEAKS). Of equal ones, the plainest."""
    plainest_first = np.argsort(np.abs(THRESHOLDS - 0.5), kind="stable")
    row, column = np.unravel_index(mean_dice[plainest_first].argmax(), mean_dice.shape)
    return OutlineRule(float(THRESHOLDS[plainest_first[row]]), float(PEAKS[column]))
