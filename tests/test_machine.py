"""--threads and --device: what is used of a machine, and what runs and results record about it."""

import json
import os
from types import SimpleNamespace

import pytest
import tensorflow as tf
from conftest import TINY, run_module
from ready import ROOT, run_script

from unet import machine
from unet.command_line import import_tensorflow_quietly
from unet.errors import UserError
from unet.network.saved_run import SavedRun
from unet.options import MachineOptions, PredictionOptions
from unet.prediction.cluster import outline_on_ray
from unet.training.checkpoints import settings_of_all_workers

ONE = ("--threads", 1, "--device", "cpu")


@pytest.fixture(scope="module")
def narrow(phantoms, tmp_path_factory):
    """A folder with a run that was trained with one thread."""
    cwd = tmp_path_factory.mktemp("narrow")
    done = run_script("train", "--data", phantoms, "--name", "narrow", *TINY, *ONE, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd


def record(path):
    return json.loads(path.read_text())


def test_all_scripts_record_threads_and_device(narrow, phantoms):
    run = SavedRun.open(narrow / "runs/narrow")
    assert run.config.options.machine == MachineOptions(1, "cpu")
    assert run.config.environment["threads"] == "1" and run.config.environment["device"] == "cpu"
    image = phantoms / "images" / "phantom_000_0.png"
    for arguments in (
        ("evaluate", "runs/narrow", *ONE),
        ("evaluate", "runs/narrow", "runs/narrow", *ONE),
        ("predict", image, "--run", "runs/narrow", "--output", "out", *ONE),
    ):
        done = run_script(*arguments, cwd=narrow)
        assert done.returncode == 0, done.stderr
    for path in (
        "runs/narrow/evaluation-val/summary.json",
        "runs/narrow/compared-with-narrow-on-val/comparison.json",
        "out/prediction.json",
    ):
        facts = record(narrow / path)
        assert (facts["threads"], facts["device"]) == ("1", "cpu") and "cores" in facts["machine"]


def test_an_interrupted_script_continues_with_other_threads(narrow, phantoms):
    """A training says so, as the last digits may differ."""
    done = run_script("train", "--resume", "runs/narrow", "--threads", 2, cwd=narrow)
    assert done.returncode == 0 and "was started with threads 1, but now it is 2" in done.stdout, done.stderr
    done = run_script("train", "--resume", "runs/narrow", *ONE, cwd=narrow)
    assert done.returncode == 0 and "was started with" not in done.stdout
    assert SavedRun.open(narrow / "runs/narrow").config.options.machine == MachineOptions(1, "cpu")
    image = phantoms / "images" / "phantom_000_0.png"
    predict = ("predict", image, "--run", "runs/narrow", "--output", "again")
    assert run_script(*predict, *ONE, cwd=narrow).returncode == 0
    assert run_script(*predict, "--resume", "--threads", 2, cwd=narrow).returncode == 0


@pytest.mark.parametrize("script", ["train", "evaluate", "predict"])
def test_a_device_that_does_not_exist_is_refused_in_one_line(script, phantoms, tmp_path):
    extra = {"train": ("--data", phantoms), "evaluate": (), "predict": (phantoms, "--output", "out")}[script]
    done = run_script(script, *extra, "--device", "gpu:7", cwd=tmp_path)
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    assert done.stderr.startswith("--device gpu:7 is not one of this machine's devices: cpu")
    assert len(done.stderr.splitlines()) == 1


def test_an_export_takes_threads_and_refuses_another_device(tmp_path):
    arguments = ("unet.prediction.export", "--format", "saved_model", "--output", tmp_path / "out")
    done = run_module(*arguments, "--device", "tpu", cwd=ROOT)
    assert done.returncode == 2 and "--device tpu is not one of" in done.stderr
    done = run_module(*arguments, *ONE, cwd=ROOT)
    assert done.returncode == 0 and "agrees with Keras" in done.stdout, done.stderr


@pytest.mark.parametrize("threads", [0, 5000])
def test_an_invalid_number_of_threads_is_refused_in_one_line(threads, tmp_path):
    done = run_script("evaluate", "--threads", threads, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith(f"--threads {threads}: Input should be ")


def test_one_of_several_gpus_is_used_and_named(monkeypatch):
    gpus = [SimpleNamespace(name=f"/physical_device:GPU:{index}") for index in range(2)]
    visible = list(gpus)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: visible)
    monkeypatch.setattr(tf.config, "set_visible_devices", lambda chosen, kind: visible.__setitem__(slice(None), chosen))

    def use(device):
        machine.configure_machine(PredictionOptions((), ".", machine=MachineOptions(device=device)))
        return machine.part_in_use()["device"]

    assert use(None) == "gpu:0, gpu:1"
    assert use("gpu:1") == "gpu:1" and visible == [gpus[1]]
    assert use("cpu") == "cpu" and visible == []
    with pytest.raises(UserError, match="gpu:2 is not one of this machine's devices: cpu, gpu:0, gpu:1"):
        use("gpu:2")


def test_threads_also_bound_those_that_read_images(monkeypatch):
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 3)
    assert machine.thread_count() == 3 and machine.environment()["threads"] == "3"
    monkeypatch.setattr(tf.config.threading, "get_intra_op_parallelism_threads", lambda: 0)
    assert machine.thread_count() == os.cpu_count() and machine.machine_facts()["threads"] == "default"


def test_the_memory_of_a_gpu_grows_on_demand_unless_the_user_says_otherwise(monkeypatch):
    monkeypatch.delenv("TF_FORCE_GPU_ALLOW_GROWTH", raising=False)
    import_tensorflow_quietly()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    monkeypatch.setenv("TF_FORCE_GPU_ALLOW_GROWTH", "false")
    import_tensorflow_quietly()
    assert os.environ["TF_FORCE_GPU_ALLOW_GROWTH"] == "false"


def test_a_cluster_divides_its_machines_itself():
    pytest.importorskip("ray")
    options = PredictionOptions((), ".", ray=("local",), machine=MachineOptions(threads=2))
    with pytest.raises(UserError, match="--threads and --device do not apply to --ray"):
        outline_on_ray(None, options)


def test_workers_may_have_other_threads_and_devices(trained):
    names = settings_of_all_workers(SavedRun.open(trained))
    assert "options.seed" in names and not [name for name in names if name.startswith("options.machine")]
