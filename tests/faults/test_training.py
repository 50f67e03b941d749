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
from unet.tables import read_table, write_table
from unet.training.checkpoints import load_checkpoint

SIX_EPOCHS = [*TINY, "--epochs", "6"]
WRITER = """
import sys, pathlib
import numpy as np
from unet.network.saved_run import SavedRun
from unet.training.checkpoints import save_checkpoint
run = SavedRun.open(pathlib.Path(sys.argv[1]))
for step in range(1_000_000):
    save_checkpoint(run, step, [np.full(1_000_000, step, np.float32)] * 5, {"step": step})
    print(step, flush=True)
"""
LAST = "checkpoint-000000018.npz"  # 28 slices in batches of 8 are 3 steps per epoch


def start(*arguments: object, cwd) -> subprocess.Popen:
    """Start train.py without waiting for it."""
    command = [sys.executable, "-u", ROOT / "train.py", *map(str, arguments)]
    return subprocess.Popen(command, cwd=cwd, stdout=-1, stderr=-1, text=True)


def wait_for_epoch(training: subprocess.Popen) -> None:
    """Read the output of a training until it has finished an epoch."""
    for line in training.stdout:
        if line.startswith("epoch"):
            return
    raise AssertionError(training.stderr.read())


@pytest.fixture(scope="module")
def undisturbed(phantoms, tmp_path_factory):
    """The folder of a run of six epochs without any fault."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = run_script("train", "--data", phantoms, "--name", "run", *SIX_EPOCHS, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "run"


def assert_same_result(run, undisturbed) -> None:
    """Weights, their averages, the optimizer, the history and the scores are equal, bit by bit."""
    with np.load(run / LAST) as one, np.load(undisturbed / LAST) as other:
        assert one.files == other.files
        for name in other.files:
            if name != "state":  # it includes times
                np.testing.assert_array_equal(one[name], other[name])
    for name in ("history.csv", "metrics.json"):
        assert (run / name).read_text() == (undisturbed / name).read_text()


def test_same_seed_gives_the_same_run(phantoms, undisturbed, tmp_path):
    """config.json also records what may change the result."""
    done = run_script("train", "--data", phantoms, "--name", "run", *SIX_EPOCHS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert_same_result(tmp_path / "runs" / "run", undisturbed)
    config = json.loads((undisturbed / "config.json").read_text())
    assert config["versions"]["tensorflow"] and config["machine"]
    assert config["environment"]["cores"] and config["environment"]["TF_ENABLE_ONEDNN_OPTS"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_38_signal_during_training(number, code, phantoms, undisturbed, tmp_path, survived):
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
    assert_same_result(run, undisturbed)
    survived(38, number.name, f"exit {code} with a checkpoint; same result after --resume, bit by bit")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(20))
def test_34_killed_at_a_random_time(number, phantoms, undisturbed, tmp_path, survived):
    """Two kills: one at any time after the first epoch, one while the training resumes."""
    draw = random.Random(number)
    run = tmp_path / "runs" / "run"
    # Five epochs take at least this long on this machine.
    seconds = sum(float(row["seconds"]) for row in read_table(undisturbed / "timing.csv")[1:])
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
    assert_same_result(run, undisturbed)
    survived(34, "kill -9 at two random times, then --resume", "same weights, bit by bit")


@pytest.mark.slow
def test_35_killed_while_writing_a_checkpoint(undisturbed, tmp_path, survived):
    """A process that only writes checkpoints, of 20 MB each, is killed ten times."""
    run = tmp_path / "run"
    shutil.copytree(undisturbed, run, ignore=shutil.ignore_patterns("checkpoint-*"))
    for number in range(10):
        with subprocess.Popen([sys.executable, "-c", WRITER, run], cwd=ROOT, stdout=-1) as writer:
            writer.stdout.readline()  # wait for the first checkpoint
            time.sleep(random.Random(number).uniform(0, 0.3))
            writer.kill()
        arrays, progress = load_checkpoint(SavedRun.open(run))
        assert len(arrays) == 5 and all((array == progress["step"]).all() for array in arrays)
    survived(35, "kill -9 while writing checkpoints, 10 times", "a complete checkpoint loads each time")


@pytest.mark.slow
def test_36_newest_checkpoint_damaged(undisturbed, tmp_path, survived):
    run = tmp_path / "runs" / "run"
    shutil.copytree(undisturbed, run)
    newest = run / LAST
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    done = run_script("train", "--resume", run, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"'{newest}' is damaged" in done.stdout and "Resuming after" in done.stdout
    assert (run / f"{LAST}.damaged").exists()
    assert_same_result(run, undisturbed)
    happened = "prints that it is damaged and resumes from the one before: same result, bit by bit"
    survived(36, "newest checkpoint cut in half", happened)


def test_36_all_checkpoints_damaged(undisturbed, tmp_path, survived):
    run = tmp_path / "runs" / "run"
    shutil.copytree(undisturbed, run)
    for path in run.glob("checkpoint-*.npz"):
        path.write_bytes(b"")
    network = (run / "model.keras").read_bytes()
    for _ in range(2):
        done = run_script("train", "--resume", run, cwd=tmp_path)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
        assert "no readable checkpoint: start a new run" in done.stderr
    assert (run / "model.keras").read_bytes() == network
    message = done.stderr.strip().replace(f"{tmp_path}/", "")
    survived(36, "all checkpoints emptied", f"exit 2: {message}")


def change_batch_size(run, data) -> str:
    config = json.loads((run / "config.json").read_text())
    config["options"]["batch_size"] = 4
    (run / "config.json").write_text(json.dumps(config))
    return "differs in options.batch_size from"


def change_split(run, data) -> str:
    rows = read_table(run / "slices.csv")
    next(row for row in rows if row["used_for"] == "val")["used_for"] = "train"
    write_table(run / "slices.csv", rows)
    return "differs in slices from"


def change_image(run, data) -> str:
    path = sorted((data / "images").iterdir())[0]
    image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    image[0, 0] ^= 255
    cv2.imwrite(str(path), image)
    return f"The slice '{path.stem}' in"


@pytest.mark.parametrize("change", [change_batch_size, change_split, change_image])
def test_37_resume_with_changed_config_or_data(change, phantoms, undisturbed, tmp_path, survived):
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(undisturbed, run)
    shutil.copytree(phantoms, data)
    config = json.loads((run / "config.json").read_text()) | {"data_folder": str(data)}
    (run / "config.json").write_text(json.dumps(config))
    expected = change(run, data)
    done = run_script("train", "--resume", run, cwd=tmp_path)
    assert done.returncode == 2 and expected in done.stderr
    assert len(done.stderr.splitlines()) == 1
    message = done.stderr.strip().replace(f"{tmp_path}/", "")
    survived(37, f"{change.__name__.replace('_', ' ')}, then --resume", f"exit 2: {message}")


@pytest.mark.slow
def test_44_two_trainings_in_one_folder(phantoms, tmp_path, survived):
    long = [*TINY, "--epochs", "1000"]
    with start("--data", phantoms, "--name", "run", *long, cwd=tmp_path) as training:
        wait_for_epoch(training)
        second = run_script("train", "--resume", "runs/run", cwd=tmp_path)
        training.kill()
    assert second.returncode == 2
    assert "Another process is working in 'runs/run'" in second.stderr
    # The killed training has left its lock file, which must not block the next one.
    with start("--resume", "runs/run", cwd=tmp_path) as training:
        wait_for_epoch(training)
        training.kill()
    message = second.stderr.strip()
    survived(44, "two trainings in one folder, the first one killed", f"the second: exit 2: {message}")


def test_40_disk_full_at_a_checkpoint(undisturbed, small_disk, tmp_path, survived):
    disk = small_disk(sum(path.stat().st_size for path in undisturbed.glob("*")))
    run = disk / "run"
    shutil.copytree(undisturbed, run, ignore=shutil.ignore_patterns(LAST))
    before = {path.name: path.read_bytes() for path in run.glob("checkpoint-*.npz")}
    (disk / "filler").write_bytes(b"0" * (shutil.disk_usage(disk).free - 10_000))
    done = run_script("train", "--resume", run, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "GiB free, but the checkpoints need" in done.stderr
    assert before == {path.name: path.read_bytes() for path in run.glob("checkpoint-*.npz")}
    survived(40, "10 kB free before training", "exit 2 with free and needed space; files unchanged")


@pytest.mark.slow
def test_40_disk_full_while_training(phantoms, small_disk, tmp_path, survived):
    """The disk fills up after the training has started, so only writing itself can fail."""
    disk = small_disk(20 * 2**20)
    long = ["--data", phantoms, "--name", "run", *TINY, "--epochs", "1000"]
    with start(*long, cwd=disk) as training:
        for _ in range(2):  # the checkpoint of the first epoch is written before the second epoch ends
            wait_for_epoch(training)
        with contextlib.suppress(OSError):  # the training takes some of the free space
            (disk / "filler").write_bytes(b"0" * shutil.disk_usage(disk).free)
        _, errors = training.communicate(timeout=120)
    assert training.returncode == 2 and "No space left on device. The old file is unchanged." in errors
    assert len(errors.splitlines()) == 1 and not list(disk.rglob(".writing-*"))
    run = SavedRun.open(disk / "runs" / "run")
    assert load_checkpoint(run) and run.load_network()
    message = re.sub("'.*'", "'...'", errors.strip())
    survived(40, "disk full while training", f"exit 2: {message} Checkpoint and network load")


def test_45_out_of_memory(phantoms, tmp_path, survived):
    arguments = ["--size", "4096", "--batch-size", "64", "--epochs", "1"]
    done = run_script("train", "--data", phantoms, "--name", "run", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "a --batch-size below 28 or a --size below 4096" in done.stderr
    message = re.sub(r"[\d.]+ GiB are free", "... GiB are free", done.stderr.strip())
    survived(45, "28 slices of 4096 x 4096 in a batch", f"exit 2: {message}")


def test_33_loss_becomes_nan(phantoms, tmp_path, survived):
    # Clipping the gradient does not help: the steps of Adam are as large as the learning rate.
    done = run_script("train", "--data", phantoms, "--name", "run", *TINY, "--learning-rate", "1e38", cwd=tmp_path)
    assert done.returncode == 2
    assert "start a new run with a lower --learning-rate" in done.stderr
    history = tmp_path / "runs" / "run" / "history.csv"
    if history.exists():
        with open(history, newline="") as file:
            assert all(np.isfinite(float(row["loss"])) for row in csv.DictReader(file))
    survived(33, "learning rate of 1e38", f"exit 2: {done.stderr.strip()}")
