"""Score a run on slices with known masks: a table a slice, a summary with intervals, plots."""

from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from unet.data.patients import intervals_over
from unet.evaluation import intervals, metrics
from unet.evaluation.calibration import expected_calibration_error
from unet.evaluation.scoring import TOLERANCE
from unet.evaluation.selection import Selection
from unet.machine import installed_versions, machine_description
from unet.network.outlining import THRESHOLDS
from unet.network.saved_run import SavedRun

SIZES = {
    "small (below 1 %)": 1.0,
    "middle (1 to 3 %)": 3.0,
    "large (above 3 %)": 100.0,
}
SUMMARISED = (
    *metrics.SCORES, "hd95_pixels", "average_distance_pixels", "hd95_mm", "average_distance_mm",
    "surface_dice",
)  # fmt: skip
CHOSEN_ON_VAL = (
    "These patients also chose the network's epoch and rule of outlining: expect less on new ones."
)
EMPTY_MASKS = (
    "A score whose denominator is 0 is 1 where truth and prediction are both empty, else 0: a missed tumor "
    "and a false alarm both score 0. Their distances are the image's diagonal."
)


def summarise(
    run: SavedRun,
    selection: Selection,
    rows: list[dict],
    dice_curve: np.ndarray,
    histogram: np.ndarray,
) -> dict[str, object]:
    """Means over slices, each with its 95 % interval over patients, of all and by tumor type."""
    return {
        "run": str(run.folder),
        **selection.identity,
        "threshold": run.config.threshold,
        "peak": run.config.peak,
        "empty_masks": EMPTY_MASKS,
        "machine": machine_description(),
        "versions": installed_versions(),
        "intervals": f"95 %, expanded percentile bootstrap {intervals_over(selection.facts)}",
        "chosen_on_these": CHOSEN_ON_VAL if selection.split == "val" else "",
        "scores": {name: summarise_group(group) for name, group in all_and_by_tumor(rows).items()},
        "scores_by_size": {name: summarise_group(group) for name, group in by_size(rows).items()},
        "scores_by_plane": {name: summarise_group(g) for name, g in groups_by(rows, "plane").items()},
        "false_alarms": false_alarms(rows),
        "expected_dice": how_well_expected(rows, selection),
        "surface_dice_tolerance": f"{TOLERANCE:g} {'mm' if 'hd95_mm' in rows[0] else 'pixels'}",
        "expected_calibration_error": {
            "all pixels": expected_calibration_error(histogram),
            "pixels of 0.05 or more": expected_calibration_error(histogram, first_bin=1),
        },
        "dice_by_threshold": {
            f"{threshold:.2f}": float(dice) for threshold, dice in zip(THRESHOLDS, dice_curve, strict=True)
        },
    }


def all_and_by_tumor(rows: list[dict]) -> dict[str, list[dict]]:
    """ "all", then those with tumor if some have none, then those of each tumor type that is known."""
    with_tumor = [row for row in rows if row["truth_pixels"]]
    groups = {"all": rows}
    if 0 < len(with_tumor) < len(rows):
        groups["with tumor"] = with_tumor
    return groups | groups_by(rows, "tumor")


def groups_by(rows: list[dict], column: str) -> dict[str, list[dict]]:
    """The rows of each value of a column that is known of them, in alphabetical order."""
    values = sorted({row[column] for row in rows if row.get(column)})
    return {value: [row for row in rows if row.get(column) == value] for value in values}


def by_size(rows: list[dict]) -> dict[str, list[dict]]:
    """Rows with tumor by the share of the image that it covers; sizes that do not occur are left out."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        if row["truth_pixels"]:
            name = next(name for name, limit in SIZES.items() if row["tumor_percent"] <= limit)
            groups.setdefault(name, []).append(row)
    return {name: groups[name] for name in SIZES if name in groups}


def false_alarms(rows: list[dict]) -> dict[str, int]:
    """Of the slices without tumor: how many got an outline."""
    healthy = [row for row in rows if not row["truth_pixels"]]
    return {
        "slices_without_tumor": len(healthy),
        "with_an_outline": sum(row["predicted_pixels"] > 0 for row in healthy),
    }


def how_well_expected(rows: list[dict], selection: Selection) -> dict[str, object] | None:
    """How the Dice that was expected without the truth ranks the true one; None where none was expected.

    spearman: rank correlation over the outlined slices, None where it is not defined; missed_whole and
    missed_to_review: tumors missed whole, and those of them that were marked for review.
    """
    outlined = [row for row in rows if row.get("expected_dice", "") != ""]
    expected, dice = (np.array([row[name] for row in outlined]) for name in ("expected_dice", "dice"))
    if not outlined or not np.isfinite(expected).all():
        return None
    missed = [row for row in rows if row["truth_pixels"] and not row["dice"]]
    ranked = len(set(expected)) > 1 and len(set(dice)) > 1
    return {
        "fitted_on": "other validation patients (five folds)"
        if selection.split == "val"
        else "the run's validation patients",
        "spearman": float(spearmanr(expected, dice).statistic) if ranked else None,
        "mean_absolute_error": float(np.abs(expected - dice).mean()),
        "missed_whole": len(missed),
        "missed_to_review": sum(bool(row.get("review")) for row in missed),
        "to_review": {reason: len(group) / len(rows) for reason, group in groups_by(rows, "review").items()},
    }


def summarise_group(rows: list[dict]) -> dict[str, object]:
    patients = np.array([row["patient"] for row in rows])
    result: dict[str, object] = {"slices": len(rows), "patients": len(set(patients))}
    for name in [name for name in SUMMARISED if name in rows[0]]:
        values = np.array([row[name] for row in rows])
        interval = intervals.interval_over_patients(values, patients)
        result[name] = {"mean": float(values.mean()), "interval": interval}
    with_tumor = [row for row in rows if row["truth_pixels"]]
    missed = sum(row["dice"] == 0 for row in with_tumor)
    result["tumors_missed_whole"] = missed / len(with_tumor) if with_tumor else None
    return result


def describe(summary: dict, output: Path) -> str:
    """The summary as a small table for the terminal."""
    distance = "hd95_mm" if "hd95_mm" in summary["scores"]["all"] else "hd95_pixels"
    after_dice = ["iou", "precision", "recall", "surface_dice", distance]
    lines = [
        f"{'':12}{'slices':>8}{'patients':>10}{'Dice (95 % interval)':>35}"
        + "".join(f"{name:>13}" for name in [*after_dice, "missed"])
    ]
    for name, group in summary["scores"].items():
        dice = f"{group['dice']['mean']:.3f} ({intervals.interval_text(group['dice']['interval'])})"
        missed = group["tumors_missed_whole"]
        lines.append(
            f"{name:12}{group['slices']:8}{group['patients']:10}{dice:>35}"
            + "".join(f"{group[score]['mean']:13.3f}" for score in after_dice)
            + ("            -" if missed is None else f"{missed:13.1%}")
        )
    told = [
        *expectation(summary),
        f"Intervals: {summary['intervals']}.",
        summary["chosen_on_these"],
    ]
    lines += [*told, EMPTY_MASKS, f"Look at {output}/report.html."]
    return "\n".join(filter(None, lines))


def expectation(summary: dict) -> list[str]:
    """A line about the Dice that was expected without the truth, where it is known."""
    expected = summary["expected_dice"] or {}
    if expected.get("spearman") is None:
        return []
    tail = ""
    if expected["missed_whole"]:
        tail = (
            f"; of {expected['missed_whole']} tumors missed whole {expected['missed_to_review']} are marked "
            "for review"
        )
    return [
        f"Dice expected without the truth: rank correlation {expected['spearman']:.2f}, off by "
        f"{expected['mean_absolute_error']:.2f} on average{tail}."
    ]
