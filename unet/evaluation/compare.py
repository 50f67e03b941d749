"""Is run B better than run A? Both outline the same slices, and the difference is taken slice by slice."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from unet.data.pairs import preparation_of
from unet.data.patients import interval_basis
from unet.errors import UserError
from unet.evaluation.evaluate import different_patients_first
from unet.evaluation.intervals import interval_over_patients, interval_text
from unet.evaluation.report import MOST_TILES
from unet.evaluation.scoring import check_unchanged, score_slices, warn_about_known_patients
from unet.evaluation.selection import Selection, results_in, select
from unet.evaluation.summary import all_and_by_tumor
from unet.files import write_json, write_whole
from unet.machine import installed_versions, machine_description
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import EvaluationOptions
from unet.pictures import evaluation_plots
from unet.pictures.page import Report, Sort, Tile, render
from unet.pictures.style import PREDICTION, TRAINING, TRUTH, draw_tiles
from unet.pictures.table import Table
from unet.tables import write_table

# Dice scores that differ by less count as equal.
EQUAL = 0.005
CHANGES_SHOWN = 5
# With fewer patients, all of them may be better by chance (sign test: 2 x 0.5^6 < 0.05 < 2 x 0.5^5).
FEWEST_PATIENTS = 6


def compare(options: EvaluationOptions) -> Path:
    """Compare two runs on the slices of the first one.

    Args:
        options: The two runs, and which slices.

    Returns:
        The folder with the report, comparison.json, per_slice.csv and the plots.

    Raises:
        UserError: If there are not two runs, the slices cannot be used, or the second run was trained on some of the
            patients.

    Example:
        >>> folder = compare(EvaluationOptions(runs=(Path("runs/small"), Path("runs/small"))))  # doctest: +ELLIPSIS
        A: ...
        >>> (folder / "comparison.json").exists()
        True
    """
    if len(options.runs) != 2:
        raise UserError(f"Name one run to score or two to compare, not {len(options.runs)}.")
    runs = [SavedRun.open(folder) for folder in options.runs]
    selection = select(runs[0], options)
    check_untrained(runs[1], selection)
    names = short_names(options.runs)
    home = runs[0].folder / f"compared-with-{Path(names[1]).name}-on-{selection.title}"
    output = options.output or home
    with results_in(output, "comparison.json", selection):
        compare_and_write(runs, selection, options, names, output)
    return output


def compare_and_write(
    runs: list[SavedRun], selection: Selection, options: EvaluationOptions, names: tuple[str, str], output: Path
) -> None:
    """Score both runs, and write all results."""
    predictors = [Predictor(run, mirror=options.mirror) for run in runs]
    scores = [score_slices(predictor, selection) for predictor in predictors]
    check_unchanged(runs[0], selection, scores[0])
    for run in runs:
        warn_about_known_patients(run, selection, scores[0])

    rows = [pair_rows(a.row, b.row) for a, b in zip(*scores, strict=True)]
    groups = {name: summarize_differences(group) for name, group in all_and_by_tumor(rows).items()}
    answer = answer_in_words(groups["all"], *names, interval_basis(selection.facts))
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
    svg = evaluation_plots.draw_comparison(rows, groups, names, output / "comparison.png")
    draw_changes(predictors, selection, rows, names, output / "changes.png")
    table = difference_table(groups)
    tiles = [describe_tile(row, a.tile, b.tile) for row, a, b in zip(rows, *scores, strict=True)]
    report = comparison_report(table, answer, names, svg, tiles)
    write_whole(output / "report.html", render(replace(report, about=about)))
    print(f"A: {names[0]}\nB: {names[1]}\n{table.as_text()}\n{answer}\nLook at {output}/report.html.")


def short_names(folders: tuple[Path, Path]) -> tuple[str, str]:
    """Names of two runs: their folders' names, or the whole paths if those are equal."""
    short = tuple(folder.resolve().name for folder in folders)
    return short if len(set(short)) == 2 else tuple(str(folder) for folder in folders)


def check_untrained(run: SavedRun, selection: Selection) -> None:
    """UserError if a run was trained on patients that it would be compared on."""
    patients = {selection.facts[pair.id]["patient"] for pair in selection.pairs}
    shared = patients & run.slices.patients("train")
    if shared:
        raise UserError(
            f"'{run.folder}' was trained on {len(shared)} of the patients to compare on ('{min(shared)}'): compare "
            "runs with the same split, or on other slices with --data."
        )


def pair_rows(row_a: dict, row_b: dict) -> dict[str, object]:
    """A row of per_slice.csv."""
    about = {name: row_a[name] for name in ("id", "patient", "tumor", "truth_pixels") if name in row_a}
    a, b = row_a["dice"], row_b["dice"]
    return about | {"dice_a": a, "dice_b": b, "difference": b - a}


def summarize_differences(rows: list[dict]) -> dict[str, object]:
    """Mean difference B - A with its 95% interval over patients, and on how many slices each run is better."""
    difference = np.array([row["difference"] for row in rows])
    patients = np.array([row["patient"] for row in rows])
    return {
        "slices": len(rows),
        "patients": len(set(patients)),
        "dice_a": float(np.mean([row["dice_a"] for row in rows])),
        "dice_b": float(np.mean([row["dice_b"] for row in rows])),
        "difference": float(difference.mean()),
        "interval": interval_over_patients(difference, patients),
        "a_better": int((difference < -EQUAL).sum()),
        "b_better": int((difference > EQUAL).sum()),
    }


def answer_in_words(group: dict, a: str, b: str, basis: str = "patients") -> str:
    """The answer in a sentence. `basis` says what the interval is computed over."""
    patients = group["patients"]
    if patients < FEWEST_PATIENTS:
        return f"Too few patients to tell: {patients}, but at least {FEWEST_PATIENTS} are needed. Compare on more."
    low, high = group["interval"]
    direction = "higher" if group["difference"] > 0 else "lower"
    difference = (
        f"the mean Dice of {b} is {abs(group['difference']):.3f} {direction} than that of {a} (95% interval of the "
        f"difference over {patients} {basis}, for these two trainings: "
        f"{interval_text(group['interval'], sign='+')})"
    )
    if low <= 0 <= high:
        return f"No clear difference: {difference}, and the interval includes 0."
    better, worse = (b, a) if low > 0 else (a, b)
    return f"{better} is better than {worse}: {difference}."


def difference_table(groups: dict[str, dict]) -> Table:
    """The summary as a table."""
    rows = [
        ["tumor", "slices", "patients", "Dice of A", "Dice of B", "difference (95% interval)", "A better", "B better"]
    ]
    for name, group in groups.items():
        sizes = f"{group['slices']}", f"{group['patients']}"
        dice = f"{group['dice_a']:.3f}", f"{group['dice_b']:.3f}"
        difference = f"{group['difference']:+.3f} ({interval_text(group['interval'], sign='+')})"
        rows.append([name, *sizes, *dice, difference, f"{group['a_better']}", f"{group['b_better']}"])
    return Table("Mean Dice over slices", rows)


def describe_tile(row: dict, tile_a: Tile, tile_b: Tile) -> Tile:
    """A slice with the outlines of the truth, A and B, and its row of per_slice.csv."""
    tumor = row.get("tumor") or ""
    better = "A better" if row["difference"] < -EQUAL else "B better"
    facts = {name: f"{value:.3f}" if isinstance(value, float) else value for name, value in row.items()}
    return replace(
        tile_b,
        label=f"{tile_b.label} {tumor} {row['difference']:+.2f}",
        groups=[name for name in (tumor, better if abs(row["difference"]) > EQUAL else "equal") if name],
        sort={"difference": row["difference"], "change": abs(row["difference"])},
        about={name.replace("_", " "): value for name, value in facts.items()},
        other=tile_a.prediction,
    )


def comparison_report(table: Table, answer: str, names: tuple[str, str], svg: str, tiles: list[Tile]) -> Report:
    """report.html: the answer, and the slices that changed most."""
    shown = sorted(tiles, key=lambda tile: -tile.sort["change"])[:MOST_TILES]
    which = "All slices" if len(shown) == len(tiles) else f"The {MOST_TILES} slices that changed most"
    return Report(
        title=f"Is {names[1]} better than {names[0]}?",
        lead=[answer, f"A is {names[0]}, B is {names[1]}."],
        cards=[],
        tables=[table],
        plots=[("Dice of both runs, and mean differences", svg)],
        tiles_title="What changed",
        tiles_lead=f"{which}.",
        tiles=shown,
        sorts=[
            Sort("change, largest first", "change", -1),
            Sort("B better first", "difference", -1),
            Sort("A better first", "difference"),
        ],
        outlines={"truth": "truth", "other": f"A: {names[0]}", "prediction": f"B: {names[1]}"},
    )


def draw_changes(
    predictors: list[Predictor], selection: Selection, rows: list[dict], names: tuple[str, str], path: Path
) -> None:
    """Draw the slices that changed most in either direction, if any, from different patients if possible."""

    def tile(index: int) -> tuple:
        pair, row = selection.pairs[index], rows[index]
        image, prepare = pair.read_image(), preparation_of([pair])
        masks = [predictor.rule.mask(predictor([image], prepare)[0]) for predictor in predictors]
        caption = f"{pair.id} {row.get('tumor', '')}\n{row['dice_a']:.2f} with A, {row['dice_b']:.2f} with B"
        return image, pair.read_mask(image), *masks, caption

    ranking = sorted(range(len(rows)), key=lambda index: rows[index]["difference"])
    better = {
        names[1]: [index for index in reversed(ranking) if rows[index]["difference"] > EQUAL],
        names[0]: [index for index in ranking if rows[index]["difference"] < -EQUAL],
    }
    tiles = {
        f"{name} better": [tile(index) for index in different_patients_first(indices, rows)[:CHANGES_SHOWN]]
        for name, indices in better.items()
        if indices
    }
    if not tiles:
        path.unlink(missing_ok=True)  # of an earlier comparison
        return
    outlines = {TRUTH: "truth", TRAINING: f"A: {names[0]}", PREDICTION: f"B: {names[1]}"}
    draw_tiles(tiles, outlines, (0.5, 0.5, 0.5), 3.2, path)
