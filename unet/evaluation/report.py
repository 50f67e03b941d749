"""report.html of an evaluation: scores, plots, and every slice with its true and predicted outlines."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from unet.evaluation.summary import NAMES, distance_unit, score_table, score_texts
from unet.files import write_whole
from unet.network.saved_run import SavedRun
from unet.pictures.page import Card, Report, Sort, Tile, render
from unet.pictures.table import Table

MOST_TILES = 2000
SORTS = [
    Sort("Dice, lowest first", "dice"),
    Sort("Dice, highest first", "dice", -1),
    Sort("tumor, smallest first", "size"),
    Sort("tumor, largest first", "size", -1),
    Sort("expected Dice, lowest first", "expected"),
    Sort("distance (HD95), largest first", "hd95", -1),
    Sort("number", "place"),
]


def write_report(
    run: SavedRun, summary: dict, rows: list[dict], tiles: list[Tile], plots: list[tuple[str, str]], path: Path
) -> None:
    """Write report.html, from the content of summary.json and per_slice.csv, a tile per slice, and plots as SVG."""
    everything = summary["scores"]["all"]
    described = [describe_tile(tile, row, place) for place, (tile, row) in enumerate(zip(tiles, rows, strict=True))]
    shown = sorted(described, key=lambda tile: tile.sort["dice"])[:MOST_TILES]
    which = f"All {len(rows)} slices" if len(shown) == len(rows) else f"The {MOST_TILES} slices with the lowest Dice"
    content = Report(
        title=f"Evaluation of {run.folder.name}: {summary['slices']}",
        lead=[
            f"{everything['slices']} slices of {everything['patients']} patients. Scores are means over slices, with "
            f"intervals in parentheses ({summary['intervals']}). {summary['caveat']}",
            summary["empty_masks"],
        ],
        cards=headline_cards(summary),
        tables=score_tables(summary),
        plots=plots,
        tiles_title="Every slice",
        tiles_lead=f"{which}.",
        tiles=shown,
        sorts=[sort for sort in SORTS if any(tile.sort[sort.key] is not None for tile in shown)],
        outlines={"truth": "truth", "prediction": "prediction"},
        about={
            "run": str(run.folder),
            "threshold": summary["threshold"],
            "peak": summary["peak"],
            "mirror": summary["mirror"],
            "options": asdict(run.config.options) | {"data": None, "resume": None},
            "trained on": {"machine": run.config.machine, "versions": run.config.versions},
            "scored on": {"machine": summary["machine"], "versions": summary["versions"]},
        },
    )
    write_whole(path, render(content))


def describe_tile(tile: Tile, row: dict, place: int) -> Tile:
    """A tile with what its row of per_slice.csv says."""
    tumor, expected = row.get("tumor") or "", row.get("expected_dice", "")
    facts = {
        NAMES.get(name, name).replace("_", " "): f"{value:.3f}" if isinstance(value, float) else str(value)
        for name, value in row.items()
    }
    groups = [tumor, row.get("plane") or "", row.get("review") or ""]
    if row["truth_pixels"] and not row["predicted_pixels"]:
        groups.append("nothing outlined")
    elif row["truth_pixels"] and not row["dice"]:
        groups.append("outlined elsewhere")
    return replace(
        tile,
        label=f"{tile.label} {tumor} {row['dice']:.2f}",
        groups=sorted({name for name in groups if name}),
        sort={
            "dice": row["dice"],
            "size": row["truth_pixels"],
            "expected": float(expected) if expected != "" and np.isfinite(expected) else None,
            "hd95": row["hd95_pixels"],
            "place": place,
        },
        about={name: value for name, value in facts.items() if value},
    )


def headline_cards(summary: dict) -> list[Card]:
    """The headline numbers."""
    scores, expected = summary["scores"], summary["expected_dice"]
    group = scores.get("with tumor", scores["all"])
    unit = distance_unit(group)
    of_which = " of slices with tumor" if "with tumor" in scores else ""
    shown = {"Dice": "dice", "IoU": "iou", f"HD95, {unit}": f"hd95_{unit}", "Surface Dice": "surface_dice"}
    cards = [Card(f"{title}{of_which}", *score_texts(group, name)) for title, name in shown.items()]
    if group["missed_completely"] is not None:
        cards.append(Card("Tumors missed completely", f"{group['missed_completely']:.1%}", "no pixel in common"))
    false_alarms = summary["false_alarms"]
    if false_alarms["slices_without_tumor"]:
        note = f"of {false_alarms['slices_without_tumor']} slices without tumor"
        cards.append(Card("False alarms", str(false_alarms["with_an_outline"]), note))
    if expected and expected["spearman"] is not None:
        note = "rank correlation with the true Dice"
        cards.append(Card("Expected Dice", f"{expected['spearman']:.2f}", note))
    return cards


def score_tables(summary: dict) -> list[Table]:
    """Scores by tumor type, size and plane."""
    unit = distance_unit(summary["scores"]["all"])
    columns = ("dice", "iou", "precision", "recall", "surface_dice", f"hd95_{unit}", f"average_distance_{unit}")
    groupings = {"tumor type": "scores", "tumor size": "scores_by_size", "plane": "scores_by_plane"}
    return [
        score_table(grouping, summary[key], columns, has_intervals=columns, separator="\n")
        for grouping, key in groupings.items()
        if summary[key]
    ]
