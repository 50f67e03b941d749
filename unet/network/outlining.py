"""From tumor probability to outline: where it reaches a threshold, if it reaches a higher peak nearby.

Both are chosen on validation patients and kept in the run. A region that is only half-likely everywhere
is more often a false alarm than a tumor (hysteresis, as in Canny 1986), unless there is none stronger.
"""

import cv2
import numpy as np

THRESHOLDS = np.arange(1, 20) / 20
PEAKS = np.array([0.0, 0.6, 0.7, 0.8, 0.9, 0.95])
# Where no region reaches the peak, the strongest will do if it is more likely tumor than not.
LIKELY = 0.5


def to_mask(probability: np.ndarray, threshold: float, peak: float) -> np.ndarray:
    """Boolean mask of float32 (height, width): regions of `threshold` or more that reach `peak` somewhere.

    Where none does, the strongest that reaches LIKELY.
    """
    mask = probability >= threshold
    if peak <= threshold or not mask.any():
        return mask
    peak = reachable(peak, probability)
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    # Most of an image is far from any tumor.
    box = np.s_[top : top + height, left : left + width]
    count, regions = cv2.connectedComponents(mask[box].astype(np.uint8))
    kept = np.zeros(count, bool)
    kept[regions[probability[box] >= peak]] = True
    mask[box] = kept[regions]
    return mask


def rule_in_words(threshold: float, peak: float) -> str:
    """What to_mask outlines, for model cards and exports."""
    words = f"from a probability of {threshold:g} on"
    if peak > threshold:
        words += f", in regions that reach {peak:g}, or else in the strongest that reaches {LIKELY:g}"
    return words


def reachable(peak: float | np.ndarray, probability: np.ndarray) -> float | np.ndarray:
    """The peak, or where no pixel reaches it the highest probability, but not below LIKELY."""
    return np.minimum(peak, max(LIKELY, float(probability.max())))


def without_weak_regions(probability: np.ndarray, mask: np.ndarray, threshold: float) -> np.ndarray:
    """The probability, 0 in regions that to_mask left out: its contour at `threshold` is the mask's."""
    reached = probability >= threshold
    if np.count_nonzero(reached) == np.count_nonzero(mask):
        return probability
    return np.where(reached & ~mask, np.float32(0), probability)


def dice_by_rule(
    truth: np.ndarray, probability: np.ndarray, thresholds: np.ndarray, peaks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Dice of to_mask with the truth, and with the probability, each (thresholds, peaks).

    Two empty masks have a Dice of 1; an empty mask has 0 with the probability (`quality.confidence`).
    """
    dice, confidence = np.empty((2, len(thresholds), len(peaks)))
    tumor, likely = np.count_nonzero(truth), float(probability.sum())
    peaks = reachable(peaks, probability)
    for place, threshold in enumerate(thresholds):
        mask = probability >= threshold
        count, regions = cv2.connectedComponents(mask.astype(np.uint8))
        region = regions[mask]
        size = np.bincount(region, minlength=count)
        overlap = np.bincount(region[truth[mask]], minlength=count)
        inside = np.bincount(region, weights=probability[mask], minlength=count)
        highest = np.zeros(count, np.float32)
        np.maximum.at(highest, region, probability[mask])
        kept = highest >= np.maximum(peaks, threshold)[:, np.newaxis]
        kept[:, 0] = False  # what is in no region
        pixels = kept @ size
        both = pixels + tumor
        dice[place] = np.where(both > 0, 2 * (kept @ overlap) / np.maximum(both, 1), 1.0)
        confidence[place] = 2 * (kept @ inside) / np.maximum(pixels + likely, 1e-9)
    return dice, confidence


def best_rule(mean_dice: np.ndarray) -> tuple[float, float]:
    """Threshold and peak of the highest mean Dice (THRESHOLDS, PEAKS); of equal ones the plainest."""
    order = sorted(range(len(THRESHOLDS)), key=lambda place: abs(THRESHOLDS[place] - 0.5))
    place, peak = max(
        ((place, peak) for place in order for peak in range(len(PEAKS))),
        key=lambda rule: mean_dice[rule],
    )
    return float(THRESHOLDS[place]), float(PEAKS[peak])
