"""Small data sets and a trained run that tests share."""

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import settings
from ready import run_script

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from unet.data.phantoms import write_phantoms

settings.register_profile("default", max_examples=400)
settings.register_profile("fuzz", max_examples=20_000)
settings.load_profile("default")
# The smallest training that includes every step.
TINY = (
    "--size 64 --epochs 2 --presence-epochs 1 --batch-size 8 --precision float32 --model.width 8 --model.depth 3 "
    "--model.stem-stride 2"
).split()


def run_module(module: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """Run `python -m module` as a user does."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write pixels in the format that the file's suffix names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, pixels)[1].tobytes())


def write_pairs(folder: Path, count: int, size: tuple[int, int] = (20, 24)) -> None:
    """Write `count` random images 0.png, 1.png ... and their masks, each with a square of tumor."""
    random = np.random.default_rng(0)
    for index in range(count):
        mask = np.zeros(size, np.uint8)
        mask[5:10, 5 + index % 8 : 12 + index % 8] = 255
        image = random.integers(0, 255, size).astype(np.uint8)
        write_image(folder / "images" / f"{index}.png", image)
        write_image(folder / "masks" / f"{index}.png", mask)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """Data folder of 25 simulated patients, five of them without a tumor, with two slices each, at 64 pixels."""
    folder = tmp_path_factory.mktemp("data") / "phantoms"
    write_phantoms(folder, patients=25, slices=2, size=64)
    return folder


@pytest.fixture(scope="session")
def trained(phantoms, tmp_path_factory) -> Path:
    """Folder of a run that train.py made from the phantoms."""
    cwd = tmp_path_factory.mktemp("work")
    done = run_script("train", "--data", phantoms, "--name", "tiny", *TINY, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd / "runs" / "tiny"
