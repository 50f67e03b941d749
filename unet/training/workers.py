"""Workers: processes, one per host, that train one network together. Usually there is only one.

TF_CONFIG, or SLURM's srun, lists the workers. Each does the same steps on its part of each batch. The first one, the
chief, writes the run; the others write to temporary folders.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow as tf

from unet.errors import UserError

# Errors that TensorFlow raises within about a minute after another worker has ended.
LOST = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError, tf.errors.DeadlineExceededError)


class Workers:
    """All workers, seen from this one. TensorFlow requires that it is made before anything is computed."""

    def __init__(self):
        index, self.count = index_and_count()
        self.is_chief = index == 0  # which writes the run
        if self.count > 1:
            if self.is_chief:
                print(f"Waiting for all {self.count} workers.", flush=True)
            self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        elif len(tf.config.list_logical_devices("GPU")) > 1:
            self.strategy = tf.distribute.MirroredStrategy()
        else:
            self.strategy = tf.distribute.get_strategy()

    def any(self, claim: object) -> bool:
        """Whether a claim is true for any worker. All workers must call this at the same point."""
        return bool(claim) if self.count == 1 else self._sum(float(bool(claim))) > 0

    def check_equal(self, content: str, title: str) -> None:
        """UserError if the content, described by `title`, is not the same for all workers."""
        # Only 24 bits, so that sums are exact.
        number = int(hashlib.sha256(content.encode()).hexdigest()[:6], 16)
        replicas = self.strategy.num_replicas_in_sync
        if self.any(self.count > 1 and self._sum(number) != replicas * number):
            raise UserError(f"The workers differ in {title}: give all of them the same files and options.")

    def chief_first(self, step: Callable[[], object]) -> object:
        """Result of `step`, which the chief does first: it may create files that the others then use."""
        result = step() if self.is_chief else None
        self.any(False)  # the others wait here
        return result if self.is_chief else step()

    def _sum(self, value: float) -> float:
        return float(self._sum_over_replicas(tf.constant(value, tf.float64)))

    @tf.function(autograph=False)
    def _sum_over_replicas(self, value: tf.Tensor) -> tf.Tensor:
        values = self.strategy.run(tf.identity, [value])
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

    @contextlib.contextmanager
    def runs_folder(self) -> Iterator[Path]:
        """runs/ for the chief. The others get a temporary folder, and their output is hidden."""
        if self.is_chief:
            yield Path("runs")
            return
        with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
            with contextlib.redirect_stdout(nowhere):
                yield Path(folder)

    def own_copy(self, run: Path, runs: Path) -> Path:
        """The run folder itself for the chief, and a copy of it in `runs` for the others."""
        return run if self.is_chief or not run.is_dir() else shutil.copytree(run, runs / run.name)


def index_and_count() -> tuple[int, int]:
    """This worker's index and the number of workers. Sets TF_CONFIG under SLURM; UserError if it is invalid."""
    try:
        if not os.environ.get("TF_CONFIG") and int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
            # For the addresses only: the resolver requires numbers of GPUs, but srun decides which GPUs a task sees.
            slurm = tf.distribute.cluster_resolver.SlurmClusterResolver(
                gpus_per_node=10_000, gpus_per_task=1, auto_set_gpu=False
            )
            cluster = slurm.cluster_spec().as_dict()  # first: it finds out the task
            task = {"type": slurm.task_type, "index": slurm.task_id}
            os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    except (ValueError, KeyError, RuntimeError) as error:
        raise UserError(
            f"SLURM's variables are invalid ({error}): start the workers with srun, or set TF_CONFIG."
        ) from error
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        workers = config.get("cluster", {}).get("worker", [])
        index = int(config["task"]["index"]) if workers else 0
        if workers and (config["task"]["type"] != "worker" or set(config["cluster"]) != {"worker"}):
            raise ValueError("all tasks must be workers; the first one is the chief")
        if not 0 <= index < max(1, len(workers)):
            raise ValueError(f"there is no worker {index}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"TF_CONFIG is invalid ({error}): expected "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}.'
        ) from error
    return index, max(1, len(workers))
