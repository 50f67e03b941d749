"""Data folders: invalid data, the split of slices, and the batches from tf.data."""

import csv
import shutil
import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import write_image, write_pairs
from ready import ROOT

from unet.data.batches import TUMOR, BatchPlan, Material, training_batches, validation_batches
from unet.data.healing import AlteredSlices
from unet.data.patients import near_copy_groups, patient_facts
from unet.data.slices import allocate, load_slices
from unet.data.split import split_slices, stratified_folds
from unet.errors import UserError
from unet.images.preprocessing import to_training_image
from unet.options import AugmentationConfig, DataOptions


def problems(folder) -> str:
    with pytest.raises(UserError) as caught:
        load_slices(folder, 16)
    return str(caught.value)


def test_pairs_are_in_numeric_order_at_training_size(tmp_path):
    write_pairs(tmp_path, 11)
    for kind in ("images", "masks"):  # One pair has another size.
        write_image(tmp_path / kind / "10.png", np.eye(40, 30, dtype=np.uint8) * 255)
    slices = load_slices(tmp_path, 16)
    assert slices.ids == [str(n) for n in range(11)]
    assert slices.pixels.shape == (11, 2, 16, 16) and slices.pixels.dtype == np.uint8
    assert set(np.unique(slices.masks)) == {0, 1}
    assert slices.tumor_percent[0] == pytest.approx(100 * 5 * 7 / (20 * 24))


def test_all_problems_are_listed_at_once(tmp_path):
    write_pairs(tmp_path, 6)
    (tmp_path / "masks/0.png").unlink()
    (tmp_path / "images/1.png").unlink()
    write_image(tmp_path / "masks/2.png", np.zeros((5, 6), np.uint8))
    write_image(tmp_path / "masks/3.png", np.arange(480, dtype=np.uint8).reshape(20, 24))
    (tmp_path / "images/4.png").write_bytes(b"not an image")
    assert problems(tmp_path).replace(f"{tmp_path}/", "").splitlines() == [
        "No mask for 'images/0.png': expected 'masks/0.png'.",
        "No image for 'masks/1.png': expected 'images/1.png'.",
        "'images/4.png' is not a readable image: it is empty, damaged or not an image.",
        "'masks/2.png' has 6 x 5 pixels but its image has 24 x 20: they must have the same size.",
        "'masks/3.png' has 255 values besides 0, but a mask has only one: give the smallest value that "
        "counts as tumor, such as --mask-threshold 128.",
    ]


def test_problems_after_the_tenth_are_only_counted(tmp_path):
    write_pairs(tmp_path, 15)
    shutil.rmtree(tmp_path / "masks")
    (tmp_path / "masks").mkdir()
    lines = problems(tmp_path).splitlines()
    assert len(lines) == 11 and lines[-1] == "... and 5 more"


def test_missing_and_empty_folders_are_refused(tmp_path):
    assert "has no images/ with masks/: it contains no files" in problems(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    assert "contains no image files" in problems(tmp_path)


def test_slices_beyond_the_memory_limit_are_kept_on_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    on_disk = allocate((3, 2, 8, 8), memory_gib=0)
    assert isinstance(on_disk, np.memmap) and not isinstance(allocate((3, 8), 1), np.memmap)
    write_pairs(tmp_path, 4)
    np.testing.assert_array_equal(load_slices(tmp_path, 16, 0).pixels, load_slices(tmp_path, 16).pixels)


def test_slices_that_fit_neither_memory_nor_disk_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="need 931.3 GiB, more than --memory-gib 4, and the disk"):
        allocate((10**12,), 4)


# ---------------------------------------------------------------------------- split


def patients_of(split, name):
    return {split.facts[id]["patient"] for id in split.ids[name]}


def test_phantoms_are_split_by_patient_with_every_tumor_type_in_training_and_validation(phantoms):
    split = split_slices(load_slices(phantoms, 16), phantoms, DataOptions())
    parts = [patients_of(split, part) for part in ("train", "val", "test")]
    assert len(set.union(*parts)) == sum(map(len, parts)) == 25
    for name in ("train", "val"):
        assert len({split.facts[id]["tumor"] for id in split.ids[name]}) == 4  # three types, and none


def test_five_folds_validate_every_patient_once_except_test_patients(phantoms):
    slices = load_slices(phantoms, 16)
    test = patients_of(split_slices(slices, phantoms, DataOptions()), "test")
    seen = []
    for fold in range(5):
        split = split_slices(slices, phantoms, DataOptions(fold=fold))
        assert patients_of(split, "test") == test
        assert not patients_of(split, "train") & patients_of(split, "val")
        seen += patients_of(split, "val")
    assert len(seen) == len(set(seen)) == 25 - len(test)
    final = split_slices(slices, phantoms, DataOptions(fold="final"))
    assert patients_of(final, "train") == set(seen) and patients_of(final, "test") == test and not final.ids["val"]


def test_a_few_patients_without_a_tumor_train_in_every_fold(tmp_path):
    write_pairs(tmp_path / "data", 20)
    shutil.copytree(tmp_path / "data/images", tmp_path / "free")
    for path in (tmp_path / "free").iterdir():
        write_image(path, 255 - cv2.imread(str(path), 0))
    patients = [(index, f"p{index % 4}", ("train", "train", "val", "val")[index % 4]) for index in range(20)]
    write_table(tmp_path / "free/patients.csv", patients)
    free = (tmp_path / "free",)
    slices = load_slices(tmp_path / "data", 16, no_tumor=free)
    split = split_slices(slices, tmp_path / "data", DataOptions(no_tumor=free))
    assert {id for id in split.ids["val"] if id.startswith("free/")} == {f"free/{i}" for i in range(20) if i % 4 > 1}
    for fold in range(5):
        split = split_slices(slices, tmp_path / "data", DataOptions(no_tumor=free, fold=fold))
        assert sum(id.startswith("free/") for id in split.ids["train"]) == 20
        assert len(split.ids["val"]) in (3, 4) and "too few for folds" in split.source


def test_rare_tumors_are_in_every_fold(tmp_path):
    write_pairs(tmp_path, 60)
    for index in range(10, 60):
        write_image(tmp_path / f"masks/{index}.png", np.zeros((20, 24), np.uint8))
    slices = load_slices(tmp_path, 16)
    for fold in range(5):
        split = split_slices(slices, tmp_path, DataOptions(fold=fold))
        counts = [slices.has_tumor[slices.indices(split.ids[part])].sum() for part in ("train", "val", "test")]
        assert min(counts) >= 1 and counts[2] <= 2  # of ten; a seventh is for the test


def write_table(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([("id", "patient", "split"), *rows])


def test_the_split_in_the_table_is_used_if_it_is_valid(tmp_path):
    write_pairs(tmp_path, 4)
    slices = load_slices(tmp_path, 16)
    table = tmp_path / "table.csv"
    options = DataOptions(patients=table)
    write_table(table, [(0, "a", "train"), (1, "a", "train"), (2, "b", "val"), (3, "c", "test")])
    split = split_slices(slices, tmp_path, options)
    assert split.ids == {"train": ["0", "1"], "val": ["2"], "test": ["3"]}
    write_table(table, [(0, "a", "train"), (1, "a", "val"), (2, "b", "val"), (3, "c", "test")])
    with pytest.raises(UserError, match="patient 'a' is in train and val"):
        split_slices(slices, tmp_path, options)
    write_table(table, [(0, "a", "train"), (1, "a", ""), (2, "b", "val"), (3, "c", "test")])
    with pytest.raises(UserError, match="some slices but not of 1 others"):
        split_slices(slices, tmp_path, options)
    write_table(table, [(0, "a", "train")])
    with pytest.raises(UserError, match="no row for the image '1'"):
        split_slices(slices, tmp_path, options)


def test_an_unknown_split_is_refused_with_folds(tmp_path):
    write_pairs(tmp_path, 12)
    rows = [(index, f"p{index}", "held out" if index < 3 else "train") for index in range(12)]
    write_table(tmp_path / "patients.csv", rows)
    with pytest.raises(UserError, match="has the unknown split 'held out': use train, val or test"):
        split_slices(load_slices(tmp_path, 16), tmp_path, DataOptions(fold=0))


def test_spreadsheet_exports_need_commas_and_may_have_empty_rows(tmp_path):
    write_pairs(tmp_path, 12)
    slices, table = load_slices(tmp_path, 16), tmp_path / "patients.csv"
    table.write_text("id;patient\n" + "".join(f"{index};p{index}\n" for index in range(12)))
    with pytest.raises(UserError, match="comma-separated CSV .* not 'id;patient'"):
        split_slices(slices, tmp_path, DataOptions())
    table.write_text("id,patient\n" + "".join(f"{index},p{index}\n" for index in range(12)) + ",\n,\n")
    assert len(split_slices(slices, tmp_path, DataOptions()).facts) == 12


def test_tumor_types_with_fewer_patients_than_folds_are_split_anyway(tmp_path):
    write_pairs(tmp_path, 12)
    facts = {f"{index}": {"patient": f"p{index}"} for index in range(12)}
    for kinds in ("abc", "abbbbbbbbbbb"):  # all are rare, or one of them
        with warnings.catch_warnings(action="error"):  # scikit-learn's would confuse users
            folds = stratified_folds(list(facts), facts, {id: kinds[int(id) % len(kinds)] for id in facts}, 7)
        assert sorted(sum(folds, [])) == sorted(facts) and min(map(len, folds)) > 0


def test_matching_ids_are_not_enough_to_use_the_published_table(tmp_path, capsys):
    # Any data set may use names like 0.png and 1.png. Here the tumor sizes differ.
    write_pairs(tmp_path, 11)
    facts, origin = patient_facts(load_slices(tmp_path, 16), tmp_path)
    assert "similar slices" in origin and "are unknown" in capsys.readouterr().out
    assert len({row["patient"] for row in facts.values()}) == 11


def test_near_copies_are_in_one_group():
    random = np.random.default_rng(0)
    one, two = random.integers(0, 255, (2, 64, 64)).astype(np.uint8)
    noisy = np.clip(one + random.normal(0, 5, one.shape), 0, 255).astype(np.uint8)
    groups = near_copy_groups(np.stack([one, two, noisy, noisy[:, ::-1]]))
    assert groups[0] == groups[2] == groups[3] != groups[1]


def test_the_published_table_is_complete():
    with open(ROOT / "unet" / "data" / "published.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    counts = {part: sum(row["split"] == part for row in rows) for part in ("train", "val", "test")}
    assert counts == {"train": 2194, "val": 434, "test": 436}


# ---------------------------------------------------------------------------- batches


@pytest.fixture(scope="module")
def slices(phantoms):
    return load_slices(phantoms, 32)


@pytest.fixture(scope="module")
def material(slices):
    """20 slices with tumor, 6 without, and two that are healed."""
    without_tumor = np.flatnonzero(~slices.has_tumor)[:6]
    healed = AlteredSlices(np.array([0, 1]), 255 - slices.images[:2])
    return Material(slices, np.flatnonzero(slices.has_tumor)[:20], without_tumor, healed)


def batches_of(material, epochs, seed=1):
    dataset = training_batches(material, BatchPlan(8, epochs, seed, without_tumor=4))
    return [images.numpy() for images, _ in dataset]


def test_order_and_augmentation_depend_only_on_seed_epoch_and_slice(material):
    all_epochs = batches_of(material, range(0, 3))
    later = batches_of(material, range(2, 3))
    assert len(all_epochs) == 3 * 2  # 20 slices make 2 full batches of 8.
    np.testing.assert_array_equal(all_epochs[4:], later)
    assert not np.array_equal(all_epochs[0], all_epochs[2])
    assert not np.array_equal(batches_of(material, range(1), seed=2)[0], all_epochs[0])


@pytest.mark.parametrize("first_step", [0, 1])
def test_parts_of_a_batch_join_to_the_whole_batch(material, first_step):
    config = replace(AugmentationConfig(), copy_paste=0.5)

    def batches(worker=0, workers=1):
        plan = BatchPlan(8, range(2), 1, config, 2, first_step, worker, workers)
        return [np.array(batch) for batch in training_batches(material, plan)]

    whole = batches()
    assert len(whole) == 4 - first_step
    for batch, first, second in zip(whole, batches(0, 2), batches(1, 2), strict=True):
        # 8 slices with tumor, then 2 without; each worker makes half of each kind.
        for own, with_tumor, without in ((first, slice(0, 4), slice(8, 9)), (second, slice(4, 8), slice(9, 10))):
            np.testing.assert_array_equal(own[:, :4], batch[:, with_tumor])
            np.testing.assert_array_equal(own[:, 4:], batch[:, without])


def test_batches_end_with_slices_without_tumor(material):
    for _, masks in training_batches(material, BatchPlan(8, range(2), without_tumor=4)):
        assert masks.shape == (12, 32, 32, 1) and not masks.numpy()[8:].any()


def test_grafted_slices_keep_their_masks(slices):
    grafted = AlteredSlices(np.array([3]), np.full((1, 32, 32), 77, np.uint8))
    material = Material(slices, np.arange(8), grafted=grafted)
    image, mask = material.take(3, TUMOR, True)
    assert (image == 77).all() and np.array_equal(mask[..., 0], 255 * slices.masks[3])
    assert np.array_equal(material.take(2, TUMOR, True)[0], slices.images[2])  # has no grafted version
    assert np.array_equal(material.take(3, TUMOR, False)[0], slices.images[3])


def test_an_epoch_contains_no_slice_twice(material):
    still = replace(
        AugmentationConfig(), spatial=0, mirror_left_right=0, noise=0, blur=0, brightness=0,
        contrast=0, low_resolution=0, gamma=0, inverted_gamma=0, copy_paste=0,
    )  # fmt: skip
    dataset = training_batches(material, BatchPlan(5, range(1), augmentation=still))
    seen = np.concatenate([images for images, _ in dataset])
    assert len(np.unique(seen.reshape(20, -1).round(5), axis=0)) == 20


def test_validation_sees_every_slice_once_in_order(slices):
    seen = np.concatenate([images for images, _ in validation_batches(slices, np.arange(7), 3)])
    np.testing.assert_array_equal(seen[..., 0], slices.images[:7].astype(np.float32) / 255)


def test_training_and_prediction_prepare_images_identically(slices):
    from unet.images.reading import read_image

    native = read_image(slices.pairs[5].image_path)
    np.testing.assert_array_equal(slices.images[5], to_training_image(native, 32))
