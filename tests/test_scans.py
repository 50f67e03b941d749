"""Whole scans: planes, regions in 3-D, and their measurements and scores."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import nibabel
import numpy as np
import pytest
from ready import run_script

from unet.data.pairs import find_all_pairs
from unet.errors import ImageError
from unet.evaluation.scans import score_scan, summarize_scans
from unet.images.grid import grid_difference
from unet.images.nifti import read_volume, read_volume_mask, slices_in
from unet.images.volume import PLANES, choose_planes, spacing_of
from unet.network.outlining import OutlineRule
from unet.network.predictor import Predictor
from unet.network.regions import diameters_mm, measure_region, place_inside
from unet.network.saved_run import SavedRun
from unet.network.scan import ScanPrediction, contain_head, label_regions, outline_scan, predict_scan
from unet.options import ReadingOptions
from unet.tables import read_table


@pytest.mark.parametrize(
    ("shape", "spacing_mm", "planes"),
    [
        ((181, 217, 181), (1, 1, 1), PLANES),
        ((240, 240, 155), (1, 1, 1.9), PLANES),
        ((256, 256, 26), (0.9, 0.9, 6), ("axial",)),
        ((256, 26, 256), (0.9, 6, 0.9), ("coronal",)),
        ((160, 256, 256), (1, 0.5, 0.5), ("sagittal",)),  # a ratio of exactly 2
        ((181, 217, 181), (1, 1 + 1e-7, 1 - 1e-7), PLANES),
        ((181, 100, 100), (1, 2 + 1e-7, 2), ("axial",)),  # rounding does not choose between equal spacings
        ((181, 100, 100), (1, 2, 2 + 1e-7), ("axial",)),
        ((256, 256, 20), (1, 1, 1), ("axial",)),  # a slab
        ((256, 256, 1), (1, 1, 1), ("axial",)),
    ],
)
def test_planes_follow_the_voxels_not_the_order_of_the_array(shape, spacing_mm, planes):
    assert choose_planes(shape, spacing_mm) == planes


def all_48_orders():
    return list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))


def store(path, grey, spacing_mm, order, signs):
    """Write an array (x, y, z) with its axes in another order, some of them reversed."""
    affine = np.diag([*spacing_mm, 1.0])
    image = nibabel.Nifti1Image(grey, affine)
    steps = [[order.index(axis), signs[order.index(axis)]] for axis in range(3)]
    nibabel.save(image.as_reoriented(np.array(steps)), path)


@pytest.mark.parametrize("spacing_mm", [(1, 1.1, 1.2), (1, 1, 3)], ids=["three planes", "one plane"])
def test_a_scan_in_any_order_of_axes_gets_the_same_mask(spacing_mm, trained, tmp_path):
    """Voxel by voxel, for all 48 orders and flips."""
    grey = (np.random.default_rng(0).random((24, 26, 22)) * 255).astype(np.uint8)
    grey[8:16, 9:17, 8:15] = 255
    predictor = Predictor(SavedRun.open(trained), always_outline=True)
    masks = []
    for order, signs in all_48_orders():
        store(tmp_path / "scan.nii", grey, spacing_mm, order, signs)
        volume = read_volume(tmp_path / "scan.nii")
        assert volume.spacing_mm == pytest.approx(spacing_mm)
        np.testing.assert_allclose(volume.affine, np.diag([*spacing_mm, 1.0]), atol=1e-6)
        masks.append(outline_scan(predictor, volume, predict_scan(predictor, volume, "")).mask)
    assert masks[0].any() and all(np.array_equal(mask, masks[0]) for mask in masks)


def test_the_plane_can_be_chosen(tmp_path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((40, 30, 20), np.uint8), np.eye(4)), tmp_path / "scan.nii")
    assert slices_in(tmp_path / "scan.nii") == {"sagittal": 40, "coronal": 30, "axial": 20}
    reading = ReadingOptions(plane="coronal")
    assert slices_in(tmp_path / "scan.nii", reading) == {"coronal": 30}
    assert read_volume(tmp_path / "scan.nii", reading).planes == ("coronal",)


def test_slices_without_a_head_are_known():
    slices = np.zeros((3, 10, 10), np.uint8)
    slices[0] = 20  # noise
    slices[1, 5, 5] = 255  # one bright pixel of 100
    slices[2, 4:6, 4:6] = 100
    assert contain_head(slices).tolist() == [False, False, True]


def test_regions_touch_in_3d_and_reach_a_peak():
    probability = np.zeros((5, 5, 5), np.float32)
    probability[0, 0, 0], probability[1, 1, 1] = 0.95, 0.5  # touch at a corner
    probability[4, 4, 4] = 0.7  # reaches no peak
    labels = label_regions(OutlineRule(0.4, 0.9), probability)
    assert np.argwhere(labels).tolist() == [[0, 0, 0], [1, 1, 1]] and set(labels.ravel()) == {0, 1}
    assert label_regions(OutlineRule(0.4, 0.9), probability * 0.7).sum() == 1  # the strongest is kept: 0.665
    assert not label_regions(OutlineRule(0.4, 0.9), probability * 0.5).any()  # 0.475 is not likely


def volume_of(grey, spacing_mm=(1.0, 1.0, 1.0), planes=PLANES):
    image = nibabel.Nifti1Image(grey, np.diag([*spacing_mm, 1.0]))
    from unet.images.volume import Volume

    return Volume(grey, spacing_mm, planes, image)


def test_evidence_of_a_part_is_that_of_its_slices():
    evidence = {"sagittal": np.array([0.0, 0.8]), "axial": np.array([0.2, 0.4])}
    scan = ScanPrediction(np.zeros((2, 1, 2), np.float32), evidence, {"axial": np.array([1.0, 3.0])})
    weights = np.array([[[0.0, 0.0]], [[1.0, 3.0]]])
    # Viewers count sagittal and axial slices as the array does: x = 1 -> 0.8; z: (1 * 0.2 + 3 * 0.4) / 4 = 0.35.
    assert scan.evidence_of(weights) == pytest.approx((0.8 + 0.35) / 2)
    assert scan.evidence_of(np.zeros((2, 1, 2))) == 0
    # The sagittal slices show no head.
    assert scan.overall_evidence == pytest.approx((1 * 0.2 + 3 * 0.4) / 4)


def test_healthy_slices_do_not_join_a_tumor_to_the_rest_of_a_scan():
    """The network outlines something in every slice; only slices in which it also finds a tumor may count."""
    with_tumor = [8, 9, 10]

    def stream(indices, read, preparation_of):
        for index in indices:
            probability = np.zeros((20, 20), np.float32)
            probability[5:10, 5:10] = 0.9
            yield SimpleNamespace(source=index, probability=probability, evidence=0.9 * (index in with_tumor))

    predictor = SimpleNamespace(
        rule=OutlineRule(),
        always_outline=False,
        stream=stream,
        finds_tumor=lambda evidence, in_scan=False: evidence > (0.5 if in_scan else 0.1),
    )
    volume = volume_of(np.full((20, 20, 20), 99, np.uint8), planes=("axial",))
    scan = predict_scan(predictor, volume, "scan")
    outlines = outline_scan(predictor, volume, scan)
    assert np.flatnonzero(outlines.mask.any((0, 1))).tolist() == with_tumor
    assert outlines.evidence == [pytest.approx(0.9)]
    assert scan.overall_evidence == pytest.approx(0.9 * 3 / 20)


def test_a_single_slice_has_the_plane_of_its_pixels():
    assert choose_planes((96, 96, 1), (2.0, 2.0, 1.0)) == ("axial",)
    assert choose_planes((1, 96, 96), (9.0, 2.0, 1.0)) == ("sagittal",)


def test_volumes_on_sheared_grids_and_headers_that_disagree_are_measured_by_the_affine():
    affine = np.array([[2.0, 0, 2, 0], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    assert replace(
        volume_of(np.zeros((4, 4, 4), np.uint8)), image=nibabel.Nifti1Image(np.zeros((4, 4, 4)), affine)
    ).voxel_mm3 == pytest.approx(8)
    image = nibabel.Nifti1Image(np.zeros((4, 4, 4)), np.diag([2.0, 2, 2, 1]))
    image.header["pixdim"][1:4] = 1, 1, 12
    image.header["xyzt_units"] = 7  # unknown
    assert spacing_of(image) == (2.0, 2.0, 2.0)


def test_masks_with_several_volumes_and_files_with_names_of_masks_are_not_used_silently(tmp_path, capsys):
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8, 2), np.uint8), np.eye(4)), tmp_path / "mask.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8), np.uint8), np.eye(4)), tmp_path / "scan.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((8, 8, 8), np.uint8), np.eye(4)), tmp_path / "scan_seg.nii")
    with pytest.raises(ImageError, match="mask.nii' has 2 volumes, but a mask is one"):
        read_volume_mask(tmp_path / "mask.nii", read_volume(tmp_path / "scan.nii"))
    (tmp_path / "mask.nii").unlink()
    assert {pair.name for pair in find_all_pairs(None, (tmp_path,))[0]} == {f"{tmp_path.name}/scan"}
    assert capsys.readouterr().out == f"Skipping '{tmp_path}/scan_seg.nii': by its name, it is a mask.\n"


def test_the_viewer_jumps_to_a_voxel_of_a_region_in_its_largest_slice():
    labels = np.zeros((8, 8, 4), np.int32)
    labels[1:6, 1:6, 2] = 1
    labels[2:5, 2:5, 2] = 0  # a ring around (3, 3): its center is outside
    labels[1:3, 1:3, 1] = 1
    volume = volume_of(np.zeros(labels.shape, np.uint8), (1.0, 1.0, 5.0))
    region = measure_region(volume, labels, 1, np.ones(labels.shape, np.float32), None)
    x, y, z = (int(index) for index in np.linalg.solve(volume.affine, [*place_inside(volume, labels, region), 1])[:3])
    assert labels[x, y, z] == 1 and z == 2 and abs(x - 3) + abs(y - 3) == 2


def test_small_flat_and_doubtful_regions_are_dropped():
    probability = np.zeros((20, 20, 20), np.float32)
    probability[2:6, 2:6, 2:6] = 0.9  # 64 mm3
    probability[10:13, 10:13, 10:13] = 0.9  # 27 mm3: too small
    probability[15, 2:18, 2:18] = 0.9  # in one slice only
    evidence = {plane: np.full(20, 0.9, np.float32) for plane in PLANES}
    predictor = SimpleNamespace(
        rule=OutlineRule(),
        always_outline=False,
        finds_tumor=lambda evidence, in_scan=False: evidence > (0.5 if in_scan else 0.1),
    )
    outlines = outline_scan(
        predictor, volume_of(np.zeros((20, 20, 20), np.uint8)), ScanPrediction(probability, evidence, {})
    )
    assert np.argwhere(outlines.mask).min(0).tolist() == [2, 2, 2] and outlines.mask.sum() == 64
    assert outlines.evidence == [pytest.approx(0.9)] and outlines.highest_evidence == pytest.approx(0.9)
    evidence = {plane: np.full(20, 0.3, np.float32) for plane in PLANES}
    outlines = outline_scan(
        predictor, volume_of(np.zeros((20, 20, 20), np.uint8)), ScanPrediction(probability, evidence, {})
    )
    assert not outlines.mask.any() and outlines.highest_evidence == pytest.approx(0.3)


def test_diameters_as_in_rano():
    mask = np.zeros((9, 30), bool)
    mask[2:5, 5:25] = True  # 20 x 3 pixels
    longest, perpendicular = diameters_mm(mask, 1.0, 1.0)
    # Between the centers of opposite corners, plus a pixel: sqrt(19² + 2²) + 1.
    assert longest == pytest.approx(np.hypot(19, 2) + 1) and perpendicular == pytest.approx(3, abs=0.4)
    assert diameters_mm(mask, 2.0, 2.0) == pytest.approx((2 * longest, 2 * perpendicular))
    rows, columns = np.indices((60, 60))
    assert diameters_mm(np.hypot(rows - 30, columns - 30) <= 20, 0.5, 0.5) == pytest.approx((20.5, 20.5), abs=0.5)
    assert diameters_mm(np.ones((1, 1), bool), 0.5, 2.0) == (1.0, 1.0)


def test_a_region_is_measured():
    labels = np.zeros((10, 10, 10), np.int32)
    labels[2:5, 3:7, 4:9] = 1  # 3 x 4 x 5 voxels
    volume = volume_of(np.zeros((10, 10, 10), np.uint8), (2.0, 2.0, 1.0))
    region = measure_region(volume, labels, 1, np.full(labels.shape, 0.75, np.float32), 0.5)
    assert (region.voxels, region.volume_mm3, region.volume_ml) == (60, 240.0, 0.24)
    assert (region.center_x_mm, region.center_y_mm, region.center_z_mm) == (6.0, 9.0, 6.0)
    assert (region.plane, region.first_slice, region.last_slice) == ("axial", 5, 9)
    assert (region.mean_probability, region.tumor_probability) == (0.75, 0.5)
    assert region.longest_mm == pytest.approx(np.hypot(2 * 2, 3 * 2) + 2, abs=0.06)


def test_scores_of_scans():
    truth = np.zeros((8, 8, 8), bool)
    truth[:2, :2, :2] = truth[5:7, 5:7, 5:7] = True
    labels = np.zeros((8, 8, 8), np.int32)
    labels[:2, :2, :3] = 1  # 12 voxels, 8 of them right
    labels[0, 7, 0] = 2  # a false alarm
    volume = volume_of(np.zeros((8, 8, 8), np.uint8), (10.0, 10.0, 10.0))
    scores = score_scan(truth, labels, volume)
    assert scores == {
        "dice": pytest.approx(2 * 8 / (16 + 13)),
        "true_ml": pytest.approx(16.0),
        "predicted_ml": pytest.approx(13.0),
        "true_regions": 2,
        "found_regions": 1,
        "false_regions": 1,
    }
    empty = score_scan(np.zeros_like(truth), np.zeros_like(labels), volume)
    assert empty["dice"] == "" and empty["false_regions"] == 0
    rows = [{"id": "a", "patient": "a", **scores}, {"id": "b", "patient": "b", **empty}]
    summary = summarize_scans(rows)
    assert summary["scans"] == 2 and summary["scans_with_tumor"] == 1 and summary["regions"] == 2
    assert summary["share_of_regions_found"]["mean"] == 0.5 and summary["false_regions_per_scan"]["mean"] == 0.5
    assert summarize_scans([]) is None


GRID = np.array([[-1.0, 0, 0, 90], [0, 0.8, 0.6, -126], [0, -0.6, 0.8, -72], [0, 0, 0, 1]])


def test_a_mask_with_other_axes_on_the_same_grid_is_turned(tmp_path):
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[0, 1, 2] = 1
    image = nibabel.Nifti1Image(np.zeros((4, 5, 6), np.int16), GRID)
    nibabel.save(image, tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    nibabel.save(nibabel.Nifti1Image(mask, GRID), tmp_path / "mask.nii")
    expected = read_volume_mask(tmp_path / "mask.nii", volume)
    turned = nibabel.Nifti1Image(mask, GRID).as_reoriented(nibabel.orientations.axcodes2ornt("SLP"))
    assert turned.shape == (5, 6, 4)
    nibabel.save(turned, tmp_path / "turned.nii")
    assert expected.sum() == 1 and np.array_equal(read_volume_mask(tmp_path / "turned.nii", volume), expected)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (GRID + [*[[0, 0, 0, 0.006]] * 3, [0] * 4], ""),
        (GRID.astype(np.float32), ""),
        (GRID @ np.diag([1, 1, 1.1, 1]), "its spacing is 1 x 1 x 1.1 mm, not 1 x 1 x 1 mm. If its voxels match"),
        (np.diag([-1.0, 1, 1, 1]) + GRID * (np.arange(4) == 3) - np.diag([0, 0, 0, 1]), "its axes point in other"),
        (GRID + [[0, 0, 0, 3], [0] * 4, [0] * 4, [0] * 4], "its origin is 93 x -126 x -72 mm, not 90 x -126 x -72 mm"),
    ],
    ids=["less than a hundredth of a voxel", "rounding", "spacing", "direction", "origin"],
)
def test_how_a_mask_is_not_on_the_grid_of_its_image(changed, message):
    image, mask = (nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), affine) for affine in (GRID, changed))
    assert grid_difference(mask, image).startswith(message) and bool(grid_difference(mask, image)) == bool(message)


def test_a_quaternion_rounds_the_affine():
    image, mask = (nibabel.Nifti1Image(np.zeros((256, 256, 9), np.uint8), GRID) for _ in range(2))
    mask.set_qform(GRID, code=1)
    mask.set_sform(None, code=0)
    assert grid_difference(nibabel.Nifti1Image(mask.dataobj, mask.header.get_best_affine(), mask.header), image) == ""
    other = nibabel.Nifti1Image(np.zeros((4, 4, 5), np.uint8), GRID)
    assert grid_difference(other, image) == "it has 4 x 4 x 5 voxels, not 256 x 256 x 9. Resample it"


def test_one_volume_of_a_4d_file_is_used(tmp_path, capsys):
    voxels = np.random.default_rng(0).integers(0, 1000, (6, 7, 8, 3)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "four.nii.gz")
    for number in (1, 2, 3):
        nibabel.save(nibabel.Nifti1Image(voxels[..., number - 1], np.eye(4)), tmp_path / "three.nii")
        expected = read_volume(tmp_path / "three.nii")
        volume = read_volume(tmp_path / "four.nii.gz", ReadingOptions(volume=number))
        np.testing.assert_array_equal(volume.grey, expected.grey)
        assert volume.image.shape == (6, 7, 8)
    assert not capsys.readouterr().err
    first = read_volume(tmp_path / "four.nii.gz")
    nibabel.save(nibabel.Nifti1Image(voxels[..., 0], np.eye(4)), tmp_path / "three.nii")
    np.testing.assert_array_equal(first.grey, read_volume(tmp_path / "three.nii").grey)
    assert "has 3 volumes, and only the first is used. Choose one with --volume N" in capsys.readouterr().err
    with pytest.raises(Exception, match="has 3 volumes: give --volume a smaller number"):
        read_volume(tmp_path / "four.nii.gz", ReadingOptions(volume=4))


def test_nan_is_background_and_compression_is_seen_in_the_content(tmp_path):
    voxels = np.random.default_rng(0).random((6, 7, 8)).astype(np.float32)
    voxels[0] = np.nan
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "a.nii")
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "b.nii.gz")
    (tmp_path / "a.nii").rename(tmp_path / "c.nii.gz")
    (tmp_path / "b.nii.gz").rename(tmp_path / "d.nii")
    one, other = read_volume(tmp_path / "c.nii.gz"), read_volume(tmp_path / "d.nii")
    np.testing.assert_array_equal(one.grey, other.grey)
    assert not one.grey[0].any() and one.grey[1:].any()


def test_masks_in_a_folder_of_scans_are_skipped(trained, tmp_path):
    """As in BraTS."""
    voxels = np.random.default_rng(0).integers(0, 255, (20, 20, 4)).astype(np.uint8)
    for name in ("case_t1ce", "case_seg"):
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 5, 1])), tmp_path / f"{name}.nii.gz")
    done = run_script("predict", tmp_path, "--run", trained, "--output", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "case_seg.nii.gz': by its name, it is a mask. To outline it, name the file itself." in done.stdout
    (row,) = read_table(tmp_path / "out/predictions.csv")
    assert row["path"].endswith("case_t1ce.nii.gz")
    regions = read_table(tmp_path / "out/regions.csv")
    assert len(regions) == int(row["regions"])
    assert sum(int(region["voxels"]) for region in regions) == int(row["tumor_pixels"])
