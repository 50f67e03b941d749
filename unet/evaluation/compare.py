"""Is run B better than run A? Both outline the same slices; the difference counts slice by slice."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from unet.data.pairs import read_slice, read_truth, scaling_of
from unet.data.patients import intervals_over
from unet.errors import UserError
from unet.evaluation import intervals
from unet.evaluation.evaluate import one_a_patient, results_in
from unet.evaluation.report import MOST_TILES
from unet.evaluation.scoring import score_slices
from unet.evaluation.selection import Selection, check_unchanged, say_what_was_trained_on, select
from unet.evaluation.summary import all_and_by_tumor
from unet.files import write_json, write_whole
from unet.machine import installed_versions, machine_description
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import EvaluationOptions
from unet.pictures import evaluation_plots, page
from unet.pictures.page import Report, Sort, Tile
from unet.tables import write_table

# Dice that differ by less count as equal.
EQUAL = 0.005
CHANGED_SHOWN = 5
# Patients: of fewer, all may be better by chance (sign test: 2 x 0.5^6 < 0.05 < 2 x 0.5^5).
FEWEST = 6


def compare(options: EvaluationOptions) -> Path:
    """Score two runs on the first one's slices; returns the folder with tables, plots and the answer."""
    runs = [SavedRun.open(folder) for folder in options.runs]
    selection = select(runs[0], options)
    check_new_for(runs[1], selection)
    names = names_of(options.runs)
    home = runs[0].folder / f"compared-with-{Path(names[1]).name}-on-{selection.title}"
    output = options.output or home
    with results_in(output, "comparison.json", selection):
        compare_and_write(runs, selection, options, names, output)
    return output


def compare_and_write(
    runs: list[SavedRun],
    selection: Selection,
    options: EvaluationOptions,
    names: tuple[str, str],
    output: Path,
) -> None:
    predictors = [Predictor(run, mirror=options.mirror) for run in runs]
    scores = [score_slices(predictor, selection, with_tiles=True) for predictor in predictors]
    check_unchanged(runs[0], selection, scores[0])
    for run in runs:
        say_what_was_trained_on(run, selection, scores[0])

    rows = [paired(one.row, other.row) for one, other in zip(*scores, strict=True)]
    groups = {name: summarise_pairs(group) for name, group in all_and_by_tumor(rows).items()}
    answer = answer_of(groups["all"], *names, intervals_over(selection.facts))
    write_table(output / "per_slice.csv", rows)
    about = {
        "a": str(options.runs[0]),
        "b": str(options.runs[1]),
        **selection.identity,
        "mirror": options.mirror,
        "machine": machine_description(),
        "versions": installed_versions(),
    }
    write_json(output / "comparison.json", about | {"answer": answer, "groups": groups})
    svg = evaluation_plots.comparison(rows, groups, names, output / "comparison.png")
    draw_changes(predictors, selection, rows, names, output / "changes.png")
    tiles = [tile_of(row, one.tile, other.tile) for row, one, other in zip(rows, *scores, strict=True)]
    write_report(groups, answer, names, svg, tiles, about, output)
    print(f"{table_of(groups, *names)}\n{answer}\nLook at {output}/report.html.")


def names_of(folders: tuple[Path, Path]) -> tuple[str, str]:
    """Short names of two runs: their folders', or the whole paths where those are equal."""
    short = tuple(folder.resolve().name for folder in folders)
    return short if len(set(short)) == 2 else tuple(str(folder) for folder in folders)


def check_new_for(run: SavedRun, selection: Selection) -> None:
    """UserError where a run was trained on patients that it would be compared on."""
    trained_on = {run.config.facts[id]["patient"] for id in run.config.split["train"]}
    shared = {selection.facts[pair.id]["patient"] for pair in selection.pairs} & trained_on
    if shared:
        raise UserError(
            f"'{run.folder}' was trained on {len(shared)} of the patients to compare on ('{min(shared)}'): "
            "compare runs of one split, or on other slices with --data."
        )


def paired(row_a: dict, row_b: dict) -> dict[str, object]:
    """A row of per_slice.csv."""
    kept = ("id", "patient", "tumor", "truth_pixels")
    about = {name: row_a[name] for name in kept if name in row_a}
    dice = {"dice_a": row_a["dice"], "dice_b": row_b["dice"]}
    return about | dice | {"difference": row_b["dice"] - row_a["dice"]}


def summarise_pairs(rows: list[dict]) -> dict[str, object]:
    """Mean difference B - A with its 95 % interval over patients, and on how many slices each is better."""
    difference = np.array([row["difference"] for row in rows])
    patients = np.array([row["patient"] for row in rows])
    return {
        "slices": len(rows),
        "patients": len(set(patients)),
        "dice_a": float(np.mean([row["dice_a"] for row in rows])),
        "dice_b": float(np.mean([row["dice_b"] for row in rows])),
        "difference": float(difference.mean()),
        "interval": intervals.interval_over_patients(difference, patients),
        "a_better": int((difference < -EQUAL).sum()),
        "b_better": int((difference > EQUAL).sum()),
    }


def answer_of(group: dict, a: str, b: str, over: str = "over patients") -> str:
    """The plain sentence that answers; `over` says what an interval is over."""
    if group["patients"] < FEWEST:
        return (
            f"No difference can be told from fewer than {FEWEST} patients, and here are {group['patients']}: "
            "compare on more."
        )
    low, high = group["interval"]
    told = (
        f"(95 % interval {over}, {group['patients']}, of these two trainings: "
        f"{intervals.interval_text(group['interval'], sign='+')})"
    )
    if low <= 0 <= high:
        return (
            f"No difference can be told: the mean Dice of {b} minus that of {a} is "
            f"{group['difference']:+.3f} {told}, and the interval includes 0."
        )
    better, worse = (b, a) if low > 0 else (a, b)
    return (
        f"{better} is better than {worse}: the mean Dice of {b} minus that of {a} is "
        f"{group['difference']:+.3f} {told}."
    )


def cells_of(groups: dict[str, dict]) -> list[list[str]]:
    """The summary as a table; its first row has the headings."""
    rows = [["", "slices", "patients", "Dice of A", "of B", "difference (95 % interval)", "A, B better"]]
    for name, group in groups.items():
        rows.append(
            [
                name,
                f"{group['slices']}",
                f"{group['patients']}",
                f"{group['dice_a']:.3f}",
                f"{group['dice_b']:.3f}",
                f"{group['difference']:+.3f} ({intervals.interval_text(group['interval'], sign='+')})",
                f"{group['a_better']}, {group['b_better']}",
            ]
        )
    return rows


def table_of(groups: dict[str, dict], a: str, b: str) -> str:
    """The summary for the terminal."""
    widths = (12, 8, 10, 11, 8, 36, 16)
    lines = [
        "".join(f"{cell:>{width}}" for cell, width in zip(row, widths, strict=True))
        for row in cells_of(groups)
    ]
    return "\n".join([f"A: {a}", f"B: {b}", *lines])


def tile_of(row: dict, one: Tile, other: Tile) -> Tile:
    """A slice with the outlines of truth, A and B."""
    kind = row.get("tumor") or ""
    better = "A better" if row["difference"] < -EQUAL else "B better"
    about = {name: f"{v:.3f}" if isinstance(v, float) else v for name, v in row.items()}
    return replace(
        other,
        label=f"{other.label} {kind} {row['difference']:+.2f}",
        groups=[name for name in (kind, better if abs(row["difference"]) > EQUAL else "equal") if name],
        sort={"difference": row["difference"], "change": abs(row["difference"])},
        about={name.replace("_", " "): value for name, value in about.items()},
        other=one.prediction,
    )


def write_report(
    groups: dict[str, dict],
    answer: str,
    names: tuple,
    svg: str,
    tiles: list[Tile],
    about: dict[str, object],
    output: Path,
) -> None:
    """report.html: the answer, and the slices that changed most."""
    shown = sorted(tiles, key=lambda tile: -tile.sort["change"])[:MOST_TILES]
    few = "All slices" if len(shown) == len(tiles) else f"The {MOST_TILES} that changed most"
    content = Report(
        title=f"Is {names[1]} better than {names[0]}?",
        lead=[answer, f"A is {names[0]}, B is {names[1]}."],
        cards=[],
        tables=[("Mean Dice over slices", cells_of(groups))],
        plots=[("Dice of both, and mean differences", svg)],
        tiles_title="What changed",
        tiles_lead=f"{few}. Press one to enlarge it; the arrow keys go on from there.",
        tiles=shown,
        sorts=[
            Sort("change, largest first", "change", -1),
            Sort("B better first", "difference", -1),
            Sort("A better first", "difference"),
        ],
        outlines={"truth": "truth", "other": f"A: {names[0]}", "prediction": f"B: {names[1]}"},
        about=about,
    )
    write_whole(output / "report.html", page.page(content))


def draw_changes(
    predictors: list[Predictor], selection: Selection, rows: list[dict], names: tuple, path: Path
) -> None:
    """The slices that changed most, each way, each of another patient where possible."""
    ranking = sorted(range(len(rows)), key=lambda index: rows[index]["difference"])
    tiles = {}
    for name, order in ((f"{names[1]} better", ranking[::-1]), (f"{names[0]} better", ranking)):
        tiles[name] = []
        for index in one_a_patient(order, rows)[:CHANGED_SHOWN]:
            pair, row = selection.pairs[index], rows[index]
            image = read_slice(pair, selection.max_pixels)
            scaling = scaling_of([pair])
            masks = [predictor.mask(predictor([image], scaling)[0]) for predictor in predictors]
            caption = f"{pair.id} {row.get('tumor', '')}\nDice {row['dice_a']:.2f}, {row['dice_b']:.2f}"
            truth = read_truth(pair, image, selection.max_pixels)
            tiles[name].append((image, truth, *masks, caption))
    evaluation_plots.changes(tiles, names, path)
