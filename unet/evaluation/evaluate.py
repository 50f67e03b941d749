"""Score a run, an ensemble or given masks: a table with one row per slice, a summary with intervals, and plots."""

from pathlib import Path

from unet.evaluation import report, scoring
from unet.evaluation.calibration import precision_recall, reliability
from unet.evaluation.contenders import Contender, GivenMasks, find_contenders
from unet.evaluation.detection import rates_at, reliability_of_slices, roc_points
from unet.evaluation.scans import score_scans, summarize_scans
from unet.evaluation.selection import Selection, check_untrained, replace_summary, results_in, select
from unet.evaluation.summary import describe, sum_histograms, summarize
from unet.machine import configure_machine
from unet.network.predictor import Predictor
from unet.options import EvaluationOptions
from unet.pictures import evaluation_plots
from unet.pictures.style import TRUTH_AND_PREDICTION, draw_tiles, in_our_style
from unet.tables import write_table


@in_our_style
def evaluate(options: EvaluationOptions) -> Path:
    """Score a run, an ensemble or given masks, and draw plots and a report.

    Args:
        options: What to score, and on which slices.

    Returns:
        The folder with report.html, per_slice.csv, summary.json and the plots.

    Raises:
        UserError: If the run, the masks or the slices cannot be used, or the folder holds other results.

    Example:
        >>> from unet.options import EvaluationOptions
        >>> folder = evaluate(EvaluationOptions(runs=(Path("runs/first"),)))  # doctest: +ELLIPSIS
        tumor ...
        >>> sorted(path.name for path in folder.glob("*.csv"))
        ['per_slice.csv']
    """
    options = configure_machine(options)
    (contender,) = find_contenders(options, 1)
    selection = select(contender.run, options)
    for run in contender.runs[1:] if selection.split and not options.split else []:
        check_untrained(run, selection)
    output = options.output or contender.home / f"evaluation-{selection.title}"
    with results_in(output, "summary.json", selection.identity | contender.identity(options)):
        score_and_write(contender, selection, options, output)
    return output


def score_and_write(contender: Contender, selection: Selection, options: EvaluationOptions, output: Path) -> None:
    """Score all slices of a selection, and write all results."""
    predictor = contender.predictor(selection, options)
    scores = scoring.score_slices(predictor, selection)
    scoring.check_unchanged(contender.run, selection, scores)
    known = scoring.known_patients(contender.runs, selection, scores)
    rows = [score.row for score in scores]
    scoring.add_expected_dice(predictor, selection, rows)
    summary = summarize(contender.settings(options), selection, scores, known)
    scan_rows = score_scans(predictor, selection)
    if scan_rows:
        summary["whole_scans"] = summarize_scans(scan_rows)
    replace_summary(output, "summary.json", summary)
    write_table(output / "per_slice.csv", rows)
    if scan_rows:
        write_table(output / "per_scan.csv", scan_rows)
    plots = draw_plots(scores, summary, output)
    if "scores" in summary:
        draw_gallery(predictor, selection, rows, output / "gallery.png")
    tiles = [score.tile for score in scores]
    report.write_report(contender, summary, rows, tiles, plots, output / "report.html")
    print(f"{describe(summary)}\nLook at {output}/report.html.")


def draw_plots(scores: list[scoring.SliceScore], summary: dict, output: Path) -> list[tuple[str, str]]:
    """Draw all plots; returns what each one shows, and its SVG for the report."""
    plots, rows = {}, [score.row for score in scores]
    if summary["detection"]["auc"]:
        threshold = None if summary["always_outline"] else summary["presence_threshold"]
        chosen = threshold and rates_at(rows, threshold)
        plots["Is there a tumor?"] = evaluation_plots.draw_detection(
            roc_points(rows), chosen, threshold, reliability_of_slices(rows), output / "detection.png"
        )
    if "scores" in summary:
        plots |= draw_outline_plots([score for score in scores if score.row["truth_pixels"]], summary, output)
    return list(plots.items())


def draw_outline_plots(scores: list[scoring.SliceScore], summary: dict, output: Path) -> dict[str, str]:
    """Draw the plots about outlines, from slices with tumor; returns the SVG of each."""
    rows = [score.row for score in scores]
    plots = {
        "Dice of all slices": evaluation_plots.draw_dice_histogram(rows, output / "dice_distribution.png"),
        "Dice by tumor type": evaluation_plots.draw_dice_by_type(rows, summary["scores"], output / "dice_by_type.png"),
        "Dice by tumor size": evaluation_plots.draw_dice_by_size(rows, output / "dice_by_size.png"),
    }
    if "masks" in summary:  # which have no probability
        return plots
    histogram, threshold = sum_histograms(scores), summary["threshold"]
    plots["Dice by threshold"] = evaluation_plots.draw_dice_by_threshold(
        summary["dice_by_threshold"], threshold, output / "threshold_curve.png"
    )
    plots["Calibration, precision and recall"] = evaluation_plots.draw_calibration(
        reliability(histogram),
        summary["expected_calibration_error"],
        precision_recall(histogram),
        threshold,
        output / "calibration.png",
    )
    if summary["expected_dice"]:
        plots["Expected and true Dice"] = evaluation_plots.draw_expected_dice(
            rows, summary["expected_dice"], output / "expected_dice.png"
        )
    return plots


def draw_gallery(predictor: Predictor | GivenMasks, selection: Selection, rows: list[dict], path: Path) -> None:
    """Draw the best, median and worst slices with tumor, which are predicted again, as they are few."""

    def tile(index: int) -> tuple:
        pair, row = selection.pairs[index], rows[index]
        prediction = scoring.outline_again(predictor, pair)
        image, caption = prediction.image, f"{pair.id} {row.get('tumor', '')}\nDice {row['dice']:.3f}"
        return image, pair.read_mask(image), predictor.visible_probability(prediction), caption

    tiles = {name: [tile(index) for index in indices] for name, indices in choose_gallery(rows).items()}
    draw_tiles(tiles, TRUTH_AND_PREDICTION, (0.5, predictor.rule.threshold), 3.1, path)


def choose_gallery(rows: list[dict], count: int = 4) -> dict[str, list[int]]:
    """Indices of the best, median and worst slices with tumor by Dice, from different patients if possible."""
    with_tumor = [index for index, row in enumerate(rows) if row["truth_pixels"]]
    ranking = sorted(with_tumor, key=lambda index: rows[index]["dice"])
    middle = len(ranking) // 2
    nearest = sorted(range(len(ranking)), key=lambda index: abs(index - middle))
    outwards = [ranking[index] for index in nearest]
    orders = {"best": ranking[::-1], "median": outwards, "worst": ranking}
    return {name: different_patients_first(order, rows)[:count] for name, order in orders.items()}


def different_patients_first(order: list[int], rows: list[dict]) -> list[int]:
    """The same indices, with further slices of the same patients moved to the end."""
    first = {rows[index]["patient"]: index for index in reversed(order)}
    return sorted(order, key=lambda index: first[rows[index]["patient"]] != index)
