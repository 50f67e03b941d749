"""The start of a training: a new run or a saved one, and its data."""

import os
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np

from unet.data.folder import data_folder, no_tumor_folders
from unet.data.slices import Slices, load_slices
from unet.data.split import FINAL, Split, split_slices
from unet.errors import UserError
from unet.files import is_utf8
from unet.images.preprocessing import PERCENTILES
from unet.machine import choose_precision, environment, installed_versions, machine_description
from unet.network.model import check_size
from unet.network.outlining import OutlineRule
from unet.network.run_config import FORMAT_VERSION, RunConfig, SliceTable, read_config, run_folder
from unet.network.saved_run import PRESENCE_CHECKPOINTS, UNKNOWN_ORIGIN, SavedRun
from unet.network.weights import weights_of
from unet.options import DataOptions, TrainingOptions
from unet.tables import write_table
from unet.training.checkpoints import load_checkpoint
from unet.training.data_page import INVERTED, percent_text, write_data_page
from unet.training.final import check_folds, family_name, fold_runs, is_final
from unet.training.learner import Learner
from unet.training.presence import NEEDED_TO_VALIDATE, validates_presence
from unet.training.tensorboard import Board
from unet.training.workers import Workers


def new_run(options: TrainingOptions, workers: Workers, runs: Path) -> tuple[SavedRun, Slices]:
    """A new run, not written yet, and its data; UserError if a run of that name exists."""
    check_recipe(options)
    check_size(options.size, options.model)
    Board.check_installed(options.tensorboard)
    name = name_of(options)
    SavedRun.check_free(runs / name)
    if options.data.fold == FINAL:
        fold_runs(runs, options)  # now, as it may take minutes to read the data
    folder = workers.chief_first(lambda: data_folder(options.data.data))
    no_tumor = workers.chief_first(lambda: no_tumor_folders(options.data.no_tumor))
    slices = load_slices(folder, options.size, options.data.memory_gib, options.data.reading, no_tumor)
    split = split_with_tumors(slices, folder, options.data)
    initial = SavedRun.open(run_folder(options.init)) if options.init else None
    warn_about_known_patients(initial, slices, split)
    precision = choose_precision(options.precision)
    if workers.any(precision == "float32"):
        precision = "float32"  # all workers use the format that is fastest for the slowest one
    config = RunConfig(
        format_version=FORMAT_VERSION,
        options=options,
        precision=precision,
        percentiles=PERCENTILES,
        outline_rule=OutlineRule(),
        presence_rule=None,
        split_source=split.source,
        slice_count=len(slices.ids),
        data_folder=str(folder.resolve()),
        no_tumor_folders=[str(other.resolve()) for other in no_tumor],
        versions=installed_versions(),
        machine=machine_description(),
        environment=environment(),
        initial_network=initial.network_fingerprint() if initial else None,
    )
    run = SavedRun(runs / name, config, SliceTable(split.ids, slices.fingerprint_by_id, split.facts))
    check_folds(run)
    return run, slices


def check_recipe(options: TrainingOptions) -> None:
    """UserError if options contradict each other, or the quick recipe was chosen but not applied."""
    usual, augmentation = TrainingOptions(), options.augmentation
    if augmentation.scale_min > augmentation.scale_max:
        raise UserError(
            f"--augmentation.scale-min {augmentation.scale_min} is larger than --augmentation.scale-max "
            f"{augmentation.scale_max}: lower the one or raise the other."
        )
    # With --init, these come from the initial run.
    if (
        options.quick
        and not options.init
        and (options.epochs, options.model.width) == (usual.epochs, usual.model.width)
    ):
        raise UserError(
            "--quick was given with the epochs and the width of the full recipe: leave it out. In Python, unet.recipe "
            "applies it."
        )


def name_of(options: TrainingOptions) -> str:
    """Name of the run's folder; UserError if --name is not one."""
    if options.data.fold == FINAL:
        name = f"{family_name(options)}-{FINAL}"
    else:
        name = options.name or f"{datetime.now():%Y-%m-%d-%H%M%S}-{options.size}px"
    if name != Path(name).name or name == ".." or not is_utf8(name) or len(os.fsencode(name)) > 200:
        raise UserError(f"--name {name!r} is invalid: give the short name of a folder, without / and the like.")
    return name


def split_with_tumors(slices: Slices, folder: Path, options: DataOptions) -> Split:
    """The slices, split by patient; UserError if there are no tumors to train or validate on."""
    if not slices.has_tumor.any():
        raise UserError(
            f"No mask in '{folder}' contains a tumor: check the masks, --labels and --mask-threshold. Images without a "
            "tumor may come from --no-tumor, beside others with a tumor."
        )
    split = split_slices(slices, folder, options)
    for part in ("train",) if options.fold == FINAL else ("train", "val"):
        if not slices.has_tumor[slices.indices(split.ids[part])].any():
            raise UserError(
                f"No mask of the {part} slices contains a tumor ({split.source.splitlines()[0].rstrip('.')}): add "
                "patients with a tumor, or put some into train and some into val, with the column split of a "
                "patients.csv."
            )
    return split


def print_data(run: SavedRun, slices: Slices) -> None:
    """Print how the slices are split, which copies are left out, and how much of the images is tumor, with a warning if
    the masks may be inverted. Write a page that shows some of the slices."""
    print(run.config.split_source)
    if slices.copies:
        path = run.folder / "duplicates.csv"
        write_table(path, [{"id": copy.name, "copy_of": original.name} for copy, original in slices.copies])
        print(f"Exact copies left out: {len(slices.copies)}, listed in {path}.")
    if run.config.no_tumor_folders and not validates_presence(run, slices):
        print(
            "Warning: no slices without tumor are in the validation split, so the presence head will not be trained, "
            f"and almost every image will get an outline. The split needs {NEEDED_TO_VALIDATE}.",
            file=sys.stderr,
        )
    percent = slices.tumor_percent[slices.has_tumor]
    median = np.median(percent)
    size = f"Tumor in {len(percent)} of {len(slices.ids)} slices, median {percent_text(median)} of the image"
    print(f"{size}: look at some in {write_data_page(run, slices)}.")
    if median > INVERTED:
        remedy = "If the masks are inverted, choose the value of the tumor with --labels (docs/your-data.md)."
        print(f"Warning: most of the image is tumor. {remedy}", file=sys.stderr)


def resumed_run(options: TrainingOptions, workers: Workers, runs: Path) -> tuple[SavedRun, Slices]:
    """The run to resume, with its own options, and its data, which may have moved."""
    run = SavedRun.open(workers.own_copy(options.resume, runs))
    workers.any(False)  # wait until all have their copies, before the chief changes anything
    Board.check_installed(run.config.options.tensorboard)
    has_moved = options.data.data != TrainingOptions().data.data
    moved = workers.chief_first(lambda: data_folder(options.data.data)) if has_moved else None
    folder = moved or Path(run.config.data_folder)
    if not folder.is_dir() and Path(options.data.data).is_dir():
        folder = Path(options.data.data)  # where the download puts the data set
    if not folder.is_dir():
        raise UserError(f"The run's data folder '{folder}' does not exist: say where it is with --data.")
    no_tumor = options.data.no_tumor or tuple(map(Path, run.config.no_tumor_folders))
    no_tumor = workers.chief_first(lambda: no_tumor_folders(no_tumor))
    options = run.config.options  # all but --data and --no-tumor
    slices = load_slices(folder, options.size, options.data.memory_gib, options.data.reading, no_tumor)
    check_same_data(run, slices, folder)
    folders = {"data_folder": str(folder.resolve()), "no_tumor_folders": [str(other.resolve()) for other in no_tumor]}
    run.config = replace(run.config, **folders)  # written by continue_run
    run.print_changes()
    return run, slices


def continue_run(run: SavedRun, epochs: int | None) -> None:
    """Write where the data of a resumed run are now, and let it continue to another epoch, if one is given. No other
    process may work in the run."""
    here = run.config
    run.config = read_config(run.folder)  # another process may have changed it while the data were read
    run.update_config(data_folder=here.data_folder, no_tumor_folders=here.no_tumor_folders)
    if is_final(run):
        longer = replace(run.config.options, epochs=epochs or run.config.options.epochs)
        check_folds(SavedRun(run.folder, replace(run.config, options=longer), run.slices))
    if epochs:
        change_epochs(run, epochs)


def warn_about_known_patients(run: SavedRun | None, slices: Slices, split: Split) -> None:
    """Print a warning if the run of --init, or a run that it started from itself, was trained on patients to score."""
    ids = split.ids["val"] + split.ids["test"]
    if not split.ids["val"]:
        ids = split.ids["train"] + ids  # of --fold final: these are the validation slices of its folds
    fingerprints = [slices.fingerprint_by_id[id] for id in ids]
    patients = [split.facts[id]["patient"] for id in ids]
    if run and (lost := run.lost_origin):
        print(f"Warning: {UNKNOWN_ORIGIN.format(lost)}", file=sys.stderr)
    for one in run.lineage if run else []:
        if seen := sum(one.slices.are_known("train", fingerprints, patients)):
            print(
                f"Warning: {seen} of the {len(ids)} validation and test slices, or others of the same patients, were "
                f"used to train '{one.folder}': expect lower scores on new patients."
            )


def use_initial_weights(run: SavedRun, learner: Learner) -> None:
    """Give a learner the weights of --init, and print which ones fit; UserError if none do, or they are gone."""
    name, initial = run.config.options.init, run.origin()
    if not initial:
        raise UserError(f"'{name}' is gone or has changed since '{run.folder}' was started: start a new run.")
    taken, missing = learner.start_from(weights_of(initial.load_trainable_network()))
    if not taken:
        raise UserError(f"No weights of '{name}' fit: leave out the --model options, which then come from that run.")
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    rest = f", except {', '.join(missing[:3])}{more}, which do not fit and start at random" if missing else ""
    print(f"Starting with the weights of '{name}'{rest}.")


def change_epochs(run: SavedRun, epochs: int) -> None:
    """Let a run continue to another epoch, after its newest checkpoint, and undo what followed the last epoch.
    The learning rate will be that of a training of so many epochs. UserError if this epoch is in the past."""
    old = run.config.options
    if epochs == old.epochs:
        return
    checkpoint = load_checkpoint(run)
    if not checkpoint or epochs < checkpoint[1]["epoch"]:
        done = f"has already done {checkpoint[1]['epoch']} epochs" if checkpoint else "has no checkpoint"
        raise UserError(f"'{run.folder}' {done}: give more to --epochs, or start a new run with --init {run.folder}.")
    for pattern in (PRESENCE_CHECKPOINTS, "presence_history.csv", "metrics.json", "confidence.json"):
        for path in run.folder.glob(pattern):
            path.unlink()
    run.update_config(options=replace(old, epochs=epochs), outline_rule=OutlineRule(), presence_rule=None)


def check_same_data(run: SavedRun, slices: Slices, folder: Path) -> None:
    """UserError if a slice of the run is missing, has changed or is new since the run was started."""
    now = slices.fingerprint_by_id
    if new := sorted(now.keys() - run.slices.fingerprints.keys()):
        # The order of slices, and their augmentation, would be another.
        raise UserError(f"The slice '{new[0]}' is new since '{run.folder}' was started: remove it or start a new run.")
    for id, fingerprint in run.slices.fingerprints.items():
        if now.get(id) != fingerprint:
            raise UserError(
                f"The slice '{id}' in '{folder}' is missing or has changed since '{run.folder}' was started: "
                "restore it or start a new run."
            )
