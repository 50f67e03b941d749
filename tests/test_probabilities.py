"""predict.py --probabilities, --threshold and --peak: what is written fits the masks, and is never mixed."""

import json
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
from conftest import write_image
from ready import run_script

from unet.images.nifti import encode_voxels, read_volume
from unet.images.reading import read_image
from unet.network.outliner import Prediction
from unet.network.outlining import OutlineRule
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import PredictionOptions
from unet.prediction.inputs import Input
from unet.prediction.outlines import open_run, outline_image


def read_probability(path) -> np.ndarray:
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert pixels.dtype == np.uint16
    return pixels / 65535


def test_probabilities_as_png_by_hand(tmp_path):
    image, probability = np.zeros((1, 3), np.uint8), np.array([[0, 0.5, 1]], np.float32)
    prediction = Prediction(Input("a.png", "a"), image, np.zeros((256, 256), np.uint8), probability, 0.9)
    options = PredictionOptions((), tmp_path, probabilities=True)
    files = outline_image(prediction, Predictor(SavedRun.open(), precision="float32"), options).files
    (tmp_path / "p.png").write_bytes(files["probabilities/a.png"])
    assert read_probability(tmp_path / "p.png").tolist() == [[0, 32768 / 65535, 1]]


@pytest.mark.parametrize(
    "affine", [np.diag([1, 2, 3, 1]), np.array([[0, 0, -3, 9], [1, 0, 0, 5], [0, 2, 0, 1], [0, 0, 0, 1]])]
)
def test_probabilities_of_scans_are_on_the_grid_of_the_file(affine, tmp_path):
    image = nibabel.Nifti1Image((np.random.default_rng(0).random((6, 7, 8)) * 99).astype(np.int16), affine)
    image.header.set_slope_inter(2, -5)
    nibabel.save(image, tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    (tmp_path / "p.nii.gz").write_bytes(encode_voxels(volume.grey.astype(np.float32) / 255, volume))
    written, source = nibabel.load(tmp_path / "p.nii.gz"), np.asarray(image.dataobj, float)
    assert written.get_data_dtype() == np.float32 and written.shape == (6, 7, 8)
    np.testing.assert_allclose(written.affine, affine)
    # The grey values are those of the file, stretched.
    assert np.corrcoef(written.get_fdata().ravel(), source.ravel())[0, 1] > 0.99


@pytest.fixture
def images(phantoms, tmp_path):
    """Five slices and a scan."""
    for path in sorted((phantoms / "images").iterdir())[:5]:
        write_image(tmp_path / "in" / path.name, read_image(path))
    voxels = np.stack([read_image(path) for path in sorted((tmp_path / "in").iterdir())], axis=2)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 5, 1])), tmp_path / "in/scan.nii.gz")
    return tmp_path / "in"


def test_masks_follow_from_probabilities_threshold_and_peak(trained, images, tmp_path):
    arguments = ["--run", trained, "--probabilities", "--peak", "0", "--threshold"]
    for threshold in ("0.02", "0.2"):
        done = run_script("predict", images, "--output", threshold, *arguments, threshold, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        settings = json.loads((tmp_path / threshold / "prediction.json").read_text())
        assert (settings["threshold"], settings["peak"], settings["probabilities"]) == (float(threshold), 0, True)
        for path in images.glob("*.png"):
            mask = read_image(tmp_path / threshold / "masks" / path.name) > 0
            probability = read_probability(tmp_path / threshold / "probabilities" / path.name)
            if mask.any():  # otherwise, no tumor is found
                differs = mask != (probability >= float(threshold))
                assert np.abs(probability[differs] - float(threshold)).max(initial=0) < 1e-4
        scan = nibabel.load(tmp_path / threshold / "probabilities/scan.nii.gz")
        assert scan.shape == (64, 64, 5) and 0 <= scan.get_fdata().min() <= scan.get_fdata().max() <= 1
    sizes = [
        sum(np.count_nonzero(read_image(path)) for path in (tmp_path / threshold / "masks").glob("*.png"))
        for threshold in ("0.02", "0.2")
    ]
    assert sizes[0] > sizes[1]


def test_probabilities_are_resumed_overwritten_and_divided_like_masks(trained, images, tmp_path):
    arguments = ["predict", images, "--run", trained, "--output", "out"]
    done = run_script(*arguments, "--probabilities", "--threshold", "0.3", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    maps = {path.name: path.read_bytes() for path in (tmp_path / "out/probabilities").iterdir()}
    assert maps.keys() == {path.name for path in images.iterdir()}
    for other, field in ((["--threshold", "0.3"], "probabilities True"), (["--probabilities"], "threshold 0.3")):
        done = run_script(*arguments, *other, "--resume", cwd=tmp_path)
        assert done.returncode == 2 and f"was started with {field}" in done.stderr
    # As if the prediction had been stopped before the last batch, which is the scan.
    table = tmp_path / "out/predictions.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    (tmp_path / "out/probabilities/scan.nii.gz").unlink()
    done = run_script(*arguments, "--probabilities", "--threshold", "0.3", "--resume", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in (tmp_path / "out/probabilities").iterdir()} == maps
    parts = {}
    for number in (1, 2):
        shard = ["--shard", f"{number}/2", "--output", "parts", "--probabilities", "--batch-size", "1"]
        done = run_script(*arguments[:-2], *shard, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        parts |= {path.name: path for path in (tmp_path / f"parts/shard-{number}-of-2/probabilities").iterdir()}
    assert parts.keys() == maps.keys()
    done = run_script(*arguments, "--overwrite", cwd=tmp_path)
    assert done.returncode == 0 and not (tmp_path / "out/probabilities").exists(), done.stderr
    (tmp_path / "mine/probabilities").mkdir(parents=True)
    done = run_script(*arguments[:-1], "mine", "--overwrite", cwd=tmp_path)
    assert done.returncode == 2 and "contains 'probabilities', which no prediction wrote" in done.stderr


def test_a_given_threshold_is_strict_unless_every_image_is_outlined():
    faint = np.array([[0.2, 0.4]], np.float32)
    assert OutlineRule(0.6).mask(OutlineRule(0.6).at_least_one_region(faint)).any()
    strict = OutlineRule(0.6, is_strict=True)
    assert not strict.mask(strict.at_least_one_region(faint)).any()
    for options, expected in (
        ({"threshold": 0.6}, True),
        ({"threshold": 0.6, "always_outline": True}, False),
        ({}, False),
    ):
        run = open_run((), PredictionOptions((), Path("out"), **options))
        assert run.config.outline_rule.is_strict == expected


def test_without_the_options_the_run_decides(trained, images, tmp_path):
    done = run_script("predict", images, "--run", trained, "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    settings, rule = (
        json.loads((tmp_path / "out/prediction.json").read_text()),
        SavedRun.open(trained).config.outline_rule,
    )
    assert (settings["threshold"], settings["peak"]) == (rule.threshold, rule.peak)
    assert not (tmp_path / "out/probabilities").exists()


@pytest.mark.parametrize("option", [("--threshold", "0"), ("--threshold", "1.5"), ("--peak", "-0.1")])
def test_an_impossible_threshold_is_refused(option, images, tmp_path):
    done = run_script("predict", images, "--output", "out", *option, cwd=tmp_path)
    assert done.returncode == 2 and option[0] in done.stderr
