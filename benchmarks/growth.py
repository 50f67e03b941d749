"""How time and memory of training and prediction grow with the number of slices, their size and the batch size.

Usage:

    python benchmarks/growth.py

The machine must be idle. For each point, train.py trains two epochs of the quick recipe on simulated slices, and
predict.py predicts them (several times if they are few). One value varies at a time. Results are written to
benchmarks/results/growth.json.
"""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro
from running import ROOT, provenance
from timing import link_images, peak_gib, slices_per_epoch

from unet.data.phantoms import write_phantoms
from unet.files import write_json
from unet.images.folders import find_files
from unet.network.predictor import BATCHES_IN_NETWORK
from unet.tables import read_table

USUAL = {"slices": 100, "size": 256, "batch": 16}
# Least number of batches to predict.
PREDICTED = 24
# Batches that count as the start, because the first ones end at about the same time.
FIRST = BATCHES_IN_NETWORK + 1
VALUES = {"slices": (100, 1000, 10000), "size": (128, 256, 512, 1024), "batch": (1, 4, 16, 64)}


@dataclass(frozen=True)
class GrowthOptions:
    """What to vary."""

    only: tuple[str, ...] = tuple(VALUES)
    """Values to vary: slices, size, batch."""
    output: Path = ROOT / "benchmarks" / "results" / "growth.json"
    """File for the figures."""


def measure(options: GrowthOptions) -> None:
    """Measure all points, and write the results after each. Older points that are not varied now are kept."""
    kept = json.loads(options.output.read_text())["points"] if options.output.exists() else []
    results = {
        **provenance(),
        "usual": USUAL,
        "points": [point for point in kept if point["varied"] not in options.only],
    }
    with tempfile.TemporaryDirectory() as temporary:
        for varied in options.only:
            for value in VALUES[varied]:
                point = USUAL | {varied: value}
                same = [old for old in results["points"] if point.items() <= old.items()]
                measured = same[0] if same else measure_point(point, Path(temporary))
                point = measured | {"varied": varied} | point
                print(point, flush=True)
                results["points"].append(point)
                write_json(options.output, results)


def measure_point(point: dict[str, int], temporary: Path) -> dict[str, float]:
    """Speed of the second epoch, speed of a prediction without its start, and peak memory of both."""
    # The size on disk does not matter, since slices are scaled once they are read.
    folder = temporary / f"phantoms-{point['slices']}"
    if not folder.exists():
        write_phantoms(folder, patients=point["slices"] // 10, slices=10, size=128)
    name = "-".join(map(str, point.values()))
    training_options = ("--epochs", 2, "--size", point["size"], "--batch-size", point["batch"])
    training_memory = run(temporary, "train.py", "--quick", "--data", folder, "--name", name, *training_options)
    second_epoch = read_table(temporary / "runs" / name / "timing.csv")[1]
    output = temporary / f"output-{name}"
    count = max(point["slices"], PREDICTED * point["batch"])
    images = link_images(find_files(folder / "images"), count, temporary / f"images-{name}")
    prediction_options = ("--run", f"runs/{name}", "--output", output, "--batch-size", point["batch"])
    prediction_memory = run(temporary, "predict.py", images, *prediction_options)
    written = sorted(path.stat().st_mtime for path in (output / "masks").glob("*.png"))
    start = FIRST * point["batch"]
    slices = slices_per_epoch(temporary / "runs" / name)
    return {
        "epoch_seconds": float(second_epoch["seconds"]),
        "training_slices_per_second": slices / float(second_epoch["seconds"]),
        "waiting_for_data": float(second_epoch["waiting_for_data"]),
        "training_peak_gib": training_memory,
        "prediction_slices_per_second": (count - start) / (written[-1] - written[start - 1]),
        "prediction_peak_gib": prediction_memory,
    }


def run(folder: Path, script: str, *arguments: object) -> float:
    """Run a script in a folder; returns its peak memory in GiB."""
    process = subprocess.Popen(
        [sys.executable, ROOT / script, *map(str, arguments)], cwd=folder, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{script} failed with {arguments}: see its output above.")
    return peak_gib(usage)


if __name__ == "__main__":
    measure(tyro.cli(GrowthOptions, description=__doc__))
