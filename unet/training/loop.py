"""Train a U-Net: one loop of our own over Keras' model, optimizer, weight average, schedule and metrics.

Keras' fit fails under tf.distribute with several hosts (keras issue 20585) and cannot resume exactly;
this loop does both, as order and augmentation depend on (seed, epoch, slice) only.
"""

import math
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field

import tensorflow as tf
from tqdm import tqdm

from unet.data.batches import training_batches, validation_batches
from unet.data.slices import Slices
from unet.errors import UserError
from unet.machine import free_memory
from unet.network.model import activation_bytes
from unet.network.saved_run import CHECKPOINTS_KEPT, SavedRun
from unet.signals import Stopped, StopRequest
from unet.training.learner import Learner
from unet.training.samples import draw, draw_film, film_epochs, spread
from unet.training.tensorboard import Board
from unet.training.workers import Workers

SECONDS_BETWEEN_PLOTS = 15
# Within an epoch; there is one after each epoch as well.
SECONDS_BETWEEN_CHECKPOINTS = 600
SAMPLES_SHOWN = 6


@dataclass
class Progress:
    """How far a training is. With the learner's state it is what a checkpoint holds."""

    epoch: int = 0  # epochs done
    step: int = 0  # steps done of the next one
    seconds: float = 0.0  # spent on those steps, of which `waiting` for data
    waiting: float = 0.0
    cpu_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    timing: list[dict[str, float]] = field(default_factory=list)


def fit(learner: Learner, run: SavedRun, slices: Slices, workers: Workers) -> list[dict[str, float]]:
    """Train from the last checkpoint, or the start, to the last epoch; returns the history."""
    options = run.config.options
    progress = Progress()
    checkpoint = run.load_checkpoint()
    if checkpoint:
        arrays, told = checkpoint
        learner.restore(arrays)
        progress = Progress(**told)
        print(f"Going on after {progress.step} steps of epoch {progress.epoch + 1}.")
    workers.check_equal(
        str((run.decisive_of_all(), progress.epoch, progress.step)),
        "the data, the options or the checkpoint",
    )
    check_memory(run, learner)
    check_disk(run, learner)

    train_indices, val_indices = (slices.indices(run.config.split[part]) for part in ("train", "val"))
    shown = spread(val_indices, SAMPLES_SHOWN)
    batch_size = learner.batch_size
    steps = len(train_indices) // batch_size
    epochs = range(progress.epoch, options.epochs)
    first_step = progress.step

    def batches_of(worker: tf.distribute.InputContext) -> tf.data.Dataset:
        """This worker's part of each batch, in as many pieces as it has devices."""
        share = batch_size // worker.num_input_pipelines
        part = range(share * worker.input_pipeline_id, share * (worker.input_pipeline_id + 1))
        batches = training_batches(
            slices, train_indices, batch_size, epochs, options.seed, options.augmentation, first_step,
            part,
        )  # fmt: skip
        each = worker.get_per_replica_batch_size(batch_size)
        return batches if each == share else batches.rebatch(each)

    batches = iter(learner.strategy.distribute_datasets_from_function(batches_of))
    drawn = -math.inf
    board = Board(run.folder / "tensorboard", options.tensorboard)
    done = steps * progress.epoch + progress.step
    with (
        StopRequest() as stop,
        tqdm(total=steps * options.epochs, initial=done, unit="step", disable=None) as bar,
    ):

        def save() -> None:
            count = steps * progress.epoch + progress.step
            run.save_checkpoint(count, learner.state(), asdict(progress))

        for epoch in epochs:
            bar.set_description(f"epoch {epoch + 1}/{options.epochs}")
            row = train_epoch(learner, batches, steps, progress, stop, workers, save, bar)
            learner.refresh_kept()
            row |= validate(learner, validation_batches(slices, val_indices, batch_size))
            row["val_dice_raw"] = ""
            if epoch + 1 in film_epochs(options.epochs):
                # Of a few epochs only: it takes as long as the other.
                batches_again = validation_batches(slices, val_indices, batch_size)
                row["val_dice_raw"] = validate(learner, batches_again, raw=True)["val_dice"]
                draw_film(run, learner, slices, shown, epoch + 1)
                board.picture(run.folder / "film_strip.png", epoch + 1)
            is_best = row["val_dice"] > max((old["val_dice"] for old in progress.history), default=-1)
            progress.history.append(row)
            progress.timing.append(timing_of(progress))
            if is_best:
                run.save_model(learner.kept)
            report(row, progress.seconds, is_best, bar)
            progress.epoch, progress.step = epoch + 1, 0
            progress.seconds = progress.waiting = progress.cpu_seconds = 0.0
            run.write_history(progress.history, progress.timing)
            board.scores(row)
            if time.monotonic() > drawn + SECONDS_BETWEEN_PLOTS or epoch == epochs[-1]:
                draw(run, learner, slices, shown, progress.history)
                board.picture(run.folder / "samples.png", epoch + 1)
                drawn = time.monotonic()
            # Last: what a checkpoint says is done, is done.
            save()
            if workers.any(stop.number):
                raise Stopped(stop.number or signal.SIGTERM)
    return progress.history


def check_memory(run: SavedRun, learner: Learner) -> None:
    """UserError where a step surely takes more memory than there is: the system would kill the process."""
    if tf.config.list_physical_devices("GPU"):
        return  # TensorFlow itself tells that a GPU's memory is full
    size = run.config.options.size
    needed = learner.batch_size * activation_bytes(learner.model, size)
    free = free_memory()
    if needed > free:
        raise UserError(
            f"A step takes about {needed / 2**30:.1f} GiB of memory and {free / 2**30:.1f} are free: start "
            f"anew with a --batch-size below {learner.batch_size} or a --size below {size}."
        )


def check_disk(run: SavedRun, learner: Learner) -> None:
    """UserError where the checkpoints that are kept, and the one being written, would not fit."""
    needed = (CHECKPOINTS_KEPT + 1) * sum(array.nbytes for array in learner.state())
    needed -= run.checkpoint_bytes()
    free = shutil.disk_usage(run.folder).free
    if free < needed:
        raise UserError(
            f"'{run.folder}' is on a disk with {free / 2**30:.2f} GiB free; the checkpoints need "
            f"{needed / 2**30:.2f} GiB more: free some space, or train where there is more."
        )


def train_epoch(
    learner: Learner,
    batches: Iterator,
    steps: int,
    progress: Progress,
    stop: StopRequest,
    workers: Workers,
    save: Callable[[], None],
    bar: tqdm,
) -> dict[str, float]:
    """Train up to `steps` batches; returns the epoch's means. A stop request saves and raises Stopped."""
    learning_rate = float(learner.learning_rate(steps * progress.epoch))
    saved = time.monotonic()
    while progress.step < steps:
        start, start_cpu = time.perf_counter(), time.process_time()
        images, masks = next(batches)
        progress.waiting += time.perf_counter() - start
        learner.train_step(images, masks)
        progress.step += 1
        if progress.step % 10 == 0 or progress.step == steps:
            loss, dice = float(learner.loss.result()), float(learner.dice.result())
            bar.set_postfix_str(f"loss {loss:.3f}, Dice {dice:.3f}")
            if not math.isfinite(loss):
                raise UserError(
                    "The loss is no number any more: start anew with a lower --learning-rate. "
                    "The best network so far is kept in the run."
                )
        progress.seconds += time.perf_counter() - start
        progress.cpu_seconds += time.process_time() - start_cpu
        bar.update()
        if workers.count > 1 and progress.step % 10:
            continue  # asking all takes time
        # Asked once: a signal that comes after the answer must not stop without a checkpoint.
        stopping = workers.any(stop.number)
        if stopping or workers.any(time.monotonic() > saved + SECONDS_BETWEEN_CHECKPOINTS):
            save()
            saved = time.monotonic()
        if stopping:
            raise Stopped(stop.number or signal.SIGTERM)
    scores = learner.take_scores()
    return {
        "epoch": progress.epoch + 1,
        "loss": scores["loss"],
        "dice": scores["dice"],
        "learning_rate": learning_rate,
    }


def timing_of(progress: Progress) -> dict[str, float]:
    """A row of timing.csv: seconds of the epoch's steps, the share spent waiting, cores that were busy."""
    return {
        "epoch": progress.epoch + 1,
        "seconds": progress.seconds,
        "waiting_for_data": progress.waiting / progress.seconds,
        "busy_cores": progress.cpu_seconds / progress.seconds,
    }


def validate(learner: Learner, batches: tf.data.Dataset, raw: bool = False) -> dict[str, float]:
    """Score the network that is kept, or the raw weights, on every validation slice once; means."""
    for images, masks in learner.strategy.experimental_distribute_dataset(batches):
        learner.validation_step(images, masks, raw)
    return {f"val_{name}": value for name, value in learner.take_scores().items()}


def report(row: dict[str, float], seconds: float, is_best: bool, bar: tqdm) -> None:
    """A line an epoch, above the progress bar."""
    bar.write(
        f"epoch {row['epoch']:3d}  loss {row['loss']:.4f}  Dice {row['dice']:.4f}  "
        f"validation: loss {row['val_loss']:.4f}  Dice {row['val_dice']:.4f}  "
        f"({seconds:.0f} s){'  best so far' if is_best else ''}"
    )
