"""Training, evaluation and prediction on NIfTI volumes and DICOM series with masks."""

import shutil

import nibabel
import numpy as np
import pydicom
import pytest
from conftest import TINY
from pydicom.data import get_testdata_file
from ready import run_script

from unet.data import pairs
from unet.data.pairs import find_pairs
from unet.data.phantoms import phantom_slice
from unet.data.slices import load_slices
from unet.errors import UserError
from unet.images.dicom import read_series, series_of
from unet.images.dicom_seg import encode_segmentation
from unet.images.nifti import encode_volume_mask, read_volume
from unet.tables import read_table

AFFINE = np.diag([1.0, 1, 5, 1])


def write_volume(path, voxels, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


def write_phantom(folder, patient):
    """A simulated patient as a volume of three slices of 64 x 64, with its mask."""
    made = [phantom_slice(0, patient, index, 3, 64) for index in range(3)]
    for kind, stack in (
        ("images", [phantom.image for phantom in made]),
        ("masks", [phantom.mask // 255 for phantom in made]),
    ):
        voxels = np.stack(stack, axis=-1).swapaxes(0, 1)[::-1, ::-1]
        write_volume(folder / kind / f"p{patient}.nii.gz", np.ascontiguousarray(voxels))


def write_phantom_series(folder, patient):
    """The same slices as DICOM files; returns their paths in order, and the mask, bool (x, y, z)."""
    folder.mkdir(parents=True)
    made = [phantom_slice(0, patient, index, 3, 64) for index in range(3)]
    for index, phantom in enumerate(made):
        dataset = pydicom.dcmread(get_testdata_file("MR_small.dcm"))
        dataset.SeriesInstanceUID = f"1.2.{patient}"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.{patient}.{index}"
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.ImagePositionPatient = [0, 0, 5 * index]
        dataset.PixelSpacing = [1, 1]
        dataset.PixelData = phantom.image.astype(np.int16).tobytes()
        dataset.save_as(folder / f"{2 - index}.dcm")
    mask = np.stack([phantom.mask for phantom in made], axis=-1).swapaxes(0, 1)[::-1, ::-1] > 0
    return series_of(sorted(folder.iterdir()))[0], mask


@pytest.fixture(scope="module")
def volumes(tmp_path_factory):
    """14 simulated patients. The last two are DICOM series, with a mask as NIfTI and as DICOM-SEG."""
    folder = tmp_path_factory.mktemp("volumes")
    for patient in range(12):
        write_phantom(folder, patient)
    files, mask = write_phantom_series(folder / "images/p12", 12)
    (folder / "masks/p12.nii.gz").write_bytes(encode_volume_mask(mask, read_series(files)))
    files, mask = write_phantom_series(folder / "images/p13", 13)
    (folder / "masks/p13.dcm").write_bytes(encode_segmentation(mask, read_series(files), files))
    return folder


def test_every_slice_is_a_pair_with_its_mask(volumes):
    slices = load_slices(volumes, 64)
    assert len(slices.ids) == 42 and slices.ids[:3] == ["p0@axial-0", "p0@axial-1", "p0@axial-2"]
    for patient in (0, 12, 13):
        for number in range(3):
            phantom = phantom_slice(0, patient, number, 3, 64)
            index = slices.ids.index(f"p{patient}@axial-{number}")
            # Slices have the orientation that viewers show, which is also the phantom's.
            np.testing.assert_array_equal(slices.masks[index], phantom.mask // 255)
            assert np.corrcoef(slices.images[index].ravel(), phantom.image.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("column_mm", [1.0, 1.25, 1.5, 1.9])
def test_masks_stay_on_their_image_if_pixels_become_square(column_mm, tmp_path):
    centers = []
    for columns in (slice(20 + place, 25 + place + place % 2) for place in range(12)):  # a bar at twelve places
        bar = np.zeros((48, 40, 4), np.uint8)
        bar[columns, 10:30] = 1
        folder = tmp_path / f"{columns.start}"
        for kind in ("images", "masks"):
            write_volume(folder / kind / "bar.nii.gz", bar, np.diag([column_mm, 1, 5, 1]))
        pair = find_pairs(folder)[0][1]
        image = pair.read_image()
        mask = pair.read_mask(image)
        assert mask.shape == image.shape == (40, round(48 * column_mm))
        numbers = np.arange(image.shape[1])
        centers.append([np.average(numbers, weights=each.sum(axis=0)) for each in (image.astype(float), mask)])
    # In pixels. With cv2.INTER_NEAREST, the mean is between 0.25 and 0.5.
    assert abs(np.diff(centers, axis=1).mean()) < 0.2


def test_each_volume_is_read_once(volumes, monkeypatch):
    read = []

    def count(function):
        return lambda path, reading: (read.append(str(path)), function(path, reading))[1]

    monkeypatch.setattr(pairs, "read_volume", count(read_volume))
    monkeypatch.setattr(pairs, "read_series", count(read_series))
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
    assert "besides 0: choose those of the tumor with --labels" in problems_of(tmp_path)
    write_volume(tmp_path / "masks/a.nii.gz", mask)
    write_volume(tmp_path / "images/b.nii", voxels)
    write_volume(tmp_path / "masks/b.nii", mask)
    slices = load_slices(tmp_path, 64)
    assert [(copy.name, original.name) for copy, original in slices.copies] == [("b", "a")] and len(slices.ids) == 4
    (tmp_path / "images/b.nii").write_bytes(b"no volume")
    assert "b.nii' is not a" in problems_of(tmp_path)
    (tmp_path / "images/b.nii").unlink()
    (tmp_path / "masks/b.nii").unlink()
    assert len(find_pairs(tmp_path)[0]) == 4


def test_predicted_masks_of_a_series_are_masks_for_training(tmp_path):
    files, mask = write_phantom_series(tmp_path / "images/study/p", 0)
    volume = read_series(files)
    contents = {
        "p.nii.gz": encode_volume_mask(mask, volume),
        "p.dcm": encode_segmentation(mask, volume, files),
        "p/seg.dcm": encode_segmentation(mask, volume, files),
    }
    loaded = []
    for name, content in contents.items():
        path = tmp_path / "masks/study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        loaded.append(load_slices(tmp_path, 64))
        path.unlink()
    first, *others = loaded
    assert first.ids == ["study/p@axial-0", "study/p@axial-1", "study/p@axial-2"] and first.has_tumor.any()
    for slices in others:
        assert slices.ids == first.ids and slices.fingerprints == first.fingerprints
        np.testing.assert_array_equal(slices.pixels, first.pixels)


def test_series_need_no_masks_in_a_folder_without_tumors(tmp_path):
    write_phantom_series(tmp_path / "healthy/a", 0)
    slices = load_slices(None, 64, no_tumor=(tmp_path / "healthy",))
    assert slices.ids == ["healthy/a@axial-0", "healthy/a@axial-1", "healthy/a@axial-2"]
    assert not slices.masks.any()


def test_series_that_do_not_fit_are_refused(tmp_path):
    files, mask = write_phantom_series(tmp_path / "images/a", 0)
    (tmp_path / "masks").mkdir()
    assert "images/a': expected 'masks/a.nii.gz' or 'masks/a.dcm'." in problems_of(tmp_path)
    segmentation = encode_segmentation(mask, read_series(files), files)
    (tmp_path / "masks/a.dcm").write_bytes(segmentation)
    (tmp_path / "masks/b.dcm").write_bytes(segmentation)
    assert "masks/b.dcm': expected 'images/b/'." in problems_of(tmp_path)
    write_volume(tmp_path / "images/b.nii", mask.astype(np.uint8))
    assert "masks/b.dcm' is DICOM, but its image" in problems_of(tmp_path)
    shutil.copy(files[0], tmp_path / "images/loose.dcm")
    assert "images/loose.dcm' is not in the folder of a DICOM series" in problems_of(tmp_path)
    write_phantom_series(tmp_path / "images/a/other", 1)
    shutil.copy(tmp_path / "images/a/other/0.dcm", tmp_path / "images/a/3.dcm")
    assert "images/a/3.dcm' is from another series" in problems_of(tmp_path)
