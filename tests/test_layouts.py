"""Data folders in the layouts that people have: which files belong together, and what cannot be paired."""

from functools import partial

import cv2
import nibabel
import numpy as np
import pytest
from conftest import write_image, write_pairs
from pydicom import Dataset
from test_dicom import write_series

from unet.data.folder import no_tumor_folders
from unet.data.pairs import find_images_without_tumor, find_pairs
from unet.data.patients import patient_facts
from unet.data.slices import load_slices
from unet.data.split import split_slices
from unet.errors import UserError
from unet.images.dicom import read_series
from unet.images.folders import find_files
from unet.images.nifti import encode_volume_mask
from unet.options import DataOptions, PairingOptions


def write_small(*paths):
    for path in paths:
        write_image(path, np.eye(4, dtype=np.uint8) * 255)


def write_scans(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        nibabel.save(
            nibabel.Nifti1Image(np.eye(8, dtype=np.uint8)[..., None].repeat(3, 2), np.diag([1, 1, 5, 1])), path
        )


def pairs_in(folder, **options):
    pairs, problems = find_pairs(folder, PairingOptions(**options))
    assert not problems
    return pairs


def problems_in(folder, **options):
    return [problem.replace(f"{folder}/", "") for problem in find_pairs(folder, PairingOptions(**options))[1]]


@pytest.mark.parametrize("masks", ["labels", "annotations"])
def test_masks_may_be_in_labels_or_annotations(masks, tmp_path, capsys):
    write_small(tmp_path / "images/sub/a.png", tmp_path / masks / "sub/a.png")
    [pair] = pairs_in(tmp_path)
    assert pair.id == "sub/a" and pair.mask_path == tmp_path / masks / "sub/a.png"
    assert capsys.readouterr().out == f"images with {masks}: 1 pairs.\n"


def test_images_with_masks_need_no_line(tmp_path, capsys):
    write_pairs(tmp_path, 2)
    assert len(pairs_in(tmp_path)) == 2 and not capsys.readouterr().out


def test_folders_of_splits_decide_the_split(tmp_path, capsys):
    for folder, count in (("training", 3), ("Valid", 2), ("Testing", 1)):
        write_pairs(tmp_path / folder, count)
        (tmp_path / folder / "masks").rename(tmp_path / folder / "labels")
        write_image(
            tmp_path / folder / "images/0.png", np.random.default_rng(count).integers(0, 255, (20, 24), np.uint8)
        )
    write_image(tmp_path / "training/images/1.png", 255 - np.arange(480, dtype=np.uint8).reshape(20, 24))
    write_image(tmp_path / "training/images/2.png", np.arange(480, dtype=np.uint8).reshape(20, 24))
    slices = load_slices(tmp_path, 16)
    split = split_slices(slices, tmp_path, DataOptions())
    assert split.ids["train"] == ["training/0", "training/1", "training/2"]
    assert split.ids["val"] == ["Valid/0", "Valid/1"] and split.ids["test"] == ["Testing/0"]
    printed = capsys.readouterr().out
    line = "training/images with training/labels: 3 pairs, Valid/images with Valid/labels: 2 pairs, "
    assert line + "Testing/images with Testing/labels: 1 pairs.\n" in printed
    # Now a table decides.
    rows = [f"{id},p{index},{('train', 'val')[index % 2]}" for index, id in enumerate(slices.ids)]
    (tmp_path / "patients.csv").write_text("\n".join(["id,patient,split", *rows]))
    assert len(split_slices(slices, tmp_path, DataOptions()).ids["val"]) == 3


def test_a_split_folder_without_masks_is_named(tmp_path, capsys):
    write_pairs(tmp_path / "train", 2)
    write_small(tmp_path / "test/images/x.png")
    assert len(pairs_in(tmp_path)) == 2
    assert f"Left out '{tmp_path}/test': it has no masks in a folder like" in capsys.readouterr().out


def test_similar_slices_in_two_splits_are_reported(tmp_path, capsys):
    write_pairs(tmp_path / "train", 3)
    write_pairs(tmp_path / "val", 4)
    for path in (tmp_path / "val/images").iterdir():  # no exact copies
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        image[0, 0] ^= 1
        write_image(path, image)
    split = split_slices(load_slices(tmp_path, 16), tmp_path, DataOptions())
    assert (
        "7 groups of slices that look alike count as patients, 3 of them also in another split."
        in capsys.readouterr().out
    )
    assert len(split.ids["val"]) == 4


def test_blank_slices_in_two_splits_or_folders_are_not_one_patient(tmp_path):
    blank = np.zeros((20, 24), np.uint8)
    for part in ("train", "val"):
        write_pairs(tmp_path / "data" / part, 2, (20, 24 + (part == "val")))
        for kind in ("images", "masks"):
            write_image(tmp_path / f"data/{part}/{kind}/blank.png", blank)
    write_image(tmp_path / "free/blank.png", blank)
    options = DataOptions(str(tmp_path / "data"), no_tumor=(tmp_path / "free",))
    split = split_slices(load_slices(tmp_path / "data", 16, no_tumor=options.no_tumor), tmp_path / "data", options)
    blanks = [row["patient"] for id, row in split.facts.items() if id.endswith("blank")]
    assert len(set(blanks)) == 3 and all(patient.startswith("like ") for patient in blanks)


def test_columns_of_evaluations_in_a_patients_table_are_refused(tmp_path):
    write_pairs(tmp_path, 2)
    (tmp_path / "patients.csv").write_text("id,patient,HD95_mm\n0,p1,3\n1,p2,4\n")
    with pytest.raises(UserError, match="has a column 'HD95_mm', which our own tables have: rename it"):
        patient_facts(load_slices(tmp_path, 16), tmp_path)


def test_a_patient_with_and_without_a_tumor_is_reported(tmp_path, capsys):
    write_pairs(tmp_path / "data", 7)
    for number in range(7):
        noise = np.random.default_rng(50 + number).integers(0, 255, (20, 20)).astype(np.uint8)
        write_image(tmp_path / f"free/f{number}.png", noise)
    for name, prefix in (("data", ""), ("free", "f")):
        lines = [f"{prefix}{number},{'p' if number < 2 else name}{number}" for number in range(7)]
        (tmp_path / name / "patients.csv").write_text("\n".join(["id,patient", *lines]))
    options = DataOptions(str(tmp_path / "data"), no_tumor=(tmp_path / "free",))
    split_slices(load_slices(tmp_path / "data", 16, no_tumor=options.no_tumor), tmp_path / "data", options)
    assert (
        "free' has 2 patient names that are also in the data with tumors ('p0'). They count as different patients"
        in (capsys.readouterr().out)
    )


@pytest.mark.parametrize("training", [12, 6])
def test_without_a_validation_folder_training_patients_validate_if_there_are_enough(tmp_path, training):
    for folder, seeds in (("train", range(training)), ("test", range(12, 14))):
        for seed in seeds:
            image = np.random.default_rng(seed).integers(0, 255, (20, 24)).astype(np.uint8)
            write_image(tmp_path / folder / f"images/{seed}.png", image)
            write_image(tmp_path / folder / f"masks/{seed}.png", np.eye(20, 24, dtype=np.uint8) * 255)
    slices = load_slices(tmp_path, 16)
    if training == 12:
        split = split_slices(slices, tmp_path, DataOptions())
        assert 1 <= len(split.ids["val"]) <= 2 and split.ids["test"] == ["test/12", "test/13"]
        assert ", with a seventh of train as val: train 1" in split.source
    else:
        with pytest.raises(UserError, match="no slices to validate on.*use --fold 0"):
            split_slices(slices, tmp_path, DataOptions())
    split = split_slices(slices, tmp_path, DataOptions(fold=0))
    assert split.ids["val"] and split.ids["test"] == ["test/12", "test/13"]


def test_nnunet_folders_are_paired_and_other_channels_are_named(tmp_path, capsys):
    for name in ("BRATS_001", "BRATS_002"):
        write_scans(tmp_path / f"imagesTr/{name}_0000.nii.gz", tmp_path / f"labelsTr/{name}.nii.gz")
    (tmp_path / "dataset.json").write_text("{}")
    pairs = pairs_in(tmp_path)
    assert {pair.name for pair in pairs} == {"BRATS_001", "BRATS_002"} and len(pairs) == 6
    assert capsys.readouterr().out == "imagesTr with labelsTr: 2 pairs.\n"
    write_scans(tmp_path / "imagesTs/BRATS_003_0000.nii.gz")
    assert len(pairs_in(tmp_path)) == 6
    assert f"Left out '{tmp_path}/imagesTs': nnU-Net's test images.\n" in capsys.readouterr().out
    write_scans(tmp_path / "imagesTr/BRATS_001_0001.nii.gz")
    [problem] = problems_in(tmp_path)
    assert problem.endswith(
        "BRATS_001_0001.nii.gz' is an additional channel, but only one is supported: keep NAME_0000, and move the "
        "others."
    )


@pytest.mark.parametrize(("image", "mask"), [("_t1ce", "_seg"), ("-t1c", "-seg")])
def test_case_folders_as_in_brats_are_patients(image, mask, tmp_path, capsys):
    for case in ("BraTS-GLI-00005-000", "BraTS-GLI-00005-001", "BraTS-GLI-00007-000"):
        for end in (image, mask, "_flair"):
            write_scans(tmp_path / case / f"{case}{end}.nii.gz")
    pairs = pairs_in(tmp_path)
    assert {pair.patient for pair in pairs} == {"BraTS-GLI-00005", "BraTS-GLI-00007"}
    assert {pair.name for pair in pairs} == {path.name for path in tmp_path.iterdir()}
    expected = f"NAME/NAME{image} with NAME/NAME{mask}: 3 pairs of 2 patients, by their folders.\n"
    assert capsys.readouterr().out == expected


def test_masks_beside_images_in_folders_of_patients(tmp_path, capsys):
    for place in ("p1/a", "p1/b", "p2/a"):
        write_small(tmp_path / f"{place}.tif", tmp_path / f"{place}_mask.tif")
    (tmp_path / "data.csv").write_text("x")
    (tmp_path / "README.md").write_text("x")
    assert {pair.id: pair.patient for pair in pairs_in(tmp_path)} == {"p1/a": "p1", "p1/b": "p1", "p2/a": "p2"}
    out = capsys.readouterr().out
    assert out.startswith("NAME with NAME_mask: 3 pairs of 2 patients, by their folders.\n")
    assert f"Ignored files of other types in '{tmp_path}': 1 .csv, 1 .md." in out or "1 .md, 1 .csv" in out
    # In one folder, patients are unknown.
    assert {pair.patient for pair in pairs_in(tmp_path / "p1")} == {""}
    (tmp_path / "p2/a_mask.tif").unlink()
    assert problems_in(tmp_path) == ["No mask for 'p2/a.tif': expected 'p2/a_mask.tif'."]


def test_the_first_folder_is_the_patient_if_there_are_more_below(tmp_path):
    for name in ("all/p1/s0/1", "all/p1/s1/1", "all/p2/s0/1"):
        write_small(tmp_path / f"{name}.png", tmp_path / f"{name}_mask.png")
    assert {pair.id: pair.patient for pair in pairs_in(tmp_path)} == {
        "all/p1/s0/1": "all/p1",
        "all/p1/s1/1": "all/p1",
        "all/p2/s0/1": "all/p2",
    }


def test_images_beside_folders_of_splits_are_reported(tmp_path):
    for name in ("train/p/1", "val/q/1", "extra/r/1"):
        write_small(tmp_path / f"{name}.png", tmp_path / f"{name}_mask.png")
    assert problems_in(tmp_path) == [
        "'extra/r/1.png' is in no split, but other images are in train/ and val/: move it into one of them."
    ]


@pytest.mark.parametrize("suffix", ["{x}", "_{id}", "{", "a/b"])
def test_a_suffix_that_cannot_be_one_is_refused(suffix, tmp_path):
    with pytest.raises(UserError, match="--mask-suffix .* is invalid"):
        find_pairs(tmp_path, PairingOptions(mask_suffix=suffix))


def test_masks_beside_images_in_folders_of_splits(tmp_path):
    for place in ("train/p1/a", "val/p2/a"):
        write_small(tmp_path / f"{place}.png", tmp_path / f"{place}-seg.png")
    pairs = pairs_in(tmp_path, mask_suffix="-seg")
    assert [(pair.patient, pair.split) for pair in pairs] == [("p1", "train"), ("p2", "val")]


def test_folders_of_splits_may_be_inside_images_and_masks(tmp_path):
    for split in ("train", "val"):
        write_small(tmp_path / f"images/{split}/a.png", tmp_path / f"masks/{split}/a.png")
    assert {pair.id: pair.split for pair in pairs_in(tmp_path)} == {"train/a": "train", "val/a": "val"}
    # Test images stay test images, even if none are for validation.
    for folder in ("images", "masks"):
        (tmp_path / folder / "val").rename(tmp_path / folder / "test")
    assert {pair.id: pair.split for pair in pairs_in(tmp_path)} == {"test/a": "test", "train/a": "train"}
    for folder in ("images", "masks"):
        (tmp_path / folder / "test").rename(tmp_path / folder / "val")
    write_small(tmp_path / "images/b.png", tmp_path / "masks/b.png")
    assert problems_in(tmp_path) == [
        "'images/b.png' is in no split, but other images are in train/ and val/: move it into one of them."
    ]


def test_a_table_without_splits_leaves_those_of_folders(tmp_path):
    for folder, seeds in (("train", range(4)), ("val", range(4, 6))):
        for seed in seeds:
            pixels = np.random.default_rng(seed).integers(0, 255, (20, 24), np.uint8)
            write_image(tmp_path / folder / f"images/{seed}.png", pixels)
            write_image(tmp_path / folder / f"masks/{seed}.png", np.eye(20, 24, dtype=np.uint8) * 255)
    slices = load_slices(tmp_path, 16)
    rows = [f"{id},p{index}" for index, id in enumerate(slices.ids)]
    (tmp_path / "patients.csv").write_text("\n".join(["id,Patient", *rows]))
    split = split_slices(slices, tmp_path, DataOptions())
    assert split.ids["val"] == ["val/4", "val/5"] and not split.ids["test"]
    assert f"the folders of the splits, '{tmp_path}/patients.csv'" in split.source
    (tmp_path / "patients.csv").write_text(
        "\n".join(
            [
                "ID,Patient,Split",
                *(f"{row},{name}" for row, name in zip(rows, ["Training", "valid", "test"] * 2, strict=True)),
            ]
        )
    )
    assert {name: len(ids) for name, ids in split_slices(slices, tmp_path, DataOptions()).ids.items()} == {
        "train": 2,
        "val": 2,
        "test": 2,
    }


@pytest.mark.parametrize("masks", ["{}_mask.png", "labels/{}.png", "train/masks/{}.png"])
def test_images_with_masks_are_not_images_without_a_tumor(masks, tmp_path):
    images = {"labels/{}.png": "images/{}.png", "train/masks/{}.png": "train/images/{}.png"}.get(masks, "{}.png")
    write_small(tmp_path / images.format("a"), tmp_path / masks.format("a"))
    with pytest.raises(UserError, match="has masks .*: 1 pairs.*need none: use --data for it"):
        find_images_without_tumor(tmp_path)


def test_images_beside_the_folder_of_images_are_counted(tmp_path, capsys):
    write_small(tmp_path / "images/a.png", tmp_path / "b.png", tmp_path / "c.png")
    pairs, problems = find_images_without_tumor(tmp_path)
    assert len(pairs) == 1 and not problems
    assert f"Ignored 2 images in '{tmp_path}' that are not in its folder images/." in capsys.readouterr().out


def test_a_folder_of_copies_is_refused(tmp_path):
    write_pairs(tmp_path / "data", 2)
    write_small(tmp_path / "one/a.png", tmp_path / "other/a.png")
    options = DataOptions(str(tmp_path / "data"), no_tumor=(tmp_path / "one", tmp_path / "other"))
    slices = load_slices(tmp_path / "data", 16, no_tumor=options.no_tumor)
    with pytest.raises(UserError, match="All images in '.*o.*' are copies of others: leave this folder out"):
        for folder in options.no_tumor:
            patient_facts(slices.of_folder(folder), folder)


def test_folders_without_a_tumor_need_different_names(tmp_path):
    folders = (tmp_path / "a/healthy", tmp_path / "b/healthy")
    write_small(*(folder / "1.png" for folder in folders))
    with pytest.raises(UserError, match="have the same name, which starts the ids of their images: rename one"):
        no_tumor_folders(folders)


def test_what_macos_adds_to_a_folder_is_no_image(tmp_path):
    write_pairs(tmp_path, 2)
    (tmp_path / "images/._0.png").write_bytes(b"\0\5\x16\7")
    assert len(pairs_in(tmp_path)) == 2


@pytest.mark.parametrize(("ids", "patients"), [("AAB", ["A", "A", "B"]), ("AAA", ["", "", ""])])
def test_dicom_headers_say_whose_series_it_is_unless_all_are_anonymous(ids, patients, tmp_path):
    for number, id in enumerate(ids):
        files = write_series(
            tmp_path / f"images/{number}", change=lambda dataset, id=id: setattr(dataset, "PatientID", id)
        )
        volume = read_series(files)
        mask = encode_volume_mask(np.ones(volume.grey.shape, bool), volume)
        (tmp_path / "masks").mkdir(exist_ok=True)
        (tmp_path / f"masks/{number}.nii.gz").write_bytes(mask)
    assert [pair.patient for pair in pairs_in(tmp_path) if pair.slice_index == 0] == patients


def test_dicom_headers_also_say_whose_series_without_a_tumor_it_is(tmp_path):
    def belong_to(dataset: Dataset, id: str) -> None:
        dataset.PatientID = id
        pixels = np.frombuffer(dataset.PixelData, np.int16)
        dataset.PixelData = np.roll(pixels, ord(id)).tobytes()  # other pixels for other patients

    for number, id in enumerate("AAB"):
        write_series(tmp_path / f"free/{number}", change=partial(belong_to, id=id))
    slices = load_slices(None, 16, no_tumor=(tmp_path / "free",))
    facts, origin = patient_facts(slices, tmp_path / "free")
    assert {row["patient"] for row in facts.values()} == {"free/A", "free/B"} and "DICOM" in origin
    write_small(tmp_path / "free/picture.png")
    _, problems = find_images_without_tumor(tmp_path / "free")
    assert problems == [f"'{tmp_path}/free' contains both images and volumes: use a separate folder for each."]


def test_if_two_layouts_fit_the_option_decides(tmp_path, capsys):
    write_small(*(tmp_path / kind / "a.png" for kind in ("images", "masks", "labels")))
    with pytest.raises(UserError) as caught:
        find_pairs(tmp_path)
    assert "--layout masks (images with masks: 1 pairs) or --layout labels (images with labels" in str(caught.value)
    [pair] = pairs_in(tmp_path, layout="labels")
    assert pair.mask_path == tmp_path / "labels/a.png"
    with pytest.raises(UserError, match="is not in the layout nnunet: it contains 3 .png"):
        find_pairs(tmp_path, PairingOptions(layout="nnunet"))


def test_a_folder_without_a_layout_reports_what_it_contains(tmp_path):
    write_small(tmp_path / "a.png", tmp_path / "b.png")
    (tmp_path / "c.npy").write_bytes(b"x")
    with pytest.raises(UserError, match="has no images/ with masks/: it contains 2 .png, 1 .npy. docs/your-data.md"):
        find_pairs(tmp_path)


def test_masks_with_a_suffix_are_paired_and_the_option_is_named(tmp_path):
    write_small(tmp_path / "images/1.png", tmp_path / "masks/1_mask.png")
    assert problems_in(tmp_path) == [
        "No mask for 'images/1.png': expected 'masks/1.png'; found 'masks/1_mask.png': use --mask-suffix=_mask?",
        "No image for 'masks/1_mask.png': expected 'images/1_mask.png'; found 'images/1.png': use --mask-suffix=_mask?",
    ]
    [pair] = pairs_in(tmp_path, mask_suffix="_mask")
    assert pair.id == "1" and pair.mask_path == tmp_path / "masks/1_mask.png"


def test_the_nearest_name_is_a_candidate(tmp_path):
    write_small(tmp_path / "images/patient_07.png", tmp_path / "masks/patient07.png")
    assert "found 'masks/patient07.png': rename it?" in problems_in(tmp_path)[0]
    (tmp_path / "masks/patient07.png").rename(tmp_path / "masks/patient_08.png")  # maybe of another patient
    assert problems_in(tmp_path)[0] == "No mask for 'images/patient_07.png': expected 'masks/patient_07.png'."


def test_names_that_differ_only_in_case_are_paired(tmp_path):
    write_small(tmp_path / "images/Scan.PNG", tmp_path / "masks/scan.png")
    assert [pair.id for pair in pairs_in(tmp_path)] == ["Scan"]
    write_small(tmp_path / "images/scan.png", tmp_path / "masks/Scan.png")
    pairs = pairs_in(tmp_path)
    assert [(pair.id, pair.mask_path.name) for pair in pairs] == [("Scan", "Scan.png"), ("scan", "scan.png")]


def test_links_to_folders_are_followed_once(tmp_path):
    write_small(tmp_path / "elsewhere/a.png", tmp_path / "data/images/real/b.png")
    images = tmp_path / "data/images"
    (images / "link").symlink_to(tmp_path / "elsewhere")
    (images / "again").symlink_to(images / "real")
    (images / "loop").symlink_to(images)
    (images / "up").symlink_to("..")
    (tmp_path / "elsewhere/back").symlink_to(images)
    assert find_files(images) == [images / "link/a.png", images / "real/b.png"]
    (tmp_path / "top").symlink_to(images)
    assert len(find_files(tmp_path / "top")) == 2


# ---------------------------------------------------------------------------- patients


def test_ids_of_the_table_may_have_a_suffix(tmp_path):
    write_pairs(tmp_path, 8)
    lines = [f"{index}.png,p{index}" for index in range(7)] + ["7,p7"]
    (tmp_path / "patients.csv").write_text("\n".join(["id,patient", *lines]))
    slices = load_slices(tmp_path, 16)
    assert split_slices(slices, tmp_path, DataOptions()).facts["3"]["patient"] == "p3"
    (tmp_path / "patients.csv").write_text("\n".join(["id,patient", *lines, "3,p9"]))
    with pytest.raises(UserError, match="several rows for id '3': keep one"):
        split_slices(slices, tmp_path, DataOptions())


def test_spaces_around_cells_do_not_count_and_patients_must_be_given(tmp_path):
    write_pairs(tmp_path, 2)
    slices = load_slices(tmp_path, 16)
    (tmp_path / "patients.csv").write_text("id,patient\n0,p1\n 1,p1 \n")
    assert {row["patient"] for row in patient_facts(slices, tmp_path)[0].values()} == {"p1"}
    (tmp_path / "patients.csv").write_text("id,patient\n0,p1\n1, \n")
    with pytest.raises(UserError, match="has no patient for id '1': add one"):
        patient_facts(slices, tmp_path)
    (tmp_path / "patients.csv").write_text("id,patient,patient,,\n0,p1,q1,,\n1,p2,q2,,\n")
    with pytest.raises(UserError, match="patients.csv': it has several columns 'patient'."):
        patient_facts(slices, tmp_path)


def test_the_advice_for_one_patient_works(tmp_path):
    write_pairs(tmp_path, 4)
    table = tmp_path / "patients.csv"
    table.write_text("id,patient\n" + "".join(f"{index},p\n" for index in range(4)))
    slices = load_slices(tmp_path, 16)
    with pytest.raises(
        UserError, match="7 folds need 7 patients, not 1: add patients, .*with train and val. One patient cannot"
    ):
        split_slices(slices, tmp_path, DataOptions())
    table.write_text("id,patient,split\n0,a,train\n1,a,train\n2,b,val\n3,b,val\n")
    assert split_slices(slices, tmp_path, DataOptions()).ids["val"] == ["2", "3"]


def test_the_advice_for_too_few_patients_works(tmp_path):
    write_pairs(tmp_path, 4)
    table = tmp_path / "patients.csv"
    table.write_text("id,patient\n0,a\n1,a\n2,b\n3,c\n")
    slices = load_slices(tmp_path, 16)
    with pytest.raises(UserError, match="7 folds need 7 patients, not 3: .* columns id, patient and split"):
        split_slices(slices, tmp_path, DataOptions())
    table.write_text("id,patient,split\n0,a,train\n1,a,train\n2,b,train\n3,c,val\n")
    assert split_slices(slices, tmp_path, DataOptions()).ids["val"] == ["3"]
    with pytest.raises(UserError, match="5 folds need 5 patients, not 3: add patients, or leave out --fold"):
        split_slices(slices, tmp_path, DataOptions(fold=0))
