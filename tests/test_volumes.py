"""NIfTI volumes: slices are oriented as viewers show them, and masks are on the file's grid."""

import gzip
import itertools

import nibabel
import numpy as np
import pytest
from ready import run_script

from unet.errors import ImageError
from unet.images.nifti import encode_volume_mask, read_volume
from unet.images.reading import read_image
from unet.images.volume import PLANES, slices_of
from unet.tables import read_table

ZOOMS = (0.5, 0.7, 3.0)
VOXELS = np.random.default_rng(0).integers(0, 1000, (4, 5, 6)).astype(np.int16)


def affines():
    """All 48 orientations of an array along the three axes, and two oblique ones."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            affine = np.zeros((4, 4))
            affine[order, range(3)] = np.multiply(signs, ZOOMS)
            affine[:, 3] = 10, 20, 30, 1
            yield affine
    for degrees in (20, 160):
        cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        rotation = np.array([[cosine, -sine, 0, 0], [sine, cosine, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        yield rotation @ np.diag([*ZOOMS, 1])


@pytest.mark.parametrize("affine", affines(), ids=lambda affine: "".join(nibabel.aff2axcodes(affine)))
def test_a_mask_is_on_the_grid_of_its_volume(affine, tmp_path):
    nibabel.save(nibabel.Nifti1Image(VOXELS, affine), tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    spacing_of = {4: 0.5, 5: 0.7, 6: 3}
    assert volume.spacing_mm == pytest.approx([spacing_of[n] for n in volume.grey.shape])
    # The thickest slices are those across the axis with the largest spacing.
    assert volume.planes == (PLANES[volume.grey.shape.index(6)],)
    (tmp_path / "mask.nii.gz").write_bytes(encode_volume_mask(volume.grey >= 128, volume))
    mask = nibabel.load(tmp_path / "mask.nii.gz")
    np.testing.assert_allclose(mask.affine, affine, atol=1e-6)
    assert mask.get_data_dtype() == np.uint8 and mask.shape == VOXELS.shape
    low, high = np.percentile(VOXELS, (0.5, 99.5))
    scaled = np.rint(np.clip((VOXELS - low) * 255 / (high - low), 0, 255))
    np.testing.assert_array_equal(np.asarray(mask.dataobj), scaled >= 128)


def test_slices_are_in_radiological_orientation(tmp_path):
    voxels = np.zeros((4, 5, 6), np.uint8)
    voxels[3, 4, 0] = 200  # right, front, bottom
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "scan.nii")
    grey = read_volume(tmp_path / "scan.nii").grey
    for plane, (slice_, row, column) in zip(PLANES, [(3, 5, 0), (4, 5, 0), (0, 0, 0)], strict=True):
        assert np.argwhere(slices_of(grey, plane)).tolist() == [[slice_, row, column]]


def test_a_fourth_dimension_of_1_and_the_units_are_kept(tmp_path):
    image = nibabel.Nifti1Image(VOXELS[..., np.newaxis], np.diag([*ZOOMS, 1]))
    image.header.set_xyzt_units("mm", "sec")
    nibabel.save(image, tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    mask = nibabel.Nifti1Image.from_bytes(gzip.decompress(encode_volume_mask(volume.grey > 0, volume)))
    assert mask.shape == (4, 5, 6, 1) and mask.header.get_xyzt_units() == ("mm", "sec")


@pytest.mark.parametrize(("unit", "mm"), [("unknown", 1), ("meter", 1000), ("micron", 0.001)])
def test_spacing_is_converted_to_mm(unit, mm, tmp_path):
    image = nibabel.Nifti1Image(VOXELS, np.diag([*ZOOMS, 1]))
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "scan.nii")
    spacing_mm = read_volume(tmp_path / "scan.nii").spacing_mm
    assert sorted(spacing_mm) == pytest.approx([zoom * mm for zoom in ZOOMS])


def test_extremely_elongated_pixels_are_refused(tmp_path):
    image = nibabel.Nifti1Image(VOXELS, np.diag([1e-6, 1, 3, 1]))
    nibabel.save(image, tmp_path / "scan.nii")
    with pytest.raises(ImageError, match="scan.nii' has axial pixels of 1e-06 x 1 mm: fix its spacing"):
        read_volume(tmp_path / "scan.nii")


def test_rectangular_pixels_become_square(tmp_path):
    nibabel.save(nibabel.Nifti1Image(VOXELS, np.diag([1, 2, 5, 1])), tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    assert slices_of(volume.grey, "axial")[0].shape == (5, 4)
    assert volume.square_pixels("axial", 0).shape == (10, 4)


def test_prediction_of_a_volume(trained, phantoms, tmp_path):
    slices = [read_image(path) for path in sorted((phantoms / "images").iterdir())[:7]]
    # From slices as viewers show them to axes that point to the right, the front and up.
    voxels = np.moveaxis(np.stack(slices)[:, ::-1, ::-1].swapaxes(1, 2), 0, 2)
    affine = np.diag([3, 3, 6, 1])
    (tmp_path / "in").mkdir()
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "in" / "a scan.nii.gz")
    arguments = ["in", "--run", trained, "--output", "out"]
    done = run_script("predict", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (row,) = read_table(tmp_path / "out" / "predictions.csv")
    mask = nibabel.load(tmp_path / "out" / "masks" / "a scan_mask.nii.gz")
    voxels = np.count_nonzero(np.asarray(mask.dataobj))
    assert (row["slices"], row["width"], row["height"]) == ("7", "64", "64")
    assert int(row["tumor_pixels"]) == voxels
    assert float(row["tumor_mm3"]) == pytest.approx(voxels * 54, rel=1e-4)
    np.testing.assert_array_equal(mask.affine, affine)
    sheet = read_image(tmp_path / "out" / "overlays" / "a scan.png")
    assert sheet.shape[1] >= 256
    before = (tmp_path / "out" / "predictions.csv").read_bytes()
    again = run_script("predict", *arguments, "--resume", cwd=tmp_path)
    assert again.returncode == 0 and (tmp_path / "out" / "predictions.csv").read_bytes() == before
