"""Validation Dice against minutes of training: our recipes beside other projects' networks.

Usage:

    python benchmarks/accuracy.py FOLDER --peers-python /tmp/venv-peers/bin/python --runs runs/A runs/B

The machine must be idle. FOLDER holds the real data. Each peer trains for --minutes in a process of its
own, in the setting that speed.py found fastest, on the same slices of the published split, with our loss,
about our augmentation, AdamW and a cosine schedule over its time; minutes count training alone, not
validation. Ours come from the history of finished runs. Results go to benchmarks/results/accuracy.json.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import tyro

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from unet.files import read_table, write_json  # noqa: E402

SPEED = ROOT / "benchmarks" / "results" / "speed.json"
# Network, pixels a side.
PEERS = (
    ("smp-resnet18", 256),
    ("nnunet-plain", 256),
    ("monai-basicunet", 256),
    ("smp-resnet18", 128),
)


@dataclass(frozen=True)
class AccuracyOptions:
    """What to train, and how long."""

    folder: tyro.conf.Positional[Path]
    """Folder with images/, masks/ and patients.csv."""
    peers_python: Path
    """Python of the peers' environment."""
    runs: tuple[Path, ...] = ()
    """Finished runs of ours."""
    minutes: float = 45.0
    """Training of each peer."""
    only: tuple[int, ...] = tuple(range(len(PEERS)))
    """Which of PEERS to train."""
    output: Path = ROOT / "benchmarks" / "results" / "accuracy.json"
    """Where the curves go; those that are there and not measured now stay."""


def our_curve(run: Path) -> dict:
    """Minutes and validation Dice of each epoch of a run."""
    rows, timing = (read_table(run / f"{name}.csv") for name in ("history", "timing"))
    minutes = np.cumsum([float(row["seconds"]) for row in timing]) / 60
    points = [
        {"minutes": float(minute), "val_dice": float(row["val_dice"])}
        for minute, row in zip(minutes, rows, strict=True)
    ]
    config = json.loads((run / "config.json").read_text())
    return {
        "points": points,
        "size": config["options"]["size"],
        "precision": config["precision"],
        "machine": config["machine"],
        "versions": config["versions"],
    }


def save_slices(folder: Path, path: Path) -> None:
    """Images and masks of the published training and validation patients at 256 pixels, as numpy."""
    from unet.data import load_slices
    from unet.options import DataOptions
    from unet.split import split_slices

    slices = load_slices(folder, 256)
    split = split_slices(slices, folder, DataOptions())
    arrays = {}
    for part, ids in (("train", split.train), ("val", split.val)):
        indices = slices.indices(ids)
        arrays[f"{part}_images"] = slices.images[indices]
        arrays[f"{part}_masks"] = slices.masks[indices]
    np.savez(path, **arrays)


def peer_curve(job: dict, python: Path) -> dict:
    """Train one peer; its points, or its last words as "error"."""
    worker = ROOT / "benchmarks" / "accuracy_torch.py"
    process = subprocess.Popen(
        [python, worker, json.dumps(job)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    curve = {"size": job["size"], "precision": job["precision"], "mode": job["mode"], "points": []}
    for text in process.stdout:
        if text.startswith("{"):
            told = json.loads(text)
            if "versions" in told:
                curve |= told
            else:
                curve["points"].append(told)
                print(f"{job['network']} {job['size']} px: {told}", flush=True)
    if process.wait():
        curve["error"] = process.stderr.read()[-300:]
    return curve


def measure(options: AccuracyOptions) -> None:
    """All curves, each kept as soon as it is there."""
    kept = json.loads(options.output.read_text()) if options.output.exists() else {"curves": {}}
    for run in options.runs:
        kept["curves"][f"ours, {run.name}"] = our_curve(run)
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary) / "slices.npz"
        if options.only:
            save_slices(options.folder, path)
        for index in options.only:
            network, size = PEERS[index]
            best = json.loads(SPEED.read_text())["best"][network]["training"]
            job = {
                "network": network, "size": size, "precision": best["precision"],
                "mode": best["mode"], "minutes": options.minutes, "slices": str(path),
            }  # fmt: skip
            kept["curves"][f"{network}, {size} px"] = peer_curve(job, options.peers_python)
            kept["date"] = f"{datetime.now():%Y-%m-%d}"
            write_json(options.output, kept)
    write_json(options.output, kept)


if __name__ == "__main__":
    measure(tyro.cli(AccuracyOptions, description=__doc__))
