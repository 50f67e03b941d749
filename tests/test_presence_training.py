"""The training of the presence head: it learns whether there is a tumor, and outlines stay the same."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from conftest import TINY
from ready import run_script

from unet.data.slices import load_slices
from unet.network.losses import presence_loss
from unet.network.saved_run import PRESENCE_CHECKPOINTS, SavedRun
from unet.tables import read_table
from unet.training import presence
from unet.training.presence import train_presence


def test_presence_loss_by_hand():
    masks = np.zeros((2, 4, 4, 1), np.float32)
    masks[0, 0, 0] = 1  # one of the four pixels of the first cell
    cells, logit = tf.zeros((2, 2, 2, 1)), tf.constant([[np.log(3.0)], [np.log(3.0)]], tf.float32)
    # All cells say 1/2, which costs log 2 whatever is true; the weight of cells is 5. The image says 3/4.
    expected = 5 * np.log(2) + np.array([-np.log(0.75), -np.log(0.25)])
    np.testing.assert_allclose(presence_loss(tf.constant(masks), cells, logit), expected, rtol=1e-6)
    # A cell that is covered by a quarter counts as 3/4 tumor: -0.75 log p - 0.25 log(1 - p) is lowest at p = 3/4.
    costs = []
    for probability in (0.7, 0.75, 0.8):
        cells = np.full((2, 2, 2, 1), np.log(probability / (1 - probability)), np.float32)
        cells[0, 0, 1] = cells[0, 1] = cells[1] = -20
        costs.append(float(presence_loss(tf.constant(masks), tf.constant(cells), logit)[0]))
    assert costs[1] < min(costs[0], costs[2])


def weights_of(run, is_head):
    network = SavedRun.open(run).load_trainable_network()
    return {
        layer.name: layer.get_weights()
        for layer in network.layers
        if layer.weights and layer.name.startswith("presence") == is_head
    }


def is_same(one, other):
    return all(np.array_equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True))


@pytest.fixture(scope="module")
def without_head(phantoms, tmp_path_factory):
    """A run whose head was not trained."""
    folder = tmp_path_factory.mktemp("without-head")
    done = run_script("train", "--data", phantoms, "--name", "a", *TINY, "--presence-epochs", 0, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "Presence head: epoch" not in done.stdout
    assert (
        "The presence head was not trained, so almost every image gets an outline. Training it needs training slices"
        in done.stdout
    )
    return folder / "runs/a"


def test_the_u_net_stays_as_it_is(without_head, trained):
    before, after = weights_of(without_head, is_head=False), weights_of(trained, is_head=False)
    assert before.keys() == after.keys() and is_same(before, after)
    assert not is_same(weights_of(without_head, is_head=True), weights_of(trained, is_head=True))
    assert len(list(trained.glob(PRESENCE_CHECKPOINTS))) == 1
    assert [row["epoch"] for row in read_table(trained / "presence_history.csv")] == ["1"]


def test_a_head_that_was_not_trained_decides_nothing(without_head, trained):
    assert SavedRun.open(without_head).config.presence_rule is None
    assert SavedRun.open(trained).config.presence_rule is not None


def copy_of(run, folder):
    """A copy of a run with two epochs for the head."""
    shutil.copytree(run, folder)
    copied = SavedRun.open(folder)
    copied.update_config(options=replace(copied.config.options, presence_epochs=2))
    return copied


@pytest.mark.slow
def test_an_interrupted_second_part_continues_with_the_same_result(
    without_head, phantoms, tmp_path, monkeypatch, capsys
):
    slices = load_slices(phantoms, 64)
    whole, part = (copy_of(without_head, tmp_path / name) for name in ("whole", "part"))
    train_presence(whole, slices)
    save = presence.save_checkpoint

    def save_and_stop(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(presence, "save_checkpoint", save_and_stop)
        train_presence(part, slices)
    train_presence(part, slices)
    assert is_same(*(weights_of(tmp_path / name, is_head=True) for name in ("whole", "part")))
    histories = [read_table(tmp_path / name / "presence_history.csv") for name in ("whole", "part")]
    assert histories[0] == histories[1] and len(histories[0]) == 2
    for damaged in (sorted(part.folder.glob(PRESENCE_CHECKPOINTS))[1:], part.folder.glob(PRESENCE_CHECKPOINTS)):
        for path in damaged:
            path.write_bytes(b"damaged")
        capsys.readouterr()
        train_presence(part, slices)
        assert "presence-000000002.npz' is damaged" in capsys.readouterr().out
        assert is_same(*(weights_of(tmp_path / name, is_head=True) for name in ("whole", "part")))
    # Nothing left to do: the file is the same, and other runs still know where they started from.
    before = part.network_fingerprint()
    train_presence(part, slices)
    assert part.network_fingerprint() == before
