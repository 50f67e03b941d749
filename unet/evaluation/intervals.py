"""How well a predicted mask matches the truth, in numpy for reports and in Keras for training.

A score whose denominator is 0 is 1 where both masks are empty, else 0.
So a tumor missed whole and a false alarm on a slice without tumor both score 0.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import norm, t

# Draws of a bootstrap.
AT_ONCE = 500


def interval_over_patients(
    values: np.ndarray, patients: np.ndarray, draws: int = 10_000, seed: int = 0
) -> tuple[float, float] | None:
    """95 % bootstrap interval of the mean of per-slice values (n,) with their patients (n,).

    Slices of a patient resemble each other, so whole patients are drawn, with replacement (cluster
    bootstrap; Davison and Hinkley 1997, section 3.8). Of few patients the 2.5th and 97.5th percentiles
    are too near: they are expanded as a t-interval is (Hesterberg 2015, arXiv 1411.5279), which holds
    from about five patients on. None of one patient.
    """
    _, patient_of_slice = np.unique(patients, return_inverse=True)
    sums = np.bincount(patient_of_slice, weights=values)
    count = len(sums)
    if count < 2:
        return None
    slices = np.bincount(patient_of_slice)
    random = np.random.default_rng(seed)
    means = np.empty(draws)
    for start in range(0, draws, AT_ONCE):  # so that memory stays small for any number of patients
        drawn = random.integers(count, size=(len(means[start : start + AT_ONCE]), count))
        means[start : start + AT_ONCE] = sums[drawn].sum(axis=1) / slices[drawn].sum(axis=1)
    tail = norm.cdf(t.ppf(0.025, count - 1) * np.sqrt(count / (count - 1)))
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


def interval_text(interval: Sequence[float] | None, digits: int = 3, sign: str = "") -> str:
    """An interval in words."""
    if interval is None:
        return "no interval: one patient"
    low, high = interval
    return f"{low:{sign}.{digits}f} to {high:{sign}.{digits}f}"
