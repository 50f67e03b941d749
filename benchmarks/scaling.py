"""Speed of training on several hosts: measured with two processes, projected for up to 64 hosts.

Usage:

    python benchmarks/scaling.py

The machine must be idle and have two cores: each process gets one. Two processes that train together are compared with
two that train separately at the same time, because cores share memory but hosts do not. All train the quick recipe on
simulated slices, with the same number of slices per step and process. The time to sum tensors over both processes is
measured on the loopback interface for several sizes, and fitted with a line. In the projection, the bandwidth of a
network replaces that of the loopback. Results are written to benchmarks/results/scaling.json.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tyro
from loopback import worker_configs
from running import ROOT, provenance
from timing import slices_per_epoch

from unet.files import write_json
from unet.tables import read_table

RESULTS = ROOT / "benchmarks" / "results" / "scaling.json"
BATCH = 8  # slices per step and process
HOSTS = (2, 4, 8, 16, 32, 64)
GIGABITS = (1, 10, 100)
MEGABYTES = (0.001, 1, 4, 16)


def start(arguments: list, folders: list[Path], together: bool, **more) -> list[subprocess.Popen]:
    """Start a process in each folder, on its own core. If `together`, they are workers of one training."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2"}
    configs = worker_configs(len(folders)) if together else [""] * len(folders)
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            cwd=folder,
            env=environment | {"TF_CONFIG": config},
            text=True,
            preexec_fn=lambda core=core: os.sched_setaffinity(0, {core}),
            **more,
        )
        for core, (folder, config) in enumerate(zip(folders, configs, strict=True))
    ]


def training_speed(folders: list[Path], together: bool) -> float:
    """Slices per second in the second epoch of train.py, summed over one process in each folder."""
    name = f"run-{len(folders)}-{together}"
    batch_size = BATCH * (len(folders) if together else 1)
    arguments = [ROOT / "train.py", "--quick", "--data", "phantom", "--name", name]
    arguments += ["--epochs", 2, "--batch-size", batch_size]
    processes = start(arguments, folders, together)
    if any([process.wait() for process in processes]):
        raise SystemExit(f"train.py failed in one of {len(folders)} processes: see its output above.")
    speed = 0.0
    for folder in folders[:1] if together else folders:
        run = folder / "runs" / name
        speed += slices_per_epoch(run) / float(read_table(run / "timing.csv")[1]["seconds"])
    return speed


def sum_times() -> None:
    """Print the bytes and seconds of sums over two processes as JSON. Each of the two processes calls this."""
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    sums = []
    for megabytes in MEGABYTES:
        numbers = tf.zeros(max(1, int(megabytes * 1e6 / 4)))

        @tf.function
        def add(numbers=numbers):
            values = strategy.run(lambda: numbers)
            return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)[0]

        add().numpy()
        times = []
        for _ in range(30):
            started = time.perf_counter()
            add().numpy()
            times.append(time.perf_counter() - started)
        sums.append({"bytes": int(numbers.shape[0]) * 4, "seconds": statistics.median(times)})
    print(json.dumps(sums), flush=True)


def measure() -> dict:
    """All figures, as in scaling.json."""
    from keras.layers import BatchNormalization

    from unet.network.model import build_unet, with_logits
    from unet.options import QUICK

    with tempfile.TemporaryDirectory() as temporary:
        folders = [Path(temporary, name) for name in "ab"]
        for folder in folders:
            folder.mkdir()
        worker = [Path(__file__).resolve(), "sums"]
        processes = start(worker, folders, together=True, stdout=subprocess.PIPE)
        sums = json.loads([process.communicate()[0] for process in processes][0].splitlines()[-1])
        alone = training_speed(folders[:1], together=False)
        apart = training_speed(folders, together=False)
        together = training_speed(folders[:1] * 2, together=True)
    sizes, times = (np.array([each[key] for each in sums]) for key in ("bytes", "seconds"))
    per_byte, latency = np.polyfit(sizes, times, 1)
    model = with_logits(build_unet(QUICK.model))  # the presence head is trained later, on its own
    gradients = 4 * sum(int(np.prod(weights.shape)) for weights in model.trainable_variables)
    # One for each normalization forward, one for each backward, and one for the gradients.
    synchronizations = 1 + 2 * sum(isinstance(layer, BatchNormalization) for layer in model.layers)
    step = 2 * BATCH / apart
    return {
        **provenance(),
        "batch_of_each": BATCH,
        "slices_per_second": {"one": alone, "two apart": apart, "two together": together},
        "efficiency_of_two": together / apart,
        "sums": sums,
        "latency_seconds": float(latency),
        "loopback_bytes_per_second": float(1 / per_byte),
        "gradient_bytes": gradients,
        "synchronizations_per_step": synchronizations,
        "step_seconds": step,
        "modelled_efficiency_of_two": efficiency(2, step, gradients, synchronizations, 1 / per_byte, latency),
        "projected": {
            str(gigabits): {
                str(hosts): efficiency(hosts, step, gradients, synchronizations, gigabits * 1e9 / 8, latency)
                for hosts in HOSTS
            }
            for gigabits in GIGABITS
        },
    }


def efficiency(
    hosts: int, step: float, gradients: float, synchronizations: int, bytes_per_second: float, latency: float
) -> float:
    """Speed of each host relative to one host alone, if gradients are summed in a ring and nothing overlaps.

    In a ring of n hosts, each host sends 2 (n - 1) messages one after another, each with 1 / n of the gradients. The
    latency as measured with two hosts covers two messages. The other synchronizations sum very little.

    Args:
        hosts: Number of hosts.
        step: Seconds of a step on one host.
        gradients: Bytes of the gradients.
        synchronizations: How often all hosts exchange numbers in a step.
        bytes_per_second: Bandwidth.
        latency: Seconds of a synchronization of two hosts.
    """
    sent = 2 * (hosts - 1)
    waiting = synchronizations * sent / 2 * latency
    return step / (step + sent / hosts * gradients / bytes_per_second + waiting)


if __name__ == "__main__":
    if sys.argv[1:] == ["sums"]:
        sum_times()
    else:
        results = tyro.cli(measure, description=__doc__)
        write_json(RESULTS, results)
        print(json.dumps(results, indent=1))
