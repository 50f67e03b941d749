"""Prediction of many slices on one machine: in one process, in two shards, and with two Ray actors.

Usage:

    python benchmarks/cluster.py

The machine must be idle and have two cores: each shard and each actor gets one. The slices are simulated and have 512 x
512 pixels. Each way predicts a few files and then many. The difference gives the speed without the start. With Ray,
one process writes all files. The processor time it needs shows how many actors it can serve. Results are written to
benchmarks/results/cluster.json.
"""

import os
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import tyro
from running import ROOT, provenance
from timing import link_images

from unet.files import write_json
from unet.images.folders import find_files

RESULTS = ROOT / "benchmarks" / "results" / "cluster.json"
FEW, MANY = 100, 900
# For each way, the options of each of its processes.
WAYS = {
    "one process": [[]],
    "two shards": [["--shard", "1/2"], ["--shard", "2/2"]],
    "Ray, two actors": [["--ray", "local"]],
}


def predict(folder: Path, output: Path, processes: list[list[str]]) -> tuple[float, float]:
    """Seconds until all processes have ended, and the processor seconds of the last one."""
    start = time.perf_counter()
    started = [
        subprocess.Popen(
            [sys.executable, ROOT / "predict.py", folder, "--output", output, *options],
            preexec_fn=(lambda core=core: os.sched_setaffinity(0, {core})) if len(processes) > 1 else None,
            stdout=subprocess.DEVNULL,
        )
        for core, options in enumerate(processes)
    ]
    for process in started:
        # wait4 reports the processor time of this child only.
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"predict.py failed with {processes}: see its output above.")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def measure() -> dict:
    """All figures, as in cluster.json."""
    from unet.data.phantoms import write_phantoms

    figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_phantoms(folder / "phantoms", patients=30, slices=2, size=512)
        images = find_files(folder / "phantoms" / "images")
        for count in (FEW, MANY):
            link_images(images, count, folder / str(count))
        predict(folder / str(FEW), folder / "warm-up", [[]])
        for name, processes in WAYS.items():
            (few, few_busy), (many, many_busy) = (
                predict(folder / str(count), folder / f"{name} {count}", processes) for count in (FEW, MANY)
            )
            figures[name] = {
                "slices_per_second": (MANY - FEW) / (many - few),
                "start_seconds": few - FEW * (many - few) / (MANY - FEW),
                "cpu_seconds_per_slice": (many_busy - few_busy) / (MANY - FEW),
            }
            print(name, figures[name], flush=True)
    return {**provenance(ray=version("ray")), "ways": figures}


if __name__ == "__main__":
    write_json(RESULTS, tyro.cli(measure, description=__doc__))
