"""The examples in the docstrings of public entry points work as written."""

import doctest
import importlib
import shutil

import pytest
from conftest import run_module
from ready import ROOT

MODULES = [
    "unet.network.losses",
    "unet.network.model",
    "unet.network.predictor",
    "unet.evaluation.metrics",
    "unet.evaluation.intervals",
    "unet.evaluation.evaluate",
    "unet.evaluation.compare",
    "unet.training.train",
    "unet.prediction.predict",
    "unet.prediction.api",
    "unet.prediction.export",
]


@pytest.fixture
def working_folder(trained, phantoms, tmp_path, monkeypatch):
    """A folder with data/phantom and the finished run runs/first."""
    shutil.copytree(phantoms, tmp_path / "data" / "phantom")
    shutil.copytree(trained, tmp_path / "runs" / "first")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, working_folder, capsys):
    module = importlib.import_module(name)
    if name == "unet.training.train":
        shutil.rmtree("runs/first")
    results = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert results.attempted and not results.failed, capsys.readouterr().out


def test_the_network_describes_itself():
    done = run_module("unet.network.describe", "--size", 64, cwd=ROOT)
    assert done.returncode == 0 and "parameters" in done.stdout, done.stderr
