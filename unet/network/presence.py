"""Whether an image contains a tumor: the network's evidence as a probability, and the threshold for an outline.

The rule is fitted at the end of a training, by unet/evaluation/fitting.py, and saved in the run.
"""

import math
from dataclasses import dataclass, replace

from pydantic import FiniteFloat, PositiveFloat
from scipy.special import expit

from unet.network.outlining import LIKELY
from unet.options import Fraction

LEAST_EVIDENCE = 1e-6  # less counts as this much, so that its log-odds are finite


@dataclass(frozen=True)
class PresenceRule:
    """How evidence becomes the probability that an image contains a tumor, and when one is outlined."""

    slope: PositiveFloat  # of the log-odds of a tumor over the log-odds of the evidence (Platt 1999)
    intercept: FiniteFloat
    threshold: Fraction  # tumor probability from which on an image is outlined
    unsure_from: Fraction  # a person should look at images with a probability in this range
    unsure_to: Fraction

    @property
    def for_scans(self) -> "PresenceRule":
        """The rule for a region of a scan, where a tumor must be likely. A scan has hundreds of slices, and any of them
        may raise a false alarm, but a real tumor shows in many."""
        return replace(self, threshold=max(self.threshold, LIKELY), unsure_to=max(self.unsure_to, LIKELY))

    def probability(self, evidence: float) -> float:
        """The probability of a tumor, in [0, 1], for evidence in [0, 1]."""
        return float(expit(self.slope * log_odds(evidence) + self.intercept))

    def finds_tumor(self, evidence: float) -> bool:
        """Whether an image with this evidence is outlined."""
        return self.probability(evidence) >= self.threshold

    def is_unsure(self, evidence: float) -> bool:
        """Whether the answer may well be wrong."""
        return self.unsure_from <= self.probability(evidence) <= self.unsure_to


def log_odds(evidence: float) -> float:
    """log(e / (1 - e)) of evidence in [0, 1], clipped to be finite."""
    clipped = min(max(float(evidence), LEAST_EVIDENCE), 1 - LEAST_EVIDENCE)
    return math.log(clipped / (1 - clipped))


def probability_text(probability: float) -> str:
    """A probability in [0, 1] with two decimals, or "<0.01" or ">0.99": an estimate is never certain."""
    if probability < 0.01:
        return "<0.01"
    return ">0.99" if probability > 0.99 else f"{probability:.2f}"
