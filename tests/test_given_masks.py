"""Masks of other programs: scored and compared like the outlines of a network."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import write_image, write_pairs
from ready import run_script

from unet.data.pairs import Pair, find_pairs
from unet.errors import UserError
from unet.evaluation.contenders import GivenMasks, find_contenders, names_of
from unet.images.masks import read_mask
from unet.images.nifti import encode_volume_mask, read_volume
from unet.network.saved_run import SavedRun
from unet.options import EvaluationOptions, PairingOptions
from unet.tables import read_table


@pytest.fixture
def data(tmp_path):
    """Eight patients with a slice each: six with a tumor of 35 pixels, and two without. other/ has masks that are right
    in the first three, shifted by a column in three, and a false alarm in one of two."""
    write_pairs(tmp_path / "data", 8)
    for index in range(8):
        truth = read_mask(tmp_path / "data/masks" / f"{index}.png")
        if index > 5:
            write_image(tmp_path / "data/masks" / f"{index}.png", np.zeros(truth.shape, np.uint8))
        other = truth if index < 3 else np.roll(truth, 1, axis=1)
        other = other & (index != 7)
        write_image(tmp_path / "other" / f"{index}.tif", other.astype(np.uint8))
    lines = [f"{index},p{index},glioma" for index in range(8)]
    (tmp_path / "data/patients.csv").write_text("\n".join(["id,patient,tumor", *lines]))
    return tmp_path


def test_masks_are_scored_without_a_network(data):
    done = run_script("evaluate", "--masks", "other", "--data", "data", cwd=data)
    assert done.returncode == 0, done.stderr
    output = data / "runs/masks-other/evaluation-data"
    rows = read_table(output / "per_slice.csv")
    # Six of seven columns of a shifted mask are right: 2 x 30 / (35 + 35).
    assert [float(row["dice"]) for row in rows[:6]] == pytest.approx([1, 1, 1, 6 / 7, 6 / 7, 6 / 7])
    assert not {"confidence", "tumor_probability", "review", "expected_dice"} & rows[0].keys()
    summary = json.loads((output / "summary.json").read_text())
    assert summary["scores"]["all"]["dice"]["mean"] == pytest.approx((3 + 18 / 7) / 6)
    assert summary["detection"]["specificity"]["mean"] == 1 / 2 and summary["detection"]["auc"] is None
    assert summary["masks"] == str(data / "other")
    assert not {"network", "threshold", "presence_threshold", "expected_calibration_error", "dice_by_threshold"} & set(
        summary
    )
    pictures = {"dice_distribution", "dice_by_type", "dice_by_size", "gallery"}
    assert {path.stem for path in output.glob("*.png")} == pictures


def test_masks_in_another_folder_of_the_same_name_are_not_mixed_up(data):
    shutil.copytree(data / "other", data / "b/other")
    assert run_script("evaluate", "--masks", "other", "--data", "data", cwd=data).returncode == 0
    done = run_script("evaluate", "--masks", "b/other", "--data", "data", cwd=data)
    assert done.returncode == 2 and "other results (masks: " in done.stderr


def test_of_what_predict_wrote_the_masks_are_scored(tmp_path):
    (tmp_path / "p/masks").mkdir(parents=True)
    (tmp_path / "p/prediction.json").write_text("{}")
    names = [contender.name for contender in find_contenders(EvaluationOptions(masks=(tmp_path / "p",)), 1)]
    assert names == ["p"]
    [contender] = find_contenders(EvaluationOptions(masks=(tmp_path / "p/masks",)), 1)
    assert (contender.folder, contender.name) == (tmp_path / "p/masks", "p")


def test_two_folders_of_masks_are_compared(data):
    done = run_script("evaluate", "--masks", "other", "data/masks", "--data", "data", cwd=data)
    assert done.returncode == 0, done.stderr
    comparison = json.loads((data / "runs/masks-other/compared-with-data-on-data/comparison.json").read_text())
    group = comparison["groups"]["all"]
    # B, the truth, is better by 1/7 in three of six slices.
    assert (group["slices"], group["a_better"], group["b_better"]) == (6, 0, 3)
    assert group["difference"] == pytest.approx(3 / 7 / 6) and group["interval"][0] >= 0
    assert "for these two sets of outlines" in comparison["answer"]
    assert comparison["false_alarms"]["a"] == 1 / 2 and comparison["false_alarms"]["b"] == 0
    assert comparison["a"] == {"masks": str(data / "other")}


def test_a_run_is_compared_with_masks_on_its_validation_slices(trained, phantoms, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    # As good as possible, and in the format of predict.py.
    shutil.copytree(phantoms / "masks", tmp_path / "best")
    done = run_script("evaluate", "run", "--masks", "best", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "A: run\nB: best\n" in done.stdout
    rows = read_table(run / "compared-with-best-on-val/per_slice.csv")
    assert [row["id"] for row in rows] == SavedRun.open(trained).slices.split["val"]
    assert all(row["dice_b"] == "1.0" for row in rows if row["truth_pixels"] != "0")
    comparison = json.loads((run / "compared-with-best-on-val/comparison.json").read_text())
    assert comparison["a"]["network"] == SavedRun.open(trained).network_fingerprint()
    assert comparison["groups"]["all"]["interval"][0] >= 0


def test_masks_of_predict_py_are_read_as_such_and_others_like_the_truth(data):
    pairs, _ = find_pairs(data / "data", PairingOptions(labels="7"))
    pair = replace(pairs[0], mask_path=data / "other/0.tif")
    image = pair.read_image()
    assert not GivenMasks(data / "other", pairs).with_mask(pair).read_mask(image).any()
    (data / "prediction.json").write_text("{}")
    assert GivenMasks(data / "other", pairs).with_mask(pair).read_mask(image).any()


def test_a_mask_whose_image_is_in_another_split_is_not_taken_for_a_namesake(tmp_path):
    for split in ("train", "val"):
        write_image(tmp_path / split / "images/0.png", np.eye(4, dtype=np.uint8))
    write_image(tmp_path / "other/0.png", np.eye(4, dtype=np.uint8))
    pairs = [Pair(f"{split}/0", tmp_path / split / "images/0.png", None) for split in ("train", "val")]
    known = {pair.id: pair.image_path for pair in pairs}
    with pytest.raises(UserError, match="No mask for '.*val/images/0.png'"):
        GivenMasks(tmp_path / "other", pairs[1:], known)


def test_an_image_may_be_named_like_the_mask_of_another(tmp_path):
    for name in ("a", "a_mask"):
        write_image(tmp_path / "images" / f"{name}.png", np.eye(4, dtype=np.uint8))
        write_image(tmp_path / "other" / f"{name}.png", np.eye(4, dtype=np.uint8))
    pairs = [Pair(name, tmp_path / "images" / f"{name}.png", None) for name in ("a", "a_mask")]
    assert GivenMasks(tmp_path / "other", pairs).paths == {
        name: tmp_path / "other" / f"{name}.png" for name in ("a", "a_mask")
    }


def test_comparisons_with_different_masks_of_the_same_name_are_not_mixed_up(trained, phantoms, tmp_path):
    for parent in ("a", "b"):
        shutil.copytree(phantoms / "masks", tmp_path / parent / "best")
    shutil.copytree(trained, tmp_path / "run")
    assert run_script("evaluate", "run", "--masks", "a/best", cwd=tmp_path).returncode == 0
    done = run_script("evaluate", "run", "--masks", "b/best", cwd=tmp_path)
    assert done.returncode == 2 and "contains other results (compared: " in done.stderr


def test_what_no_evaluation_wrote_and_results_of_other_labels_are_kept(data):
    masks = ["--masks", "other", "--data", "data"]
    (data / "mine").mkdir()
    (data / "mine/gallery.png").write_bytes(b"a picture of mine")
    for _ in range(2):
        done = run_script("evaluate", *masks, "--output", "mine", cwd=data)
        assert done.returncode == 2 and "'mine' contains 'gallery.png' but no valid summary.json" in done.stderr
        assert (data / "mine/gallery.png").read_bytes() == b"a picture of mine"
    assert run_script("evaluate", *masks, "--output", "scores", cwd=data).returncode == 0
    done = run_script("evaluate", *masks, "--output", "scores", "--labels", "any", cwd=data)
    assert done.returncode == 2 and "contains other results (--labels: none, now any): choose another" in done.stderr
    # A comparison would replace the report.
    done = run_script("evaluate", "--masks", "other", "data/masks", "--data", "data", "--output", "scores", cwd=data)
    assert done.returncode == 2 and "'scores' contains 'report.html' but no valid comparison.json" in done.stderr
    for name in ("report.html", "per_slice.csv"):  # as if it had been interrupted
        (data / "scores" / name).unlink()
    assert run_script("evaluate", *masks, "--output", "scores", cwd=data).returncode == 0


def test_runs_that_see_other_images_are_not_compared(trained, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(trained, tmp_path / name)
    run = SavedRun.open(tmp_path / "b")
    data = run.config.options.data
    data = replace(data, reading=replace(data.reading, channel="red"))
    run.update_config(options=replace(run.config.options, data=data))
    done = run_script("evaluate", "a", "b", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("'b' has --channel red, unlike 'a'")
    done = run_script("evaluate", "b", "--channel", "blue", cwd=tmp_path)
    assert done.returncode == 2 and "leave out --channel" in done.stderr
    done = run_script("evaluate", "b", "--no-mirror", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_script("evaluate", "b", "--output", "out", cwd=tmp_path)
    assert done.returncode == 2 and "contains other results (mirror: False, now True): choose another" in done.stderr


def test_a_missing_mask_is_named(data):
    (data / "other/3.tif").unlink()
    done = run_script("evaluate", "--masks", "other", "--data", "data", cwd=data)
    assert done.returncode == 2
    assert done.stderr == "No mask for 'data/images/3.png': expected 'other/3.png'.\n"
    pairs, _ = find_pairs(data / "data")
    shutil.copy(data / "other/4.tif", data / "other/4.png")
    with pytest.raises(UserError, match=r"other/4.tif' and '.*other/4.png' are both named after '4': remove one"):
        GivenMasks(data / "other", [pair for pair in pairs if pair.id != "3"])


def test_a_mask_of_another_size_is_named(data):
    write_image(data / "other/3.tif", np.zeros((9, 9), np.uint8))
    done = run_script("evaluate", "--masks", "other", "--data", "data", cwd=data)
    assert done.returncode == 2 and "other/3.tif' has 9 x 9 pixels but its image has 24 x 20" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--masks", "other"], "--masks needs true masks to compare with: give --data FOLDER"),
        (["--masks", "nowhere", "--data", "data"], "Cannot read the folder 'nowhere'"),
        (["pretrained", "pretrained", "--masks", "other"], "Name one run to score or two to compare, not 3"),
    ],
)
def test_what_cannot_be_scored_is_reported_in_one_line(arguments, expected, data):
    done = run_script("evaluate", *arguments, cwd=data)
    assert done.returncode == 2 and expected in done.stderr and len(done.stderr.splitlines()) == 1


def test_masks_of_scans_are_scored_in_3d(tmp_path):
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        grey = random.integers(0, 255, (30, 28, 6)).astype(np.int16)
        for folder in ("data/images", "data/masks", "other"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        path = tmp_path / "data/images" / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(grey, np.diag([1, 1, 5, 1])), path)
        truth = np.zeros(grey.shape, bool)
        truth[5:15, 5:15, 2:4] = True
        other = truth.copy()
        other[:, :, 3] = False  # half of it
        other[20:25, 20:25, 5] = name == "b"  # a false alarm
        volume = read_volume(path)
        (tmp_path / "data/masks" / path.name).write_bytes(encode_volume_mask(truth, volume))
        (tmp_path / "other" / f"{name}_mask.nii.gz").write_bytes(
            encode_volume_mask(other, volume)
        )  # as predict.py does
    done = run_script("evaluate", "--masks", "other", "--data", "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    one, two = read_table(tmp_path / "runs/masks-other/evaluation-data/per_scan.csv")
    assert float(one["dice"]) == pytest.approx(2 * 100 / 300) and float(two["dice"]) == pytest.approx(2 * 100 / 325)
    assert [row["false_regions"] for row in (one, two)] == ["0", "1"]
    assert [row["found_regions"] for row in (one, two)] == ["1", "1"]
    # Whole scans come first.
    assert done.stdout.splitlines()[1].startswith("scans  with tumor") and done.stdout.splitlines()[2].startswith("2 ")

    done = run_script("evaluate", "--masks", "other", "data/masks", "--data", "data", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    output = tmp_path / "runs/masks-other/compared-with-data-on-data"
    comparison = json.loads((output / "comparison.json").read_text())["whole_scans"]
    assert comparison["dice"]["difference"] == pytest.approx(1 - (2 / 3 + 200 / 325) / 2)
    assert comparison["found_regions"] == [2, 2] and comparison["false_regions_per_scan"] == [0.5, 0]
    assert "Of 2 regions, other finds 2 and data 2. False alarms per scan: 0.50 with other" in done.stdout
    assert [row["difference"] for row in read_table(output / "per_scan.csv")] == [
        str(1 - float(row["dice"])) for row in (one, two)
    ]


def test_masks_that_predict_py_named_after_the_file_are_found(tmp_path, capsys):
    """In the layout of nnU-Net, the id of a_0000.nii.gz is a. predict.py only knows the file."""
    grey = nibabel.Nifti1Image(np.zeros((6, 6, 6), np.int16), np.diag([1, 1, 5, 1]))
    for name in ("imagesTr/a_0000", "labelsTr/a", "other/a_0000_mask", "other/b_0000_mask"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        nibabel.save(grey, tmp_path / f"{name}.nii.gz")
    pairs, _ = find_pairs(tmp_path)
    capsys.readouterr()
    masks = GivenMasks(tmp_path / "other", pairs)
    assert masks.paths == {"a": tmp_path / "other/a_0000_mask.nii.gz"}
    assert "Ignored 1 masks" in capsys.readouterr().out


def test_names_of_masks_end_like_the_path_of_their_image():
    images = {"1/x": Path("data/1/x_t1c.png"), "2/x": Path("data/2/x_t1c.png"), "y": Path("data/y.png")}
    # "x_t1c" could be either.
    assert names_of(images) == {
        "1/x": "1/x", "2/x": "2/x", "y": "y", "1/x_t1c": "1/x", "2/x_t1c": "2/x",
        "data/1/x_t1c": "1/x", "data/2/x_t1c": "2/x", "data/y": "y",
    }  # fmt: skip
