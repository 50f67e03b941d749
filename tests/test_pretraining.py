"""Training on simulated slices first."""

import os
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY
from ready import run_script

from unet.files import UserError, read_table
from unet.learner import Learner
from unet.options import DataOptions, ModelConfig, TrainingOptions
from unet.saved_run import SavedRun
from unet.stopping import Stopped
from unet.training import train

OPTIONS = TrainingOptions(
    data=DataOptions("data/phantom-pretraining"), name="run", size=64, epochs=1, pretrain_epochs=2,
    batch_size=8, precision="float32", model=ModelConfig(width=8, depth=3),
)  # fmt: skip


@pytest.fixture
def work(phantoms, tmp_path, monkeypatch):
    """A folder to work in, where few simulated slices lie already; the data are the same ones."""
    shutil.copytree(phantoms, tmp_path / "data" / "phantom-pretraining")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_starts_from_the_averaged_weights_of_its_pretraining(work, monkeypatch):
    averaged = []
    start_from = Learner.start_from

    def remember(learner, trained):
        averaged.extend(variable.numpy() for variable in trained.variables)
        start_from(learner, trained)

    monkeypatch.setattr(Learner, "start_from", remember)
    run = train(OPTIONS)
    with np.load(run.folder / "checkpoint-000000000.npz") as start:
        # The network's variables, then those of its average.
        for index, array in enumerate([*averaged, *averaged]):
            np.testing.assert_array_equal(start[f"variable_{index}"], array)
    first = SavedRun.open(run.pretraining_folder)
    assert len(read_table(first.folder / "history.csv")) == 2
    assert first.config.options.augmentation.grey_curve == 0.5 and first.load_model()
    assert run.config.options.augmentation.grey_curve == 0
    assert first.load_checkpoint() is None
    assert (first.folder / "curves.png").exists()


def test_stopped_while_it_pretrains_it_goes_on_to_the_same_result(work, monkeypatch):
    whole = train(replace(OPTIONS, name="whole"))
    step = Learner.train_step

    def signalled(learner, *batch):
        step(learner, *batch)
        if int(learner.optimizer.iterations) == 5:  # the second step of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched, pytest.raises(Stopped):
        patched.setattr(Learner, "train_step", signalled)
        train(OPTIONS)
    with pytest.raises(UserError, match="holds a run: choose another --name or --resume it"):
        train(replace(OPTIONS, seed=1))
    done = run_script("train", "--resume", "runs/run", cwd=work)
    assert done.returncode == 0 and "Going on after 2 steps of epoch 2" in done.stdout, done.stderr
    for name in ("history.csv", "metrics.json", "pretraining/history.csv"):
        assert (work / "runs/run" / name).read_text() == (whole.folder / name).read_text()


def test_simulated_slices_are_not_pretrained_on(phantoms, tmp_path):
    shutil.copytree(phantoms, tmp_path / "data" / "phantom")
    options = [*TINY, "--pretrain-epochs", "3"]
    done = run_script("train", "--data", "phantom", "--name", "run", *options, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = SavedRun.open(tmp_path / "runs" / "run")
    assert run.config.options.pretrain_epochs == 0 and not run.pretraining_folder.exists()
