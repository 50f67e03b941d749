"""Several processes, each on a host of its own, that train one network together; usually there is one.

TF_CONFIG, or SLURM's srun, says who takes part. Every worker does the same steps on its part of each
batch. What the first (the chief) writes is the run; the others write to folders that vanish.
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

# What TensorFlow raises within about a minute where another worker has ended.
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
)


class Workers:
    """All workers, seen from this one. Make it before TensorFlow computes anything: it insists."""

    def __init__(self):
        self.index, self.count = place()
        if self.count > 1:
            if self.is_chief:
                print(f"Waiting for all {self.count} workers.", flush=True)
            self.strategy = tf.distribute.MultiWorkerMirroredStrategy()
        elif len(tf.config.list_logical_devices("GPU")) > 1:
            self.strategy = tf.distribute.MirroredStrategy()
        else:
            self.strategy = tf.distribute.get_strategy()

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    def any(self, claim: object) -> bool:
        """Whether a claim is true for any worker. All must ask at the same step."""
        return bool(claim) if self.count == 1 else self._sum(float(bool(claim))) > 0

    def check_equal(self, content: str, title: str) -> None:
        """UserError where the workers have not the same content."""
        # 24 bits, so that sums are exact.
        number = int(hashlib.sha256(content.encode()).hexdigest()[:6], 16)
        replicas = self.strategy.num_replicas_in_sync
        if self.any(self.count > 1 and self._sum(number) != replicas * number):
            raise UserError(f"The workers differ in {title}: give all the same files and options.")

    def chief_first(self, step: Callable[[], object]) -> object:
        """What `step` returns, done by the chief first: it may make files that the others then find."""
        done = step() if self.is_chief else None
        self.any(False)
        return done if self.is_chief else step()

    def _sum(self, value: float) -> float:
        return float(self._sum_over_replicas(tf.constant(value, tf.float64)))

    @tf.function
    def _sum_over_replicas(self, value: tf.Tensor) -> tf.Tensor:
        values = self.strategy.run(tf.identity, [value])
        return self.strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)

    @contextlib.contextmanager
    def runs_folder(self) -> Iterator[Path]:
        """runs/ of the chief; of the others a folder that vanishes, and their words are not shown."""
        if self.is_chief:
            yield Path("runs")
            return
        with (
            tempfile.TemporaryDirectory() as folder,
            open(os.devnull, "w") as nowhere,
            contextlib.redirect_stdout(nowhere),
        ):
            yield Path(folder)

    def own_copy(self, run: Path, runs: Path) -> Path:
        """The chief's run folder; the other workers' copies of it, made before it changes."""
        if self.is_chief or not run.is_dir():
            return run
        return shutil.copytree(run, runs / run.name)


def place() -> tuple[int, int]:
    """This worker's number, from 0, and how many there are; sets TF_CONFIG where SLURM says so."""
    if not os.environ.get("TF_CONFIG") and int(os.environ.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        # Only the addresses: it cannot do without GPUs, and which ones a task sees is srun's part.
        slurm = tf.distribute.cluster_resolver.SlurmClusterResolver(
            gpus_per_node=10_000, gpus_per_task=1, auto_set_gpu=False
        )
        cluster = slurm.cluster_spec().as_dict()
        task = {"type": slurm.task_type, "index": slurm.task_id}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        workers = config.get("cluster", {}).get("worker", [])
        index = int(config["task"]["index"]) if workers else 0
        if workers and (config["task"]["type"] != "worker" or set(config["cluster"]) != {"worker"}):
            raise ValueError("only workers take part, the first is the chief")
        if not 0 <= index < max(1, len(workers)):
            raise ValueError(f"there is no worker {index}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"TF_CONFIG is not valid ({error}): expected "
            '{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}.'
        ) from error
    return index, max(1, len(workers))
