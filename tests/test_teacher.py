"""train.py --teacher: outlines are also learned from the probabilities of another network."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
from conftest import TINY, write_image, write_pairs
from ready import run_script

from unet.data.augmentation import paste_tumors
from unet.data.batches import BatchPlan, Material, training_batches
from unet.data.slices import load_slices
from unet.data.teacher import load_labels
from unet.errors import UserError
from unet.network.run_config import read_config
from unet.options import AugmentationConfig


@pytest.fixture(scope="module")
def slices(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_pairs(folder, 16, size=(32, 32))
    return load_slices(folder, 32)


def write_opinions(folder, slices, dtype=np.uint8, side=32, value=0.5):
    for id in slices.ids:
        write_image(folder / f"{id}.png", np.full((side, side), round(value * np.iinfo(dtype).max), dtype))


@pytest.mark.parametrize(("dtype", "side"), [(np.uint8, 32), (np.uint16, 32), (np.uint16, 64)])
def test_a_label_is_mostly_the_probability_and_partly_the_mask(dtype, side, slices, tmp_path):
    write_opinions(tmp_path, slices, dtype, side)
    labels = load_labels(tmp_path, slices, np.arange(3, 16), 1.0)
    assert not labels[:3].any()
    # 0.7 x 0.5, and 0.3 more inside the mask.
    expected = np.where(slices.masks[3:], 0.65 * 255, 0.35 * 255)
    assert np.abs(labels[3:] - expected).max() <= 1


def test_missing_and_unreadable_probabilities_are_named(slices, tmp_path):
    write_opinions(tmp_path, slices)
    (tmp_path / "3.png").unlink()
    (tmp_path / "5.png").write_bytes(b"")
    (tmp_path / "7.png").write_bytes(b"no picture")
    write_image(tmp_path / "9.png", np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(UserError) as raised:
        load_labels(tmp_path, slices, np.arange(16), 1.0)
    lines = str(raised.value).splitlines()
    assert [name in line for name, line in zip("3579", lines, strict=True)] == [True] * 4
    assert "a grey PNG with 8 or 16 bits" in lines[0]


def test_probabilities_of_other_proportions_are_refused(slices, tmp_path):
    write_opinions(tmp_path, slices)
    write_image(tmp_path / "3.png", np.zeros((32, 16), np.uint8))
    with pytest.raises(UserError, match="3.png' has other proportions than its image of 32 x 32"):
        load_labels(tmp_path, slices, np.arange(16), 1.0)


def batches_of(material, **augmentation):
    config = replace(AugmentationConfig(), **augmentation)
    return [batch for batch in training_batches(material, BatchPlan(8, range(2), augmentation=config))]


def test_labels_move_with_the_image_and_change_nothing_else(slices):
    labels = 200 * slices.masks
    alone, taught = (
        batches_of(Material(slices, np.arange(16), labels=given), copy_paste=0.0) for given in (None, labels)
    )
    assert len(taught) == 4
    for (images, masks), (same_images, both) in zip(alone, taught, strict=True):
        np.testing.assert_array_equal(same_images, images)
        np.testing.assert_array_equal(both[..., :1], masks)
        np.testing.assert_allclose(both[..., 1:], masks * (200 / 255), atol=1e-6)


def test_a_pasted_tumor_brings_its_label_and_not_the_rest_of_its_opinion():
    images = np.stack([np.full((32, 32, 1), grey, np.float32) for grey in (0.2, 0.8)])
    masks = np.zeros((2, 32, 32, 2), np.float32)
    masks[0, 10:14, 10:14] = (1, 0.9)  # the tumor of the first slice
    masks[0, 20:, :, 1], masks[1, :, :, 1] = 0.5, 0.1  # what the teacher says elsewhere
    _, pasted = paste_tumors(images, masks, np.array([True]))
    assert np.array_equal(pasted[0, ..., 0], masks[0, ..., 0])
    np.testing.assert_allclose(pasted[0, 10:14, 10:14, 1], 0.9, atol=1e-6)
    np.testing.assert_allclose(pasted[0, 20:, :, 1], 0.1, atol=1e-6)


@pytest.mark.slow
def test_a_run_learns_from_what_predict_writes_and_knows_it(phantoms, trained, tmp_path):
    done = run_script(
        "predict", phantoms / "images", "--run", trained, "--probabilities", "--output", "p", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    options = ["--data", phantoms, *TINY, "--presence-epochs", 0]
    names = {"taught": ["--teacher", "p/probabilities"], "alone": []}
    for name, teacher in names.items():
        done = run_script("train", *options, "--name", name, *teacher, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    histories = [(tmp_path / "runs" / name / "history.csv").read_text() for name in names]
    assert histories[0] != histories[1]
    run = tmp_path / "runs" / "taught"
    assert read_config(run).teacher and not read_config(tmp_path / "runs" / "alone").teacher
    # The same opinions again, then others.
    done = run_script("train", "--resume", run, "--epochs", 3, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "p" / "probabilities")
    done = run_script("train", "--resume", run, "--epochs", 4, cwd=tmp_path)
    assert done.returncode == 2 and "probabilities' is not a folder: name one with a probability" in done.stderr
    write_opinions(tmp_path / "p" / "probabilities", load_slices(phantoms, 64))
    done = run_script("train", "--resume", run, "--epochs", 4, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        f"The probabilities in 'p/probabilities' have changed since '{run}' was started: restore them, or start a new "
        "run.\n"
    )
