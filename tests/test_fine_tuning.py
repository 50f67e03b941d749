"""train.py --init starts from the weights of another run, and --resume --epochs trains a run for longer."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from conftest import write_pairs
from ready import ROOT, run_script

sys.path.insert(0, str(ROOT / "benchmarks"))
from finetune import data_of, shuffled_patients, split_in_two

from unet.data.pairs import find_pairs
from unet.data.patients import read_patients
from unet.machine import use_precision
from unet.network.run_config import read_config
from unet.network.saved_run import PRESENCE_CHECKPOINTS, SavedRun
from unet.network.weights import weights_of
from unet.options import QUICK, DataOptions, ModelConfig, TrainingOptions
from unet.tables import read_table
from unet.training.learner import Learner
from unet.training.presence import PresenceLearner
from unet.training.recipes import recipe

FINE = ["--epochs", 1, "--presence-epochs", 1, "--batch-size", 8, "--precision", "float32"]


def learner_of(options: TrainingOptions) -> Learner:
    use_precision("float32")
    return Learner(options, 8, steps=10, strategy=tf.distribute.get_strategy())


def test_the_recipe_takes_the_shape_from_the_run_and_trains_less_and_more_gently(trained):
    options = TrainingOptions(init=str(trained))
    tuned = recipe(options)
    assert tuned.model == SavedRun.open(trained).config.options.model and tuned.size == 64
    assert (tuned.epochs, tuned.presence_epochs, tuned.learning_rate) == (10, 4, 5e-4)
    assert recipe(replace(options, quick=True)) == replace(tuned, quick=True, epochs=7)
    assert recipe(TrainingOptions(init="pretrained")).model == ModelConfig()
    assert recipe(TrainingOptions(quick=True)) == QUICK and recipe(TrainingOptions(seed=1)) == TrainingOptions(seed=1)
    # What was chosen stays.
    chosen = TrainingOptions(DataOptions("mine"), quick=True, epochs=3, model=ModelConfig(depth=4))
    assert recipe(chosen) == replace(chosen, model=replace(QUICK.model, depth=4))


def test_from_the_pretrained_weights_the_network_answers_the_same_at_the_start():
    run = SavedRun.open()
    learner = learner_of(recipe(TrainingOptions(init="pretrained")))
    taken, rest = learner.start_from(weights_of(run.load_trainable_network()))
    assert len(taken) > 60 and not rest
    learner.refresh_folded()
    images = np.random.default_rng(0).random((2, 64, 64, 1)).astype(np.float32)
    expected = run.load_network("float32")(images)
    for answer in ("outline", "evidence"):
        np.testing.assert_array_equal(learner.folded(images)[answer], expected[answer])
        np.testing.assert_allclose(learner.model(images, training=False)[answer], expected[answer], atol=1e-4)


def test_layers_of_another_shape_start_at_random():
    small, deep = (learner_of(TrainingOptions(model=ModelConfig(width=4, depth=depth))) for depth in (3, 4))
    before = weights_of(deep.model)
    taken, rest = deep.start_from(weights_of(small.model))
    assert "encoder_1_convolution_a" in taken and {"encoder_3_convolution_a", "bottleneck_convolution_a"} <= set(rest)
    after, given = weights_of(deep.averaged), weights_of(small.model)
    assert all(np.array_equal(*pair) for name in taken for pair in zip(after[name], given[name], strict=True))
    assert all(np.array_equal(*pair) for name in rest for pair in zip(after[name], before[name], strict=True))


@pytest.fixture(scope="module")
def fine_tuned(trained, phantoms, tmp_path_factory):
    """The folder and the output of a training that starts from `trained`, whose validation patients it trains on."""
    folder = tmp_path_factory.mktemp("fine-tuned")
    done = run_script("train", "--data", phantoms, "--name", "b", "--init", trained, "--fold", 0, *FINE, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder / "runs" / "b", done.stdout


def test_a_fine_tuned_run_records_its_origin_and_starts_where_that_ended(fine_tuned, trained):
    run, output = fine_tuned
    config, initial = read_config(run), SavedRun.open(trained)
    assert f"Starting with the weights of '{trained}'.\n" in output
    assert (config.options.init, config.initial_network) == (str(trained), initial.network_fingerprint())
    assert config.options.model == initial.config.options.model and config.options.learning_rate == 5e-4
    assert SavedRun.open(run).origin().folder == trained and not initial.origin()
    # Three small steps do not lead far from the initial weights.
    new, old = (weights_of(one.load_trainable_network())["stem"][0] for one in (SavedRun.open(run), initial))
    assert 0 < np.abs(new - old).max() < 0.01


def test_the_presence_head_starts_from_the_initial_run_also_if_the_run_was_finished_before(fine_tuned, trained):
    use_precision("float32")
    head = PresenceLearner(SavedRun.open(fine_tuned[0]), steps=10).head
    initial = weights_of(SavedRun.open(trained).load_trainable_network())
    for layer in filter(lambda layer: layer.weights, head.layers):
        for own, expected in zip(layer.get_weights(), initial[layer.name], strict=True):
            np.testing.assert_array_equal(own, expected)


def test_patients_that_the_initial_weights_know_are_reported(fine_tuned, trained, phantoms, tmp_path):
    run, output = fine_tuned
    train = SavedRun.open(trained).slices.patients("train")
    slices = SavedRun.open(run).slices
    seen = sum(slices.facts[id]["patient"] in train for id in slices.split["val"])
    total = len(slices.split["val"]) + len(slices.split["test"])
    assert seen and f"Warning: {seen} of the {total} validation and test slices" in output
    assert f"were used to train '{trained}': expect lower scores on new patients." in output
    # Also those that a run knows which is further back.
    done = run_script("train", "--data", phantoms, "--name", "c", "--init", run, "--fold", 1, *FINE, cwd=tmp_path)
    assert all(f"were used to train '{one}'" in done.stdout for one in (run, trained)), done.stderr
    write_pairs(tmp_path / "others", 30)
    done = run_script("train", "--data", "others", "--name", "d", "--init", run, *FINE, cwd=tmp_path)
    assert done.returncode == 0 and "used to train" not in done.stdout, done.stderr


def test_weights_that_do_not_fit_at_all_or_are_gone_are_one_line(trained, phantoms, tmp_path):
    start = ["train", "--data", phantoms, "--name", "x", *FINE]
    done = run_script(*start, "--init", trained, "--model.width", 6, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"No weights of '{trained}' fit: leave out the --model options, which then come from that run.\n"
    )
    done = run_script(*start, "--init", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "'nowhere' is not the folder of a run (train.py writes these in runs/): cannot read 'nowhere/config.json'.\n"
    )
    shutil.copytree(trained, tmp_path / "base")
    (tmp_path / "base" / "model.keras").unlink()
    done = run_script(*start, "--init", "base", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("'base/model.keras' is missing")


def test_origins_that_are_gone_are_not_forgotten(fine_tuned, trained, tmp_path, monkeypatch):
    run = SavedRun.open(fine_tuned[0])
    assert [one.folder for one in run.lineage] == [run.folder, trained] and not run.lost_origin
    # Its patients are still known if its weights have changed since.
    shutil.copytree(trained, tmp_path / "base")
    (tmp_path / "base/confidence.json").unlink()
    run.config = replace(run.config, options=replace(run.config.options, init="base"))
    monkeypatch.chdir(tmp_path)
    assert not run.origin() and len(run.lineage) == 2 and run.lost_origin == "base"
    (tmp_path / "base/model.keras").unlink()
    assert run.lost_origin == "base"
    shutil.rmtree("base")
    assert run.lineage == [run] and run.lost_origin == "base"
    # A run may even be named like one that it is the origin of.
    shutil.copytree(fine_tuned[0], "base")
    origin = SavedRun.open("base")
    origin.update_config(options=replace(run.config.options, init="base"))
    assert len(run.lineage) == 2 and run.lost_origin == "base"


@pytest.mark.slow
def test_only_a_training_without_a_checkpoint_needs_the_initial_weights_again(trained, phantoms, tmp_path):
    shutil.copytree(trained, tmp_path / "base")
    done = run_script("train", "--data", phantoms, "--name", "a", "--init", "base", *FINE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "base")
    done = run_script("evaluate", "runs/a", cwd=tmp_path)
    assert "Warning: the run of --init 'base' is gone" in done.stdout + done.stderr, done.stderr
    done = run_script("train", "--resume", "runs/a", "--epochs", 2, cwd=tmp_path)
    assert done.returncode == 0 and "Resuming after epoch 1 of 2." in done.stdout, done.stderr
    for path in (tmp_path / "runs" / "a").glob("checkpoint-*"):
        path.unlink()
    done = run_script("train", "--resume", "runs/a", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "'base' is gone or has changed since 'runs/a' was started: start a new run.\n"


@pytest.mark.slow
def test_a_finished_run_trains_longer_with_one_history(trained, tmp_path):
    run = tmp_path / "runs" / "tiny"
    shutil.copytree(trained, run)
    done = run_script("train", "--resume", "runs/tiny", "--epochs", 4, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # The training has 12 steps, and the first one is the warm-up. After 6 steps, the cosine is at
    # (1 + cos(π 5/11)) / 2 = 0.571.
    line = "Resuming after epoch 2 of 4. The learning rate continues at 1.1e-03, on the schedule of 4 epochs.\n"
    assert line in done.stdout and "Presence head: epoch   1" in done.stdout
    old, new = read_table(trained / "history.csv"), read_table(run / "history.csv")
    assert new[:2] == old and [row["epoch"] for row in new] == ["1", "2", "3", "4"]
    assert float(new[2]["learning_rate"]) == pytest.approx(2e-3 * (1 + np.cos(np.pi * 5 / 11)) / 2)
    assert json.loads((run / "metrics.json").read_text())["epochs"] == 4 == read_config(run).options.epochs
    # Interrupted in the fourth epoch, the same command has the same result.
    again = tmp_path / "runs" / "again"
    shutil.copytree(run, again)
    (again / "checkpoint-000000012.npz").unlink()
    done = run_script("train", "--resume", again, "--epochs", 4, cwd=tmp_path)
    assert done.returncode == 0 and "Resuming after epoch 3 of 4." in done.stdout, done.stderr
    for name in ("history.csv", "metrics.json"):
        assert (again / name).read_text() == (run / name).read_text()


def test_a_run_can_also_end_where_it_is(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    (run / "checkpoint-000000006.npz").unlink()  # so that one of two epochs is done
    done = run_script("train", "--resume", run, "--epochs", 1, cwd=tmp_path)
    assert done.returncode == 0, done.stderr  # it ends where it is
    assert read_config(run).options.epochs == 1 and list(run.glob(PRESENCE_CHECKPOINTS))
    assert "Presence head: epoch   1" in done.stdout


def test_epochs_in_the_past_and_lost_checkpoints_are_refused(trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    done = run_script("train", "--resume", run, "--epochs", 1, cwd=tmp_path)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"'{run}' has already done 2 epochs: give more to --epochs, or start a new run with --init {run}.\n"
    )
    for path in run.glob("checkpoint-*"):
        path.unlink()
    done = run_script("train", "--resume", run, "--epochs", 3, cwd=tmp_path)
    assert done.returncode == 2 and "has no checkpoint" in done.stderr
    assert (run / "metrics.json").read_text() == (trained / "metrics.json").read_text()
    done = run_script("train", "--resume", run, "--epochs", 3, "--seed", 1, cwd=tmp_path)
    assert done.returncode == 2 and "remove '--seed'" in done.stderr


def test_the_benchmark_scores_patients_that_no_training_saw(phantoms, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = {pair.id: pair for pair in find_pairs(phantoms)[0]}
    facts = read_patients(phantoms / "patients.csv")
    known, new = (set(shuffled_patients(ids, facts)) for ids in split_in_two(list(facts), facts))
    assert not known & new and len(known | new) == 25 and len(new) == 10
    order = shuffled_patients(split_in_two(list(facts), facts)[1], facts)
    _, folder = data_of("5-patients", order[:5], order[7:], pairs, facts)
    rows = read_table(folder / "patients.csv")
    of_split = {split: {row["patient"] for row in rows if row["split"] == split} for split in ("train", "val", "test")}
    assert of_split == {"train": {*order[:2], *order[3:5]}, "val": {order[2]}, "test": set(order[7:])}
    assert sorted(pair.id for pair in find_pairs(folder)[0]) == sorted(row["id"] for row in rows)
