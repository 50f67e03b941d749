"""Exact copies in a data folder, and what is printed about the masks before training."""

import shutil

import cv2
import nibabel
import numpy as np
import pytest
from conftest import TINY, write_image, write_pairs
from ready import run_script

from unet.data.patients import patient_facts
from unet.data.slices import load_slices
from unet.errors import UserError
from unet.network.run_config import SliceTable
from unet.tables import read_table, write_table


def copy_pair(folder, source: int, target: int, mask: int | None = None) -> None:
    shutil.copy(folder / f"images/{source}.png", folder / f"images/{target}.png")
    shutil.copy(folder / f"masks/{source if mask is None else mask}.png", folder / f"masks/{target}.png")


def test_copies_within_a_patient_are_left_out_and_the_first_one_stays(tmp_path):
    write_pairs(tmp_path, 3)
    copy_pair(tmp_path, 1, 7)
    copy_pair(tmp_path, 1, 10)
    slices = load_slices(tmp_path, 16)
    assert [(copy.id, original.id) for copy, original in slices.copies] == [("7", "1"), ("10", "1")]
    assert slices.ids == ["0", "1", "2"] and len(slices.pixels) == len(slices.fingerprints) == 3
    assert (slices.pixels == load_slices(tmp_path, 16).pixels).all()


def test_the_shortest_name_is_that_of_the_original(tmp_path):
    write_pairs(tmp_path, 2)
    for kind in ("images", "masks"):
        shutil.copy(tmp_path / kind / "1.png", tmp_path / kind / "0 copy of 1.png")
    (copies,) = load_slices(tmp_path, 16).copies
    assert [pair.id for pair in copies] == ["0 copy of 1", "1"]


def test_pixels_stay_with_their_slices_if_a_copy_before_them_is_left_out(tmp_path):
    write_pairs(tmp_path, 4)
    alone = load_slices(tmp_path, 16)
    copy_pair(tmp_path, 0, 1)
    slices = load_slices(tmp_path, 16)
    assert slices.ids == ["0", "2", "3"]
    assert (slices.pixels == alone.pixels[[0, 2, 3]]).all()
    assert slices.tumor_percent.tolist() == alone.tumor_percent[[0, 2, 3]].tolist()


def test_copies_with_different_masks_are_refused(tmp_path):
    write_pairs(tmp_path, 3)
    copy_pair(tmp_path, 0, 8, mask=2)
    with pytest.raises(UserError) as caught:
        load_slices(tmp_path, 16)
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        "'images/8.png' is an exact copy of 'images/0.png', but has another mask: delete the wrong pair."
    )


def test_a_copy_in_a_folder_without_tumors_is_refused_if_it_has_one_and_left_out_if_not(tmp_path):
    write_pairs(tmp_path / "data", 3)
    write_image(tmp_path / "data/masks/2.png", np.zeros((20, 24), np.uint8))
    (tmp_path / "free").mkdir()
    shutil.copy(tmp_path / "data/images/2.png", tmp_path / "free/x.png")
    slices = load_slices(tmp_path / "data", 16, no_tumor=(tmp_path / "free",))
    assert slices.ids == ["0", "1", "2"] and [copy.id for copy, _ in slices.copies] == ["free/x"]
    shutil.copy(tmp_path / "data/images/1.png", tmp_path / "free/x.png")
    with pytest.raises(UserError, match="free/x.png' is an exact copy of '.*images/1.png', but has another mask"):
        load_slices(tmp_path / "data", 16, no_tumor=(tmp_path / "free",))


def test_copies_of_different_patients_are_refused(tmp_path):
    write_pairs(tmp_path, 3)
    copy_pair(tmp_path, 1, 7)
    patients = {"0": "p", "1": "p", "2": "p", "7": "q"}
    write_table(tmp_path / "patients.csv", [{"id": id, "patient": patient} for id, patient in patients.items()])
    with pytest.raises(UserError) as caught:
        patient_facts(load_slices(tmp_path, 16), tmp_path)
    assert str(caught.value).replace(f"{tmp_path}/", "") == (
        "'images/7.png' of patient 'q' is an exact copy of 'images/1.png' of patient 'p': delete the wrong one."
    )
    # The same without masks, where copies of one patient stay.
    shutil.rmtree(tmp_path / "masks")
    slices = load_slices(None, 16, no_tumor=(tmp_path,))
    assert len(slices.ids) == 4
    with pytest.raises(UserError, match="7.png' of patient 'q' is an exact copy of .*1.png' of patient 'p'"):
        patient_facts(slices.of_folder(tmp_path), tmp_path)


def test_copies_of_scans_without_tumors_are_left_out(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
    for name in ("a", "copy of a"):
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 5, 1])), tmp_path / f"{name}.nii")
    slices = load_slices(None, 16, no_tumor=(tmp_path,))
    assert len(slices.ids) == 3 and [copy.name for copy, _ in slices.copies] == [f"{tmp_path.name}/copy of a"]


def test_black_slices_are_no_copies(tmp_path):
    write_pairs(tmp_path, 3)
    for name in ("7", "8"):
        write_image(tmp_path / f"images/{name}.png", np.zeros((20, 24), np.uint8))
        write_image(tmp_path / f"masks/{name}.png", np.zeros((20, 24), np.uint8))
    slices = load_slices(tmp_path, 16)
    assert len(slices.ids) == 5 and not slices.copies
    # Nor do they say that a patient is known: the end of any scan may be black.
    table = SliceTable({"train": slices.ids}, slices.fingerprint_by_id, {id: {"patient": id} for id in slices.ids})
    known = table.are_known("train", slices.fingerprints, ["another patient"] * 5)
    assert dict(zip(slices.ids, known, strict=True)) == {id: id not in ("7", "8") for id in slices.ids}


def test_training_counts_and_lists_copies_and_continues_without_them(tmp_path):
    write_pairs(tmp_path / "pairs", 14)
    copy_pair(tmp_path / "pairs", 3, 99)
    done = run_script("train", "--data", "pairs", "--name", "run", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Exact copies left out: 1, listed in runs/run/duplicates.csv." in done.stdout
    # Each mask has 5 x 7 of 20 x 24 pixels.
    assert "Tumor in 14 of 14 slices, median 7.3% of the image: look at some in runs/run/data.html." in done.stdout
    assert "Slices and their masks" in (tmp_path / "runs/run/data.html").read_text()
    assert "inverted" not in done.stderr
    assert read_table(tmp_path / "runs/run/duplicates.csv") == [{"id": "99", "copy_of": "3"}]
    assert len(read_table(tmp_path / "runs/run/slices.csv")) == 14
    again = run_script("train", "--resume", "runs/run", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    scored = run_script("evaluate", "runs/run", "--data", "pairs", "--output", "out", cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    assert "Exact copies left out: 1." in scored.stdout
    assert len(read_table(tmp_path / "out/per_slice.csv")) == 14


def test_inverted_masks_cause_a_warning(tmp_path):
    write_pairs(tmp_path / "pairs", 14)
    for path in (tmp_path / "pairs/masks").iterdir():
        write_image(path, 255 - cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    done = run_script("train", "--data", "pairs", "--name", "run", *TINY, cwd=tmp_path)
    assert "Tumor in 14 of 14 slices, median 93% of the image:" in done.stdout
    assert "Warning: most of the image is tumor. If the masks are inverted," in done.stderr


def test_copies_in_two_folders_without_tumors_are_left_out_and_those_in_one_are_not(tmp_path):
    image = np.arange(480, dtype=np.uint8).reshape(20, 24)
    for name in ("a/x", "a/x-again", "b/copy of x", "b/y"):
        write_image(tmp_path / f"{name}.png", image if "x" in name else 255 - image)
    slices = load_slices(None, 16, no_tumor=(tmp_path / "a", tmp_path / "b"))
    assert sorted(slices.ids) == ["a/x", "a/x-again", "b/y"]
    assert [(copy.id, original.id) for copy, original in slices.copies] == [("b/copy of x", "a/x")]
