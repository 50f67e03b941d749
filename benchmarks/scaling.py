"""Training on several hosts: measured with two processes, projected for up to 64 hosts.

Usage:

    python benchmarks/scaling.py

The machine must be idle and have two cores: each process gets one. Two that train together are
compared with two that train apart at the same time, as cores share memory and hosts do not; all train
the quick recipe on simulated slices, each process with as many slices a step. How long they take
to add up numbers is measured on the loopback for several sizes and fitted with a line; for a network,
its bandwidth takes the loopback's place. Results go to benchmarks/results/scaling.json.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
from loopback import worker_configs
from timing import slices_an_epoch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from unet.files import write_json  # noqa: E402
from unet.tables import read_table  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "scaling.json"
BATCH = 8  # of each process
HOSTS = (2, 4, 8, 16, 32, 64)
GIGABITS = (1, 10, 100)
MEGABYTES = (0.001, 1, 4, 16)


def start(arguments: list, folders: list[Path], together: bool, **more) -> list[subprocess.Popen]:
    """A process in each folder, on a core of its own; together: as workers of one training."""
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
        )  # fmt: skip
        for core, (folder, config) in enumerate(zip(folders, configs, strict=True))
    ]


def training_speed(folders: list[Path], together: bool) -> float:
    """Slices a second of the second epoch of train.py, summed over a process in each of the folders."""
    name = f"run-{len(folders)}-{together}"
    arguments = [
        ROOT / "train.py", "--quick", "--data", "phantom", "--name", name, "--epochs", 2,
        "--batch-size", BATCH * (len(folders) if together else 1),
    ]  # fmt: skip
    processes = start(arguments, folders, together)
    if any([process.wait() for process in processes]):
        raise SystemExit(f"train.py failed in {len(folders)} processes.")
    speed = 0.0
    for folder in folders[:1] if together else folders:
        run = folder / "runs" / name
        config = json.loads((run / "config.json").read_text())
        speed += slices_an_epoch(config) / float(read_table(run / "timing.csv")[1]["seconds"])
    return speed


def sum_times() -> None:
    """In each of two processes: seconds that both take to add up so many megabytes; the first tells."""
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    told = []
    for megabytes in MEGABYTES:
        numbers = tf.zeros(max(1, int(megabytes * 1e6 / 4)))

        @tf.function
        def add(numbers=numbers):
            values = strategy.run(lambda: numbers)
            return strategy.reduce(tf.distribute.ReduceOp.SUM, values, axis=None)[0]

        add().numpy()
        times = []
        for _ in range(30):
            begun = time.perf_counter()
            add().numpy()
            times.append(time.perf_counter() - begun)
        told.append({"bytes": int(numbers.shape[0]) * 4, "seconds": statistics.median(times)})
    print(json.dumps(told), flush=True)


def measure() -> dict:
    from keras.layers import BatchNormalization

    from unet.machine import installed_versions, machine_description
    from unet.network.model import build_unet
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
    model = build_unet(QUICK.model)
    gradients = 4 * sum(int(np.prod(weights.shape)) for weights in model.trainable_variables)
    # Each normalisation once forward and once backward, and the gradients.
    meetings = 1 + 2 * sum(isinstance(x, BatchNormalization) for x in model.layers)
    step = 2 * BATCH / apart
    return {
        "date": f"{datetime.now():%Y-%m-%d}",
        "machine": machine_description(),
        "versions": installed_versions(),
        "batch_of_each": BATCH,
        "slices_per_second": {"one": alone, "two apart": apart, "two together": together},
        "efficiency_of_two": together / apart,
        "sums": sums,
        "latency_seconds": float(latency),
        "loopback_bytes_per_second": float(1 / per_byte),
        "gradient_bytes": gradients,
        "meetings_a_step": meetings,
        "step_seconds": step,
        "modelled_efficiency_of_two": efficiency(2, step, gradients, meetings, 1 / per_byte, latency),
        "projected": {
            str(gigabits): {
                str(hosts): efficiency(hosts, step, gradients, meetings, gigabits * 1e9 / 8, latency)
                for hosts in HOSTS
            }
            for gigabits in GIGABITS
        },
    }


def efficiency(
    hosts: int,
    step: float,
    gradients: float,
    meetings: int,
    bytes_per_second: float,
    latency: float,
) -> float:
    """Speed a host over that of one alone, with sums made in a ring and no overlap with computing.

    In a ring each host sends 2 (n - 1) parts of 1 / n of the gradients, each after the one before it; the
    latency of two hosts, as measured, has two of these. The other meetings sum next to nothing.
    """
    sent = 2 * (hosts - 1)
    waiting = meetings * sent / 2 * latency
    return step / (step + sent / hosts * gradients / bytes_per_second + waiting)


if __name__ == "__main__":
    if sys.argv[1:] == ["sums"]:
        sum_times()
    else:
        results = measure()
        write_json(RESULTS, results)
        print(json.dumps(results, indent=1))
