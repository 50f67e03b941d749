"""The benchmarks start, and their workers run on the smallest jobs: most of them are used once in many months."""

import json
import subprocess
import sys

import numpy as np
import pytest
from ready import ROOT

BENCHMARKS = ROOT / "benchmarks"
COMMANDS = sorted(path for path in BENCHMARKS.glob("*.py") if "tyro.cli(" in path.read_text())
# A batch of 2 slices of 64 x 64 pixels.
SPEED_JOB = {"precision": "float32", "mode": "graph", "batch": 2, "size": 64, "repetitions": 1, "seconds": 0}


def run(*command: object) -> str:
    """Standard output of a Python script that must succeed."""
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_a_benchmark_has_help(path):
    assert "--help" in run(path, "--help")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["ours", "author"])
def test_the_worker_of_speed_measures_training_and_inference(network):
    figures = json.loads(
        run(BENCHMARKS / "speed_keras.py", json.dumps({"network": network} | SPEED_JOB)).splitlines()[-1]
    )
    assert figures["training"]["slices_per_second"] > 0


@pytest.mark.slow
def test_the_worker_of_accuracy_trains_the_network_of_the_author(tmp_path):
    rng = np.random.default_rng(0)
    images, masks = rng.integers(0, 256, (4, 64, 64), np.uint8), rng.integers(0, 2, (4, 64, 64), np.uint8)
    arrays = {f"{split}_images": images for split in ("train", "val")} | {
        f"{split}_masks": masks for split in ("train", "val")
    }
    np.savez(tmp_path / "slices.npz", **arrays)
    job = {"slices": str(tmp_path / "slices.npz"), "precision": "float32", "mode": "graph", "batch": 2}
    job |= {"steps": 3, "steps_between_points": 2, "learning_rate": 1e-3}
    points = [json.loads(line) for line in run(BENCHMARKS / "accuracy_keras.py", json.dumps(job)).splitlines()]
    assert [point["slices"] for point in points] == [4, 6] and all(0 <= point["val_dice"] <= 1 for point in points)
