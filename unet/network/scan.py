"""Whole scans: what the network answers in each plane, combined on the voxel grid, and the tumor's regions in 3-D.

QuickNAT (Guha Roy et al. 2019) and FastSurfer (Henschel et al. 2020) average over planes. The median of three
probabilities keeps tumors that two planes agree on, and drops what only one plane sees.
"""

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from scipy import ndimage
from tqdm import tqdm

from unet.images.preprocessing import resize_into_square
from unet.images.volume import PLANES, Volume, slices_of
from unet.network.outlining import OutlineRule, reachable
from unet.network.predictor import Predictor

HEAD_GREY, HEAD_SHARE = 25, 0.02  # a slice shows a head if this share of its pixels is at least this bright
SMALLEST_MM3 = 30  # smaller regions are dropped; a sphere of 4 mm
THIN_MM = 3  # slices this far apart, or less, cannot hide a tumor from their neighbors


@dataclass(frozen=True)
class ScanPrediction:
    """What the network predicts for a scan."""

    # Of tumor, float32 (x, y, z), in [0, 1]: the median of the planes. In slices without a tumor, it is 0.
    probability: np.ndarray
    evidence: dict[str, np.ndarray]  # of a tumor in each slice, float32 (slices,), in [0, 1], by plane
    weights: dict[str, np.ndarray]  # of each slice in its plane: the sum of its probability, given a tumor

    def evidence_of(self, weights: np.ndarray, box: tuple[slice, ...] = (slice(None),) * 3) -> float:
        """Evidence of a tumor in a part of the scan, in [0, 1].

        It is the mean over the planes, and in each over the slices, weighted like the voxels in them; 0 without any.

        Args:
            weights: Of the voxels in the box, 0 or more, (x, y, z).
            box: The part, along x, y and z. By default, the whole scan.
        """
        if not weights.any():
            return 0.0
        means = []
        for plane, evidence in self.evidence.items():
            in_slices = slices_of(weights, plane).sum(axis=(1, 2), dtype=np.float64)
            means.append(np.average(evidence[box[PLANES.index(plane)]], weights=in_slices))
        return float(np.mean(means))

    @property
    def overall_evidence(self) -> float:
        """Evidence of a tumor in the scan as a whole, in [0, 1]; 0 if no slice shows a head."""
        planes = [plane for plane, weights in self.weights.items() if weights.any()]
        means = [np.average(self.evidence[plane], weights=self.weights[plane]) for plane in planes]
        return float(np.mean(means)) if means else 0.0


@dataclass(frozen=True)
class Outlines:
    """The regions that are outlined in a scan."""

    labels: np.ndarray  # int32 (x, y, z): 0 outside, and the number of its region inside, largest first
    evidence: list[float]  # of a tumor in each region, in [0, 1]
    highest_evidence: float  # of all parts of the scan, whether they are outlined or not

    @property
    def mask(self) -> np.ndarray:
        """The mask, bool (x, y, z), True for tumor."""
        return self.labels > 0


def predict_scan(predictor: Predictor, volume: Volume, title: str) -> ScanPrediction:
    """Predict all slices with a head in all planes of a volume. Shows a progress bar with a title."""
    probabilities = [np.zeros(volume.grey.shape, np.float32) for _ in volume.planes]
    evidence, weights = {}, {}
    with_head = {plane: np.flatnonzero(contain_head(slices_of(volume.grey, plane))) for plane in volume.planes}
    with tqdm(total=sum(map(len, with_head.values())), desc=title, leave=False, unit="slice", disable=None) as bar:
        for (plane, indices), probability in zip(with_head.items(), probabilities, strict=True):
            slices = slices_of(probability, plane)  # a view
            evidence[plane], weights[plane] = np.zeros((2, len(slices)), np.float32)
            read = partial(volume.square_pixels, plane)
            for prediction in predictor.stream(indices, read, preparation_of=lambda index: resize_into_square):
                if predictor.finds_tumor(prediction.evidence):
                    # Otherwise, what the network would outline in neighbors joins tumors to healthy tissue.
                    slices[prediction.source] = cv2.resize(prediction.probability, slices.shape[:0:-1])
                evidence[plane][prediction.source] = prediction.evidence
                weights[plane][prediction.source] = prediction.probability.sum()
                bar.update()
    return ScanPrediction(median_of(probabilities), evidence, weights)


def median_of(probabilities: list[np.ndarray]) -> np.ndarray:
    """The median of three probabilities of each voxel, float32 (x, y, z), or the only one."""
    if len(probabilities) == 1:
        return probabilities[0]
    one, two, three = probabilities
    return np.maximum(np.minimum(one, two), np.minimum(np.maximum(one, two), three))


def contain_head(slices: np.ndarray) -> np.ndarray:
    """Whether each slice, uint8 (slices, height, width), shows a part of a head, bool (slices,)."""
    return (slices >= HEAD_GREY).mean(axis=(1, 2)) >= HEAD_SHARE


def outline_scan(predictor: Predictor, volume: Volume, scan: ScanPrediction) -> Outlines:
    """The regions in which a tumor is found. Regions that are too small, or in only one of several thin slices, are
    dropped."""
    probability = scan.probability
    if predictor.always_outline:
        probability = predictor.rule.at_least_one_region(probability)
    labels = label_regions(predictor.rule, probability)
    boxes = ndimage.find_objects(labels)
    sizes = np.bincount(labels.ravel(), minlength=len(boxes) + 1)[1:]
    evidence, found = [], []
    for number, box in enumerate(boxes, start=1):
        if is_too_small(volume, sizes[number - 1], [part.stop - part.start for part in box]):
            continue
        evidence.append(scan.evidence_of(labels[box] == number, box))
        if predictor.finds_tumor(evidence[-1], in_scan=True):
            found.append((sizes[number - 1], number, evidence[-1]))
    found.sort(reverse=True)
    renumbered = np.zeros(len(boxes) + 1, np.int32)
    for new_number, (_, number, _) in enumerate(found, start=1):
        renumbered[number] = new_number
    return Outlines(renumbered[labels], [kept for *_, kept in found], max(evidence, default=scan.overall_evidence))


def label_regions(rule: OutlineRule, probability: np.ndarray) -> np.ndarray:
    """Connected regions of a probability float32 (x, y, z) at or above the rule's threshold that reach its peak: int32
    (x, y, z), 0 outside and numbers from 1 on inside. The counterpart of OutlineRule.mask in 3-D."""
    touching = np.ones((3, 3, 3), bool)
    labels, count = ndimage.label(probability >= rule.threshold, touching, np.int32)
    if not count:
        return labels
    highest = ndimage.maximum(probability, labels, np.arange(1, count + 1))
    is_kept = highest >= max(rule.threshold, float(reachable(rule.peak, probability)))
    numbers = np.concatenate([[0], np.where(is_kept, np.cumsum(is_kept), 0)]).astype(np.int32)
    return numbers[labels]


def is_too_small(volume: Volume, voxels: int, extent: list[int]) -> bool:
    """Whether a region with some voxels, and an extent in voxels along x, y and z, is too small to be a tumor."""
    is_flat = any(
        length == 1 and side > 1 and mm <= THIN_MM
        for length, side, mm in zip(extent, volume.grey.shape, volume.spacing_mm, strict=True)
    )
    return is_flat or (volume.spacing_known and voxels * volume.voxel_mm3 < SMALLEST_MM3)
