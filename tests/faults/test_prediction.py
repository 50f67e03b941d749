"""Faults 20, 39, 41 to 44 and 50: what may happen to a prediction."""

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_image
from ready import ROOT, run_script

from faults.conftest import run_measured
from unet.tables import read_table


def write_images(folder: Path, count: int) -> None:
    """Write `count` random images. 0005.png is not readable."""
    random = np.random.default_rng(0)
    for index in range(count):
        write_image(folder / f"{index:04d}.png", random.integers(0, 256, (64, 64)).astype(np.uint8))
    (folder / "0005.png").write_bytes(b"not an image")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder and below, except the lock."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def predict(run: Path, *arguments: object, cwd: Path):
    return run_measured("predict", "in", "--run", run, "--output", "out", *arguments, cwd=cwd)


@pytest.mark.parametrize("kind", ["missing", "empty"])
def test_20_no_input(kind, trained, tmp_path, survived):
    if kind == "empty":
        (tmp_path / "in").mkdir()
    done = predict(trained, cwd=tmp_path)
    assert done.returncode == 2 and "No images found at 'in'" in done.stderr
    assert not (tmp_path / "out").exists()
    survived(20, f"input folder {kind}", f"exit 2: {done.stderr.strip()}")


@pytest.fixture(scope="module")
def many(trained, tmp_path_factory):
    """A folder with 1500 images, one of them not readable, and the output of a prediction without any fault."""
    folder = tmp_path_factory.mktemp("many")
    write_images(folder / "in", 1500)
    done = predict(trained, cwd=folder)
    assert done.returncode == 3, done.stderr
    return folder / "in", contents(folder / "out")


@pytest.mark.parametrize("number", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 20))])
def test_39_killed_at_a_random_time(number, trained, many, tmp_path, survived):
    images, expected = many
    arguments = [images, "--run", trained, "--output", "out", "--resume"]
    command = [sys.executable, ROOT / "predict.py", *map(str, arguments)]
    table, masks = tmp_path / "out" / "predictions.csv", tmp_path / "out" / "masks"
    draw = random.Random(number)
    # Counting masks, not seconds, picks a time within the prediction on fast and slow machines.
    written = draw.randrange(1400)
    with subprocess.Popen(command, cwd=tmp_path, stdout=-1, stderr=-1) as prediction:
        while prediction.poll() is None and not (
            table.exists() and masks.exists() and len(os.listdir(masks)) >= written
        ):
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.01))
        prediction.kill()
    assert prediction.returncode == -9, "it ended before the kill"
    done = len(read_table(table)) // 8 * 8
    times = {path: path.stat().st_mtime_ns for path in sorted(masks.glob("*.png"))[: max(0, done - 1)]}
    resumed = run_script("predict", *arguments, cwd=tmp_path)
    assert resumed.returncode == 3, resumed.stderr
    assert contents(tmp_path / "out") == expected
    assert times == {path: path.stat().st_mtime_ns for path in times}
    happened = "same output, byte by byte; no finished image is processed again"
    survived(39, "kill -9 at a random time, then --resume", happened)


def test_41_disk_full_of_results(trained, many, small_disk, tmp_path, survived):
    images, _ = many
    disk = small_disk(2**20)
    done = run_measured("predict", images, "--run", trained, "--output", disk / "out", cwd=tmp_path)
    assert done.returncode == 2
    assert re.search(r"Cannot (write|append to) '.*': No space left on device", done.stderr)
    assert len(done.stderr.splitlines()) == 1
    for path in (disk / "out").rglob("*.[pj][np]g"):
        assert cv2.imread(str(path)) is not None
    assert not list(disk.rglob(".writing-*"))
    rows = read_table(disk / "out" / "predictions.csv")
    assert rows and all(None not in row.values() for row in rows)
    survived(41, "disk of 1 MiB", "exit 2: " + re.sub("'.*'", "'...'", done.stderr.strip()))


def test_42_output_folder_is_read_only(trained, tmp_path, survived):
    write_images(tmp_path / "in", 6)
    (tmp_path / "out").mkdir()
    (tmp_path / "out").chmod(0o555)
    done = predict(trained, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr == "Cannot write to 'out': Permission denied.\n"
    assert not list((tmp_path / "out").iterdir())
    survived(42, "output folder without write permission", f"exit 2: {done.stderr.strip()}")


def test_43_output_folder_contains_other_results(trained, tmp_path, survived):
    write_images(tmp_path / "in", 6)
    assert predict(trained, cwd=tmp_path).returncode == 3
    before = contents(tmp_path / "out")

    def assert_refused(reason: str, *arguments: str) -> None:
        done = predict(trained, *arguments, cwd=tmp_path)
        assert done.returncode == 2 and reason in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1 and contents(tmp_path / "out") == before
        survived(43, " ".join(["same command again", *arguments]), f"exit 2: {done.stderr.strip()}")

    assert_refused("choose another --output")
    assert_refused("was started with mirror True, not False", "--resume", "--no-mirror")
    write_image(tmp_path / "in" / "0000a.png", np.zeros((8, 8), np.uint8))
    assert_refused("was started with other images", "--resume")
    done = predict(trained, "--overwrite", cwd=tmp_path)
    assert done.returncode == 3 and "6 of 7 images read" in done.stdout
    survived(43, "same command again --overwrite", "replaced")


def test_43_masks_of_a_data_set_are_never_replaced(trained, phantoms, tmp_path, survived):
    shutil.copytree(phantoms, tmp_path / "out")
    write_images(tmp_path / "in", 6)
    before = contents(tmp_path / "out")
    done = predict(trained, "--overwrite", cwd=tmp_path)
    assert done.returncode == 2 and "contains 'masks', which no prediction wrote" in done.stderr
    assert contents(tmp_path / "out") == before
    survived(43, "output folder is a data set, --overwrite", f"exit 2: {done.stderr.strip()}")


def test_44_two_predictions_in_one_folder(trained, many, tmp_path, survived):
    images, expected = many
    arguments = [images, "--run", trained, "--output", "out", "--resume"]
    command = [sys.executable, ROOT / "predict.py", *map(str, arguments)]
    first = subprocess.Popen(command, cwd=tmp_path, stdout=-1, stderr=-1)
    # This file is written as soon as the prediction has the lock.
    while not (tmp_path / "out" / "prediction.json").exists() and first.poll() is None:
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGSTOP)  # so that it keeps the lock until the second one has tried
    second = run_script("predict", *arguments, cwd=tmp_path)
    os.kill(first.pid, signal.SIGCONT)
    first.communicate()
    assert second.returncode == 2 and "Another process is working in 'out'" in second.stderr
    assert first.returncode == 3 and contents(tmp_path / "out") == expected
    survived(44, "two predictions in one folder", f"the second: exit 2: {second.stderr.strip()}")


@pytest.mark.slow
def test_50_5000_files(trained, tmp_path, survived):
    for count in (100, 5000):
        write_images(tmp_path / str(count), count)
    few, many = (
        run_measured("predict", str(count), "--run", trained, "--output", f"out{count}", cwd=tmp_path)
        for count in (100, 5000)
    )
    assert many.returncode == 3 and len(read_table(tmp_path / "out5000" / "predictions.csv")) == 5000
    more = many.peak_mib - few.peak_mib
    assert more < 60
    survived(50, "5000 files", f"5000 rows, {more:+.0f} MiB of memory compared with 100 files")
