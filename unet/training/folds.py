"""train.py --fold all: five networks, and the joint scores of all patients, each by the network that never saw it."""

import json
from dataclasses import replace
from pathlib import Path

from unet.command_line import validated
from unet.data.split import FOLDS
from unet.errors import UserError
from unet.evaluation import summary as summaries
from unet.evaluation.detection import method_of_intervals, summarize_detection
from unet.evaluation.evaluate import evaluate
from unet.files import write_json
from unet.network.run_config import read_config
from unet.network.saved_run import SavedRun
from unet.options import EvaluationOptions, TrainingOptions
from unet.tables import read_table, write_table
from unet.training.final import difference, family_name, what_is_known
from unet.training.train import train
from unet.training.workers import index_and_count

NUMBERS = {*summaries.SUMMARIZED, "pixels", "truth_pixels", "predicted_pixels", "tumor_percent", "tumor_probability"}


def train_folds(options: TrainingOptions) -> Path:
    """Train and score a network for each of the five folds, and write their joint scores.

    Args:
        options: Those of each training; data.fold does not count. The runs are named after `name`, or else after the
            data folder. What is done is kept, so that an interrupted call can be repeated.

    Returns:
        The folder with per_slice.csv and summary.json, over the validation slices of all folds.

    Raises:
        UserError: As for train, or if a run of that name has other options.
    """
    options = validated(options)
    if index_and_count()[1] > 1:
        raise UserError("--fold all needs a single worker: train --fold 0 to --fold 4 one after the other.")
    if options.resume:
        raise UserError("train_folds continues by itself: repeat its options, without resume.")
    name = family_name(options)
    runs = []
    for fold in FOLDS:
        runs.append(train_fold(replace(options, name=f"{name}-fold-{fold}"), fold))
        check_same_slices(runs[0], runs[-1])
    output = Path("runs") / f"{name}-all-folds"
    print(
        f"{summaries.describe(join(runs, output))}\nThe scores of each slice are in {output}/per_slice.csv. For one "
        "network from all these patients, run the same command with --fold final."
    )
    return output


def train_fold(options: TrainingOptions, fold: int) -> Path:
    """Train and score the network of one fold, as far as that is not done yet; returns its run folder."""
    options = replace(options, data=replace(options.data, fold=fold))
    run, machine = Path("runs") / options.name, options.machine
    print(f"Fold {fold} (0 to {FOLDS[-1]}): {run}", flush=True)
    if (run / "config.json").exists():
        if different := difference(replace(read_config(run).options, machine=machine), options):
            raise UserError(f"'{run}' has another {different}: repeat the options, or choose another --name.")
        options = TrainingOptions(resume=run, machine=machine)
    if not (run / "metrics.json").exists():
        train(options)
    if not is_scored(run):
        evaluate(EvaluationOptions(runs=(run,), machine=machine))
    return run


def check_same_slices(run: Path, other: Path) -> None:
    """UserError if the slices, their patients or the test patients of two folds differ."""
    if what_is_known(SavedRun.open(run)) != what_is_known(SavedRun.open(other)):
        raise UserError(
            f"The slices, their patients or their split have changed between '{run}' and '{other}': restore them and "
            "delete the newer run, or start again with another --name."
        )


def is_scored(run: Path) -> bool:
    """Whether the validation slices of a run are scored with its network as it is now. UserError if the folder for
    these scores has others: of other slices, with unusual options, or damaged."""
    scores = run / "evaluation-val"
    if not (scores / "summary.json").exists():
        return False
    try:
        summary = json.loads((scores / "summary.json").read_text())
    except ValueError:
        summary = {}
    usual = EvaluationOptions()
    expected = {"slices": "val", "data": None}
    expected |= {name: getattr(usual, name) for name in ("mirror", "always_outline", "spacing_mm")}
    if different := [name for name, value in expected.items() if summary.get(name, "") != value]:
        raise UserError(
            f"'{scores}' has other scores, or damaged ones ({different[0].replace('_', ' ')}): delete or rename this "
            "folder, then repeat the command."
        )
    is_complete = (scores / "report.html").exists()  # the last file of an evaluation
    return is_complete and summary["network"] == SavedRun.open(run).network_fingerprint()


def join(runs: list[Path], output: Path) -> dict[str, object]:
    """Write per_slice.csv and summary.json over the validation slices of all folds; returns the summary."""
    tables = [read_table(run / "evaluation-val" / "per_slice.csv") for run in runs]
    # Without a presence rule, a fold has no tumor probability.
    columns = [name for name in tables[0][0] if all(name in table[0] for table in tables)]
    rows = [
        {name: float(row[name]) if name in NUMBERS and row[name] else row[name] for name in columns}
        | {"scored_by_fold": fold}
        for fold, table in zip(FOLDS, tables, strict=True)
        for row in table
    ]
    with_tumor = [row for row in rows if row["truth_pixels"]]
    summaries_of_folds = [json.loads((run / "evaluation-val" / "summary.json").read_text()) for run in runs]
    caveats = [line for summary in summaries_of_folds for line in summary["caveat"].splitlines()]
    of_fold = {f"fold {fold}": [row for row in with_tumor if row["scored_by_fold"] == fold] for fold in FOLDS}
    summary = {
        "runs": list(map(str, runs)),
        "intervals": method_of_intervals(rows),
        "caveat": "\n".join(dict.fromkeys(caveats)),
        "warning": "",
        "empty_masks": summaries.EMPTY_MASKS,
        "detection": summarize_detection(rows),
        "scores": summaries.summarize_groups(summaries.all_and_by_tumor(with_tumor) | of_fold),
    }
    write_table(output / "per_slice.csv", rows)
    write_json(output / "summary.json", summary)
    return summary
