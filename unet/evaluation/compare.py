"""Is B better than A? Each is a run, an ensemble or given masks. Both outline the same slices, and the difference is
taken slice by slice: of Dice if a slice has a tumor, otherwise of false alarms. For scans, it is also taken scan by
scan."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from unet.data.patients import interval_basis
from unet.evaluation.contenders import Contender, find_contenders
from unet.evaluation.detection import by_kind, count_slices, patients_in_words, percent_interval
from unet.evaluation.evaluate import different_patients_first
from unet.evaluation.intervals import interval_over_patients, interval_text
from unet.evaluation.report import MOST_TILES
from unet.evaluation.scans import WHAT_IS_SCORED, score_scans
from unet.evaluation.scoring import check_unchanged, known_patients, outline_again, score_slices
from unet.evaluation.selection import Selection, check_untrained, results_in, select
from unet.evaluation.summary import all_and_by_tumor, footnote, unit_of_groups
from unet.files import write_json, write_whole
from unet.machine import machine_facts, prepare
from unet.network.ensemble import check_same_images
from unet.network.predictor import Predictor
from unet.options import EvaluationOptions
from unet.pictures import evaluation_plots
from unet.pictures.page import Report, Sort, Tile, render
from unet.pictures.style import PREDICTION, TRAINING, TRUTH, draw_tiles, in_our_style
from unet.pictures.table import Table
from unet.tables import write_table

# Dice scores that differ by less count as equal.
EQUAL = 0.005
CHANGES_SHOWN = 5
# With fewer patients, all of them may be better by chance (sign test: 2 x 0.5^6 < 0.05 < 2 x 0.5^5).
FEWEST_PATIENTS = 6


@in_our_style
def compare(options: EvaluationOptions) -> Path:
    """Compare two contenders on the slices of the first one, if it is a run, or on those in a folder.

    Args:
        options: The two runs, ensemble or folders of masks, and which slices.

    Returns:
        The folder with the report, comparison.json, per_slice.csv and the plots.

    Raises:
        UserError: If they or the slices cannot be used, or the second run was trained on some of the patients.

    Example:
        >>> folder = compare(EvaluationOptions(runs=(Path("runs/first"), Path("runs/first"))))  # doctest: +ELLIPSIS
        A: ...
        >>> (folder / "comparison.json").exists()
        True
    """
    options = prepare(options)
    contenders = a, b = find_contenders(options, 2)
    selection = select(a.run, options)
    for run in [*a.runs[1:], *b.runs]:
        check_untrained(run, selection)
        if a.run:
            check_same_images(a.run, run)
    names = short_names(a, b)
    home = a.home / f"compared-with-{Path(names[1]).name}-on-{selection.title}"
    output = options.output or home
    compared = {"compared": [contender.source for contender in contenders]}
    with results_in(output, "comparison.json", selection.identity | compared):
        compare_and_write(contenders, selection, options, names, output)
    return output


def compare_and_write(
    contenders: list[Contender], selection: Selection, options: EvaluationOptions, names: tuple[str, str], output: Path
) -> None:
    """Score both contenders, and write all results."""
    predictors = [contender.predictor(selection, options) for contender in contenders]
    scores = [score_slices(predictor, selection) for predictor in predictors]
    check_unchanged(contenders[0].run, selection, scores[0])
    rows = [pair_rows(a.row, b.row) for a, b in zip(*scores, strict=True)]
    write_table(output / "per_slice.csv", rows)
    scan_scores = [score_scans(predictor, selection) for predictor in predictors]
    scan_rows = [pair_scan_rows(a, b) for a, b in zip(*scan_scores, strict=True)]
    if scan_rows:
        write_table(output / "per_scan.csv", scan_rows)

    found = summarize(rows, scan_rows)
    two = "trainings" if all(len(contender.runs) == 1 for contender in contenders) else "sets of outlines"
    with_tumor, _ = by_kind(rows)
    answers = answer(found, names, f"{interval_basis(row['patient'] for row in with_tumor)}, for these two {two}")
    known = [known_patients(contender.runs, selection, scores[0]) for contender in contenders]
    answers += filter(None, dict.fromkeys(known))
    about = {
        "compared": [contender.source for contender in contenders],
        "a": contenders[0].settings(options),
        "b": contenders[1].settings(options),
        **selection.identity,
        **machine_facts(),
    }
    write_json(output / "comparison.json", about | {"answer": " ".join(answers)} | found)
    plots = []
    if found["groups"]:
        svg = evaluation_plots.draw_comparison(with_tumor, found["groups"], names, output / "comparison.png")
        plots = [("Dice of both, and mean differences", svg)]
        draw_changes(predictors, selection, rows, names, output / "changes.png")
    tables = difference_tables(found)
    tiles = [describe_tile(row, a.tile, b.tile) for row, a, b in zip(rows, *scores, strict=True)]
    report = comparison_report(tables, answers, names, plots, tiles)
    write_whole(output / "report.html", render(replace(report, about=about)))
    texts = [table.as_text() + "\n" for table in tables]
    lines = [f"A: {names[0]}", f"B: {names[1]}", *texts, footnote(tables), *answers]
    print("\n".join(filter(None, lines)), f"Look at {output}/report.html.", sep="\n")


def summarize(rows: list[dict], scan_rows: list[dict]) -> dict[str, object]:
    """What comparison.json says about rows of per_slice.csv and per_scan.csv."""
    with_tumor, without_tumor = by_kind(rows)
    groups = {name: summarize_differences(group) for name, group in all_and_by_tumor(with_tumor).items() if group}
    found = {"groups": groups, "false_alarms": summarize_false_alarms(without_tumor)}
    return found | ({"whole_scans": summarize_scan_differences(scan_rows)} if scan_rows else {})


def answer(found: dict, names: tuple[str, str], basis: str) -> list[str]:
    """Which of two is better, in sentences: on whole scans, on slices with tumor, and on slices without."""
    scans, answers = found.get("whole_scans"), []
    if scans:
        answers += [f"Whole scans: {describe_scans(scans, *names, basis)}", WHAT_IS_SCORED]
    if found["groups"]:
        answers.append(("Slices: " if scans else "") + answer_in_words(found["groups"]["all"], *names, basis))
    if found["false_alarms"]:
        answers.append(describe_false_alarms(found["false_alarms"], *names))
    return answers


def difference_tables(found: dict) -> list[Table]:
    """The differences over whole scans, if there are any, and over slices."""
    scans = found.get("whole_scans", {}).get("dice")
    tables = [difference_table({"all": scans}, "scans")] if scans else []
    return tables + ([difference_table(found["groups"])] if found["groups"] else [])


def short_names(a: Contender, b: Contender) -> tuple[str, str]:
    """Names of two contenders, or their whole paths if the names are equal."""
    return (a.name, b.name) if a.name != b.name else (str(a.folder), str(b.folder))


def pair_rows(row_a: dict, row_b: dict) -> dict[str, object]:
    """A row of per_slice.csv."""
    about = {name: row_a[name] for name in ("id", "patient", "tumor", "truth_pixels") if name in row_a}
    about |= {"predicted_pixels_a": row_a["predicted_pixels"], "predicted_pixels_b": row_b["predicted_pixels"]}
    a, b = row_a["dice"], row_b["dice"]  # "" without tumor
    return about | {"dice_a": a, "dice_b": b, "difference": b - a if row_a["truth_pixels"] else ""}


def summarize_differences(rows: list[dict]) -> dict[str, object]:
    """Mean difference B - A with its 95% interval over patients, and on how many slices each run is better."""
    difference = np.array([row["difference"] for row in rows])
    patients = np.array([row["patient"] for row in rows])
    return count_slices(rows) | {
        "dice_a": float(np.mean([row["dice_a"] for row in rows])),
        "dice_b": float(np.mean([row["dice_b"] for row in rows])),
        "difference": float(difference.mean()),
        "interval": interval_over_patients(difference, patients),
        "a_better": int((difference < -EQUAL).sum()),
        "b_better": int((difference > EQUAL).sum()),
    }


def pair_scan_rows(row_a: dict, row_b: dict) -> dict[str, object]:
    """A row of per_scan.csv."""
    about = {name: row_a[name] for name in ("id", "patient", "true_ml", "true_regions")}
    for name in ("dice", "found_regions", "false_regions"):
        about |= {f"{name}_a": row_a[name], f"{name}_b": row_b[name]}
    return about | {"difference": row_b["dice"] - row_a["dice"] if row_a["true_regions"] else ""}


def summarize_scan_differences(rows: list[dict]) -> dict[str, object]:
    """The part of comparison.json about whole scans: the difference in Dice over those with tumor, and for each run how
    many of their regions it finds, and how many false alarms it raises per scan."""
    with_tumor = [row for row in rows if row["true_regions"]]
    return {
        "scans": len(rows),
        "dice": summarize_differences(with_tumor) if with_tumor else None,
        "regions": sum(row["true_regions"] for row in rows),
        "found_regions": [sum(row[f"found_regions_{run}"] for row in rows) for run in "ab"],
        "false_regions_per_scan": [float(np.mean([row[f"false_regions_{run}"] for row in rows])) for run in "ab"],
    }


def describe_scans(scans: dict, a: str, b: str, basis: str) -> str:
    """The scores of whole scans in sentences."""
    (found_a, found_b), (false_a, false_b) = scans["found_regions"], scans["false_regions_per_scan"]
    found = f" Of {scans['regions']} regions, {a} finds {found_a} and {b} {found_b}." if scans["regions"] else ""
    answer = answer_in_words(scans["dice"], a, b, basis) + found if scans["dice"] else "None has a tumor."
    return f"{answer} False alarms per scan: {false_a:.2f} with {a}, {false_b:.2f} with {b}."


def summarize_false_alarms(rows: list[dict]) -> dict[str, object] | None:
    """Fraction of these slices without tumor that each run outlines, and the difference B - A with its interval."""
    if not rows:
        return None
    a, b = (np.array([row[f"predicted_pixels_{run}"] > 0 for row in rows], float) for run in "ab")
    return count_slices(rows) | {
        "a": float(a.mean()),
        "b": float(b.mean()),
        "difference": float((b - a).mean()),
        "interval": interval_over_patients(b - a, np.array([row["patient"] for row in rows])),
    }


def describe_false_alarms(false_alarms: dict, a: str, b: str) -> str:
    """The false alarms of both runs in a sentence."""
    return (
        f"False alarms in {false_alarms['slices']} slices without tumor ({patients_in_words(false_alarms)}): "
        f"{false_alarms['a']:.1%} with {a}, {false_alarms['b']:.1%} with {b}; difference and 95% interval: "
        f"{false_alarms['difference']:+.1%} {percent_interval(false_alarms['interval'], sign='+')}."
    )


def answer_in_words(group: dict, a: str, b: str, basis: str) -> str:
    """The answer in a sentence. `basis` says what the interval is computed over, and for what."""
    patients = group["patients"]
    if patients < FEWEST_PATIENTS:
        return f"Too few patients to tell: {patients}, but at least {FEWEST_PATIENTS} are needed. Compare on more."
    low, high = group["interval"]
    if low == high == 0:
        return f"No difference: {a} and {b} have the same Dice, {group['dice_a']:.3f}, on all {patients} patients."
    direction = "higher" if group["difference"] > 0 else "lower"
    difference = (
        f"the mean Dice of {b} is {abs(group['difference']):.3f} {direction} than that of {a} (95% interval of the "
        f"difference over {patients} {basis}: "
        f"{interval_text(group['interval'], sign='+')})"
    )
    if low <= 0 <= high:
        return f"No clear difference: {difference}, and the interval includes 0."
    better, worse = (b, a) if low > 0 else (a, b)
    return f"{better} is better than {worse}: {difference}."


def difference_table(groups: dict[str, dict], kind: str = "slices") -> Table:
    """The summary of the differences over slices or scans as a table."""
    headings = "Dice of A", "Dice of B", "difference (95% interval)", "A better", "B better"
    rows = [["tumor", kind, unit_of_groups(groups), *headings]]
    for name, group in groups.items():
        sizes = f"{group['slices']}", f"{group['patients']}"
        dice = f"{group['dice_a']:.3f}", f"{group['dice_b']:.3f}"
        interval = f"({interval_text(group['interval'], sign='+')})" if group["interval"] else "–"
        difference = f"{group['difference']:+.3f} {interval}"
        rows.append([name, *sizes, *dice, difference, f"{group['a_better']}", f"{group['b_better']}"])
    return Table(f"Mean Dice over {kind}", rows)


def describe_tile(row: dict, tile_a: Tile, tile_b: Tile) -> Tile:
    """A slice with the outlines of the truth, A and B, and its row of per_slice.csv."""
    if row["truth_pixels"]:
        kind, difference = row.get("tumor") or "", row["difference"]
    else:
        # An outline counts as a Dice of 0, and none as a Dice of 1.
        kind, difference = "no tumor", float((row["predicted_pixels_a"] > 0) - (row["predicted_pixels_b"] > 0))
    better = "A better" if difference < -EQUAL else "B better"
    facts = {name: f"{value:.3f}" if isinstance(value, float) else str(value) for name, value in row.items()}
    return replace(
        tile_b,
        label=f"{tile_b.label} {kind} {difference:+.2f}",
        groups=[name for name in (kind, better if abs(difference) > EQUAL else "equal") if name],
        sort={"difference": difference, "change": abs(difference)},
        about={name.replace("_", " "): value for name, value in facts.items() if value},
        other=tile_a.prediction,
    )


def comparison_report(
    tables: list[Table], answers: list[str], names: tuple[str, str], plots: list[tuple[str, str]], tiles: list[Tile]
) -> Report:
    """report.html: the answers, and the slices that changed most."""
    shown = sorted(tiles, key=lambda tile: -tile.sort["change"])[:MOST_TILES]
    which = "All slices" if len(shown) == len(tiles) else f"The {MOST_TILES} slices that changed most"
    return Report(
        title=f"Is {names[1]} better than {names[0]}?",
        lead=[*answers, f"A is {names[0]}, B is {names[1]}. {footnote(tables)}"],
        cards=[],
        tables=tables,
        plots=plots,
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
    """Draw the slices with tumor that changed most in either direction, if any, from different patients if possible."""

    def tile(index: int) -> tuple:
        pair, row = selection.pairs[index], rows[index]
        image = pair.read_image()
        masks = [predictor.mask(outline_again(predictor, pair)) for predictor in predictors]
        caption = f"{pair.id} {row.get('tumor', '')}\n{row['dice_a']:.2f} with A, {row['dice_b']:.2f} with B"
        return image, pair.read_mask(image), *masks, caption

    with_tumor = [index for index, row in enumerate(rows) if row["truth_pixels"]]
    ranking = sorted(with_tumor, key=lambda index: rows[index]["difference"])
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
