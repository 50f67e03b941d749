"""Phantoms are reproducible, a fifth of the patients have no tumor, and they are written completely or not at all."""

import csv
from itertools import combinations, pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from unet.data.phantoms import PLANES, TUMORS, phantom_slice, write_phantoms

SIZE = 64


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation of the grey values of two images."""
    return np.corrcoef(first.ravel(), second.ravel())[0, 1]


def test_the_same_seed_gives_the_same_pixels():
    first, again, other = (phantom_slice(seed, 4, 1, 3, SIZE) for seed in (0, 0, 1))
    assert np.array_equal(first.image, again.image) and np.array_equal(first.mask, again.mask)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("size", [64, 97])
def test_nine_patients_with_tumors_have_every_tumor_type_and_plane(size):
    phantoms = [phantom_slice(0, patient, index, 3, size) for patient in range(9) for index in range(3)]
    for phantom in phantoms:
        assert phantom.image.shape == phantom.mask.shape == (size, size)
        assert phantom.image.dtype == phantom.mask.dtype == np.uint8
        assert set(np.unique(phantom.mask)) == {0, 255}
        assert 0.002 < (phantom.mask > 0).mean() < 0.1
    seen = {(phantom.tumor, phantom.plane) for phantom in phantoms}
    assert seen == {(tumor, plane) for tumor in TUMORS for plane in PLANES}


def test_a_fifth_of_the_patients_have_no_tumor(tmp_path: Path):
    write_phantoms(tmp_path / "phantoms", patients=11, slices=1, size=SIZE)
    with open(tmp_path / "phantoms" / "patients.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["tumor"] for row in rows[-3:]] == ["pituitary", "", ""]
    for row in rows:
        mask = cv2.imread(str(tmp_path / "phantoms" / "masks" / f"{row['id']}.png"), cv2.IMREAD_UNCHANGED)
        assert mask.any() == bool(row["tumor"])


@pytest.mark.parametrize("size", [64, 97])
def test_nine_patients_without_a_tumor_have_every_plane_and_empty_masks(size):
    phantoms = [phantom_slice(0, patient, 0, 1, size, has_tumor=False) for patient in range(9)]
    for phantom in phantoms:
        assert phantom.image.shape == phantom.mask.shape == (size, size)
        assert phantom.image.dtype == phantom.mask.dtype == np.uint8
        assert phantom.tumor == "" and not phantom.mask.any()
    assert [phantom.plane for phantom in phantoms] == [plane for plane in PLANES for _ in range(3)]


def test_slices_of_one_patient_are_more_similar_than_slices_of_different_patients():
    first, second, third = (
        [phantom_slice(0, patient, index, 5, SIZE).image for index in range(5)]
        for patient in (0, 9, 18)  # the same tumor and plane
    )
    neighbors = [correlation(*pair) for images in (first, second, third) for pair in pairwise(images)]
    others = [correlation(*pair) for pair in combinations([first[2], second[2], third[2]], 2)]
    assert min(neighbors) > max(others)


def test_patients_csv_lists_the_files(tmp_path: Path):
    folder = tmp_path / "new" / "phantoms"
    write_phantoms(folder, patients=3, slices=2, size=SIZE, seed=5)
    with open(folder / "patients.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[5] == {"id": "phantom_002_1", "patient": "phantom_002", "tumor": "pituitary", "plane": "axial"}
    ids = sorted(row["id"] for row in rows)
    for kind in ("images", "masks"):
        assert sorted(path.stem for path in (folder / kind).iterdir()) == ids
    image = cv2.imread(str(folder / "images" / "phantom_002_1.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(image, phantom_slice(5, 2, 1, 2, SIZE).image)


def test_an_existing_folder_is_not_overwritten_and_a_failure_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(FileExistsError, match="already exists"):
        write_phantoms(tmp_path, patients=1, slices=1, size=SIZE)
    with pytest.raises(cv2.error):
        write_phantoms(tmp_path / "phantoms", patients=1, slices=1, size=0)
    assert list(tmp_path.iterdir()) == []
