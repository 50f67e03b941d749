"""What is decided about a prediction: whether there is a tumor, where it is, and whether a person should look at it."""

from dataclasses import dataclass

import numpy as np

from unet.errors import ImageError
from unet.network.confidence import ConfidenceModel
from unet.network.outlining import OutlineRule
from unet.network.presence import PresenceRule


@dataclass(frozen=True)
class Prediction:
    """What the network predicts for one image, or the error if it could not be read."""

    source: object
    image: np.ndarray | None = None  # grey uint8 (height, width)
    square: np.ndarray | None = None  # the network's input, uint8 (size, size)
    probability: np.ndarray | None = None  # of tumor if the image has one, float32 (height, width), in [0, 1]
    evidence: float | None = None  # of a tumor, in [0, 1]
    error: ImageError | None = None


class Outliner:
    """The rules that turn predictions into outlines.

    Args:
        rule: What is tumor if there is one.
        presence_rule: Whether there is a tumor; None if the network cannot tell.
        confidence_model: How good an outline is likely to be; None if that is unknown.
        always_outline: Outline every image, whether or not a tumor is found.
    """

    def __init__(
        self,
        rule: OutlineRule,
        presence_rule: PresenceRule | None = None,
        confidence_model: ConfidenceModel | None = None,
        always_outline: bool = False,
    ):
        self.rule = rule
        self.presence_rule = presence_rule
        self.confidence_model = confidence_model
        self.always_outline = always_outline

    def tumor_probability(self, evidence: float) -> float | None:
        """The probability that an image with this evidence contains a tumor, in [0, 1]; None if the run cannot tell."""
        return self.presence_rule.probability(evidence) if self.presence_rule else None

    def finds_tumor(self, evidence: float, in_scan: bool = False) -> bool:
        """Whether an image, or a region of a scan, with this evidence is outlined: always if the run cannot tell, or
        with always_outline."""
        rule = self._deciding_rule(in_scan)
        return not rule or rule.finds_tumor(evidence)

    def _deciding_rule(self, in_scan: bool) -> PresenceRule | None:
        """The rule that decides whether there is a tumor; None if it does not matter."""
        rule = None if self.always_outline else self.presence_rule
        return rule.for_scans if rule and in_scan else rule

    def mask(self, prediction: Prediction) -> np.ndarray:
        """The mask of an image, bool (height, width), True for tumor; empty if no tumor is found."""
        if not self.finds_tumor(prediction.evidence):
            return np.zeros(prediction.probability.shape, bool)
        return self.rule.mask(self._given_tumor(prediction))

    def visible_probability(self, prediction: Prediction, mask: np.ndarray | None = None) -> np.ndarray:
        """A probability whose contour at the threshold is the outline of the mask, which is computed if None."""
        mask = self.mask(prediction) if mask is None else mask
        return self.rule.hide_weak_regions(self._given_tumor(prediction), mask)

    def _given_tumor(self, prediction: Prediction) -> np.ndarray:
        """The probability (height, width) that is outlined: raised if it is known that there is a tumor."""
        is_known = self.always_outline or self.presence_rule
        return self.rule.at_least_one_region(prediction.probability) if is_known else prediction.probability

    def review_reason(self, square: np.ndarray, evidence: float, confidence: float, in_scan: bool = False) -> str:
        """Why a person should look at the outline of an image or scan; "" if there is no reason, or the run is not
        finished.

        Takes the network's input, uint8 (size, size), the evidence of a tumor, and the confidence in the outline (0 if
        nothing is outlined).
        """
        model, rule = self.confidence_model, self._deciding_rule(in_scan)
        if not model:
            return ""
        if model.is_unlike(square):
            return "unlike training data"
        if rule and rule.is_unsure(evidence):
            return "tumor uncertain"
        if not confidence:
            return "nothing outlined" if self.finds_tumor(evidence, in_scan) else ""
        return "low expected Dice" if confidence <= model.review_up_to else ""
