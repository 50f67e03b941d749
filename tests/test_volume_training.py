"""Training, evaluation and prediction on NIfTI volumes with masks."""

import nibabel
import numpy as np
import pytest
from conftest import TINY
from ready import run_script

from unet.data import pairs
from unet.data.pairs import find_pairs
from unet.data.phantoms import phantom_slice
from unet.data.slices import load_slices
from unet.errors import UserError
from unet.images.nifti import read_volume
from unet.tables import read_table

AFFINE = np.diag([1.0, 1, 5, 1])


def write_volume(path, voxels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """14 simulated patients, three slices of 64 x 64 each."""
    folder = tmp_path_factory.mktemp("volumes")
    for patient in range(14):
        made = [phantom_slice(0, patient, index, 3, 64) for index in range(3)]
        for kind, stack in (
            ("images", [phantom.image for phantom in made]),
            ("masks", [phantom.mask // 255 for phantom in made]),
        ):
            voxels = np.stack(stack, axis=-1).swapaxes(0, 1)[::-1, ::-1]
            write_volume(folder / kind / f"p{patient}.nii.gz", np.ascontiguousarray(voxels))
    return folder


def test_every_slice_is_a_pair_with_its_mask(volumes):
    slices = load_slices(volumes, 64)
    assert len(slices.ids) == 42 and slices.ids[:3] == ["p0@0", "p0@1", "p0@2"]
    for index in range(3):
        phantom = phantom_slice(0, 0, index, 3, 64)
        # Slices have the orientation that viewers show, which is also the phantom's.
        np.testing.assert_array_equal(slices.masks[index], phantom.mask // 255)
        assert np.corrcoef(slices.images[index].ravel(), phantom.image.ravel())[0, 1] > 0.99


def test_each_volume_is_read_once(volumes, monkeypatch):
    read = []
    monkeypatch.setattr(pairs, "read_volume", lambda path, **rest: (read.append(path), read_volume(path, **rest))[1])
    pairs._read_volume_and_masks.cache_clear()
    load_slices(volumes, 64)
    assert len(read) == len(set(read)) == 14


def test_training_evaluation_and_prediction_accept_volumes(volumes, tmp_path):
    done = run_script("train", "--data", volumes, "--name", "v", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "each volume counts as one patient" in done.stdout
    done = run_script("evaluate", "runs/v", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = read_table(tmp_path / "runs/v/evaluation-val/per_slice.csv")
    patients = {row["patient"] for row in rows}
    assert len(rows) == 3 * len(patients) and all("@" in row["id"] for row in rows)
    done = run_script("predict", volumes / "images", "--run", "runs/v", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_patient_table_has_one_row_per_volume(volumes, tmp_path):
    table = tmp_path / "patients.csv"
    rows = [f"p{number},patient{number // 2}," + ("val" if number < 4 else "train") for number in range(14)]
    table.write_text("id,patient,split\n" + "\n".join(rows) + "\n")
    done = run_script("train", "--data", volumes, "--patients", table, "--name", "t", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "train 5 patients / 30 slices, val 2 patients / 12 slices" in done.stdout


def problems_of(folder) -> str:
    with pytest.raises(UserError) as caught:
        load_slices(folder, 64)
    return str(caught.value)


def test_invalid_masks_and_volumes_are_refused(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 99, (8, 9, 4)).astype(np.int16)
    mask = (voxels > 90).astype(np.uint8)
    write_volume(tmp_path / "images/a.nii", voxels)
    write_volume(tmp_path / "masks/a.nii.gz", mask, np.diag([1, 1, 6, 1]))
    assert problems_of(tmp_path).count("not on its image's grid") == 1
    write_volume(tmp_path / "masks/a.nii.gz", mask * np.arange(1, 5, dtype=np.uint8))
    assert "has 5 labels: a mask has only 0 and one other" in problems_of(tmp_path)
    write_volume(tmp_path / "masks/a.nii.gz", mask)
    write_volume(tmp_path / "images/b.nii", voxels)
    write_volume(tmp_path / "masks/b.nii", mask)
    assert "b.nii' is an exact copy of" in problems_of(tmp_path)
    (tmp_path / "images/b.nii").write_bytes(b"no volume")
    assert "b.nii' is not a" in problems_of(tmp_path)
    (tmp_path / "images/b.nii").unlink()
    (tmp_path / "masks/b.nii").unlink()
    assert len(find_pairs(tmp_path)[0]) == 4
