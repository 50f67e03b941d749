"""95% intervals of mean scores, by a bootstrap over patients."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.stats import norm, t

DRAWS, DRAWS_AT_ONCE = 10_000, 500  # so that memory stays small for any number of patients


def interval_over_patients(values: np.ndarray, patients: np.ndarray) -> tuple[float, float] | None:
    """95% interval of the mean of per-slice values, by an expanded percentile bootstrap.

    Slices of one patient resemble each other, so whole patients are drawn, with replacement (cluster bootstrap;
    Davison and Hinkley 1997, section 3.8). With few patients, the 2.5th and 97.5th percentiles give too narrow an
    interval. They are expanded like a t-interval (Hesterberg 2015, arXiv 1411.5279), which is accurate for five
    patients or more.

    Args:
        values: A score of each slice, float (slices,).
        patients: The patient of each slice, (slices,).

    Returns:
        The lower and upper end; None if there are fewer than two patients.

    Example:
        >>> interval_over_patients(np.array([0.0, 1.0]), np.array(["a", "b"]))  # the means are 0, 0.5 or 1
        (0.0, 1.0)
        >>> interval_over_patients(np.array([0.0, 1.0]), np.array(["a", "a"])) is None
        True
    """
    _, patient_of_slice = np.unique(patients, return_inverse=True)
    sums, slices = np.bincount(patient_of_slice, weights=values), np.bincount(patient_of_slice)
    return bootstrap_interval(lambda times: (times @ sums) / (times @ slices), len(sums))


def mean_over_rows(rows: Sequence[dict], values: Sequence[float]) -> dict[str, object] | None:
    """Mean of one value per row, with its interval over the patients of the rows; None without rows."""
    if not rows:
        return None
    numbers, patients = np.array(values, float), np.array([row["patient"] for row in rows])
    return {"mean": float(numbers.mean()), "interval": interval_over_patients(numbers, patients)}


def fraction_over_rows(rows: Sequence[dict], values: Sequence[bool]) -> dict[str, object] | None:
    """The same for answers, True or False. If they are all equal, a bootstrap cannot tell how rare others are: the
    interval is then the exact one, as if each patient gave one answer."""
    result = mean_over_rows(rows, values)
    if result and result["interval"] and result["mean"] in (0, 1):
        result["interval"] = exact_interval(result["mean"], len({row["patient"] for row in rows}))
    return result


def exact_interval(fraction: float, answers: int) -> tuple[float, float]:
    """95% interval of a fraction of 0 or 1 of so many answers (Clopper and Pearson 1934)."""
    rarest = 0.025 ** (1 / answers)
    return (rarest, 1.0) if fraction else (0.0, 1 - rarest)


def bootstrap_interval(
    statistic: Callable[[np.ndarray], np.ndarray], count: int, fewest: int | None = None
) -> tuple[float, float] | None:
    """The same interval of any statistic.

    Args:
        statistic: Its value in each draw, float (draws,), if each patient is drawn so many times, int64 (draws, count).
            Draws in which it is undefined, NaN, are left out.
        count: Number of patients.
        fewest: If the statistic compares two kinds of slices: how many patients the rarer kind has. The interval is
            expanded for so few, which is the cautious choice of degrees of freedom for two samples.

    Returns:
        The lower and upper end; None if there are fewer than two patients, or of one kind.
    """
    fewest = count if fewest is None else fewest
    if fewest < 2:
        return None
    random = np.random.default_rng(0)
    values = np.empty(DRAWS)
    for start in range(0, DRAWS, DRAWS_AT_ONCE):
        part = values[start : start + DRAWS_AT_ONCE]
        drawn = random.integers(count, size=(len(part), count)) + count * np.arange(len(part))[:, np.newaxis]
        part[:] = statistic(np.bincount(drawn.ravel(), minlength=count * len(part)).reshape(len(part), count))
    tail = norm.cdf(t.ppf(0.025, fewest - 1) * np.sqrt(fewest / (fewest - 1)))
    low, high = np.nanquantile(values, (tail, 1 - tail))
    return float(low), float(high)


def interval_text(interval: Sequence[float] | None, digits: int = 3, sign: str = "") -> str:
    """An interval as text, such as "0.812 to 0.901". With sign "+", positive numbers get a plus sign."""
    if interval is None:
        return "none, as there is only one"
    low, high = interval
    return f"{low:{sign}.{digits}f} to {high:{sign}.{digits}f}"
