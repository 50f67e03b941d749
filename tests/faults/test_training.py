"""Faults 33 to 38, 40, 44 and 45: what may happen to a training."""

import contextlib
import csv
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest
from conftest import TINY
from ready import ROOT, run_script

from unet.network.saved_run import SavedRun
from unet.tables import read_table

SIX_EPOCHS = [*TINY, "--epochs", "6", "--model.dropout", "0.2"]
WRITER = """
import sys, pathlib
import numpy as np
from unet.tables import read_table
from unet.network.saved_run import SavedRun
run = SavedRun.open(pathlib.Path(sys.argv[1]))
for step in range(1_000_000):
    run.save_checkpoint(step, [np.full(1_000_000, step, np.float32)] * 5, {"step": step})
    print(step, flush=True)
"""
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
            if name != "told":  # which holds times
                np.testing.assert_array_equal(one[name], other[name])
    for name in ("history.csv", "metrics.json"):
        assert (run / name).read_text() == (whole / name).read_text()


def test_determinism_the_same_seed_gives_the_same_run(phantoms, whole, tmp_path):
    """And config.json records what may change it."""
    done = run_script("train", "--data", phantoms, "--name", "run", *SIX_EPOCHS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_result(tmp_path / "runs" / "run", whole)
    config = json.loads((whole / "config.json").read_text())
    assert config["versions"]["tensorflow"] and config["machine"]
    assert config["environment"]["cores"] and config["environment"]["TF_ENABLE_ONEDNN_OPTS"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_38_signal_in_training(number, code, phantoms, whole, tmp_path, survived):
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
    survived(38, number.name, f"exit {code} with a checkpoint; resumed to the same bits")


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 20))]
)
def test_34_killed_at_a_random_time(number, phantoms, whole, tmp_path, survived):
    """Two kills: one at any time after the first epoch, one while it goes on."""
    draw = random.Random(number)
    run = tmp_path / "runs" / "run"
    # What five epochs take at least here.
    seconds = sum(float(row["seconds"]) for row in read_table(whole / "timing.csv")[1:])
    arguments = ["--data", phantoms, "--name", "run", *SIX_EPOCHS]
    for longest in (seconds, 6):
        with start(*arguments, cwd=tmp_path) as training:
            while not list(run.glob("checkpoint-*.npz")) and training.poll() is None:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, longest))
            training.kill()
        assert training.returncode == -9 or arguments[0] == "--resume", "it ended before the kill"
        arguments = ["--resume", "runs/run"]
    done = run_script("train", "--resume", "runs/run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_result(run, whole)
    survived(34, "kill -9 at two random times, then --resume", "weights equal to the bit")


def test_35_killed_while_a_checkpoint_is_written(whole, tmp_path, survived):
    """A process that writes nothing but checkpoints, of 20 MB each, is killed again and again."""
    run = tmp_path / "run"
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns("checkpoint-*"))
    for number in range(10):
        with subprocess.Popen([sys.executable, "-c", WRITER, run], cwd=ROOT, stdout=-1) as writer:
            writer.stdout.readline()  # the first is written
            time.sleep(random.Random(number).uniform(0, 0.3))
            writer.kill()
        arrays, progress = SavedRun.open(run).load_checkpoint()
        assert len(arrays) == 5 and all((array == progress["step"]).all() for array in arrays)
    survived(35, "kill -9 while checkpoints are written, 10 times", "a whole one loads each time")


def test_36_newest_checkpoint_damaged(whole, tmp_path, survived):
    run = tmp_path / "runs" / "run"
    shutil.copytree(whole, run)
    newest = run / LAST
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    done = run_script("train", "--resume", run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"'{newest}' is damaged" in done.stdout and "Going on after" in done.stdout
    assert (run / f"{LAST}.damaged").exists()
    assert_same_result(run, whole)
    survived(
        36,
        "newest checkpoint cut in half",
        "said, and resumed from the one before to the same bits",
    )


def test_36_every_checkpoint_damaged(whole, tmp_path, survived):
    run = tmp_path / "runs" / "run"
    shutil.copytree(whole, run)
    for path in run.glob("checkpoint-*.npz"):
        path.write_bytes(b"")
    network = (run / "model.keras").read_bytes()
    for _ in range(2):
        done = run_script("train", "--resume", run, cwd=tmp_path)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        assert "no checkpoint that can be read: start a new run" in done.stderr
    assert (run / "model.keras").read_bytes() == network
    told = done.stderr.strip().replace(f"{tmp_path}/", "")
    survived(36, "every checkpoint emptied", f"exit 2: {told}")


def change_batch_size(run, data) -> str:
    config = json.loads((run / "config.json").read_text())
    config["options"]["batch_size"] = 4
    (run / "config.json").write_text(json.dumps(config))
    return "has another options.batch_size than"


def change_split(run, data) -> str:
    config = json.loads((run / "config.json").read_text())
    config["split"]["train"].append(config["split"]["val"].pop())
    (run / "config.json").write_text(json.dumps(config))
    return "has another split than"


def change_image(run, data) -> str:
    path = sorted((data / "images").iterdir())[0]
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    image[0, 0] ^= 255
    cv2.imwrite(str(path), image)
    return f"The slice '{path.stem}' in"


@pytest.mark.parametrize("change", [change_batch_size, change_split, change_image])
def test_37_resume_with_another_config_or_data(change, phantoms, whole, tmp_path, survived):
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(whole, run)
    shutil.copytree(phantoms, data)
    config = json.loads((run / "config.json").read_text()) | {"data_folder": str(data)}
    (run / "config.json").write_text(json.dumps(config))
    expected = change(run, data)
    done = run_script("train", "--resume", run, cwd=tmp_path)
    assert done.returncode == 2 and expected in done.stderr
    assert len(done.stderr.splitlines()) == 1
    told = done.stderr.strip().replace(f"{tmp_path}/", "")
    survived(37, f"{change.__name__.replace('_', ' ')}, then --resume", f"exit 2: {told}")


def test_44_two_trainings_into_one_folder(phantoms, whole, tmp_path, survived):
    long = [*TINY, "--epochs", "1000"]
    with start("--data", phantoms, "--name", "run", *long, cwd=tmp_path) as training:
        wait_for_epoch(training)
        second = run_script("train", "--resume", "runs/run", cwd=tmp_path)
        training.kill()
    assert second.returncode == 2
    assert "Another process works in 'runs/run'" in second.stderr
    # The lock of the killed one is stale.
    with start("--resume", "runs/run", cwd=tmp_path) as training:
        wait_for_epoch(training)
        training.kill()
    told = second.stderr.strip()
    survived(44, "two trainings into one folder, the first killed", f"the second: exit 2: {told}")


def test_40_disk_full_at_a_checkpoint(whole, small_disk, tmp_path, survived):
    disk = small_disk(sum(path.stat().st_size for path in whole.glob("*")))
    run = disk / "run"
    shutil.copytree(whole, run, ignore=shutil.ignore_patterns(LAST))
    before = {path.name: path.read_bytes() for path in run.glob("checkpoint-*.npz")}
    (disk / "filler").write_bytes(b"0" * (shutil.disk_usage(disk).free - 10_000))
    done = run_script("train", "--resume", run, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "GiB free; the checkpoints need" in done.stderr
    assert before == {path.name: path.read_bytes() for path in run.glob("checkpoint-*.npz")}
    survived(40, "10 kB free before training", "exit 2, naming free and needed space; files intact")


def test_40_disk_full_while_training(phantoms, small_disk, tmp_path, survived):
    """The disk fills up after training began, so only the write itself can tell."""
    disk = small_disk(20 * 2**20)
    long = ["--data", phantoms, "--name", "run", *TINY, "--epochs", "1000"]
    with start(*long, cwd=disk) as training:
        for _ in range(2):  # after the second epoch the first has its checkpoint
            wait_for_epoch(training)
        with contextlib.suppress(OSError):  # the training writes as well
            (disk / "filler").write_bytes(b"0" * shutil.disk_usage(disk).free)
        _, errors = training.communicate(timeout=120)
    assert training.returncode == 2 and "No space left on device. What was there stays." in errors
    assert len(errors.splitlines()) == 1 and not list(disk.rglob(".writing-*"))
    run = SavedRun.open(disk / "runs" / "run")
    assert run.load_checkpoint() and run.load_model()
    told = re.sub("'.*'", "'...'", errors.strip())
    survived(40, "disk full while training", f"exit 2: {told} Checkpoint and network load")


def test_45_out_of_memory(phantoms, tmp_path, survived):
    arguments = ["--size", "4096", "--batch-size", "64", "--epochs", "1"]
    done = run_script("train", "--data", phantoms, "--name", "run", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "a --batch-size below 24 or a --size below 4096" in done.stderr
    told = re.sub(r"[\d.]+ are free", "... are free", done.stderr.strip())
    survived(45, "24 slices of 4096 x 4096 in a batch", f"exit 2: {told}")


def test_33_loss_becomes_nan(phantoms, tmp_path, survived):
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
    survived(33, "learning rate of 1e38", f"exit 2: {done.stderr.strip()}")
