"""Train a U-Net, with a loop of our own over Keras' model, optimizer, schedule and metrics.

Keras' fit fails under tf.distribute with several hosts (Keras issue 20585) and cannot resume exactly. This loop does
both, since order and augmentation depend on (seed, epoch, slice) only.
"""

import tensorflow as tf

from unet.command_line import command
from unet.data.slices import Slices
from unet.data.split import FINAL
from unet.errors import UserError
from unet.files import only_process_in
from unet.machine import configure_machine, use_precision
from unet.network.saved_run import SavedRun
from unet.options import TrainingOptions
from unet.pictures.style import in_our_style
from unet.training.finish import finish
from unet.training.learner import Learner
from unet.training.loop import TrainingLoop
from unet.training.material import indices_of
from unet.training.presence import train_presence
from unet.training.start import continue_run, new_run, print_data, resumed_run
from unet.training.workers import LOST, Workers


@in_our_style
def train(options: TrainingOptions, epochs: int | None = None) -> SavedRun:
    """Train a network, or resume a training.

    Args:
        options: All choices. With options.resume, the other options come from that run.
        epochs: With options.resume: train until this epoch. By default, the number of epochs comes from the run too.

    Returns:
        The finished run. Its folder contains all results.

    Raises:
        UserError: If the training cannot start or continue; the message names the file or option.
        Stopped: After SIGINT or SIGTERM, once a checkpoint is written.

    Example:
        >>> from unet.options import DataOptions, ModelConfig
        >>> small = ModelConfig(width=4, depth=3)
        >>> options = TrainingOptions(DataOptions("data/phantom"), name="first", size=32, epochs=1, model=small)
        >>> run = train(options)  # doctest: +ELLIPSIS
        Split by patient ...
        >>> (run.folder / "model.keras").exists()
        True
    """
    options = configure_machine(options)
    if options.data.fold == "all":
        raise UserError("One training has one fold, 0 to 4: call train_folds(options) for all five.")
    if epochs is not None and not (options.resume and isinstance(epochs, int) and epochs > 0):
        raise UserError(f"epochs={epochs} is invalid: give a whole number together with options.resume.")
    workers = Workers()
    if options.data.fold == FINAL and workers.count > 1:
        raise UserError("--fold final needs a single worker: start it once.")
    try:
        with workers.runs_folder() as runs:
            start = resumed_run if options.resume else new_run
            run, slices = start(options, workers, runs)
            with only_process_in(run.folder):
                if not options.resume:
                    run.create()
                    print_data(run, slices)
                else:
                    continue_run(run, epochs)
                fit_and_finish(run, slices, workers)
    except LOST as error:
        raise UserError(
            "Another worker has stopped: see its output, then start all workers again, with --resume if the run has "
            "a checkpoint."
        ) from error
    return run


def fit_and_finish(run: SavedRun, slices: Slices, workers: Workers) -> None:
    """Train from the last checkpoint, or from the start, to the end, and report the scores."""
    use_precision(run.config.precision)
    options = run.config.options
    with_tumor = len(indices_of(run, slices, "train", has_tumor=True))
    batch_size = min(options.batch_size, with_tumor)
    replicas = workers.strategy.num_replicas_in_sync
    if batch_size % replicas:
        raise UserError(
            f"--batch-size {batch_size} is not a multiple of {replicas}, the number of devices, which take equal "
            "parts of each batch: start a new run with another --batch-size."
        )
    steps = with_tumor // batch_size * options.epochs
    try:
        learner = Learner(options, batch_size, steps, workers.strategy)
        history = TrainingLoop(run, slices, learner, workers).fit()
        train_presence(run, slices)
        finish(run, slices, history)
    except KeyboardInterrupt:
        print(f"Continue with: {command('train')} --resume {run.folder}")
        raise
    except (MemoryError, tf.errors.ResourceExhaustedError) as error:
        raise UserError(
            f"Out of memory: start a new run with a --batch-size below {batch_size} or a --size below {options.size}."
        ) from error
