"""Score a run on slices with known masks: a table a slice, a summary with intervals, plots."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from unet import evaluation_report, metrics, plots
from unet.calibration import (
    expected_calibration_error,
    pixel_histogram,
    precision_recall,
    reliability,
)
from unet.data import (
    Pair,
    data_folder,
    digest,
    find_pairs,
    load_slices,
    read_slice,
    read_truth,
    scaling_of,
)  # fmt: skip
from unet.files import UserError, only_process_in, write_json, write_table
from unet.inference import Prediction, Predictor
from unet.options import DataOptions, EvaluationOptions
from unet.outlining import THRESHOLDS, dice_by_rule
from unet.quality import confidence, cross_validated
from unet.report import Tile
from unet.saved_run import SavedRun, installed_versions, machine_description
from unet.split import (
    PUBLISHED_FIELD_OF_VIEW_MM,
    intervals_over,
    is_published,
    patient_facts,
    same_tumor_size,
)

# Surface Dice counts borders this far apart as equal: 2 mm, or 2 pixels where no spacing is known.
TOLERANCE = 2.0
DISTANCES = ("hd95", "average_distance")
SIZES = {
    "small (below 1 %)": 1.0,
    "middle (1 to 3 %)": 3.0,
    "large (above 3 %)": 100.0,
}
SUMMARISED = (
    *metrics.SCORES, "hd95_pixels", "average_distance_pixels", "hd95_mm", "average_distance_mm",
    "surface_dice",
)  # fmt: skip
CHOSEN_ON_VAL = (
    "These patients also chose the network's epoch and rule of outlining: expect less on new ones."
)
EMPTY_MASKS = (
    "A score whose denominator is 0 is 1 where truth and prediction are both empty, else 0: a missed tumor "
    "and a false alarm both score 0. Their distances are the image's diagonal."
)


@dataclass(frozen=True)
class Selection:
    """Slices to score, with what is known of each id."""

    split: str | None  # of the run; None for what lies in `folder`
    folder: Path | None
    title: str
    pairs: list[Pair]
    facts: dict[str, dict[str, str]]
    max_pixels: int
    spacing_mm: float | None  # side of a pixel, where it is the same for all and known
    field_of_view_mm: float | None  # side of the whole image, where that is the same for all

    @property
    def identity(self) -> dict[str, object]:
        """What tells these slices from others in results."""
        return {"slices": self.title, "data": self.folder and str(self.folder)}

    def pixel_mm(self, width: int) -> float | None:
        """Side of a pixel of an image that is `width` wide; None where it is not known."""
        return self.field_of_view_mm / width if self.field_of_view_mm else self.spacing_mm


@dataclass(frozen=True)
class SliceScore:
    """What is kept of one scored slice."""

    row: dict[str, object]  # of per_slice.csv
    dice_by_threshold: np.ndarray  # at THRESHOLDS
    histogram: np.ndarray  # of its pixels' probabilities
    digest: str
    tile: Tile | None


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


def score_and_write(
    run: SavedRun, selection: Selection, options: EvaluationOptions, output: Path
) -> None:
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
    evaluation_report.write(run, summary, rows, [score.tile for score in scores], drawn, output)
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


def select(run: SavedRun, options: EvaluationOptions) -> Selection:
    """What the options name; UserError where slices of the run's split are not there."""
    split = options.split or (None if options.data else "val")
    if not split or (options.data and not run.config.split[split]):
        return select_from_folder(run, options)
    if options.patients:
        raise UserError(
            f"The run knows the patients of its {split} slices: leave out --patients, it is for other --data."
        )
    ids = run.config.split[split]
    folder = data_folder(str(options.data)) if options.data else Path(run.config.data_folder)
    if not ids:
        raise UserError(
            f"The run knows no {split} slices: '{folder}' had none. Name a folder that has with --data."
        )
    if not folder.is_dir():
        raise UserError(f"The run's data folder '{folder}' is not there: name it with --data.")
    pairs = {pair.id: pair for pair in find_pairs(folder, options.max_pixels)[0]}
    missing = [id for id in ids if id not in pairs]
    if missing:
        raise UserError(
            f"{len(missing)} {split} slices have no image and mask in '{folder}' ('{missing[0]}', "
            "...): restore them or name the right folder with --data."
        )
    return selection_of(split, None, split, [pairs[id] for id in ids], run.config.facts, options)


def select_from_folder(run: SavedRun, options: EvaluationOptions) -> Selection:
    """All slices of --data, or those that its patients table puts in --split."""
    folder = data_folder(str(options.data))
    slices = load_slices(folder, run.config.options.size, max_pixels=options.max_pixels)
    facts, origin = patient_facts(slices, folder, DataOptions(patients=options.patients))
    folder = folder.resolve()
    if not options.split:
        return selection_of(None, folder, folder.name, slices.pairs, facts, options)
    pairs = [pair for pair in slices.pairs if facts[pair.id].get("split") == options.split]
    if not pairs:
        raise UserError(f"No slice in '{folder}' is {options.split} according to {origin}.")
    return selection_of(None, folder, f"{folder.name}-{options.split}", pairs, facts, options)


def selection_of(
    split: str | None,
    folder: Path | None,
    title: str,
    pairs: list[Pair],
    facts: dict[str, dict[str, str]],
    options: EvaluationOptions,
) -> Selection:
    """With the spacing that the options name, or that of the published set where these are its slices."""
    published = all(is_published(pair.id, facts[pair.id]) for pair in pairs)
    view = PUBLISHED_FIELD_OF_VIEW_MM if published and not options.spacing_mm else None
    return Selection(
        split, folder, title, pairs, facts, options.max_pixels, options.spacing_mm, view
    )


def score_slices(
    predictor: Predictor, selection: Selection, with_tiles: bool = False
) -> list[SliceScore]:
    """Every slice once, at its own size."""

    def score(prediction: Prediction, truth: np.ndarray) -> SliceScore:
        pair, probability = prediction.source, prediction.probability
        mask = predictor.mask(probability)
        sure = confidence(probability, mask)
        row = {
            "id": pair.id,
            **{k: v for k, v in selection.facts[pair.id].items() if k != "tumor_percent"},
            "truth_pixels": int(truth.sum()),
            "predicted_pixels": int(mask.sum()),
            "tumor_percent": 100 * float(truth.mean()),
            **metrics.score(truth, mask),
            **distances(truth, mask, selection.pixel_mm(truth.shape[1])),
            "confidence": sure,
        }
        if predictor.quality:
            row["review"] = predictor.quality.review(prediction.square, sure, mask.any())
        curve, _ = dice_by_rule(truth, probability, THRESHOLDS, np.array([predictor.peak]))
        histogram = pixel_histogram(truth, probability)
        tile = None
        if with_tiles:
            drawn = predictor.drawn(probability, mask)
            tile = evaluation_report.tile(
                pair.id, prediction.image, truth, drawn, predictor.threshold
            )
        return SliceScore(row, curve[:, 0], histogram, digest(prediction.image, truth), tile)

    return predictor.score_pairs(selection.pairs, score, "Evaluating", selection.max_pixels)


def expect_dice(predictor: Predictor, selection: Selection, rows: list[dict]) -> None:
    """Give each row the Dice to expect without the truth, by a curve fitted on other patients' slices.

    Empty where nothing is outlined.
    """
    if not predictor.quality:
        return  # the training has not finished
    outlined = [row for row in rows if row["predicted_pixels"]]
    if selection.split == "val":
        # The run's own curve was fitted on these.
        columns = ("confidence", "dice", "patient")
        expected = cross_validated(*(np.array([row[name] for row in outlined]) for name in columns))
    else:
        expected = [predictor.quality.expect(row["confidence"]) for row in outlined]
    for row in rows:
        row["expected_dice"] = ""
    for row, dice in zip(outlined, expected, strict=True):
        row["expected_dice"] = float(dice)


def distances(truth: np.ndarray, mask: np.ndarray, pixel_mm: float | None) -> dict[str, float]:
    """Distances between both outlines in pixels, and in mm where a pixel's side is known."""
    scores = metrics.surface_score(truth, mask, TOLERANCE / (pixel_mm or 1.0))
    named = {f"{name}_pixels": scores[name] for name in DISTANCES}
    if pixel_mm:
        named |= {f"{name}_mm": scores[name] * pixel_mm for name in DISTANCES}
    return named | {"surface_dice": scores["surface_dice"]}


def check_unchanged(run: SavedRun, selection: Selection, scores: list[SliceScore]) -> None:
    """UserError where a slice of the run's own split is not what it was in training."""
    for pair, score in zip(selection.pairs, scores, strict=True):
        if not selection.split:
            continue
        if run.config.fingerprints:
            same = score.digest == run.config.fingerprints[pair.id]
        else:
            expected = float(run.config.facts[pair.id]["tumor_percent"])
            same = same_tumor_size(score.row["tumor_percent"], expected)
        if not same:
            raise UserError(
                f"'{pair.image}' or its mask has changed since the run was trained: restore it."
            )


def say_what_was_trained_on(run: SavedRun, selection: Selection, scores: list[SliceScore]) -> None:
    """Warn where slices, or other slices of their patients, were used to train or choose the network."""
    for part, verb in (("train", "trained on"), ("val", "used to choose the network")):
        if part == selection.split == "val":
            continue  # what validation is for
        ids = run.config.split[part]
        digests = {run.config.fingerprints.get(id) for id in ids}
        patients = {run.config.facts[id]["patient"] for id in ids}
        seen = sum(
            score.digest in digests or selection.facts[pair.id]["patient"] in patients
            for pair, score in zip(selection.pairs, scores, strict=True)
        )
        if seen:
            print(
                f"Warning: {seen} of these {len(scores)} slices, or others of their patients, were "
                f"{verb}: this is no score for new patients."
            )


def summarise(
    run: SavedRun,
    selection: Selection,
    rows: list[dict],
    dice_curve: np.ndarray,
    histogram: np.ndarray,
) -> dict[str, object]:
    """Means over slices, each with its 95 % interval over patients, of all and by tumor type."""
    return {
        "run": str(run.folder),
        **selection.identity,
        "threshold": run.config.threshold,
        "peak": run.config.peak,
        "empty_masks": EMPTY_MASKS,
        "machine": machine_description(),
        "versions": installed_versions(),
        "intervals": f"95 %, expanded percentile bootstrap {intervals_over(selection.facts)}",
        "chosen_on_these": CHOSEN_ON_VAL if selection.split == "val" else "",
        "scores": {name: summarise_group(group) for name, group in all_and_by_tumor(rows).items()},
        "scores_by_size": {name: summarise_group(group) for name, group in by_size(rows).items()},
        "scores_by_plane": {
            name: summarise_group(g) for name, g in groups_by(rows, "plane").items()
        },
        "false_alarms": false_alarms(rows),
        "expected_dice": how_well_expected(rows, selection),
        "surface_dice_tolerance": f"{TOLERANCE:g} {'mm' if 'hd95_mm' in rows[0] else 'pixels'}",
        "expected_calibration_error": {
            "all pixels": expected_calibration_error(histogram),
            "pixels of 0.05 or more": expected_calibration_error(histogram, first_bin=1),
        },
        "dice_by_threshold": {
            f"{threshold:.2f}": float(dice)
            for threshold, dice in zip(THRESHOLDS, dice_curve, strict=True)
        },
    }


def all_and_by_tumor(rows: list[dict]) -> dict[str, list[dict]]:
    """ "all", then those with tumor if some have none, then those of each tumor type that is known."""
    with_tumor = [row for row in rows if row["truth_pixels"]]
    groups = {"all": rows}
    if 0 < len(with_tumor) < len(rows):
        groups["with tumor"] = with_tumor
    return groups | groups_by(rows, "tumor")


def groups_by(rows: list[dict], column: str) -> dict[str, list[dict]]:
    """The rows of each value of a column that is known of them, in alphabetical order."""
    values = sorted({row[column] for row in rows if row.get(column)})
    return {value: [row for row in rows if row.get(column) == value] for value in values}


def by_size(rows: list[dict]) -> dict[str, list[dict]]:
    """Rows with tumor by the share of the image that it covers; sizes that do not occur are left out."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        if row["truth_pixels"]:
            name = next(name for name, limit in SIZES.items() if row["tumor_percent"] <= limit)
            groups.setdefault(name, []).append(row)
    return {name: groups[name] for name in SIZES if name in groups}


def false_alarms(rows: list[dict]) -> dict[str, int]:
    """Of the slices without tumor: how many got an outline."""
    healthy = [row for row in rows if not row["truth_pixels"]]
    return {
        "slices_without_tumor": len(healthy),
        "with_an_outline": sum(row["predicted_pixels"] > 0 for row in healthy),
    }


def how_well_expected(rows: list[dict], selection: Selection) -> dict[str, object] | None:
    """How the Dice that was expected without the truth ranks the true one; None where none was expected.

    spearman: rank correlation over the outlined slices, None where it is not defined; missed_whole and
    missed_to_review: tumors missed whole, and those of them that were marked for review.
    """
    outlined = [row for row in rows if row.get("expected_dice", "") != ""]
    expected, dice = (
        np.array([row[name] for row in outlined]) for name in ("expected_dice", "dice")
    )
    if not outlined or not np.isfinite(expected).all():
        return None
    missed = [row for row in rows if row["truth_pixels"] and not row["dice"]]
    ranked = len(set(expected)) > 1 and len(set(dice)) > 1
    return {
        "fitted_on": "other validation patients (five folds)"
        if selection.split == "val"
        else "the run's validation patients",
        "spearman": float(spearmanr(expected, dice).statistic) if ranked else None,
        "mean_absolute_error": float(np.abs(expected - dice).mean()),
        "missed_whole": len(missed),
        "missed_to_review": sum(bool(row.get("review")) for row in missed),
        "to_review": {
            reason: len(group) / len(rows) for reason, group in groups_by(rows, "review").items()
        },
    }


def summarise_group(rows: list[dict]) -> dict[str, object]:
    patients = np.array([row["patient"] for row in rows])
    result: dict[str, object] = {"slices": len(rows), "patients": len(set(patients))}
    for name in [name for name in SUMMARISED if name in rows[0]]:
        values = np.array([row[name] for row in rows])
        interval = metrics.interval_over_patients(values, patients)
        result[name] = {"mean": float(values.mean()), "interval": interval}
    with_tumor = [row for row in rows if row["truth_pixels"]]
    missed = sum(row["dice"] == 0 for row in with_tumor)
    result["tumors_missed_whole"] = missed / len(with_tumor) if with_tumor else None
    return result


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
        "Dice of all slices": plots.dice_distribution(rows, output / "dice_distribution.png"),
        "Dice by tumor type": plots.dice_by_type(
            rows, summary["scores"], output / "dice_by_type.png"
        ),
        "Dice by tumor size": plots.dice_by_size(rows, output / "dice_by_size.png"),
        "Dice by threshold": plots.threshold_curve(
            THRESHOLDS, list(summary["dice_by_threshold"].values()), predictor.threshold,
            output / "threshold_curve.png",
        ),
    }  # fmt: skip
    if summary["expected_dice"]:
        drawn["Expected and true Dice"] = plots.expected_dice(
            rows, summary["expected_dice"], output / "expected_dice.png"
        )
    drawn["Calibration, precision and recall"] = plots.calibration(
        reliability(histogram), summary["expected_calibration_error"], precision_recall(histogram),
        predictor.threshold, output / "calibration.png",
    )  # fmt: skip
    gallery = {
        name: [gallery_tile(predictor, selection, i, rows[i]) for i in indices]
        for name, indices in gallery_choice(rows).items()
    }
    plots.gallery(gallery, predictor.threshold, output / "gallery.png")
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


def describe(summary: dict, output: Path) -> str:
    """The summary as a small table for the terminal."""
    distance = "hd95_mm" if "hd95_mm" in summary["scores"]["all"] else "hd95_pixels"
    after_dice = ["iou", "precision", "recall", "surface_dice", distance]
    lines = [
        f"{'':12}{'slices':>8}{'patients':>10}{'Dice (95 % interval)':>35}"
        + "".join(f"{name:>13}" for name in [*after_dice, "missed"])
    ]
    for name, group in summary["scores"].items():
        dice = f"{group['dice']['mean']:.3f} ({metrics.interval_text(group['dice']['interval'])})"
        missed = group["tumors_missed_whole"]
        lines.append(
            f"{name:12}{group['slices']:8}{group['patients']:10}{dice:>35}"
            + "".join(f"{group[score]['mean']:13.3f}" for score in after_dice)
            + ("            -" if missed is None else f"{missed:13.1%}")
        )
    told = [
        *expectation(summary),
        f"Intervals: {summary['intervals']}.",
        summary["chosen_on_these"],
    ]
    lines += [*told, EMPTY_MASKS, f"Look at {output}/report.html."]
    return "\n".join(filter(None, lines))


def expectation(summary: dict) -> list[str]:
    """A line about the Dice that was expected without the truth, where it is known."""
    expected = summary["expected_dice"] or {}
    if expected.get("spearman") is None:
        return []
    tail = ""
    if expected["missed_whole"]:
        tail = (
            f"; of {expected['missed_whole']} tumors missed whole {expected['missed_to_review']} are marked "
            "for review"
        )
    return [
        f"Dice expected without the truth: rank correlation {expected['spearman']:.2f}, off by "
        f"{expected['mean_absolute_error']:.2f} on average{tail}."
    ]
