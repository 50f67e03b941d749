"""train.py --fold final: one network from all patients but the test patients. No patient is left to validate it.

What a training chooses on validation slices, such as thresholds, is chosen with the five networks of --fold all
instead, on the slices that each of them never saw.
"""

from dataclasses import replace
from pathlib import Path

from unet.errors import UserError
from unet.network.saved_run import SavedRun
from unet.options import MachineOptions, TrainingOptions

FINAL = "final"  # value of --fold, and end of the run's name
FOLDS = range(5)


def family_name(options: TrainingOptions) -> str:
    """Start of the names of all runs of --fold all and --fold final: --name, or else the name of the data folder."""
    return options.name or Path(options.data.data).resolve().name


def is_final(run: SavedRun) -> bool:
    """Whether a run has no validation slices, because of --fold final."""
    return run.config.options.data.fold == FINAL


def validating_runs(run: SavedRun) -> list[SavedRun]:
    """The runs whose validation slices decide how a run outlines: the run itself, or for --fold final the five folds.
    UserError if one of these is missing or not finished."""
    if not is_final(run):
        return [run]
    folders = [run.folder.with_name(f"{family_name(run.config.options)}-fold-{fold}") for fold in FOLDS]
    for folder in folders:
        if not (folder / "metrics.json").exists():
            raise UserError(
                f"--fold final needs the five networks of --fold all, but '{folder}' is missing or not finished: run "
                "the same command with --fold all first."
            )
    return [SavedRun.open(folder) for folder in folders]


def check_folds(run: SavedRun) -> None:
    """UserError if a new run of --fold final and its folds have other options or other slices."""
    if not is_final(run):
        return
    for fold in validating_runs(run):
        if comparable(fold.config.options) != comparable(run.config.options):
            raise UserError(f"'{fold.folder}' has other options (see its config.json): repeat those of --fold all.")
        same = fold.slices.fingerprints == run.slices.fingerprints
        if not same or fold.slices.patients("test") != run.slices.patients("test"):
            raise UserError(
                f"The slices or their split have changed since '{fold.folder}' was trained: restore them, or start "
                "again with --fold all and another --name."
            )


def comparable(options: TrainingOptions) -> TrainingOptions:
    """The options without those in which a network of --fold final may differ from its folds."""
    return replace(options, name=None, data=replace(options.data, fold=None), machine=MachineOptions())
