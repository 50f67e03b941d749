"""The scripts as a user runs them: train, evaluate and predict on tiny phantoms."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from conftest import TINY, write_image, write_pairs
from ready import ROOT, run_script

from unet.data.patients import RESERVED
from unet.data.slices import load_slices
from unet.errors import UserError
from unet.evaluation.evaluate import choose_gallery
from unet.images.preprocessing import to_native_size, to_network_input
from unet.images.reading import read_image
from unet.network.outlining import OutlineRule
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import DataOptions, ModelConfig, TrainingOptions
from unet.pictures.overlays import draw_overlay
from unet.prediction.inputs import find_inputs
from unet.prediction.outlines import measure
from unet.prediction.output import OutputFolder, rows_as_csv
from unet.prediction.rows import Outlined, PredictionRow
from unet.signals import Stopped
from unet.training.learner import Learner
from unet.training.train import train


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_training_writes_a_complete_run_folder(trained, phantoms):
    config = json.loads((trained / "config.json").read_text())
    assert config["format_version"] == 5 and config["options"]["model"]["width"] == 8
    assert config["versions"]["keras"]
    slices = rows_of(trained / "slices.csv")
    assert {row["used_for"] for row in slices} == {"train", "val", "test"}
    assert {row["id"] for row in slices} == {path.stem for path in (phantoms / "images").iterdir()}
    assert all(row["fingerprint"] and row["patient"] for row in slices)
    history = rows_of(trained / "history.csv")
    assert [row["epoch"] for row in history] == ["1", "2"]
    metrics = json.loads((trained / "metrics.json").read_text())
    with_tumor = sum(row["used_for"] == "val" and row["tumor"] != "" for row in slices)
    assert metrics["val_slices_with_tumor"] == with_tumor
    without_tumor = sum(row["used_for"] == "val" and row["tumor"] == "" for row in slices)
    assert metrics["val_false_alarms"]["no_tumor"]["slices"] == without_tumor
    assert metrics["val_tumors_found"] >= 0.985 and config["presence_rule"]["threshold"] > 0
    assert 0 <= metrics["val_dice"] <= 1 and metrics["best_epoch"] in (1, 2)
    assert config["outline_rule"]["threshold"] in [pytest.approx(place / 20) for place in range(1, 20)]
    for name in ("curves.png", "samples.png", "film_strip.png"):
        assert cv2.imread(str(trained / name)).shape[0] > 200


def test_a_new_process_predicts_the_same_masks_as_the_network_in_memory(tmp_path, phantoms, monkeypatch):
    monkeypatch.chdir(tmp_path)
    saved = {}
    save = SavedRun.save_network
    monkeypatch.setattr(
        SavedRun, "save_network", lambda run, network: (saved.update(network=network), save(run, network))
    )
    options = TrainingOptions(
        data=DataOptions(str(phantoms)), name="one", size=32, epochs=1, batch_size=8,
        precision="float32", model=ModelConfig(width=8, depth=3),
    )  # fmt: skip
    run = train(options)
    slices = load_slices(phantoms, 32)
    squares = saved["network"](to_network_input(slices.images[:4]), training=False)["outline"].numpy()[..., 0]
    in_memory = [to_native_size(square, 64, 64) for square in squares]
    # The median as threshold: after so few steps, a threshold of 0.5 could leave every mask empty.
    run.update_config(outline_rule=OutlineRule(float(np.median(in_memory)), 0.0), presence_rule=None)
    files = [pair.image_path for pair in slices.pairs[:4]]
    done = run_script("predict", *files, "--run", run.folder, "--output", "out", "--no-mirror", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for file, probability in zip(files, in_memory, strict=True):
        mask = read_image(tmp_path / "out/masks" / file.name) > 0
        # Loading folds the normalization into the convolutions, which changes the last digits.
        is_near = np.abs(probability - run.config.outline_rule.threshold) < 1e-6
        np.testing.assert_array_equal(mask[~is_near], (probability >= run.config.outline_rule.threshold)[~is_near])


def test_a_resumed_run_equals_an_uninterrupted_one(trained, phantoms, tmp_path):
    run = tmp_path / "runs" / "tiny"
    shutil.copytree(trained, run)
    # As if the run had been killed during the second epoch.
    (run / "checkpoint-000000006.npz").unlink()
    done = run_script("train", "--resume", run, cwd=tmp_path)
    assert done.returncode == 0 and "Resuming after epoch 1 of 2." in done.stdout, done.stderr
    with np.load(run / "checkpoint-000000006.npz") as resumed, np.load(trained / "checkpoint-000000006.npz") as whole:
        for name in whole.files:
            if name != "state":  # The state contains times.
                np.testing.assert_array_equal(resumed[name], whole[name])


def test_a_run_stopped_mid_epoch_resumes_with_the_same_history(trained, phantoms, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    step = Learner.train_step

    def step_with_signal(learner, *batch):
        step(learner, *batch)
        if int(learner.optimizer.iterations) == 5:  # the second step of the second epoch
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Learner, "train_step", step_with_signal)
    options = replace(SavedRun.open(trained).config.options, name="stopped")
    with pytest.raises(Stopped):
        train(options)
    monkeypatch.undo()
    done = run_script("train", "--resume", "runs/stopped", cwd=tmp_path)
    assert "Resuming after epoch 1 of 2 and 2 steps" in done.stdout, done.stderr
    for name in ("history.csv", "metrics.json"):
        assert (tmp_path / "runs/stopped" / name).read_text() == (trained / name).read_text()


def test_resuming_with_changed_data_is_refused(trained, phantoms, tmp_path):
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(trained, run)
    shutil.copytree(phantoms, data)
    changed = next((data / "images").iterdir())
    write_image(changed, read_image(changed) // 2)
    config = (run / "config.json").read_text().replace(json.dumps(str(phantoms)), json.dumps(str(data)))
    (run / "config.json").write_text(config)
    done = run_script("train", "--resume", run, cwd=tmp_path)
    assert done.returncode == 2 and f"The slice '{changed.stem}'" in done.stderr
    shutil.copy(phantoms / "images" / changed.name, changed)
    for folder in ("images", "masks"):
        write_image(data / folder / "another.png", read_image(data / folder / changed.name)[::-1])
    done = run_script("train", "--resume", run, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("The slice 'another' is new since ")


def test_a_run_resumes_after_its_data_folder_has_moved(trained, phantoms, tmp_path):
    run, data = tmp_path / "run", tmp_path / "data"
    shutil.copytree(trained, run)
    (run / "checkpoint-000000006.npz").unlink()
    SavedRun.open(run).update_config(data_folder=str(tmp_path / "gone"))
    done = run_script("train", "--resume", run, cwd=tmp_path)
    assert done.returncode == 2 and "gone' does not exist: say where it is with --data" in done.stderr
    shutil.copytree(phantoms, data)
    done = run_script("train", "--resume", run, "--data", data, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert SavedRun.open(run).config.data_folder == str(data)
    assert (run / "history.csv").read_text() == (trained / "history.csv").read_text()


def test_results_for_other_data_are_not_overwritten(trained, phantoms, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(phantoms, tmp_path / name / "data")
    arguments = ["evaluate", trained, "--output", "out", "--data"]
    for name, code in (("a", 0), ("a", 0), ("b", 2)):
        done = run_script(*arguments, f"{name}/data", cwd=tmp_path)
        assert done.returncode == code, done.stderr
    assert done.stderr == (
        f"'out' contains other results (data: {tmp_path}/a/data, now {tmp_path}/b/data): choose another --output.\n"
    )
    # Nor those of another run, or of masks.
    shutil.copytree(trained, tmp_path / "other")
    for contender in (["other"], ["--masks", phantoms / "masks"]):
        done = run_script("evaluate", *contender, "--output", "out", "--data", "a/data", cwd=tmp_path)
        assert done.returncode == 2 and "'out' contains other results" in done.stderr
    (tmp_path / "file").write_text("")
    done = run_script("evaluate", trained, "--output", "file", cwd=tmp_path)
    assert done.returncode == 2 and "Cannot write to 'file'" in done.stderr
    for folder, name in (("mine", "report.html"), ("other mine", "summary.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("{}")
        done = run_script("evaluate", trained, "--output", folder, cwd=tmp_path)
        assert done.stderr == (
            f"'{folder}' contains '{name}' but no valid summary.json, so it may not be ours to replace: choose another "
            "--output.\n"
        )
        assert done.returncode == 2 and (tmp_path / folder / name).read_text() == "{}"


def test_evaluation_scores_every_validation_slice_at_its_native_size(trained):
    done = run_script("evaluate", trained, cwd=trained)
    assert done.returncode == 0, done.stderr
    folder = trained / "evaluation-val"
    rows = rows_of(folder / "per_slice.csv")
    slices = SavedRun.open(trained).slices
    assert [row["id"] for row in rows] == slices.split["val"]
    # No table of patients may have a column that an evaluation adds.
    assert rows[0].keys() - slices.facts[rows[0]["id"]].keys() - {"id", "tumor_percent"} <= RESERVED
    summary = json.loads((folder / "summary.json").read_text())
    assert all((row["dice"] == "") == (row["truth_pixels"] == "0") for row in rows)
    mean = np.mean([float(row["dice"]) for row in rows if row["dice"]])
    assert summary["scores"]["all"]["dice"]["mean"] == pytest.approx(mean)
    assert "slices with tumor" in summary["empty_masks"]
    assert 0 < summary["detection"]["without_tumor"]["slices"] == sum(row["truth_pixels"] == "0" for row in rows)
    assert summary["detection"]["auc"] and all(0 <= float(row["tumor_probability"]) <= 1 for row in rows)
    plots = {"dice_distribution", "dice_by_type", "dice_by_size", "threshold_curve", "gallery", "calibration"}
    plots |= {"detection"}
    # This plot needs outlines in at least two patients.
    plots |= {"expected_dice"} if summary["expected_dice"] else set()
    assert plots == {path.stem for path in folder.glob("*.png")}


def test_the_gallery_shows_different_patients():
    dice = [0.9, 0.8, 0.7, 0.1, 0.2, 0.6]
    rows = [{"dice": d, "patient": p, "truth_pixels": 9} for d, p in zip(dice, "aabbcc", strict=True)]
    rows.append({"dice": "", "patient": "d", "truth_pixels": 0})
    # Sorted by Dice (patient and index): a0 a1 b2 c5 c4 b3. The median is b2.
    assert choose_gallery(rows, 3) == {"best": [0, 2, 5], "median": [2, 5, 1], "worst": [3, 4, 1]}


def test_evaluation_warns_about_slices_used_in_training(trained, phantoms):
    done = run_script("evaluate", trained, "--data", phantoms, "--output", "whole", cwd=trained)
    assert done.returncode == 0, done.stderr
    summary = json.loads((trained / "whole/summary.json").read_text())
    for text in (done.stdout, (trained / "whole/report.html").read_text(), summary["caveat"]):
        assert "were used to train " in text and "were used to choose the epoch" in text


def test_prediction_writes_masks_overlays_and_one_row_per_image(trained, phantoms, tmp_path):
    images = tmp_path / "in"
    for name, size in (("a/x.png", (70, 50)), ("b/x.png", (33, 129)), ("b/x.jpg", (64, 64))):
        write_image(images / name, np.full(size, 100, np.uint8))
    sample = next((phantoms / "images").iterdir())
    shutil.copy(sample, images / "phantom.png")
    (images / "broken.png").write_bytes(b"no image")
    done = run_script("predict", images, "--run", trained, "--output", tmp_path / "out", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    rows = {row["path"]: row for row in rows_of(tmp_path / "out" / "predictions.csv")}
    assert len(rows) == 5
    outlined = sum(row["tumor_pixels"] not in ("", "0") for row in rows.values())
    summary = f"4 of 5 images read: tumor outlined in {outlined}, no tumor found in {4 - outlined}, "
    assert summary in done.stdout and "to review, 1 skipped: see " in done.stdout
    assert "not a readable image" in rows[f"{images}/broken.png"]["status"]
    for name, size in (("a/x", (70, 50)), ("b/x.png", (33, 129)), ("b/x.jpg", (64, 64))):
        mask = read_image(tmp_path / "out/masks" / f"{name}.png")
        assert mask.shape == size and set(np.unique(mask)) <= {0, 255}
        assert cv2.imread(str(tmp_path / "out/overlays" / f"{name}.jpg")).shape == (*size, 3)
    row = rows[f"{images}/phantom.png"]
    mask = read_image(tmp_path / "out/masks/phantom.png")
    assert (int(row["width"]), int(row["height"])) == (64, 64)
    assert int(row["tumor_pixels"]) == np.count_nonzero(mask)

    again = run_script("predict", images, "--run", trained, "--output", tmp_path / "out", cwd=tmp_path)
    assert again.returncode == 2 and "or replace them with --overwrite" in again.stderr


def test_mask_measurements_match_hand_computed_values():
    mask = np.zeros((4, 5), bool)
    mask[1, 1:4] = mask[2, 2] = True
    assert measure(PredictionRow("x.png"), mask, np.full((4, 5), 0.75)) == PredictionRow(
        "x.png", width=5, height=4, tumor_pixels=4, tumor_percent=20.0,
        left=1, top=1, right=3, bottom=2, mean_probability=0.75,
    )  # fmt: skip
    empty = measure(PredictionRow("x.png"), np.zeros((4, 5), bool), np.zeros((4, 5)))
    assert empty == PredictionRow("x.png", width=5, height=4, tumor_pixels=0, tumor_percent=0.0)


def test_the_contour_lies_on_the_border():
    probability = np.zeros((40, 50), np.float32)
    probability[10:20, 15:35] = 1
    overlay = draw_overlay(np.zeros((40, 50), np.uint8), probability, 0.5)
    colored = overlay.any(axis=2)
    assert colored[9:12, 25].any() and colored[18:21, 25].any() and colored[15, 14:17].any()
    assert not colored[12:17, 18:32].any() and not colored[:8].any() and not colored[22:].any()


def test_inputs_are_found_once_with_unique_names(tmp_path):
    for name in ("a/x.png", "b/x.png", "b/x.jpg"):
        write_image(tmp_path / name, np.zeros((2, 2), np.uint8))
    arguments = (str(tmp_path / "a"), str(tmp_path / "b/*"), str(tmp_path / "a/x.png"))
    named = find_inputs(arguments, tmp_path / "out")
    assert {input.name for input in named} == {"a/x", "b/x.png", "b/x.jpg"}
    # Two masks never share a name, and folders matched by a glob are searched.
    write_image(tmp_path / "b/c/y.png", np.zeros((2, 2), np.uint8))
    (tmp_path / "b/x.png").rename(tmp_path / "b/x.png.png")
    write_image(tmp_path / "b/x.png", np.zeros((2, 2), np.uint8))
    named = find_inputs((str(tmp_path / "b/*"),), tmp_path / "out")
    assert {input.name for input in named} == {"x.png.png", "x.png", "x.jpg", "c/y"}


def test_earlier_results_are_not_inputs_and_data_set_masks_are_never_overwritten(phantoms, tmp_path, capsys):
    write_image(tmp_path / "x.png", np.zeros((2, 2), np.uint8))
    write_image(tmp_path / "out/overlays/x.png", np.zeros((2, 2), np.uint8))
    assert [input.name for input in find_inputs((str(tmp_path),), tmp_path / "out")] == ["x"]
    write_image(tmp_path / "in/earlier/masks/x.png", np.zeros((2, 2), np.uint8))
    write_image(tmp_path / "in/y.png", np.zeros((2, 2), np.uint8))
    for name in ("predictions.csv", "prediction.json"):
        (tmp_path / "in/earlier" / name).write_text("")
    for given in ("in", "in/*", "in/**/*.png"):
        inputs = find_inputs((str(tmp_path / given),), tmp_path / "out")
        assert [input.name for input in inputs] == ["y"]
    assert f"earlier prediction wrote to '{tmp_path}/in/earlier'" in capsys.readouterr().out
    with pytest.raises(UserError, match="All images lie in --output"):
        find_inputs((str(tmp_path / "out"),), tmp_path / "out")
    with pytest.raises(UserError, match="contains 'masks', which no prediction wrote"):
        OutputFolder(phantoms, {}, []).prepare(resume=False, overwrite=True)
    assert any((phantoms / "masks").iterdir())


def test_files_of_other_types_are_counted_and_named(tmp_path, capsys):
    write_image(tmp_path / "a.png", np.zeros((2, 2), np.uint8))
    (tmp_path / "b").mkdir()
    for name in ("notes.txt", "b/c.json", "b/d.txt"):
        (tmp_path / name).write_text("")
    assert [input.name for input in find_inputs((str(tmp_path),), tmp_path / "out")] == ["a"]
    assert capsys.readouterr().out == f"Ignored files of other types in '{tmp_path}': 2 .txt, 1 .json.\n"
    with pytest.raises(UserError, match="No images found at '.*', only 1 .json, 1 .txt: give a file"):
        find_inputs((str(tmp_path / "b"),), tmp_path / "out")


def test_masks_among_the_images_are_skipped_by_the_names_of_their_folders_or_images(tmp_path, capsys):
    for name in ("a/images/x.png", "a/masks/x.png", "b/y.tif", "b/y_mask.tif", "b/lone_mask.tif", "labels/z.png"):
        write_image(tmp_path / name, np.zeros((2, 2), np.uint8))
    names = {input.name for input in find_inputs((str(tmp_path),), tmp_path / "out")}
    # Without an image of that name, or a folder of images beside it, nobody knows that it is a mask.
    assert names == {"a/images/x", "b/y", "b/lone_mask", "labels/z"}
    printed = capsys.readouterr().out
    assert f"Skipping '{tmp_path}/a/masks': by its name, it contains masks." in printed
    assert f"Skipping '{tmp_path}/b/y_mask.tif': by its name, it is a mask." in printed
    assert {input.name for input in find_inputs((str(tmp_path / "a/masks"),), tmp_path / "out")} == {"x"}


def test_a_name_that_belongs_to_a_folder_of_other_results_skips_one_file(tmp_path):
    folder = OutputFolder(tmp_path, {}, [])
    (tmp_path / "scans/a.html").mkdir(parents=True)  # of the scans in a folder of this name
    row = folder.write_files(Outlined(PredictionRow("a.nii"), {"scans/a.html": b"page"}))
    assert row.path == "a.nii" and row.status.endswith(
        "a.html': Is a directory. The old file is unchanged. Rename the image."
    )


def test_damaged_prediction_settings_are_reported(tmp_path):
    (tmp_path / "prediction.json").write_text("{")
    with pytest.raises(UserError, match="is damaged: start again with --overwrite"):
        OutputFolder(tmp_path, {}, []).prepare(resume=True, overwrite=False)
    with pytest.raises(UserError, match="give only one of them"):
        OutputFolder(tmp_path, {}, []).prepare(resume=True, overwrite=True)


def test_a_damaged_prediction_table_is_reported(tmp_path):
    (tmp_path / "prediction.json").write_text("{}")
    row = PredictionRow("x.png", width=5, height=4, expected_dice=0.5)
    OutputFolder(tmp_path, {}, []).folder.joinpath("predictions.csv").write_text(rows_as_csv([row], header=True))
    assert OutputFolder(tmp_path, {}, []).read_rows() == [row]
    (tmp_path / "predictions.csv").write_text(rows_as_csv([row], header=True).replace("0.5", "half"))
    with pytest.raises(UserError, match="predictions.csv' is damaged: start again with --overwrite"):
        OutputFolder(tmp_path, {}, []).read_rows()


def test_prediction_does_not_resume_if_images_have_changed(trained, phantoms, tmp_path):
    for path in sorted((phantoms / "images").iterdir())[:3]:
        shutil.copy(path, tmp_path / path.name)
    arguments = ["predict", *sorted(tmp_path.glob("*.png")), "--run", trained, "--output", "out"]
    assert run_script(*arguments, cwd=tmp_path).returncode == 0
    assert run_script(*arguments, "--resume", cwd=tmp_path).returncode == 0
    shutil.copy(phantoms / "images" / path.name, arguments[1])
    done = run_script(*arguments, "--resume", cwd=tmp_path)
    assert done.returncode == 2 and "Images have changed or been added since 'out' was started" in done.stderr


def test_only_grey_uint8_images_are_accepted(trained):
    predictor = Predictor(SavedRun.open(trained))
    for image in (np.full((9, 9), 0.5, np.float32), np.zeros((9, 9, 3), np.uint8)):
        with pytest.raises(TypeError, match="grey uint8"):
            predictor([image])


def test_one_image_gives_the_same_result_as_a_batch(trained, phantoms):
    predictor = Predictor(SavedRun.open(trained))
    images = [read_image(path) for path in sorted((phantoms / "images").iterdir())[:5]]
    images[1] = images[1][:40]
    together = predictor(images)
    for image, prediction in zip(images, together, strict=True):
        (alone,) = predictor([image])
        assert prediction.probability.shape == image.shape
        np.testing.assert_allclose(alone.probability, prediction.probability, atol=1e-5)
        assert alone.evidence == pytest.approx(prediction.evidence, abs=1e-5)


def test_a_mirrored_image_gets_a_mirrored_outline(trained):
    squares = np.random.default_rng(0).random((2, 64, 64, 1)).astype(np.float32)
    for mirror in (True, False):
        network = Predictor(SavedRun.open(trained), mirror=mirror).network
        straight, mirrored = network(squares), network(squares[:, :, ::-1])
        assert np.allclose(straight["outline"], mirrored["outline"][:, :, ::-1], atol=1e-6) == mirror
        assert not mirror or np.allclose(straight["evidence"], mirrored["evidence"], atol=1e-6)


@pytest.mark.parametrize("script", ["train", "evaluate", "predict"])
def test_help_is_fast_because_it_does_not_load_tensorflow(script, tmp_path):
    seconds = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        # run_script would start with the libraries already imported.
        command = [sys.executable, ROOT / f"{script}.py", "--help"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        # CPU time, because other tests may run at the same time.
        seconds.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert done.returncode == 0 and "usage" in done.stdout
    assert min(seconds) < 0.5


@pytest.mark.parametrize("streams", ["terminal", "terminal, NO_COLOR", "errors in a file"])
def test_colors_appear_only_in_terminals_that_allow_them(streams, tmp_path):
    terminal, seen = os.openpty()
    with open(tmp_path / "errors", "w+b") as errors:
        subprocess.run(
            [sys.executable, ROOT / "train.py", "--epochs", "many"],
            env=os.environ | {"NO_COLOR": "1" if "NO_COLOR" in streams else "", "TERM": "xterm"},
            stdout=seen,
            stderr=errors if "file" in streams else seen,
        )
        errors.seek(0)
        text = errors.read() if "file" in streams else os.read(terminal, 10_000)
    assert b"--epochs" in text and (b"\x1b" in text) == (streams == "terminal")


def wrong_commands():
    no_run = ["evaluate", "nowhere"], "'nowhere' is not the folder of a run"
    no_data = ["train"], "or use --data phantom"
    bad_size = ["train", "--data", "pairs", "--size", "100"], "use --size 128"
    no_image = ["predict", "none", "--run", "RUN", "--output", "out"], "No images found at 'none'"
    nothing = ["predict", "--run", "RUN", "--output", "out"], "No images given"
    few_epochs = ["train", "--resume", "RUN", "--epochs", "1"], "has already done 2 epochs: give more to --epochs"
    # Refused even if it is the default: the run may have another seed.
    with_seed = ["train", "--resume", "RUN", "--seed=0"], "remove '--seed'"
    parent = ["train", "--data", "pairs", "--name", ".."], "--name '..' is invalid: give the short name of a folder"
    long = ["train", "--data", "pairs", "--name", 300 * "x"], "is invalid: give the short name of a folder"
    return [no_run, no_data, bad_size, no_image, nothing, few_epochs, with_seed, parent, long]


@pytest.mark.parametrize(("arguments", "expected"), wrong_commands())
def test_errors_are_one_line_with_a_remedy(arguments, expected, trained, tmp_path):
    write_pairs(tmp_path / "pairs", 8)
    arguments = [str(trained) if word == "RUN" else word for word in arguments]
    done = run_script(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert expected in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_run_is_never_overwritten(trained, phantoms):
    done = run_script("train", "--data", phantoms, "--name", "tiny", *TINY, cwd=trained.parent.parent)
    assert done.returncode == 2 and "already contains a run" in done.stderr


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda run: (run / "config.json").write_text("{"), "config.json' is not valid"),
        (lambda run: (run / "model.keras").write_bytes(b"PK\x03\x04"), "model.keras' does not contain"),
        (lambda run: (run / "model.keras").unlink(), "model.keras' is missing"),
    ],
)
def test_a_damaged_run_is_refused(trained, phantoms, tmp_path, damage, expected):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    damage(run)
    done = run_script("predict", phantoms / "images", "--run", run, "--output", "out", cwd=tmp_path)
    assert done.returncode == 2 and expected in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
