"""unet from Python: the same results as from the scripts, and nothing is imported before it is needed."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import nibabel
import numpy as np
import pytest
from conftest import write_image
from PIL import Image
from ready import ROOT, run_script
from test_dicom import write_series

import unet
from unet.images.masks import read_mask
from unet.images.reading import read_image
from unet.prediction.output import rows_as_csv
from unet.tables import read_table


@pytest.fixture(scope="module")
def run(trained):
    return unet.load(trained, batch_size=1)


@pytest.fixture(scope="module")
def predicted(trained, phantoms, tmp_path_factory):
    """What predict.py wrote for the phantoms, one image at a time."""
    output = tmp_path_factory.mktemp("predicted") / "out"
    done = run_script("predict", phantoms / "images", "--run", trained, "--output", output, "--batch-size", 1, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return output


def test_importing_unet_imports_no_library():
    code = (
        "import sys; before = set(sys.modules); import unet\n"
        "print({name.split('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "{'unet'}", done.stdout + done.stderr


def test_options_need_no_tensorflow():
    code = "import sys, unet; unet.TrainingOptions(epochs=3); unet.UserError; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stdout + done.stderr


def test_every_public_name_is_there_and_others_are_not():
    for name in unet.HOMES:
        assert getattr(unet, name) is not None and name in dir(unet)
    with pytest.raises(AttributeError, match="'unet' has no attribute 'fit'"):
        unet.fit  # noqa: B018


def test_an_array_gets_exactly_the_mask_and_the_row_that_predict_writes(run, predicted):
    outlined = 0
    for row in read_table(predicted / "predictions.csv"):
        mask = read_mask(predicted / "masks" / f"{Path(row['path']).stem}.png")
        grey = read_image(Path(row["path"]))
        for source in (grey, np.dstack([grey] * 3), Image.fromarray(grey), row["path"], Path(row["path"])):
            result = run.predict(source)
            np.testing.assert_array_equal(result.mask, mask)
            assert result.probability.shape == grey.shape and result.probability.dtype == np.float32
            assert f"{result.tumor_probability}" == row["tumor_probability"]
            assert ("" if result.expected_dice is None else f"{result.expected_dice}") == row["expected_dice"]
        outlined += mask.any()
    assert outlined


def test_the_rows_of_a_folder_are_those_of_the_table_that_predict_writes(run, phantoms, predicted):
    rows = run.rows(phantoms / "images")
    assert rows_as_csv(rows, header=True) == (predicted / "predictions.csv").read_text()
    assert run.rows(str(phantoms / "images" / "phantom_000_*.png")) == rows[:2]
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(rows)
    assert list(frame.path) == [row.path for row in rows] and frame.tumor_probability.dtype == float


def test_a_color_array_is_read_like_a_file_with_these_colors(run, tmp_path):
    colors = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    write_image(tmp_path / "colors.png", cv2.cvtColor(colors, cv2.COLOR_RGB2BGR))
    result, of_file = run.predict(colors), run.predict(tmp_path / "colors.png")
    np.testing.assert_array_equal(result.probability, of_file.probability)
    assert (run.predict(colors[..., ::-1]).probability != of_file.probability).any()
    opaque = np.dstack([colors, np.full((40, 50), 255, np.uint8)])
    np.testing.assert_array_equal(run.predict(opaque).probability, of_file.probability)


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 4)), np.zeros((2, 3, 4), np.uint8)[..., :2], np.zeros(5, np.uint8), np.zeros((0, 3), np.uint8)],
)
def test_an_array_that_is_no_image_is_refused(array, run):
    with pytest.raises(unet.ImageError, match=re.escape(f"An array of {array.dtype} {array.shape} is not an image")):
        run.predict(array)


def test_an_array_with_a_side_that_no_overlay_can_have_is_refused(run):
    with pytest.raises(unet.ImageError, match=r"\(70000, 3\) pixels, with a side longer than 65500: crop it"):
        run.predict(np.zeros((70_000, 3), np.uint8))


def test_a_file_that_cannot_be_read_is_an_error_or_a_row(run, tmp_path):
    (tmp_path / "damaged.png").write_bytes(b"not an image")
    write_image(tmp_path / "good.png", np.zeros((9, 9), np.uint8))
    with pytest.raises(unet.ImageError, match="damaged.png' is not a readable image"):
        run.predict(tmp_path / "damaged.png")
    with pytest.raises(unet.UserError, match="No images found at 'nowhere.png'"):
        run.predict("nowhere.png")
    with pytest.raises(unet.UserError, match="contains 2 images: name one of them, or call rows"):
        run.predict(tmp_path)
    assert [row.is_ok for row in run.rows(tmp_path)] == [False, True]
    assert not any(result.is_file() for result in (tmp_path / "masks", tmp_path / "predictions.csv"))


def test_a_scan_gets_the_mask_and_the_regions_that_predict_writes(trained, tmp_path):
    grey = np.random.default_rng(0).integers(0, 255, (24, 30, 6)).astype(np.uint8)
    grey[8:16, 9:17, 1:5] = 255
    flipped = np.diag([-1.0, 1, 4, 1])  # x points to the left: its mask must too
    nibabel.save(nibabel.Nifti1Image(grey, flipped), tmp_path / "scan.nii.gz")
    write_series(tmp_path / "series")
    arguments = ("scan.nii.gz", "series", "--run", trained, "--output", "out", "--always-outline", "--batch-size", 1)
    assert run_script("predict", *arguments, cwd=tmp_path).returncode == 0
    run = unet.load(trained, always_outline=True, batch_size=1)
    written = read_table(tmp_path / "out/regions.csv")
    masks = {Path(path.name.removesuffix("_mask.nii.gz")).name: path for path in (tmp_path / "out").rglob("*.nii.gz")}
    assert len(masks) == 2
    for name, path in masks.items():
        (source,) = tmp_path.glob("scan.nii.gz" if name == "scan" else "series")
        result = run.predict(source)
        np.testing.assert_array_equal(result.mask, np.asarray(nibabel.load(path).dataobj))
        assert result.mask.any() == (name == "scan") and result.probability.shape == result.mask.shape
        rows = [row for row in written if Path(row["path"]).is_relative_to(source)]
        assert [str(region.volume_mm3) for region in result.regions] == [row["volume_mm3"] for row in rows]
        assert result.row.tumor_pixels == np.count_nonzero(result.mask)


def test_plots_of_a_notebook_keep_their_style_and_no_other_figure_is_shown(trained, tmp_path):
    import matplotlib.pyplot as plt

    style, backend = dict(plt.rcParams), plt.get_backend()
    folder = unet.evaluate(unet.EvaluationOptions(runs=(str(trained),), output=str(tmp_path / "scores")))
    assert (folder / "dice_distribution.png").exists()
    assert dict(plt.rcParams) == style and plt.get_backend() == backend and not plt.get_fignums()


def test_load_takes_what_train_returns_and_names_what_is_wrong(trained, tmp_path):
    from unet.network.saved_run import SavedRun

    assert unet.load(SavedRun.open(trained)).predictor.size == unet.load(str(trained)).predictor.size == 64
    with pytest.raises(unet.UserError, match="nowhere' is not the folder of a run"):
        unet.load(tmp_path / "nowhere")
    with pytest.raises(unet.UserError, match="^--batch-size 0: Input should be greater"):
        unet.load(trained, batch_size=0)
    with pytest.raises(unet.UserError, match="^--epochs 0: Input should be greater"):
        unet.train(unet.TrainingOptions(epochs=0))


@pytest.mark.slow
def test_the_examples_of_the_guide_work_in_order(trained, phantoms, tmp_path, monkeypatch, capsys):
    """In a folder with data/phantom, runs/first and a slice."""
    pytest.importorskip("pandas")
    shutil.copytree(phantoms, tmp_path / "data" / "phantom")
    shutil.copytree(trained, tmp_path / "runs" / "first")
    shutil.copy(phantoms / "images" / "phantom_000_0.png", tmp_path / "slice.png")
    nibabel.save(
        nibabel.Nifti1Image(np.zeros((20, 20, 4), np.uint8), np.diag([1.0, 1, 5, 1])), tmp_path / "scan.nii.gz"
    )
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.DOTALL)
    assert len(examples) > 5
    names = {}
    for example in examples:
        exec(compile(example, "docs/python.md", "exec"), names)
    assert (tmp_path / "runs/mine/model.keras").exists() and (tmp_path / "review.csv").exists()


def test_wrong_arguments_are_user_errors(run):
    with pytest.raises(unet.UserError, match="^3 is not a run: give the folder of one"):
        unet.load(3)
    with pytest.raises(unet.UserError, match="^5 is not a path: give files, folders or globs"):
        run.rows(5)
    with pytest.raises(unet.UserError, match="'data' is not an options object: pass those of unet.options, such as"):
        unet.train("data")
    with pytest.raises(unet.UserError, match="Name one run to score or two to compare, not 1"):
        unet.compare(unet.EvaluationOptions())
    with pytest.raises(unet.UserError, match="Name one run to score or two to compare, not 2"):
        unet.evaluate(unet.EvaluationOptions(runs=(Path("pretrained"), Path("pretrained"))))
    with pytest.raises(unet.UserError, match="^--format pytorch: "):
        unet.export(unet.ExportOptions(format="pytorch"))
    with pytest.raises(unet.UserError, match="^--data data: "):
        unet.train(unet.TrainingOptions(data="data"))
    assert unet.load("pretrained").saved.folder == unet.load().saved.folder
