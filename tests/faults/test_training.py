"""Faults 33 to 45: what may happen to a training."""

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from conftest import ROOT, TINY, run_script

SIX_EPOCHS = [*TINY, "--epochs", "6", "--model.dropout", "0.2"]
LAST = "checkpoint-000000018.npz"  # 24 slices in batches of 8, six times


def start(*arguments: object, cwd) -> subprocess.Popen:
    command = [sys.executable, "-u", ROOT / "train.py", *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, stdout=-1, stderr=-1, text=True)


def wait_for_epoch(training: subprocess.Popen) -> None:
    """Read what a training prints until an epoch is done."""
    for line in training.stdout:
        if line.startswith("epoch"):
            return
    raise AssertionError(training.stderr.read())


@pytest.fixture(scope="module")
def whole(phantoms, tmp_path_factory):
    """A run of six epochs that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole")
    done = run_script("train", "--data", phantoms, "--name", "run", *SIX_EPOCHS, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "run"


def assert_same_result(run, whole) -> None:
    """Weights, optimizer, averages, dropout's seed state and history are equal to the bit."""
    with np.load(run / LAST) as one, np.load(whole / LAST) as other:
        assert one.files == other.files
        for name in other.files:
            if name != "progress":  # which holds times
                np.testing.assert_array_equal(one[name], other[name])
    for name in ("history.csv", "metrics.json"):
        assert (run / name).read_text() == (whole / name).read_text()


def test_determinism_the_same_seed_gives_the_same_run(phantoms, whole, tmp_path):
    done = run_script("train", "--data", phantoms, "--name", "run", *SIX_EPOCHS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_result(tmp_path / "runs" / "run", whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_38_signal_in_training(number, code, phantoms, whole, tmp_path):
    with start("--data", phantoms, "--name", "run", *SIX_EPOCHS, cwd=tmp_path) as training:
        wait_for_epoch(training)
        training.send_signal(number)
        out, errors = training.communicate(timeout=60)
    run = tmp_path / "runs" / "run"
    assert training.returncode == code
    assert errors == f"Stopped by {number.name}.\n"
    assert "python train.py --resume runs/run" in out
    assert list(run.glob("checkpoint-*.npz")) and not (run / LAST).exists()
    done = run_script("train", "--resume", "runs/run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_result(run, whole)


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 20))]
)
def test_34_killed_at_a_random_time(number, phantoms, whole, tmp_path):
    """Two kills: one at any time after the first epoch, one while it goes on."""
    draw = random.Random(number)
    run = tmp_path / "runs" / "run"
    arguments = ["--data", phantoms, "--name", "run", *SIX_EPOCHS]
    for _ in range(2):
        with start(*arguments, cwd=tmp_path) as training:
            while not list(run.glob("checkpoint-*.npz")) and training.poll() is None:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 6))
            training.kill()
        arguments = ["--resume", "runs/run"]
    done = run_script("train", "--resume", "runs/run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_result(run, whole)


def test_36_newest_checkpoint_damaged(whole, tmp_path):
    run = tmp_path / "runs" / "run"
    shutil.copytree(whole, run)
    newest = run / LAST
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    done = run_script("train", "--resume", run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"'{newest}' is damaged" in done.stdout and "going on from the one before" in done.stdout
    assert_same_result(run, whole)


def test_44_two_trainings_into_one_folder(phantoms, whole, tmp_path):
    long = [*TINY, "--epochs", "1000"]
    with start("--data", phantoms, "--name", "run", *long, cwd=tmp_path) as training:
        wait_for_epoch(training)
        second = run_script("train", "--resume", "runs/run", cwd=tmp_path)
        training.kill()
    assert second.returncode == 2
    assert "Another process is training into 'runs/run'" in second.stderr
    # The lock of the killed one is stale.
    with start("--resume", "runs/run", cwd=tmp_path) as training:
        wait_for_epoch(training)
        training.kill()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_40_disk_full_at_a_checkpoint(whole, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    size = sum(path.stat().st_size for path in whole.glob("*"))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk])
    if mounted.returncode:
        pytest.skip("this system mounts no tmpfs")
    try:
        run = disk / "run"
        shutil.copytree(whole, run, ignore=shutil.ignore_patterns(LAST))
        before = {path.name: path.read_bytes() for path in run.glob("checkpoint-*.npz")}
        (disk / "filler").write_bytes(b"0" * (shutil.disk_usage(disk).free - 10_000))
        done = run_script("train", "--resume", run, cwd=tmp_path)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        assert "GiB free; the checkpoints need" in done.stderr
        assert before == {path.name: path.read_bytes() for path in run.glob("checkpoint-*.npz")}
    finally:
        subprocess.run(["umount", disk], check=True)


def test_33_loss_becomes_nan(phantoms, tmp_path):
    # A learning rate that throws the weights out of all bounds, without a cut of the gradient's norm
    # that could save it: Adam's steps have the size of the learning rate.
    done = run_script(
        "train", "--data", phantoms, "--name", "run", *TINY, "--learning-rate", "1e38", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "start anew with a lower --learning-rate" in done.stderr
    history = tmp_path / "runs" / "run" / "history.csv"
    if history.exists():
        with open(history, newline="") as file:
            assert all(np.isfinite(float(row["loss"])) for row in csv.DictReader(file))
