"""Validation Dice against minutes of training: our recipes beside other projects' networks.

Usage:

    python benchmarks/accuracy.py speeds FOLDER
    python benchmarks/accuracy.py curves FOLDER --peers-python /tmp/venv-peers/bin/python --runs runs/A runs/B

FOLDER holds the real data. The first command needs an idle machine, of the kind that speed.py ran on: it
times our training as it is, with augmentation. The second may take its time: what is learned from a number
of slices does not depend on how busy the machine is, so minutes are the slices seen over the idle speed
(validation takes none). A peer's speed is that of its network alone in speed.json: its data and
augmentation cost nothing. Each peer trains from scratch on the same slices of the published split with our
loss, about our augmentation, AdamW and a cosine schedule over as many slices as it does in --minutes; ours
come from the history of finished runs. Results go to benchmarks/results/accuracy.json; speeds and curves
that are there and not measured now stay.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from timing import slices_an_epoch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from unet.files import write_json  # noqa: E402
from unet.tables import read_table  # noqa: E402

SPEED = ROOT / "benchmarks" / "results" / "speed.json"
RESULTS = ROOT / "benchmarks" / "results" / "accuracy.json"
SIZE = 256
BATCH = 16
MINUTES_BETWEEN_POINTS = 10
# Of the peers: a warm-up over this share of the steps, then a cosine.
SCHEDULE = {"learning_rate": 1e-3, "warmup": 0.05}
Peer = Literal["author", "smp-resnet18", "smp-resnet34", "monai-basicunet", "nnunet-plain"]
OURS = {"ours, --quick": ["--quick"], "ours": []}


@dataclass(frozen=True)
class Speeds:
    """Time our training on the idle machine: two epochs of each recipe."""

    folder: tyro.conf.Positional[Path]
    """Folder with images/, masks/ and patients.csv."""

    def measure(self, results: dict) -> None:
        from unet.machine import installed_versions, machine_description

        results |= {"machine": machine_description(), "versions": installed_versions()}
        speeds = results["speeds"] = {}
        with tempfile.TemporaryDirectory() as temporary:
            for name, options in OURS.items():
                speeds[name] = our_speed(self.folder, options, Path(temporary))
                print(name, speeds[name], flush=True)
                keep(results)


@dataclass(frozen=True)
class Curves:
    """Train each peer for what it does in --minutes, and take ours from finished runs."""

    folder: tyro.conf.Positional[Path]
    """Folder with images/, masks/ and patients.csv."""
    peers_python: Path
    """Python of the peers' environment."""
    runs: tuple[Path, ...] = ()
    """Finished runs of ours: of the default recipe, of the quick one."""
    minutes: float = 45.0
    """Idle minutes that each peer's schedule is made for."""
    only: tuple[Peer, ...] = Peer.__args__
    """Which peers to train."""

    def measure(self, results: dict) -> None:
        curves = results.setdefault("curves", {})
        for run in self.runs:
            name, curve = our_curve(run)
            curves[name] = curve
        keep(results)
        with tempfile.TemporaryDirectory() as temporary:
            slices = save_slices(self.folder, Path(temporary)) if self.only else None
            for peer in self.only:
                best = json.loads(SPEED.read_text())["best"][peer]["training"]
                per_minute = 60 * best["slices_per_second"] / BATCH
                job = {
                    "network": peer,
                    "precision": best["precision"],
                    "mode": best["mode"],
                    "batch": BATCH,
                    "slices": str(slices),
                    "steps": round(self.minutes * per_minute),
                    "steps_between_points": round(MINUTES_BETWEEN_POINTS * per_minute),
                } | SCHEDULE
                curve = {"minutes": self.minutes, "points": []}
                for told in run_peer(job, self.peers_python):
                    if "val_dice" in told:
                        print(peer, told, flush=True)
                        curve["points"].append(told)
                curves[peer] = curve
                keep(results)


def our_speed(folder: Path, options: list[str], temporary: Path) -> dict:
    """Slices a second of the second epoch of train.py, and what share of it waited for data."""
    name = "-".join(["run", *options])
    process = subprocess.Popen(
        [sys.executable, ROOT / "train.py", "--data", folder.resolve(), "--name", name, *options],
        cwd=temporary,
    )
    run = temporary / "runs" / name
    timing = []
    while len(timing) < 2 and process.poll() is None:
        time.sleep(1)
        timing = read_table(run / "timing.csv") if (run / "timing.csv").exists() else []
    process.terminate()
    process.wait()
    config = json.loads((run / "config.json").read_text())
    return {
        "precision": config["precision"],
        "slices_per_second": slices_an_epoch(config) / float(timing[1]["seconds"]),
        "waiting_for_data": float(timing[1]["waiting_for_data"]),
    }


def our_curve(run: Path) -> tuple[str, dict]:
    """Name of the recipe; slices seen and validation Dice after each epoch of a run."""
    config = json.loads((run / "config.json").read_text())
    points = [
        {"slices": slices_an_epoch(config) * int(row["epoch"]), "val_dice": float(row["val_dice"])}
        for row in read_table(run / "history.csv")
    ]
    name = "ours, --quick" if config["options"]["quick"] else "ours"
    about = {key: config[key] for key in ("precision", "machine", "versions")}
    return name, {"points": points, "trained": about}


def save_slices(folder: Path, temporary: Path) -> Path:
    """Images and masks of the published training and validation patients, as numpy."""
    from unet.data.slices import load_slices
    from unet.data.split import split_slices
    from unet.options import DataOptions

    slices = load_slices(folder, SIZE)
    split = split_slices(slices, folder, DataOptions())
    arrays = {}
    for part, ids in (("train", split.train), ("val", split.val)):
        indices = slices.indices(ids)
        arrays[f"{part}_images"] = slices.images[indices]
        arrays[f"{part}_masks"] = slices.masks[indices]
    path = temporary / "slices.npz"
    np.savez(path, **arrays)
    return path


def run_peer(job: dict, python: Path):
    """Run the worker; yields what it tells. RuntimeError with its last words where it fails."""
    is_keras = job["network"] == "author"
    worker = ROOT / "benchmarks" / ("accuracy_keras.py" if is_keras else "accuracy_torch.py")
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable if is_keras else python, worker, json.dumps(job)],
            env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
        for text in process.stdout:
            if text.startswith("{"):
                yield json.loads(text)
        if process.wait():
            errors.seek(0)
            raise RuntimeError(f"{job['network']}: {errors.read()[-300:]}")


def keep(results: dict) -> None:
    write_json(RESULTS, results | {"date": f"{datetime.now():%Y-%m-%d}"})


if __name__ == "__main__":
    command = tyro.cli(
        Annotated[Speeds, tyro.conf.subcommand("speeds")] | Annotated[Curves, tyro.conf.subcommand("curves")],
        description=__doc__,
    )
    command.measure(json.loads(RESULTS.read_text()) if RESULTS.exists() else {})
