"""Train a U-Net: one loop of our own over Keras' model, optimizer, weight average, schedule and metrics.

Keras' fit fails under tf.distribute with several hosts (keras issue 20585) and cannot resume exactly;
this loop does both, as order and augmentation depend on (seed, epoch, slice) only.
"""

import tensorflow as tf

from unet.data.slices import Slices
from unet.errors import UserError
from unet.files import only_process_in
from unet.machine import use_precision
from unet.network.saved_run import SavedRun
from unet.options import TrainingOptions
from unet.training.finish import finish
from unet.training.learner import Learner
from unet.training.loop import fit
from unet.training.start import new_run, resumed_run
from unet.training.workers import LOST, Workers


def train(options: TrainingOptions) -> SavedRun:
    """Train, or go on with options.resume; returns the run, whose folder holds all results."""
    workers = Workers()
    try:
        with workers.runs_folder() as runs:
            start = resumed_run if options.resume else new_run
            run, slices = start(options, workers, runs)
            with only_process_in(run.folder):
                if not options.resume:
                    run.create()
                print(run.config.split_source)
                fit_and_finish(run, slices, workers)
    except LOST as error:
        raise UserError(
            "Another worker has ended: see what it said, then start all of them again, with --resume where "
            "the run has a checkpoint."
        ) from error
    return run


def fit_and_finish(run: SavedRun, slices: Slices, workers: Workers) -> None:
    """Train from the run's last checkpoint, or the start, to the end, and say what was reached."""
    use_precision(run.config.precision)
    options = run.config.options
    train_count = len(run.config.split["train"])
    batch_size = min(options.batch_size, train_count)
    replicas = workers.strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise UserError(
            f"Each of {replicas} devices takes an equal part of a batch: start anew with a --batch-size that "
            f"is a multiple of {replicas}, not {batch_size}."
        )
    steps = train_count // batch_size * options.epochs
    try:
        learner = Learner(options, batch_size, steps, workers.strategy)
        history = fit(learner, run, slices, workers)
        finish(run, slices, history)
    except KeyboardInterrupt:
        print(f"Go on with: python train.py --resume {run.folder}")
        raise
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise UserError(
            f"Out of memory: start anew with a --batch-size below {batch_size} or a --size below "
            f"{options.size}."
        ) from error
