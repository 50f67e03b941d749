"""Two workers on one machine train the same network as one, and can resume after one of them is killed."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest
from conftest import TINY
from ready import ROOT, run_script

sys.path.insert(0, str(ROOT / "benchmarks"))
from loopback import worker_configs

from unet.data.phantoms import write_phantoms
from unet.errors import UserError
from unet.tables import read_table
from unet.training.workers import index_and_count


def start_workers(arguments, *folders):
    """Start train.py as one worker in each folder."""
    return [
        subprocess.Popen(
            [sys.executable, ROOT / "train.py", *map(str, arguments)],
            cwd=folder,
            env=os.environ | {"TF_CONFIG": config},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for folder, config in zip(folders, worker_configs(len(folders)), strict=True)
    ]


def finish(processes, seconds=300):
    """Wait for all processes, which must succeed; returns the output of each."""
    results = [process.communicate(timeout=seconds) for process in processes]
    for process, (_, errors) in zip(processes, results, strict=True):
        assert process.returncode == 0, errors[-2000:]
    return [output for output, _ in results]


def weights_of(run):
    """All weights of a run's network in one array."""
    with zipfile.ZipFile(run / "model.keras") as archive:
        content = archive.read("model.weights.h5")
    arrays = []

    def take(name, item):
        if isinstance(item, h5py.Dataset):
            arrays.append(item[()].ravel())

    with h5py.File(io.BytesIO(content)) as file:
        file.visititems(take)
    return np.concatenate(arrays)


@pytest.mark.slow
def test_two_workers_learn_the_same_as_one(trained, phantoms, tmp_path):
    outputs = finish(start_workers(["--data", phantoms, "--name", "two", *TINY], tmp_path, tmp_path))
    assert "Validation Dice" in outputs[0] and "Validation Dice" not in outputs[1]
    assert os.listdir(tmp_path / "runs") == ["two"]  # the second worker leaves nothing behind
    one, two = (read_table(run / "history.csv") for run in (trained, tmp_path / "runs" / "two"))
    for row, same in zip(one, two, strict=True):
        for column in ("loss", "dice", "val_loss", "val_dice"):
            assert float(same[column]) == pytest.approx(float(row[column]), abs=2e-3), column
    gap = np.abs(weights_of(trained) - weights_of(tmp_path / "runs" / "two"))
    # Adam divides by gradients close to 0, which magnifies rounding errors.
    assert gap.mean() < 1e-3


@pytest.mark.slow
def test_if_the_chief_cannot_start_the_other_worker_ends_with_one_line(trained, phantoms):
    home = trained.parent.parent
    workers = start_workers(["--data", phantoms, "--name", "tiny", *TINY], home, home)
    errors = [process.communicate(timeout=300)[1] for process in workers]
    assert [process.returncode for process in workers] == [2, 2]
    assert "already contains a run" in errors[0].splitlines()[-1]
    assert "Another worker has stopped" in errors[1].splitlines()[-1]


@pytest.mark.slow
def test_workers_with_different_data_are_refused(tmp_path):
    # Both have a folder of that name, but with different slices.
    folders = tmp_path / "one", tmp_path / "other"
    for slices, folder in enumerate(folders, start=2):
        write_phantoms(folder / "data", patients=18, slices=slices, size=64)
    for process in start_workers(["--data", "data", "--name", "x", *TINY], *folders):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 2
        assert "The workers differ in data, options or checkpoint" in errors


@pytest.mark.slow
def test_if_a_worker_is_killed_the_other_ends_and_both_can_resume(phantoms, tmp_path):
    arguments = ["--data", phantoms, "--name", "run", *TINY, "--epochs", 40]
    chief, other = start_workers(arguments, tmp_path, tmp_path)
    run = tmp_path / "runs" / "run"
    deadline = time.monotonic() + 200
    while not len(list(run.glob("checkpoint-*.npz"))) > 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    other.send_signal(signal.SIGKILL)
    _, errors = chief.communicate(timeout=150)
    assert chief.returncode == 2 and "--resume" in errors.splitlines()[-1], errors[-2000:]
    done = len(read_table(run / "history.csv"))
    assert 0 < done < 40
    outputs = finish(start_workers(["--resume", "runs/run"], tmp_path, tmp_path))
    assert re.search(r"Resuming after epoch \d+", outputs[0])
    through = run_script("train", *arguments[:3], "through", *arguments[4:], cwd=tmp_path)
    assert through.returncode == 0, through.stderr
    first, second = (read_table(tmp_path / "runs" / name / "history.csv") for name in ("run", "through"))
    assert len(first) == 40
    assert float(first[0]["loss"]) == pytest.approx(float(second[0]["loss"]), abs=1e-3)


def test_workers_are_read_from_slurm(monkeypatch):
    step = {"NUM_TASKS": "3", "NODELIST": "node[1-3]", "TASKS_PER_NODE": "1(x3)"}
    variables = {"TF_CONFIG": "", "SLURM_PROCID": "2"} | {f"SLURM_STEP_{name}": value for name, value in step.items()}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert index_and_count() == (2, 3)
    config = json.loads(os.environ["TF_CONFIG"])
    assert config["cluster"] == {"worker": ["node1:8888", "node2:8888", "node3:8888"]}


@pytest.mark.parametrize(
    "config",
    [
        "not JSON",
        '{"cluster": {"worker": ["a:1", "b:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}',
    ],
)
def test_an_invalid_tf_config_is_refused(config, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config)
    with pytest.raises(UserError, match="TF_CONFIG is invalid"):
        index_and_count()


def test_without_tf_config_there_is_one_worker(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert index_and_count() == (0, 1)
