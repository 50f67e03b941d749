"""Scores of whole scans, as predict.py outlines them: Dice in 3-D, tumor regions found, and false alarms."""

import numpy as np
from scipy import ndimage

from unet.evaluation.contenders import GivenMasks
from unet.evaluation.intervals import interval_text, mean_over_rows
from unet.evaluation.selection import Selection
from unet.images.volume import Volume
from unet.network.predictor import Predictor
from unet.network.scan import outline_scan, predict_scan
from unet.pictures.page import Card
from unet.pictures.table import Table

WHAT_IS_SCORED = "Whole scans are scored as predict.py outlines them, in 3-D; slices are scored each on its own."
NAMES = {
    "dice": "Dice",
    "share_of_regions_found": "share of regions found",
    "false_regions_per_scan": "false alarms per scan",
}


def score_scans(predictor: Predictor | GivenMasks, selection: Selection) -> list[dict]:
    """One row per scan of a selection: how well predict.py outlines it, or given masks do. Empty without volumes."""
    first_slices = {pair.name: pair for pair in reversed(selection.pairs) if pair.plane}
    rows = []
    for number, (name, pair) in enumerate(sorted(first_slices.items()), start=1):
        volume, truth = pair.read_volume()
        if isinstance(predictor, GivenMasks):
            labels, _ = ndimage.label(predictor.with_mask(pair).read_volume()[1], np.ones((3, 3, 3)))
        else:
            scan = predict_scan(predictor, volume, f"Scan {number} of {len(first_slices)}")
            labels = outline_scan(predictor, volume, scan).labels
        rows.append({"id": name, "patient": selection.facts[pair.id]["patient"], **score_scan(truth, labels, volume)})
    return rows


def score_scan(truth: np.ndarray, labels: np.ndarray, volume: Volume) -> dict[str, object]:
    """Scores of the outlined regions of a scan, int32 (x, y, z), from its true mask, bool (x, y, z).

    A true region (connected voxels) is found if it has a voxel in common with an outlined one, and an outlined region
    is a false alarm if it has none in common with a true one. Dice is "" if there is no tumor.
    """
    mask = labels > 0
    both, total = np.count_nonzero(truth & mask), np.count_nonzero(truth) + np.count_nonzero(mask)
    true_labels, true_regions = ndimage.label(truth, np.ones((3, 3, 3)))
    ml = volume.voxel_mm3 / 1000
    return {
        "dice": 2 * both / total if true_regions else "",
        "true_ml": np.count_nonzero(truth) * ml,
        "predicted_ml": np.count_nonzero(mask) * ml,
        "true_regions": true_regions,
        "found_regions": len(set(true_labels[mask].tolist()) - {0}),
        "false_regions": int(labels.max(initial=0)) - len(set(labels[truth].tolist()) - {0}),
    }


def summarize_scans(rows: list[dict]) -> dict[str, object] | None:
    """The part of summary.json about whole scans, with intervals over patients; None without scans."""
    if not rows:
        return None
    with_tumor = [row for row in rows if row["true_regions"]]
    return {
        "scans": len(rows),
        "scans_with_tumor": len(with_tumor),
        "patients": len({row["patient"] for row in rows}),
        "regions": sum(row["true_regions"] for row in rows),
        "dice": mean_over_rows(with_tumor, [row["dice"] for row in with_tumor]),
        "share_of_regions_found": mean_over_rows(
            with_tumor, [row["found_regions"] / row["true_regions"] for row in with_tumor]
        ),
        "false_regions_per_scan": mean_over_rows(rows, [row["false_regions"] for row in rows]),
    }


def scan_table(scans: dict) -> Table:
    """Scores of whole scans as a table."""
    counts = [str(scans["scans"]), str(scans["scans_with_tumor"])]
    values = [" ".join(score_of_scans(scans, name)) for name in NAMES]
    return Table("Scores of whole scans", [["scans", "with tumor", *NAMES.values()], [*counts, *values]])


def scan_cards(scans: dict) -> list[Card]:
    """Scores of whole scans as headline numbers."""
    return [Card(f"Scans: {title}", *score_of_scans(scans, name)) for name, title in NAMES.items()]


def score_of_scans(scans: dict, name: str) -> tuple[str, str]:
    """The mean of a score over scans, and its interval in parentheses; "–" for what is unknown."""
    if not scans[name]:
        return "–", ""
    mean, interval = scans[name]["mean"], scans[name]["interval"]
    return f"{mean:.3f}", f"({interval_text(interval)})" if interval else "–"
