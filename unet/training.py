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
from datetime import datetime
from pathlib import Path

import numpy as np
import tensorflow as tf
from tqdm import tqdm

from unet import metrics, plots
from unet.data import (
    Pair,
    Slices,
    data_folder,
    load_slices,
    training_batches,
    validation_batches,
)
from unet.devices import choose_precision, free_memory, use_precision
from unet.files import UserError, only_process_in
from unet.inference import Prediction, Predictor
from unet.learner import Learner
from unet.model import activation_bytes, check_size
from unet.options import TrainingOptions
from unet.outlining import PEAKS, THRESHOLDS, best_rule, dice_by_rule
from unet.quality import MOST_FITTED, fit_quality
from unet.saved_run import CHECKPOINTS_KEPT, SavedRun, new_config
from unet.split import intervals_over, split_slices
from unet.stopping import Stopped, StopRequest
from unet.tensorboard import Board
from unet.workers import LOST, Workers

SAMPLES_SHOWN = 6
FRAMES = 8  # of the film strip
# Drawing takes a second: more than an epoch on a small set.
SECONDS_BETWEEN_PLOTS = 15
# Within an epoch; there is one after each epoch as well.
SECONDS_BETWEEN_CHECKPOINTS = 600


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


def fit(
    learner: Learner, run: SavedRun, slices: Slices, workers: Workers
) -> list[dict[str, float]]:
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

    train_indices, val_indices = (
        slices.indices(run.config.split[part]) for part in ("train", "val")
    )
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
            is_best = row["val_dice"] > max(
                (old["val_dice"] for old in progress.history), default=-1
            )
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


def film_epochs(epochs: int) -> set[int]:
    """The few epochs, many early ones among them, after which a frame of the film strip is kept."""
    return set(np.geomspace(1, epochs, FRAMES).round().astype(int).tolist())


def report(row: dict[str, float], seconds: float, is_best: bool, bar: tqdm) -> None:
    """A line an epoch, above the progress bar."""
    bar.write(
        f"epoch {row['epoch']:3d}  loss {row['loss']:.4f}  Dice {row['dice']:.4f}  "
        f"validation: loss {row['val_loss']:.4f}  Dice {row['val_dice']:.4f}  "
        f"({seconds:.0f} s){'  best so far' if is_best else ''}"
    )


def draw(
    run: SavedRun, learner: Learner, slices: Slices, shown: np.ndarray, history: list[dict]
) -> None:
    """The learning curves, and the same few validation slices as the network now outlines them."""
    plots.curves(history, run.folder / "curves.png")
    images, masks = next(iter(validation_batches(slices, shown, len(shown))))
    probability = learner.kept(images)
    plots.samples(
        images.numpy()[..., 0], masks.numpy()[..., 0] > 0.5, probability.numpy()[..., 0],
        run.config.threshold, [slices.ids[index] for index in shown],
        f"Validation after epoch {len(history)}", run.folder / "samples.png",
    )  # fmt: skip


def draw_film(
    run: SavedRun, learner: Learner, slices: Slices, shown: np.ndarray, epoch: int
) -> None:
    """Keep how the network now outlines the same few slices, and draw all that was kept so far."""
    images, masks = next(iter(validation_batches(slices, shown, len(shown))))
    probability = learner.kept(images).numpy()[..., 0]
    frames = run.add_frame(epoch, np.rint(255 * probability).astype(np.uint8))
    plots.film_strip(
        images.numpy()[..., 0], masks.numpy()[..., 0] > 0.5,
        {epoch: frame / 255 for epoch, frame in frames.items()}, run.config.threshold,
        run.folder / "film_strip.png",
    )  # fmt: skip


def spread(indices: np.ndarray, count: int) -> np.ndarray:
    """Up to `count` of them at even distances: with sorted ids, of different patients."""
    return indices[np.linspace(0, len(indices) - 1, min(count, len(indices))).round().astype(int)]


def finish(run: SavedRun, slices: Slices, history: list[dict]) -> None:
    """Choose how the kept network outlines, write metrics.json and say what was reached."""
    train_ids, val_ids = run.config.split["train"], run.config.split["val"]
    best = max(history, key=lambda row: row["val_dice"])
    pairs = [slices.pairs[index] for index in slices.indices(val_ids)]
    dice, confidence = choose_outlining(run, pairs)
    some = spread(slices.indices(train_ids), MOST_FITTED)
    run.save_quality(fit_quality(confidence, dice, slices.images[some]))
    patients = np.array([run.config.facts[id]["patient"] for id in val_ids])
    interval = metrics.interval_over_patients(dice, patients)
    run.write_metrics(
        {
            "best_epoch": best["epoch"],
            "epochs": len(history),
            "val_dice": float(dice.mean()),
            "val_dice_95_percent_interval_over_patients": interval,
            "val_iou": float(np.mean(dice / (2 - dice))),
            "val_patients": len(set(patients)),
            "val_slices": len(val_ids),
        },
    )
    print(
        f"Validation Dice {dice.mean():.3f} (95 % interval {intervals_over(run.config.facts)}: "
        f"{metrics.interval_text(interval)}) "
        f"at epoch {best['epoch']}.\n"
        f"Look at {run.folder}/curves.png, samples.png and film_strip.png, then:\n"
        f"  python evaluate.py {run.folder}\n"
        f"  python predict.py IMAGES --run {run.folder} --output FOLDER"
    )


def choose_outlining(run: SavedRun, pairs: list[Pair]) -> tuple[np.ndarray, np.ndarray]:
    """Choose threshold and peak on validation slices and keep them; their Dice and confidence, (n,) each."""

    def score(prediction: Prediction, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return dice_by_rule(truth, prediction.probability, THRESHOLDS, PEAKS)

    max_pixels = run.config.options.data.max_pixels
    scores = Predictor(run).score_pairs(pairs, score, "Choosing the threshold", max_pixels)
    dice, confidence = (np.stack(values) for values in zip(*scores, strict=True))
    threshold, peak = best_rule(dice.mean(axis=0))
    run.set_outlining(threshold, peak)
    rule = np.searchsorted(THRESHOLDS, threshold), np.searchsorted(PEAKS, peak)
    return dice[:, *rule], confidence[:, *rule]
