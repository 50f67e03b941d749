"""The run folder: all that evaluation and prediction need of a training; read and written here only.

In the folder:

    config.json   options, preprocessing, threshold, split with ids, data fingerprint, versions
    model.keras   the network of the best epoch: averaged weights, normalisation folded into convolutions
    quality.json  what makes an outline likely to be good, and an image like the training's
    history.csv   a row an epoch, timing.csv beside it      metrics.json   what was reached
    film.npz      how the same few slices were outlined after some epochs
    checkpoint-N.npz   the whole state after N steps, to go on from; the newest two are kept, and any that
                  is damaged as checkpoint-N.npz.damaged
"""

from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from unet.data.folder import data_folder
from unet.data.slices import Slices, load_slices
from unet.data.split import Split, split_slices
from unet.errors import UserError
from unet.images.preprocessing import PERCENTILES
from unet.machine import choose_precision, environment, installed_versions, machine_description
from unet.network.model import check_size
from unet.network.run_config import FORMAT_VERSION, RunConfig
from unet.network.saved_run import SavedRun
from unet.options import TrainingOptions
from unet.training.tensorboard import Board
from unet.training.workers import Workers


def new_config(
    options: TrainingOptions,
    precision: str,
    split: Split,
    folder: Path,
    fingerprints: dict[str, str],
) -> RunConfig:
    """The config of a run that starts now."""
    parts = asdict(split)
    return RunConfig(
        format_version=FORMAT_VERSION,
        options=options,
        precision=precision,
        percentiles=PERCENTILES,
        threshold=0.5,
        facts=parts.pop("facts"),
        split_source=parts.pop("source"),
        split=parts,
        data_folder=str(folder.resolve()),
        fingerprints=fingerprints,
        versions=installed_versions(),
        machine=machine_description(),
        environment=environment(),
    )


def new_run(options: TrainingOptions, workers: Workers, runs: Path) -> tuple[SavedRun, Slices]:
    """A run that is not written yet, and its data; UserError where one of its name stands already."""
    check_size(options.size, options.model)
    Board.check(options.tensorboard)
    name = options.name or f"{datetime.now():%Y-%m-%d-%H%M%S}-{options.size}px"
    run_folder = runs / name
    SavedRun.check_free(run_folder)
    folder = workers.chief_first(lambda: data_folder(options.data.data))
    slices = read_data(folder, options)
    if not slices.tumor_percent.any():
        raise UserError(f"No mask in '{folder}' has any tumor: there is nothing to learn.")
    split = split_slices(slices, folder, options.data)
    precision = choose_precision(options.precision)
    if workers.any(precision == "float32"):
        precision = "float32"  # where any of several workers is slower in another
    config = new_config(options, precision, split, folder, slices.fingerprints)
    return SavedRun(run_folder, config), slices


def resumed_run(options: TrainingOptions, workers: Workers, runs: Path) -> tuple[SavedRun, Slices]:
    """The run to go on with, whose options count and no others, and its data, which may have moved."""
    run = SavedRun.open(workers.own_copy(options.resume, runs))
    workers.any(False)  # all have their copies, before the chief changes anything
    Board.check(run.config.options.tensorboard)
    moved = options.data.data != TrainingOptions().data.data
    folder = data_folder(options.data.data) if moved else Path(run.config.data_folder)
    if not folder.is_dir() and Path(options.data.data).is_dir():
        folder = Path(options.data.data)  # where the set is downloaded to
    if not folder.is_dir():
        raise UserError(f"The run's data folder '{folder}' is not there: name it with --data.")
    slices = read_data(folder, run.config.options)
    check_same_data(run, slices, folder)
    run.set_data_folder(folder)
    run.tell_changes()
    return run, slices


def read_data(folder: Path, options: TrainingOptions) -> Slices:
    return load_slices(folder, options.size, options.data.memory_gib, options.data.max_pixels)


def check_same_data(run: SavedRun, slices: Slices, folder: Path) -> None:
    """UserError where the run's slices are not what they were when it started."""
    now = slices.fingerprints
    for id, digest in run.config.fingerprints.items():
        if now.get(id) != digest:
            raise UserError(
                f"The slice '{id}' in '{folder}' is gone or has changed since "
                f"'{run.folder}' was started: restore it or start a new run."
            )
