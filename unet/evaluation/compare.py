"""Is B better than A? Each is a run, an ensemble or given masks. Both outline the same slices, and the difference is
taken slice by slice: of Dice if a slice has a tumor, otherwise of false alarms. For scans, it is also taken scan by
scan."""

from dataclasses import replace
from pathlib import Path

from unet.data.patients import interval_basis
from unet.evaluation.contenders import Contender, find_contenders
from unet.evaluation.detection import by_kind
from unet.evaluation.differences import EQUAL, answer, difference_tables, pair_rows, pair_scan_rows, summarize
from unet.evaluation.evaluate import different_patients_first
from unet.evaluation.report import MOST_TILES
from unet.evaluation.scans import score_scans
from unet.evaluation.scoring import check_unchanged, known_patients, outline_again, score_slices
from unet.evaluation.selection import Selection, check_untrained, replace_summary, results_in, select
from unet.evaluation.summary import footnote, warning_about
from unet.files import write_whole
from unet.machine import configure_machine, machine_facts
from unet.network.ensemble import check_same_images
from unet.network.predictor import Predictor
from unet.options import EvaluationOptions
from unet.pictures import evaluation_plots
from unet.pictures.page import Report, Sort, Tile, render
from unet.pictures.style import PREDICTION, TRAINING, TRUTH, draw_tiles, in_our_style
from unet.pictures.table import Table
from unet.tables import write_table

CHANGES_SHOWN = 5


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
    options = configure_machine(options)
    contenders = a, b = find_contenders(options, 2)
    selection = select(a.run, options)
    for run in [*a.runs[1:], *b.runs]:
        check_untrained(run, selection)
        if a.run:
            check_same_images(a.run, run)
    names = short_names(a, b)
    home = a.home / f"compared-with-{Path(names[1]).name}-on-{selection.title}"
    output = options.output or home
    with results_in(output, "comparison.json", identity(contenders, selection, options)):
        compare_and_write(contenders, selection, options, names, output)
    return output


def identity(contenders: list[Contender], selection: Selection, options: EvaluationOptions) -> dict[str, object]:
    """What must be the same for the results of a comparison to be replaced."""
    compared = [contender.source for contender in contenders]
    settings = {"compared": compared, "mirror": options.mirror, "always_outline": options.always_outline}
    return settings | selection.identity


def compare_and_write(
    contenders: list[Contender], selection: Selection, options: EvaluationOptions, names: tuple[str, str], output: Path
) -> None:
    """Score both contenders, and write all results."""
    predictors = [contender.predictor(selection, options) for contender in contenders]
    scores = [score_slices(predictor, selection) for predictor in predictors]
    check_unchanged(contenders[0].run, selection, scores[0])
    rows = [pair_rows(a.row, b.row) for a, b in zip(*scores, strict=True)]
    scan_scores = [score_scans(predictor, selection) for predictor in predictors]
    scan_rows = [pair_scan_rows(a, b) for a, b in zip(*scan_scores, strict=True)]
    found = summarize(rows, scan_rows)
    two = "trainings" if all(len(contender.runs) == 1 for contender in contenders) else "sets of outlines"
    with_tumor, _ = by_kind(rows)
    answers = answer(found, names, f"{interval_basis(row['patient'] for row in with_tumor)}, for these two {two}")
    known = [known_patients(contender.runs, selection, scores[0]) for contender in contenders]
    answers += filter(None, dict.fromkeys(known))
    for name, scored in zip(names, scores, strict=True):
        own_with_tumor, _ = by_kind([score.row for score in scored])
        if warning := warning_about(own_with_tumor):
            answers.append(f"{name}: {warning}")
    about = {
        "a": contenders[0].settings(options),
        "b": contenders[1].settings(options),
        **identity(contenders, selection, options),
        **machine_facts(),
    }
    replace_summary(output, "comparison.json", about | {"answer": " ".join(answers)} | found)
    write_table(output / "per_slice.csv", rows)
    if scan_rows:
        write_table(output / "per_scan.csv", scan_rows)
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


def short_names(a: Contender, b: Contender) -> tuple[str, str]:
    """Names of two contenders, or their whole paths if the names are equal."""
    return (a.name, b.name) if a.name != b.name else (str(a.folder), str(b.folder))


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
    if tiles:
        outlines = {TRUTH: "truth", TRAINING: f"A: {names[0]}", PREDICTION: f"B: {names[1]}"}
        draw_tiles(tiles, outlines, (0.5, 0.5, 0.5), 3.2, path)
