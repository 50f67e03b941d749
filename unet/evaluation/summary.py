"""Mean scores with intervals over patients, for all slices with tumor and by tumor type, size and plane."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from unet.evaluation.calibration import expected_calibration_error
from unet.evaluation.detection import (
    count_slices,
    describe_false_alarms,
    detection_table,
    method_of_intervals,
    summarize_detection,
)
from unet.evaluation.intervals import interval_text, mean_over_rows
from unet.evaluation.metrics import SCORES
from unet.evaluation.scans import WHAT_IS_SCORED, scan_table
from unet.evaluation.scoring import TOLERANCE, SliceScore
from unet.evaluation.selection import Selection
from unet.machine import machine_facts
from unet.network.outlining import THRESHOLDS
from unet.pictures.table import Table

SIZES = {"small (below 1%)": 1.0, "medium (1 to 3%)": 3.0, "large (above 3%)": 100.0}
SUMMARIZED = (*SCORES, "hd95_pixels", "average_distance_pixels", "hd95_mm", "average_distance_mm", "surface_dice")
NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "surface_dice": "surface Dice",
    "hd95_mm": "HD95, mm",
    "hd95_pixels": "HD95, pixels",
    "average_distance_mm": "average distance, mm",
    "average_distance_pixels": "average distance, pixels",
    "expected_dice": "expected Dice",
}
VALIDATION_CAVEAT = (
    "These patients were also used to choose the epoch and the thresholds; expect lower scores on new ones."
)
EMPTY_MASKS = (
    "Scores are over slices with tumor. If nothing is outlined in one, its scores are 0, and the distance is the "
    "diagonal of the image."
)
NOTHING_OUTLINED = "Warning: nothing is outlined in slices with tumor. Train longer, or check the masks."
ALL_OUTLINED = "Warning: outlines cover most of the images. Train longer, or check the masks."
ALWAYS_OUTLINED = "Every slice is outlined, as requested with --always-outline, whatever its tumor probability."
NO_INTERVAL = "–: no interval, as there is only one patient or group."


def summarize(
    settings: dict[str, object], selection: Selection, scores: list[SliceScore], known: str = ""
) -> dict[str, object]:
    """Content of summary.json, given a contender's settings and a warning about known patients. What is about outlines
    is over slices with tumor."""
    rows = [score.row for score in scores]
    with_tumor = [score for score in scores if score.row["truth_pixels"]]
    return {
        **settings,
        **selection.identity,
        **machine_facts(),
        "intervals": method_of_intervals(rows),
        "caveat": "\n".join(filter(None, (VALIDATION_CAVEAT if selection.split == "val" else "", known))),
        "warning": warning_about([score.row for score in with_tumor]),
        "detection": summarize_detection(rows),
        **(summarize_outlines(with_tumor, selection) if with_tumor else {}),
        **(summarize_probability(with_tumor) if with_tumor and "masks" not in settings else {}),
    }


def warning_about(with_tumor: list[dict]) -> str:
    """A warning if nothing is outlined in slices with tumor, or if outlines cover most of most of them; else ""."""
    outlined = [row["predicted_pixels"] / row["pixels"] for row in with_tumor]
    if outlined and not any(outlined):
        return NOTHING_OUTLINED
    return ALL_OUTLINED if outlined and np.median(outlined) > 0.5 else ""


def summarize_outlines(scores: list[SliceScore], selection: Selection) -> dict[str, object]:
    """The part of summary.json that is about outlines, from slices with tumor."""
    rows = [score.row for score in scores]
    return {
        "empty_masks": EMPTY_MASKS,
        "scores": summarize_groups(all_and_by_tumor(rows)),
        "scores_by_size": summarize_groups(by_size(rows)),
        "scores_by_plane": summarize_groups(by_value(rows, "plane")),
        "expected_dice": summarize_expected_dice(rows, selection),
        "surface_dice_tolerance": f"{TOLERANCE:g} {'mm' if 'hd95_mm' in rows[0] else 'pixels'}",
    }


def summarize_probability(scores: list[SliceScore]) -> dict[str, object]:
    """The part of summary.json that is about the probability of each pixel, from slices with tumor."""
    histogram = sum_histograms(scores)
    dice_curve = np.mean([score.dice_by_threshold for score in scores], axis=0)
    return {
        "expected_calibration_error": {
            "all pixels": expected_calibration_error(histogram),
            "pixels of 0.05 or more": expected_calibration_error(histogram, first_bin=1),
        },
        "dice_by_threshold": {
            f"{threshold:.2f}": float(dice) for threshold, dice in zip(THRESHOLDS, dice_curve, strict=True)
        },
    }


def sum_histograms(scores: list[SliceScore]) -> np.ndarray:
    """The histogram of all pixels of all slices; see pixel_histogram."""
    return np.sum([score.histogram for score in scores], axis=0)


def all_and_by_tumor(rows: list[dict]) -> dict[str, list[dict]]:
    """Rows in groups: "all", and each known tumor type."""
    return {"all": rows} | by_value(rows, "tumor")


def by_value(rows: list[dict], column: str) -> dict[str, list[dict]]:
    """Rows grouped by the values of a column, in alphabetical order; rows without a value are left out."""
    values = sorted({row[column] for row in rows if row.get(column)})
    return {value: [row for row in rows if row.get(column) == value] for value in values}


def by_size(rows: list[dict]) -> dict[str, list[dict]]:
    """Rows grouped by the fraction of the image that the tumor covers; empty groups are left out."""
    groups: dict[str, list[dict]] = {name: [] for name in SIZES}
    for row in rows:
        groups[next(name for name, limit in SIZES.items() if row["tumor_percent"] <= limit)].append(row)
    return {name: group for name, group in groups.items() if group}


def summarize_groups(groups: dict[str, list[dict]]) -> dict[str, dict]:
    """Mean scores of each group, with intervals over patients, and the fraction of tumors missed completely."""
    return {name: summarize_group(rows) for name, rows in groups.items()}


def summarize_group(rows: list[dict]) -> dict[str, object]:
    """Mean scores of rows, with intervals over patients, and the fraction of tumors missed completely."""
    result = count_slices(rows)
    for name in [name for name in SUMMARIZED if all(name in row for row in rows)]:
        result[name] = mean_over_rows(rows, [row[name] for row in rows])
    result["missed_completely"] = sum(row["dice"] == 0 for row in rows) / len(rows)
    return result


def summarize_expected_dice(rows: list[dict], selection: Selection) -> dict[str, object] | None:
    """How well the Dice expected without the truth predicts the true one; None if there is no expected Dice.

    spearman is the rank correlation over outlined slices, or None if undefined.
    """
    outlined = [row for row in rows if row.get("expected_dice", "") != ""]
    expected, dice = (np.array([row[name] for row in outlined]) for name in ("expected_dice", "dice"))
    if not outlined or not np.isfinite(expected).all():
        return None
    missed = [row for row in rows if not row["dice"]]
    can_be_ranked = len(set(expected)) > 1 and len(set(dice)) > 1
    is_validation = selection.split == "val"
    return {
        "fitted_on": "other validation patients (five folds)" if is_validation else "validation patients",
        "spearman": float(spearmanr(expected, dice).statistic) if can_be_ranked else None,
        "mean_absolute_error": float(np.abs(expected - dice).mean()),
        "missed_completely": len(missed),
        "missed_and_marked_for_review": sum(bool(row.get("review")) for row in missed),
        "to_review": {reason: len(group) / len(rows) for reason, group in by_value(rows, "review").items()},
    }


def score_table(
    grouping: str, groups: dict[str, dict], columns: Sequence[str], has_intervals: Sequence[str], separator: str = " "
) -> Table:
    """A table with one row per summarized group and one column per score, named as in per_slice.csv.

    `has_intervals` are the columns that also show the interval, `separator` what is between it and the mean.
    """

    def cell(group: dict, name: str) -> str:
        mean, interval = score_texts(group, name)
        return f"{mean}{separator}{interval}" if name in has_intervals else mean

    def heading(name: str) -> str:
        basis = " (95% interval)" if name in has_intervals and len(has_intervals) < len(columns) else ""
        return NAMES.get(name, name) + basis

    rows = [[grouping, "slices", unit_of_groups(groups), *map(heading, columns), "missed completely"]]
    for name, group in groups.items():
        counts = [str(group["slices"]), str(group["patients"])]
        cells = [cell(group, column) for column in columns]
        rows.append([name, *counts, *cells, f"{group['missed_completely']:.1%}"])
    return Table(f"Scores of slices by {grouping}", rows)


def score_texts(group: dict, name: str) -> tuple[str, str]:
    """The mean of a score in a summarized group, and its interval in parentheses, or "–" without an interval.
    Distances have one decimal."""
    digits = 1 if name.endswith(("_mm", "_pixels")) else 3
    mean, interval = group[name]["mean"], group[name]["interval"]
    return f"{mean:.{digits}f}", f"({interval_text(interval, digits)})" if interval else "–"


def unit_of_groups(groups: dict[str, dict]) -> str:
    """What to call the patients of summarized groups."""
    return "groups" if any(group.get("unit") == "groups" for group in groups.values()) else "patients"


def distance_unit(group: dict) -> str:
    """The unit in which a summarized group has distances."""
    return "mm" if "hd95_mm" in group else "pixels"


def describe(summary: dict) -> str:
    """The summary for the terminal."""
    scans, scores, detection = summary.get("whole_scans"), summary.get("scores"), summary["detection"]
    tables = [scan_table(scans)] if scans else []
    if scores:
        columns = ("dice", "iou", "precision", "recall", "surface_dice", f"hd95_{distance_unit(scores['all'])}")
        tables.append(score_table("tumor", scores, columns, has_intervals=("dice",)))
    tables.append(detection_table(detection))
    notes = (
        footnote(tables),
        WHAT_IS_SCORED if scans else "",
        describe_false_alarms(detection),
        describe_expected_dice(summary),
        f"Intervals: {summary['intervals']}.",
        ALWAYS_OUTLINED if summary.get("always_outline") else "",
        summary["caveat"],
        summary.get("empty_masks"),
        summary["warning"],
    )
    return "\n\n".join(table.as_text() for table in tables) + "\n" + "\n".join(filter(None, notes))


def footnote(tables: list[Table]) -> str:
    """What "–" means, if a table has one."""
    return NO_INTERVAL if any("–" in cell for table in tables for row in table.rows for cell in row) else ""


def describe_expected_dice(summary: dict) -> str:
    """A sentence about how good the expected Dice is, or "" if it is unknown."""
    expected = summary.get("expected_dice") or {}
    if expected.get("spearman") is None:
        return ""
    missed, marked = expected["missed_completely"], expected["missed_and_marked_for_review"]
    review = f" {marked} of {missed} completely missed tumors are marked for review." if missed else ""
    return (
        f"Expected Dice, estimated without the truth: rank correlation {expected['spearman']:.2f} with the true Dice, "
        f"mean error {expected['mean_absolute_error']:.2f}.{review}"
    )
