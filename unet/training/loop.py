"""The training loop: epochs of steps, validation, pictures and checkpoints."""

import math
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field

import tensorflow as tf
from tqdm import tqdm

from unet.data.batches import BatchPlan, training_batches, validation_batches
from unet.data.slices import Slices
from unet.errors import UserError
from unet.machine import free_memory
from unet.network.model import activation_bytes
from unet.network.saved_run import SavedRun
from unet.signals import Stopped, StopRequest
from unet.training.checkpoints import check_disk, load_checkpoint, save_checkpoint, settings_of_all_workers
from unet.training.learner import Learner
from unet.training.material import indices_of, outline_material
from unet.training.samples import Samples, film_epochs
from unet.training.start import use_initial_weights
from unet.training.tensorboard import Board
from unet.training.workers import Workers

SECONDS_BETWEEN_PLOTS = 30  # drawing takes up to three seconds, and an epoch on a small data set six
SECONDS_BETWEEN_CHECKPOINTS = 600  # within an epoch; there is also one after each epoch


@dataclass
class Progress:
    """How far a training is. Together with the learner's state, this is the content of a checkpoint."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished steps of the next epoch
    seconds: float = 0.0  # spent on those steps, including those waiting for data
    waiting: float = 0.0
    cpu_seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    timing: list[dict[str, float]] = field(default_factory=list)


class TrainingLoop:
    """Trains a learner on a run's slices, from its last checkpoint or from the start."""

    def __init__(self, run: SavedRun, slices: Slices, learner: Learner, workers: Workers):
        self.run = run
        self.slices = slices
        self.learner = learner
        self.workers = workers
        self.options = run.config.options
        self.train_indices, self.val_indices = (indices_of(run, slices, part, True) for part in ("train", "val"))
        self.material = outline_material(run, slices, self.train_indices)
        self.steps = len(self.train_indices) // learner.batch_size  # per epoch
        self.progress = Progress()
        self.stop = StopRequest()

    def fit(self) -> list[dict[str, float]]:
        """Train to the last epoch; returns the history, one row per epoch.
        UserError if memory or disk space is too small, the workers differ, or the loss becomes NaN."""
        self.load_checkpoint()
        state = (settings_of_all_workers(self.run), self.progress.epoch, self.progress.step)
        self.workers.check_equal(str(state), "data, options or checkpoint")
        check_memory(self.learner, self.options.size)
        check_disk(self.run, self.learner.state())
        batches = iter(self.learner.strategy.distribute_datasets_from_function(self.batches_of_worker))
        samples = Samples(self.run, self.slices, self.learner)
        board = Board(self.run.folder / "tensorboard", self.options.tensorboard)
        epochs = range(self.progress.epoch, self.options.epochs)
        drawn = -math.inf
        with (
            self.stop,
            tqdm(total=self.steps * self.options.epochs, initial=self.steps_done(), unit="step", disable=None) as bar,
        ):
            for epoch in epochs:
                bar.set_description(f"epoch {epoch + 1}/{self.options.epochs}")
                row = self.train_epoch(batches, bar)
                self.learner.refresh_folded()
                row |= self.validate() | {"val_dice_raw": ""}
                if epoch + 1 in film_epochs(self.options.epochs):
                    # Only now and then, as it takes as long as the other validation.
                    row["val_dice_raw"] = self.validate(raw=True)["val_dice"]
                    board.add_picture(samples.draw_film_strip(epoch + 1), epoch + 1)
                self.finish_epoch(row, bar)
                board.add_scores(row)
                if time.monotonic() > drawn + SECONDS_BETWEEN_PLOTS or epoch == epochs[-1]:
                    board.add_picture(samples.draw(self.progress.history), epoch + 1)
                    drawn = time.monotonic()
                # Last, since everything that a checkpoint counts as done must be done.
                self.save_checkpoint()
                if self.workers.any(self.stop.number):
                    raise Stopped(self.stop.number or signal.SIGTERM)
        return self.progress.history

    def batches_of_worker(self, worker: tf.distribute.InputContext) -> tf.data.Dataset:
        """This worker's part of each batch, in as many pieces as it has devices."""
        plan = BatchPlan(
            batch_size=self.learner.batch_size,
            epochs=range(self.progress.epoch, self.options.epochs),
            seed=self.options.seed,
            augmentation=self.options.augmentation,
            first_step=self.progress.step,
            worker=worker.input_pipeline_id,
            workers=worker.num_input_pipelines,
        )
        batches = training_batches(self.material, plan)
        per_device = worker.get_per_replica_batch_size(plan.batch_size)
        return batches if per_device * plan.workers == plan.batch_size else batches.rebatch(per_device)

    def train_epoch(self, batches: Iterator, bar: tqdm) -> dict[str, float]:
        """Train the remaining steps of an epoch; returns their means, as part of a row of history.csv."""
        learner, progress, workers = self.learner, self.progress, self.workers
        rate = float(learner.learning_rate(self.steps * progress.epoch))
        saved = time.monotonic()
        while progress.step < self.steps:
            start, start_cpu = time.perf_counter(), time.process_time()
            images, masks = next(batches)
            progress.waiting += time.perf_counter() - start
            learner.train_step(images, masks)
            progress.step += 1
            if progress.step % 10 == 0 or progress.step == self.steps:
                loss, dice = float(learner.loss.result()), float(learner.dice.result())
                bar.set_postfix_str(f"loss {loss:.3f}, Dice {dice:.3f}")
                self.check_finite(loss)
            progress.seconds += time.perf_counter() - start
            progress.cpu_seconds += time.process_time() - start_cpu
            bar.update()
            if workers.count > 1 and progress.step % 10:
                continue  # asking all workers takes time
            # Asked once: a signal that arrives after the answer must not stop the training without a checkpoint.
            is_stopping = workers.any(self.stop.number)
            if is_stopping or workers.any(time.monotonic() > saved + SECONDS_BETWEEN_CHECKPOINTS):
                self.check_finite(float(learner.loss.result()))  # otherwise, --resume would never get past it
                self.save_checkpoint()
                saved = time.monotonic()
            if is_stopping:
                raise Stopped(self.stop.number or signal.SIGTERM)
        scores = learner.take_scores()
        return {"epoch": progress.epoch + 1, "loss": scores["loss"], "dice": scores["dice"], "learning_rate": rate}

    def check_finite(self, loss: float) -> None:
        """UserError if the mean loss of an epoch is NaN or infinite."""
        if not math.isfinite(loss):
            best = " The best network so far is saved in the run." if self.progress.epoch else ""
            raise UserError(f"The loss became NaN or infinite: start a new run with a lower --learning-rate.{best}")

    def validate(self, raw: bool = False) -> dict[str, float]:
        """Mean scores over the validation slices with tumor, of the averaged weights or of the raw ones; "" if there
        are none."""
        if not len(self.val_indices):
            return dict.fromkeys(("val_loss", "val_dice", "val_iou"), "")
        batches = validation_batches(self.slices, self.val_indices, self.learner.batch_size)
        for images, masks in self.learner.strategy.experimental_distribute_dataset(batches):
            self.learner.validation_step(images, masks, raw)
        return {f"val_{name}": value for name, value in self.learner.take_scores().items()}

    def finish_epoch(self, row: dict[str, float], bar: tqdm) -> None:
        """Add an epoch to the history, save the network if it is the best so far, and print a line."""
        progress = self.progress
        is_validated = len(self.val_indices) > 0
        is_best = is_validated and row["val_dice"] > max((old["val_dice"] for old in progress.history), default=-1)
        progress.history.append(row)
        progress.timing.append(
            {
                "epoch": row["epoch"],
                "slices": self.steps * self.learner.batch_size,
                "seconds": progress.seconds,
                "waiting_for_data": progress.waiting / progress.seconds,
                "busy_cores": progress.cpu_seconds / progress.seconds,
            }
        )
        if is_best or not is_validated:  # if nothing says which is best, the last one is kept
            self.run.save_network(self.learner.averaged)
        scores = f"validation: loss {row['val_loss']:.4f}  Dice {row['val_dice']:.4f}  " if is_validated else ""
        bar.write(
            f"epoch {row['epoch']:3d}  loss {row['loss']:.4f}  Dice {row['dice']:.4f}  {scores}"
            f"({progress.seconds:.0f} s){'  best so far' if is_best else ''}"
        )
        self.progress = Progress(row["epoch"], history=progress.history, timing=progress.timing)
        self.run.write_history(progress.history, progress.timing)

    def steps_done(self) -> int:
        return self.steps * self.progress.epoch + self.progress.step

    def save_checkpoint(self) -> None:
        save_checkpoint(self.run, self.steps_done(), self.learner.state(), asdict(self.progress))

    def load_checkpoint(self) -> None:
        if checkpoint := load_checkpoint(self.run):
            arrays, progress = checkpoint
            self.learner.restore(arrays)
            self.progress = Progress(**progress)
            part = f" and {self.progress.step} steps" if self.progress.step else ""
            rate = float(self.learner.learning_rate(self.steps_done()))
            schedule = f"The learning rate continues at {rate:.1e}, on the schedule of {self.options.epochs} epochs."
            if self.progress.epoch == self.options.epochs:
                schedule = "All epochs are done; --epochs trains for longer."
            print(f"Resuming after epoch {self.progress.epoch} of {self.options.epochs}{part}. {schedule}")
        elif self.options.init:
            use_initial_weights(self.run, self.learner)


def check_memory(learner: Learner, size: int) -> None:
    """UserError if a step clearly needs more memory than is free: the system would kill the process."""
    if tf.config.get_visible_devices("GPU"):
        return  # TensorFlow raises an error if a GPU's memory is full
    batch_size = learner.batch_size // learner.strategy.num_replicas_in_sync  # a CPU is one replica
    needed = batch_size * activation_bytes(learner.model, size)
    free = free_memory()
    if needed > free:
        raise UserError(
            f"A step needs about {needed / 2**30:.1f} GiB of memory, but only {free / 2**30:.1f} GiB are free: start "
            f"a new run with a --batch-size below {learner.batch_size} or a --size below {size}."
        )
