"""Validation Dice against minutes of training, for our recipes and for the networks of other projects (the peers).

Usage:

    python benchmarks/accuracy.py speeds FOLDER
    python benchmarks/accuracy.py curves FOLDER --peers-python /tmp/venv-peers/bin/python --runs runs/A runs/B

FOLDER contains the real data. `speeds` times our training, including augmentation. It needs an idle machine, of the
kind that speed.py ran on. `curves` also works on a busy machine, since it counts slices: minutes are the slices seen,
divided by the speed on the idle machine. Validation takes no time. The speed of a peer is that of its network alone,
from speed.json, so its data and augmentation cost nothing. Each peer trains on the same slices of the published split,
with our loss, augmentation close to ours, AdamW, and a cosine schedule over the slices that it trains on in --minutes:
one from the ImageNet weights of its encoder, the others from scratch. Our curves come from the history of finished
runs. Results are written to benchmarks/results/accuracy.json. Older speeds and curves that are not measured now are
kept.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from running import ROOT
from timing import slices_per_epoch

from unet.files import write_json
from unet.tables import read_table

SPEED = ROOT / "benchmarks" / "results" / "speed.json"
RESULTS = ROOT / "benchmarks" / "results" / "accuracy.json"
SIZE = 256
BATCH = 16
MINUTES_BETWEEN_POINTS = 10
# Of the peers. Warm-up is a fraction of the steps, the same as ours.
SCHEDULE = {"learning_rate": 1e-3, "warmup": 0.05}
Peer = Literal["smp-lite0-imagenet", "author", "smp-resnet18", "smp-resnet34", "monai-basicunet", "nnunet-plain"]
OURS = {"ours, --quick": ["--quick"], "ours": []}


@dataclass(frozen=True)
class Speeds:
    """Time two epochs of each of our recipes on the idle machine."""

    folder: tyro.conf.Positional[Path]
    """Folder of the published data."""

    def measure(self, results: dict) -> None:
        """Add the speeds to the results."""
        from unet.machine import installed_versions, machine_description

        results |= {"machine": machine_description(), "versions": installed_versions()}
        speeds = results["speeds"] = {}
        with tempfile.TemporaryDirectory() as temporary:
            for name, options in OURS.items():
                speeds[name] = our_speed(self.folder, options, Path(temporary))
                print(name, speeds[name], flush=True)
                save(results)


@dataclass(frozen=True)
class Curves:
    """Train the peers, and take our curves from finished runs."""

    folder: tyro.conf.Positional[Path]
    """Folder of the published data."""
    peers_python: Path
    """Python of the peers' environment."""
    runs: tuple[Path, ...] = ()
    """Our finished runs: one of the default recipe, one of the quick recipe."""
    minutes: float = 45.0
    """Length of each peer's schedule, in minutes on the idle machine."""
    only: tuple[Peer, ...] = Peer.__args__
    """Peers to train."""

    def measure(self, results: dict) -> None:
        """Add the curves to the results."""
        curves = results.setdefault("curves", {})
        for run in self.runs:
            name, curve = our_curve(run)
            curves[name] = curve
        save(results)
        with tempfile.TemporaryDirectory() as temporary:
            slices = save_slices(self.folder, Path(temporary)) if self.only else None
            for peer in self.only:
                best = json.loads(SPEED.read_text())["best"][peer]["training"]
                steps_per_minute = 60 * best["slices_per_second"] / BATCH
                job = {
                    "network": peer,
                    "precision": best["precision"],
                    "mode": best["mode"],
                    "batch": BATCH,
                    "slices": str(slices),
                    "steps": round(self.minutes * steps_per_minute),
                    "steps_between_points": round(MINUTES_BETWEEN_POINTS * steps_per_minute),
                } | SCHEDULE
                curve = {"minutes": self.minutes, "points": []}
                for point in run_peer(job, self.peers_python):
                    if "val_dice" in point:
                        print(peer, point, flush=True)
                        curve["points"].append(point)
                        curves[peer] = curve
                        save(results)


def our_speed(folder: Path, options: list[str], temporary: Path) -> dict:
    """Slices per second in the second epoch of train.py, and the fraction of its time spent waiting for data."""
    name = "-".join(["run", *options])
    process = subprocess.Popen(
        [sys.executable, ROOT / "train.py", "--data", folder.resolve(), "--name", name, *options], cwd=temporary
    )
    run = temporary / "runs" / name
    timing = []
    while len(timing) < 2 and process.poll() is None:
        time.sleep(1)
        timing = read_table(run / "timing.csv") if (run / "timing.csv").exists() else []
    process.terminate()
    process.wait()
    return {
        "precision": json.loads((run / "config.json").read_text())["precision"],
        "slices_per_second": slices_per_epoch(run) / float(timing[1]["seconds"]),
        "waiting_for_data": float(timing[1]["waiting_for_data"]),
    }


def our_curve(run: Path) -> tuple[str, dict]:
    """Name of a run's recipe, and the slices seen and validation Dice after each epoch."""
    config = json.loads((run / "config.json").read_text())
    points = [
        {"slices": slices_per_epoch(run) * int(row["epoch"]), "val_dice": float(row["val_dice"])}
        for row in read_table(run / "history.csv")
    ]
    name = "ours, --quick" if config["options"]["quick"] else "ours"
    about = {key: config[key] for key in ("precision", "machine", "versions")}
    return name, {"points": points, "trained": about}


def save_slices(folder: Path, temporary: Path) -> Path:
    """Write images and masks of the published training and validation patients to a numpy file; returns its path."""
    from unet.data.slices import load_slices
    from unet.data.split import split_slices
    from unet.options import DataOptions

    slices = load_slices(folder, SIZE)
    split = split_slices(slices, folder, DataOptions())
    arrays = {}
    for name in ("train", "val"):
        indices = slices.indices(split.ids[name])
        arrays[f"{name}_images"] = slices.images[indices]
        arrays[f"{name}_masks"] = slices.masks[indices]
    path = temporary / "slices.npz"
    np.savez(path, **arrays)
    return path


def run_peer(job: dict, python: Path) -> Iterator[dict]:
    """The points of a peer's curve, from a worker process; RuntimeError with its last words if it fails."""
    is_keras = job["network"] == "author"
    worker = ROOT / "benchmarks" / ("accuracy_keras.py" if is_keras else "accuracy_torch.py")
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable if is_keras else python, worker, json.dumps(job)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        for line in process.stdout:
            if line.startswith("{"):
                yield json.loads(line)
        if process.wait():
            errors.seek(0)
            raise RuntimeError(f"{job['network']}: {errors.read()[-300:]}")


def save(results: dict) -> None:
    """Write the results with today's date."""
    write_json(RESULTS, results | {"date": f"{datetime.now():%Y-%m-%d}"})


if __name__ == "__main__":
    command = tyro.cli(
        Annotated[Speeds, tyro.conf.subcommand("speeds")] | Annotated[Curves, tyro.conf.subcommand("curves")],
        description=__doc__,
    )
    command.measure(json.loads(RESULTS.read_text()) if RESULTS.exists() else {})
