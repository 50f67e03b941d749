"""What report.html says of an evaluation: scores, plots, and every slice with truth and outline."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from unet.evaluation import intervals
from unet.files import write_whole
from unet.network.saved_run import SavedRun
from unet.pictures import page
from unet.pictures.page import Report, Sort, Tile

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
NAMES = {
    "dice": "Dice", "iou": "IoU", "precision": "precision", "recall": "recall",
    "surface_dice": "surface Dice", "hd95": "HD95", "average_distance": "average distance",
    "hd95_mm": "HD95, mm", "hd95_pixels": "HD95, pixels", "average_distance_mm": "average distance, mm",
    "average_distance_pixels": "average distance, pixels", "expected_dice": "expected Dice",
}  # fmt: skip


def tile(id: str, image: np.ndarray, truth: np.ndarray, probability: np.ndarray, threshold: float) -> Tile:
    """A slice with both outlines; what is told of it comes later."""
    uri, width, height = page.picture(image)
    return Tile(
        id, [], {}, {}, uri, width, height,
        page.outline(probability, threshold, width),
        page.outline(truth.astype(np.float32), 0.5, width),
    )  # fmt: skip


def write(
    run: SavedRun,
    summary: dict,
    rows: list[dict],
    tiles: list[Tile],
    plots: list[tuple[str, str]],
    output: Path,
) -> None:
    """Write report.html."""
    everything = summary["scores"]["all"]
    told = [about(tile, row, place) for place, (tile, row) in enumerate(zip(tiles, rows, strict=True))]
    shown = sorted(told, key=lambda tile: tile.sort["dice"])[:MOST_TILES]
    lead = f"{len(rows)} slices" if len(shown) == len(rows) else f"The {MOST_TILES} of lowest Dice"
    content = Report(
        title=f"Evaluation of {run.folder.name}: {summary['slices']}",
        lead=[
            f"{everything['slices']} slices of {everything['patients']} patients. Means over slices; in "
            f"brackets intervals ({summary['intervals']}). {summary['chosen_on_these']}",
            summary["empty_masks"],
        ],
        cards=cards(summary),
        tables=tables(summary),
        plots=plots,
        tiles_title="Every slice",
        tiles_lead=f"{lead}. Press one to enlarge it; the arrow keys go on from there.",
        tiles=shown,
        sorts=[sort for sort in SORTS if any(tile.sort[sort.key] is not None for tile in shown)],
        outlines={"truth": "truth", "prediction": "network"},
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
    write_whole(output / "report.html", page.page(content))


def about(tile: Tile, row: dict, place: int) -> Tile:
    """A tile with what is known of its slice."""
    kind, expected = row.get("tumor") or "", row.get("expected_dice", "")
    scores = {
        NAMES.get(name, name).replace("_", " "): f"{value:.3f}" if isinstance(value, float) else str(value)
        for name, value in row.items()
    }
    groups = [kind, row.get("plane") or "", row.get("review") or ""]
    if row["truth_pixels"] and not row["predicted_pixels"]:
        groups.append("nothing outlined")
    elif row["truth_pixels"] and not row["dice"]:
        groups.append("outlined elsewhere")
    return replace(
        tile,
        label=f"{tile.label} {kind} {row['dice']:.2f}",
        groups=sorted({name for name in groups if name}),
        sort={
            "dice": row["dice"],
            "size": row["truth_pixels"],
            "expected": float(expected) if expected != "" and np.isfinite(expected) else None,
            "hd95": row["hd95_pixels"],
            "place": place,
        },
        about={name: value for name, value in scores.items() if value},
    )


def with_interval(score: dict, digits: int = 3) -> tuple[str, str]:
    """Mean, and its interval."""
    return f"{score['mean']:.{digits}f}", f"({intervals.interval_text(score['interval'], digits)})"


def unit_of(group: dict) -> str:
    return "mm" if "hd95_mm" in group else "pixels"


def cards(summary: dict) -> list[tuple[str, str, str]]:
    """The headline numbers."""
    scores, expected = summary["scores"], summary["expected_dice"]
    group = scores.get("with tumor", scores["all"])
    unit = unit_of(group)
    of = " of slices with tumor" if "with tumor" in scores else ""
    told = [
        (f"Dice{of}", *with_interval(group["dice"])),
        (f"IoU{of}", *with_interval(group["iou"])),
        (f"HD95, {unit}{of}", *with_interval(group[f"hd95_{unit}"], 1)),
        (f"Surface Dice{of}", *with_interval(group["surface_dice"])),
    ]
    if group["tumors_missed_whole"] is not None:
        told.append(("Tumors missed whole", f"{group['tumors_missed_whole']:.1%}", "no pixel in common"))
    healthy = summary["false_alarms"]
    if healthy["slices_without_tumor"]:
        note = f"of {healthy['slices_without_tumor']} slices without tumor"
        told.append(("False alarms", str(healthy["with_an_outline"]), note))
    if expected and expected["spearman"] is not None:
        note = "rank correlation of expected and true Dice"
        told.append(("Predicted quality", f"{expected['spearman']:.2f}", note))
    return told


def tables(summary: dict) -> list[tuple[str, list[list[str]]]]:
    """Scores by tumor type, size and plane."""
    unit = unit_of(summary["scores"]["all"])
    columns = [
        "dice",
        "iou",
        "precision",
        "recall",
        "surface_dice",
        f"hd95_{unit}",
        f"average_distance_{unit}",
    ]
    heads = [NAMES[name.removesuffix(f"_{unit}")] for name in columns]
    heads[-2:] = [f"{head}, {unit}" for head in heads[-2:]]
    result = []
    for title, key in (
        ("tumor type", "scores"),
        ("tumor size", "scores_by_size"),
        ("plane", "scores_by_plane"),
    ):
        rows = [[title, "slices", "patients", *heads, "missed whole"]]
        for name, group in summary[key].items():
            missed = group["tumors_missed_whole"]
            numbers = [
                "\n".join(with_interval(group[column], 1 if column.endswith(unit) else 3))
                for column in columns
            ]
            rows.append(
                [name, str(group["slices"]), str(group["patients"]), *numbers,
                 "" if missed is None else f"{missed:.1%}"]
            )  # fmt: skip
        if len(rows) > 1:
            result.append((f"Scores by {title}", rows))
    return result
