"""Faults 28 to 32: what may be wrong with the slices of a training."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import TINY, write_image, write_pairs
from PIL import Image
from ready import run_script

from unet.images.masks import read_mask
from unet.tables import read_table, write_table


def train(folder: Path, cwd: Path):
    return run_script("train", "--data", folder, "--name", "run", *TINY, cwd=cwd)


def delete_masks(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        path.unlink()


def delete_images(folder: Path) -> None:
    for index in range(3):
        (folder / "images" / f"{index}.png").unlink()


def shrink_mask(folder: Path) -> None:
    write_image(folder / "masks" / "3.png", np.full((10, 12), 255, np.uint8))


def save_mask_as_jpeg(folder: Path) -> None:
    mask = cv2.imread(str(folder / "masks" / "3.png"), cv2.IMREAD_GRAYSCALE)
    (folder / "masks" / "3.png").unlink()
    write_image(folder / "masks" / "3.jpg", mask)


def copy_image(folder: Path) -> None:
    for kind, name in (("images", "3.png"), ("masks", "4.png")):
        shutil.copy(folder / kind / name, folder / kind / "99.png")


def put_patient_in_two_splits(folder: Path) -> None:
    rows = [{"id": i, "patient": i // 2, "split": "val" if i == 3 else "train"} for i in range(12)]
    write_table(folder / "patients.csv", rows)


def empty_masks(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        write_image(path, np.zeros((20, 24), np.uint8))


@pytest.mark.parametrize(
    ("number", "injected", "damage", "expected", "lines"),
    [
        (28, "all 12 masks deleted", delete_masks, "and 2 more", 11),
        (28, "3 of 12 images deleted", delete_images, "expected 'images/0.png'", 3),
        (29, "a mask half the size of its image", shrink_mask, "'pairs/masks/3.png' has 12 x 10 pixels but", 1),
        (30, "a mask saved as JPEG", save_mask_as_jpeg, "but a mask has only one: give the smallest", 1),
        (31, "an image copied, with another mask", copy_image, "but has another mask: delete the wrong pair", 1),
        (31, "a patient in two splits", put_patient_in_two_splits, "patient '1' is in train and val", 1),
        (32, "all masks empty", empty_masks, "No mask in 'pairs' contains a tumor", 1),
    ],
)
def test_training_refuses_bad_data(number, injected, damage, expected, lines, tmp_path, survived):
    write_pairs(tmp_path / "pairs", 12)
    damage(tmp_path / "pairs")
    done = train(Path("pairs"), tmp_path)
    assert done.returncode == 2 and expected in done.stderr
    assert len(done.stderr.splitlines()) == lines
    assert not (tmp_path / "runs").exists()
    survived(number, injected, f"exit 2: {done.stderr.splitlines()[-1]}")


def test_15_training_refuses_a_name_that_is_not_utf_8(tmp_path, survived):
    write_pairs(tmp_path / "pairs", 12)
    for kind in ("images", "masks"):
        folder = tmp_path / "pairs" / kind
        (folder / "3.png").rename(folder / os.fsdecode(b"\xff.png"))
    done = train(Path("pairs"), tmp_path)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 2
    assert "The file name b'pairs/images/\\xff.png' is not UTF-8: rename it." in done.stderr
    survived(15, "name that is not UTF-8, in training", f"exit 2: {done.stderr.splitlines()[0]}")


@pytest.mark.parametrize("tumor", [1, 255])
def test_30_mask_of_0_and_one_other_value(tumor, tmp_path, survived):
    path = tmp_path / "mask.png"
    Image.fromarray(np.array([[0, tumor], [tumor, 0]], np.uint8)).save(path)
    assert read_mask(path).tolist() == [[False, True], [True, False]]
    survived(30, f"a mask of 0 and {tumor}", f"{tumor} is tumor")


def test_32_slices_without_tumor_only_count_as_false_alarms_in_evaluation(trained, tmp_path, survived):
    write_pairs(tmp_path / "pairs", 4)
    empty_masks(tmp_path / "pairs")
    done = run_script("evaluate", trained, "--data", "pairs", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = read_table(tmp_path / "out" / "per_slice.csv")
    assert len(rows) == 4 and all(row["dice"] == "" for row in rows)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    right = sum(row["predicted_pixels"] == "0" for row in rows)
    assert "scores" not in summary and summary["detection"]["specificity"]["mean"] == right / 4
    survived(32, "all masks empty, in evaluation", "no Dice; outlines are counted as false alarms")
