"""Fault 48: damaged and hostile model files. They are read as data, and no code in them runs."""

import shutil
import subprocess
import sys
import zipfile

import h5py
import keras
import numpy as np
import pytest
from ready import run_script

TRACE = "A_TRACE_OF_CODE_THAT_RAN"
# Runs in a process of its own: writes a model file that contains code.
WRITE_LAMBDA = f"""
import sys, keras
def trace(x):
    open({TRACE!r}, "w").close()
    return x
image = keras.Input((None, None, 1))
keras.Model(image, keras.layers.Lambda(trace)(image)).save(sys.argv[1])
"""


def missing(path):
    path.unlink()


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_lambda(path):
    path.unlink()
    # Building the layer runs its code once, which leaves a trace in this folder.
    command = [sys.executable, "-c", WRITE_LAMBDA, path.name]
    subprocess.run(command, check=True, capture_output=True, cwd=path.parent)


def with_lambda_and_weights(path):
    """The network's own weights, and a config with a Lambda. Only the weights may be read."""
    with zipfile.ZipFile(path) as archive:
        weights = archive.read("model.weights.h5")
    with_lambda(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (parts | {"model.weights.h5": weights}).items():
            archive.writestr(name, content)


def legacy_h5(path):
    path.unlink()
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    model.save(path.with_suffix(".h5"))
    path.with_suffix(".h5").rename(path)


def weights_bomb(path):
    """Weights of 8 GB of zeros in a few KB."""
    path.unlink()
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.create_dataset("zeros", (2_000_000_000,), np.float32, chunks=True, compression="gzip")
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(path.with_suffix(".h5"), "model.weights.h5")


def archive_bomb(path):
    """An archive member of 1 GiB of zeros in 1 MB."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("model.weights.h5", "w") as member:
            for _ in range(1024):
                member.write(bytes(2**20))


def predict_with(damage, trained, phantoms, tmp_path):
    """Predict with a copy of a run whose model file is damaged. Traces of the damaging itself are deleted first."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    damage(run / "model.keras")
    for trace in tmp_path.rglob(TRACE):
        trace.unlink()
    arguments = ["--run", "run", "--output", "out"]
    return run_script("predict", phantoms / "images", *arguments, cwd=tmp_path)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (missing, "is missing"),
        (truncated, "does not contain this run's network"),
        (with_lambda, "does not contain this run's network"),
        (legacy_h5, "does not contain this run's network"),
        (weights_bomb, "it has 2,000,000,000 weights"),
        (archive_bomb, "its weights take 1,073,741,824 bytes"),
    ],
)
def test_48_bad_model_file_is_refused(damage, expected, trained, phantoms, tmp_path, survived):
    done = predict_with(damage, trained, phantoms, tmp_path)
    assert done.returncode == 2 and expected in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists() and not list(tmp_path.rglob(TRACE))
    survived(48, f"model file: {damage.__name__.replace('_', ' ')}", f"exit 2: {done.stderr.strip()}")


def test_48_only_weights_are_read_from_a_model_file_with_code(trained, phantoms, tmp_path, survived):
    done = predict_with(with_lambda_and_weights, trained, phantoms, tmp_path)
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob(TRACE))
    survived(48, "model file: this run's weights and a Lambda", "outlined; the code in it did not run")
