"""Score a run on slices with known masks: a table a slice, a summary with intervals, plots."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from unet.data.pairs import read_slice, read_truth, scaling_of
from unet.errors import UserError
from unet.evaluation import report
from unet.evaluation.calibration import precision_recall, reliability
from unet.evaluation.scoring import expect_dice, score_slices
from unet.evaluation.selection import Selection, check_unchanged, say_what_was_trained_on, select
from unet.evaluation.summary import describe, summarise
from unet.files import only_process_in, write_json
from unet.network.outlining import THRESHOLDS
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import EvaluationOptions
from unet.pictures import evaluation_plots
from unet.tables import write_table


def evaluate(options: EvaluationOptions) -> Path:
    """Score and draw; returns the folder with per_slice.csv, summary.json and the plots."""
    (folder,) = options.runs or (None,)
    run = SavedRun.open(folder)
    selection = select(run, options)
    home = run.folder if folder else Path("runs/pretrained")
    output = options.output or home / f"evaluation-{selection.title}"
    with results_in(output, "summary.json", selection):
        score_and_write(run, selection, options, output)
    return output


def score_and_write(run: SavedRun, selection: Selection, options: EvaluationOptions, output: Path) -> None:
    predictor = Predictor(run, mirror=options.mirror)
    scores = score_slices(predictor, selection, with_tiles=True)
    check_unchanged(run, selection, scores)
    say_what_was_trained_on(run, selection, scores)
    rows = [score.row for score in scores]
    expect_dice(predictor, selection, rows)
    histogram = np.sum([score.histogram for score in scores], axis=0)
    summary = summarise(
        run, selection, rows, np.mean([s.dice_by_threshold for s in scores], axis=0), histogram
    )
    summary["mirror"] = options.mirror
    write_table(output / "per_slice.csv", rows)
    write_json(output / "summary.json", summary)
    drawn = draw(predictor, selection, rows, summary, histogram, output)
    report.write(run, summary, rows, [score.tile for score in scores], drawn, output)
    print(describe(summary, output))


@contextlib.contextmanager
def results_in(output: Path, summary: str, selection: Selection) -> Iterator[None]:
    """A context in which results for some slices may be written to a folder.

    UserError where no file can be written there, or where its summary (JSON) is of other slices.
    """
    with only_process_in(output):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # none yet, or damaged
            before = json.loads((output / summary).read_text())
            for name, value in selection.identity.items():
                if before.get(name, value) != value:
                    raise UserError(
                        f"'{output}' holds results of other {name} ({before[name]}): choose another --output."
                    )
        yield


def draw(
    predictor: Predictor,
    selection: Selection,
    rows: list[dict],
    summary: dict,
    histogram: np.ndarray,
    output: Path,
) -> list[tuple[str, str]]:
    """All plots of an evaluation; returns those of the report: what each shows, and SVG."""
    drawn = {
        "Dice of all slices": evaluation_plots.dice_distribution(rows, output / "dice_distribution.png"),
        "Dice by tumor type": evaluation_plots.dice_by_type(
            rows, summary["scores"], output / "dice_by_type.png"
        ),
        "Dice by tumor size": evaluation_plots.dice_by_size(rows, output / "dice_by_size.png"),
        "Dice by threshold": evaluation_plots.threshold_curve(
            THRESHOLDS, list(summary["dice_by_threshold"].values()), predictor.threshold,
            output / "threshold_curve.png",
        ),
    }  # fmt: skip
    if summary["expected_dice"]:
        drawn["Expected and true Dice"] = evaluation_plots.expected_dice(
            rows, summary["expected_dice"], output / "expected_dice.png"
        )
    drawn["Calibration, precision and recall"] = evaluation_plots.calibration(
        reliability(histogram), summary["expected_calibration_error"], precision_recall(histogram),
        predictor.threshold, output / "calibration.png",
    )  # fmt: skip
    gallery = {
        name: [gallery_tile(predictor, selection, i, rows[i]) for i in indices]
        for name, indices in gallery_choice(rows).items()
    }
    evaluation_plots.gallery(gallery, predictor.threshold, output / "gallery.png")
    return list(drawn.items())


def gallery_choice(rows: list[dict], count: int = 4) -> dict[str, list[int]]:
    """Indices of the best, middle and worst slices by Dice, each of another patient where possible."""
    ranking = sorted(range(len(rows)), key=lambda index: rows[index]["dice"])
    middle = len(ranking) // 2
    places = sorted(range(len(ranking)), key=lambda place: abs(place - middle))
    outwards = [ranking[place] for place in places]
    return {
        name: one_a_patient(order, rows)[:count]
        for name, order in (("best", ranking[::-1]), ("median", outwards), ("worst", ranking))
    }


def one_a_patient(order: list[int], rows: list[dict]) -> list[int]:
    """The same indices, those of patients that have come before moved to the end."""
    first = {rows[index]["patient"]: index for index in reversed(order)}
    return sorted(order, key=lambda index: first[rows[index]["patient"]] != index)


def gallery_tile(predictor: Predictor, selection: Selection, index: int, row: dict) -> tuple:
    """Image, truth, probability and caption of a slice; predicted anew, as few are shown."""
    pair = selection.pairs[index]
    image = read_slice(pair, selection.max_pixels)
    truth = read_truth(pair, image, selection.max_pixels)
    caption = f"{pair.id} {row.get('tumor', '')}\nDice {row['dice']:.3f}"
    return image, truth, predictor.drawn(predictor([image], scaling_of([pair]))[0]), caption
