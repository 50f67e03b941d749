"""Is there a tumor? How often the answer is right, from rows of per_slice.csv."""

import numpy as np
from sklearn.metrics import roc_curve

from unet.data.patients import interval_basis, unit_of
from unet.evaluation.intervals import bootstrap_interval, exact_interval, fraction_over_rows, interval_text
from unet.pictures.table import Table

BINS = 10  # of the reliability diagram


def summarize_detection(rows: list[dict]) -> dict[str, object]:
    """Sensitivity, specificity, area under the ROC curve and false alarms, from slices with and without tumor.

    sensitivity and specificity are None if there are no slices of that kind; for "auc", see area_under_curve.
    """
    with_tumor, without_tumor = by_kind(rows)
    areas = [100 * row["predicted_pixels"] / row["pixels"] for row in without_tumor if row["predicted_pixels"]]
    return {
        "with_tumor": count_slices(with_tumor),
        "without_tumor": count_slices(without_tumor),
        "sensitivity": fraction_over_rows(with_tumor, [row["predicted_pixels"] > 0 for row in with_tumor]),
        "specificity": fraction_over_rows(without_tumor, [row["predicted_pixels"] == 0 for row in without_tumor]),
        "auc": area_under_curve(rows),
        "false_alarms": len(areas),
        "false_alarm_percent_of_image": {"mean": float(np.mean(areas)), "median": float(np.median(areas))}
        if areas
        else None,
    }


def by_kind(rows: list[dict]) -> tuple[list[dict], list[dict]]:
    """Rows with tumor, and rows without."""
    return [row for row in rows if row["truth_pixels"]], [row for row in rows if not row["truth_pixels"]]


def method_of_intervals(rows: list[dict]) -> str:
    """How intervals are computed, in words, and over what: this may differ between slices with and without tumor."""
    kinds = dict(zip(("slices with tumor", "slices without"), by_kind(rows), strict=True))
    bases = {name: interval_basis(row["patient"] for row in kind) for name, kind in kinds.items() if kind}
    over = set(bases.values())
    if len(over) > 1:
        over = [f"{basis} ({name})" for name, basis in bases.items()]
    return f"95%, expanded percentile bootstrap over {', and over '.join(over)}; exact for fractions of 0% and 100%"


def count_slices(rows: list[dict]) -> dict[str, object]:
    """How many slices and patients there are, and what to call the patients: they may be groups of similar slices."""
    patients = {row["patient"] for row in rows}
    return {"slices": len(rows), "patients": len(patients), "unit": unit_of(patients)}


def area_under_curve(rows: list[dict]) -> dict[str, object] | None:
    """Area under the ROC curve: how often a slice with tumor has a higher tumor probability than one without.

    Equal probabilities count half. None if the run gives no tumor probability, or all slices are of one kind.
    """
    with_tumor, probability = tumor_and_probability(rows)
    if not len(probability) or with_tumor.all() or not with_tumor.any():
        return None
    patients, patient = np.unique([row["patient"] for row in rows], return_inverse=True)
    order = np.argsort(probability[~with_tumor])
    negatives, patient_of_negative = probability[~with_tumor][order], patient[~with_tumor][order]
    places = [np.searchsorted(negatives, probability[with_tumor], side) for side in ("left", "right")]

    def area(times: np.ndarray) -> np.ndarray:
        """The area (draws,) if each patient is drawn so many times (draws, patients); NaN without both kinds."""
        positive = times[:, patient[with_tumor]]
        drawn = np.pad(times[:, patient_of_negative].cumsum(axis=1), ((0, 0), (1, 0)))  # negatives below each place
        wins = positive * (drawn[:, places[0]] + drawn[:, places[1]]) / 2
        with np.errstate(invalid="ignore"):
            return wins.sum(axis=1) / (positive.sum(axis=1) * drawn[:, -1])

    fewest = min(len(set(patient[with_tumor])), len(set(patient_of_negative)))
    mean = float(area(np.ones((1, len(patients))))[0])
    interval = bootstrap_interval(area, len(patients), fewest)
    # A bootstrap says nothing about an area of 0 or 1: as if each patient of the rarer kind gave one answer.
    return {"mean": mean, "interval": exact_interval(mean, fewest) if interval and mean in (0, 1) else interval}


def tumor_and_probability(rows: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Whether each slice has a tumor, bool (n,), and the probability that it has, float64 (n,); empty if unknown."""
    rows = [row for row in rows if "tumor_probability" in row]
    return np.array([row["truth_pixels"] > 0 for row in rows], bool), np.array(
        [row["tumor_probability"] for row in rows], float
    )


def roc_points(rows: list[dict]) -> tuple[np.ndarray, np.ndarray]:
    """The ROC curve from (0, 0) to (1, 1): fraction of slices without tumor, and with tumor, whose tumor probability
    reaches one threshold after another, float64 (n,) each."""
    false_alarms, found, _ = roc_curve(*tumor_and_probability(rows))
    return false_alarms, found


def rates_at(rows: list[dict], threshold: float) -> tuple[float, float]:
    """The point of the ROC curve at a threshold."""
    with_tumor, probability = tumor_and_probability(rows)
    reached = probability >= threshold
    return float(reached[~with_tumor].mean()), float(reached[with_tumor].mean())


def reliability_of_slices(rows: list[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean tumor probability and fraction with tumor in each bin of probability, float64 (BINS,), NaN in empty ones;
    and the numbers of slices without and with tumor, int64 (2, BINS).

    Both kinds have the same total weight, since the probability is calibrated as if half of all images had a tumor.
    """
    with_tumor, probability = tumor_and_probability(rows)
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    kinds = (~with_tumor, with_tumor)
    counts = np.stack([np.bincount(bins[kind], minlength=BINS) for kind in kinds])
    sums = np.stack([np.bincount(bins[kind], probability[kind], BINS) for kind in kinds])
    size = counts.sum(axis=1, keepdims=True)
    weight = (counts / size).sum(axis=0)
    weight = np.where(weight > 0, weight, np.nan)
    return (sums / size).sum(axis=0) / weight, counts[1] / size[1] / weight, counts


def patients_in_words(group: dict) -> str:
    """Such as "31 patients" or "1 group", for the result of count_slices."""
    unit = group["unit"] if group["patients"] != 1 else group["unit"].removesuffix("s")
    return f"{group['patients']} {unit}"


def detection_table(detection: dict) -> Table:
    """The summary as a table."""
    kinds = detection["with_tumor"], detection["without_tumor"]
    rows = [["tumor detection", "slices", "patients or groups", "fraction or area (95% interval)"]]
    for name, score, group in (
        ("slices with tumor that are outlined (sensitivity)", detection["sensitivity"], kinds[0]),
        ("slices without tumor that are not outlined (specificity)", detection["specificity"], kinds[1]),
    ):
        if score:
            value = f"{score['mean']:.1%} {percent_interval(score['interval'])}"
            rows.append([name, f"{group['slices']}", patients_in_words(group), value])
    if auc := detection["auc"]:
        interval = f"({interval_text(auc['interval'])})" if auc["interval"] else "–"
        slices = sum(group["slices"] for group in kinds)
        rows.append(["area under the ROC curve", f"{slices}", "", f"{auc['mean']:.3f} {interval}"])
    return Table("Detection", rows)


def percent_interval(interval: tuple[float, float] | None, sign: str = "") -> str:
    """The interval of a fraction, in percent and in parentheses, or "–" without an interval. `sign` is that of
    interval_text."""
    return f"({interval_text([100 * end for end in interval], 1, sign)}%)" if interval else "–"


def describe_false_alarms(detection: dict) -> str:
    """How large false alarms are, in a sentence; "" if there are none."""
    area = detection["false_alarm_percent_of_image"]
    if not area:
        return ""
    count = detection["false_alarms"]
    if count == 1:
        return f"The outline in a slice without tumor covers {area['mean']:.1f}% of the image."
    return (
        f"The {count} outlines in slices without tumor cover {area['median']:.1f}% of the image (median; mean "
        f"{area['mean']:.1f}%)."
    )
