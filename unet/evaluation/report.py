"""report.html of an evaluation: scores, plots, and every slice with its true and predicted outlines."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from unet.evaluation.contenders import Contender
from unet.evaluation.detection import describe_false_alarms, detection_table, patients_in_words, percent_interval
from unet.evaluation.scans import WHAT_IS_SCORED, scan_cards, scan_table
from unet.evaluation.summary import ALWAYS_OUTLINED, NAMES, distance_unit, footnote, score_table, score_texts
from unet.files import write_whole
from unet.network.presence import probability_text
from unet.pictures.page import Card, Report, Sort, Tile, render
from unet.pictures.table import Table

MOST_TILES = 2000
PARTS = {"val": "validation slices", "test": "test slices"}
SETTINGS = ("run", "masks", "network", "threshold", "peak", "presence_threshold", "mirror", "always_outline")
SORTS = [
    Sort("Dice, lowest first", "dice"),
    Sort("Dice, highest first", "dice", -1),
    Sort("tumor, smallest first", "size"),
    Sort("tumor, largest first", "size", -1),
    Sort("tumor probability, highest first", "presence", -1),
    Sort("tumor probability, lowest first", "presence"),
    Sort("expected Dice, lowest first", "expected"),
    Sort("distance (HD95), largest first", "hd95", -1),
    Sort("number", "order"),
]


def write_report(
    contender: Contender, summary: dict, rows: list[dict], tiles: list[Tile], plots: list[tuple[str, str]], path: Path
) -> None:
    """Write report.html, from the content of summary.json and per_slice.csv, a tile per slice, and plots as SVG."""
    described = [describe_tile(tile, row, index) for index, (tile, row) in enumerate(zip(tiles, rows, strict=True))]
    worst_first = sorted(range(len(rows)), key=lambda index: correctness(rows[index]))
    shown = [described[index] for index in worst_first[:MOST_TILES]]
    which = f"All {len(rows)} slices" if len(shown) == len(rows) else f"The worst {MOST_TILES} of {len(rows)} slices"
    tables = [scan_table(scans)] if (scans := summary.get("whole_scans")) else []
    tables += [*score_tables(summary), detection_table(summary["detection"])]
    content = Report(
        title=f"Evaluation of {contender.name}: {slices_in_words(summary)}",
        lead=lead(summary, tables),
        cards=headline_cards(summary),
        tables=tables,
        plots=plots,
        tiles_title="Every slice",
        tiles_lead=f"{which}.",
        tiles=shown,
        sorts=[sort for sort in SORTS if any(tile.sort[sort.key] is not None for tile in shown)],
        outlines={"truth": "truth", "prediction": "prediction"},
        about={
            **{name.replace("_", " "): summary[name] for name in SETTINGS if name in summary},
            "options": [asdict(run.config.options) | {"data": None, "resume": None} for run in contender.runs],
            "trained on": [{"machine": run.config.machine, "versions": run.config.versions} for run in contender.runs],
            "scored on": {"machine": summary["machine"], "versions": summary["versions"]},
        },
    )
    write_whole(path, render(content))


def slices_in_words(summary: dict) -> str:
    """What was scored: a split of the run, or a folder, which may have the name of a split."""
    return summary["slices"] if summary["data"] else PARTS.get(summary["slices"], f"{summary['slices']} slices")


def correctness(row: dict) -> float:
    """The Dice of a slice with tumor; otherwise 0 for a false alarm, and more than any Dice if nothing is outlined."""
    return row["dice"] if row["truth_pixels"] else 2.0 * (row["predicted_pixels"] == 0)


def lead(summary: dict, tables: list[Table]) -> list[str]:
    """What was scored, and what the numbers mean, in paragraphs."""
    detection = summary["detection"]
    kinds = (("with tumor", detection["with_tumor"]), ("without tumor", detection["without_tumor"]))
    known = [(kind, group) for kind, group in kinds if group["slices"]]
    slices = " and ".join(f"{group['slices']} {kind} ({patients_in_words(group)})" for kind, group in known)
    paragraphs = (
        ("Slices:", f"{slices}.", f"Intervals are in parentheses ({summary['intervals']})."),
        (summary["caveat"],),
        (summary.get("empty_masks"), describe_false_alarms(detection), footnote(tables)),
        (WHAT_IS_SCORED if "whole_scans" in summary else "",),
        (ALWAYS_OUTLINED if summary.get("always_outline") else "",),
        (summary["warning"],),
    )
    return [" ".join(filter(None, sentences)) for sentences in paragraphs if any(sentences)]


def describe_tile(tile: Tile, row: dict, order: int) -> Tile:
    """A tile with what its row of per_slice.csv says."""
    tumor, expected, presence = row.get("tumor") or "", row.get("expected_dice", ""), row.get("tumor_probability")
    facts = {
        NAMES.get(name, name).replace("_", " "): f"{value:.3f}" if isinstance(value, float) else str(value)
        for name, value in row.items()
    }
    groups = [tumor, row.get("plane") or "", row.get("review") or ""]
    if not row["truth_pixels"]:
        groups += ["no tumor", "false alarm"] if row["predicted_pixels"] else ["no tumor"]
    elif not row["predicted_pixels"]:
        groups.append("missed: nothing outlined" if presence is None else "missed: no tumor found")
    elif not row["dice"]:
        groups.append("missed: outlined elsewhere")
    if row["truth_pixels"]:
        result = f"{tumor} {row['dice']:.2f}"
    else:
        result = groups[-1] if presence is None else f"{groups[-1]} ({probability_text(presence)})"
    return replace(
        tile,
        label=f"{tile.label} {result}",
        groups=sorted({name for name in groups if name}),
        sort={
            "dice": row["dice"] if row["truth_pixels"] else None,
            "presence": presence,
            "size": row["truth_pixels"] or None,
            "expected": float(expected) if expected != "" and np.isfinite(expected) else None,
            "hd95": row["hd95_pixels"] if row["truth_pixels"] else None,
            "order": order,
        },
        about={name: value for name, value in facts.items() if value},
    )


def headline_cards(summary: dict) -> list[Card]:
    """The headline numbers."""
    expected, detection = summary.get("expected_dice"), summary["detection"]
    cards = scan_cards(scans) if (scans := summary.get("whole_scans")) else []
    if scores := summary.get("scores"):
        group, unit = scores["all"], distance_unit(scores["all"])
        shown = {"Dice": "dice", "IoU": "iou", f"HD95, {unit}": f"hd95_{unit}", "Surface Dice": "surface_dice"}
        kind = "Slices: " if scans else ""
        cards += [Card(kind + title, *score_texts(group, name)) for title, name in shown.items()]
        cards.append(Card("Tumors missed completely", f"{group['missed_completely']:.1%}", "no pixel in common"))
    if found := detection["sensitivity"]:
        slices = f"{detection['with_tumor']['slices']} slices with tumor"
        note = f"{percent_interval(found['interval'])} of {slices} have an outline, anywhere"
        cards.append(Card("Sensitivity", f"{found['mean']:.1%}", note))
    if silent := detection["specificity"]:
        interval = silent["interval"] and [1 - end for end in reversed(silent["interval"])]
        note = f"{percent_interval(interval)} of {detection['without_tumor']['slices']} slices without tumor"
        cards.append(Card("False alarms", f"{1 - silent['mean']:.1%}", note))
    if expected and expected["spearman"] is not None:
        note = "of expected and true Dice (Spearman)"
        cards.append(Card("Rank correlation", f"{expected['spearman']:.2f}", note))
    return cards


def score_tables(summary: dict) -> list[Table]:
    """Scores by tumor type, size and plane; none if no slice has a tumor."""
    if "scores" not in summary:
        return []
    unit = distance_unit(summary["scores"]["all"])
    columns = ("dice", "iou", "precision", "recall", "surface_dice", f"hd95_{unit}")
    groupings = {"tumor type": "scores", "tumor size": "scores_by_size", "plane": "scores_by_plane"}
    return [
        score_table(grouping, summary[key], columns, has_intervals=columns, separator="\n")
        for grouping, key in groupings.items()
        if summary[key]
    ]
