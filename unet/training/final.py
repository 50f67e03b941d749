"""train.py --fold final: one network from all patients but the test patients. No patient is left to validate it.

What a training chooses on validation slices, such as thresholds, is chosen with the five networks of --fold all
instead, on the slices that each of them never saw.
"""

from dataclasses import asdict, replace
from pathlib import Path

from unet.data.split import FINAL, FOLDS
from unet.errors import UserError
from unet.network.saved_run import SavedRun
from unet.options import MachineOptions, TrainingOptions
from unet.training.checkpoints import first_difference, flatten


def family_name(options: TrainingOptions) -> str:
    """Start of the names of all runs of --fold all and --fold final: --name, or else the name of the data folder."""
    return options.name or Path(options.data.data).resolve().name


def is_final(run: SavedRun) -> bool:
    """Whether a run has no validation slices, because of --fold final."""
    return run.config.options.data.fold == FINAL


def validating_runs(run: SavedRun) -> list[SavedRun]:
    """The runs whose validation slices decide how a run outlines: the run itself, or for --fold final the five folds.
    UserError as for fold_runs."""
    return fold_runs(run.folder.parent, run.config.options) if is_final(run) else [run]


def fold_runs(runs: Path, options: TrainingOptions) -> list[SavedRun]:
    """The five runs of --fold all, in the folder `runs`. UserError if one of them is missing or not finished."""
    folders = [runs / f"{family_name(options)}-fold-{fold}" for fold in FOLDS]
    for folder in folders:
        if not (folder / "metrics.json").exists():
            raise UserError(
                f"--fold final needs the five networks of --fold all, but '{folder}' is missing or not finished: run "
                "the same command with --fold all first, or move these networks back beside the final one."
            )
    return [SavedRun.open(folder) for folder in folders]


def check_folds(run: SavedRun) -> None:
    """UserError if a run of --fold final and its folds have other options, slices or patients, or if the network of a
    fold is damaged."""
    if not is_final(run):
        return
    for number, fold in zip(FOLDS, validating_runs(run), strict=True):
        expected = replace(run.config.options, data=replace(run.config.options.data, fold=number))
        if different := difference(comparable(fold.config.options), comparable(expected)):
            raise UserError(f"'{fold.folder}' has another {different}: repeat the options of --fold all.")
        if what_is_known(fold) != what_is_known(run):
            raise UserError(
                f"The slices, their patients or their split have changed since '{fold.folder}' was trained: restore "
                "them, or start again with --fold all and another --name."
            )
        fold.load_trainable_network()


def comparable(options: TrainingOptions) -> TrainingOptions:
    """The options without those in which a network of --fold final may differ from its folds. Whether the data are the
    same shows in their slices."""
    anywhere = replace(options.data, data="", no_tumor=(), patients=None, memory_gib=1.0)
    return replace(options, name=None, data=anywhere, tensorboard=False, machine=MachineOptions())


def what_is_known(run: SavedRun) -> dict[str, tuple]:
    """Fingerprint and patient of each slice by id, and whether it is for testing."""
    test = set(run.slices.split["test"])
    facts = run.slices.facts
    return {id: (print_, facts[id]["patient"], id in test) for id, print_ in run.slices.fingerprints.items()}


def difference(options: TrainingOptions, others: TrainingOptions) -> str:
    """The first option that differs, as on the command line; "" if none does."""
    different = first_difference(*(flatten(asdict(one), "") for one in (options, others)))
    groups = ".data.reading.", ".data.", ".machine.", ".", ""
    return different.removeprefix(next(filter(different.startswith, groups))).replace("_", "-")
