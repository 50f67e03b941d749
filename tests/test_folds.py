"""train.py --fold all: five runs, each validating on other patients, and their joint scores."""

import json
import shutil
import sys

import numpy as np
import pytest
from conftest import TINY
from ready import ROOT, run_script

sys.path.insert(0, str(ROOT / "benchmarks"))
import folds as folds_benchmark

from unet.data.pairs import find_pairs
from unet.data.slices import load_slices
from unet.data.split import SPLITS
from unet.errors import UserError
from unet.evaluation.intervals import interval_over_patients
from unet.files import write_json
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import DataOptions, TrainingOptions
from unet.tables import read_table, write_table
from unet.training import finish
from unet.training.finish import Validation
from unet.training.folds import check_same_slices, is_scored, join
from unet.training.train import train

ALL = ["--name", "five", *TINY, "--epochs", 1, "--fold", "all"]


@pytest.fixture(scope="module")
def five(phantoms, tmp_path_factory):
    """The folder in which all folds were trained, and the output."""
    folder = tmp_path_factory.mktemp("folds")
    done = run_script("train", "--data", phantoms, *ALL, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.slow
def test_each_patient_is_scored_by_the_network_that_did_not_train_on_it(five):
    folder, output = five
    runs = [SavedRun.open(folder / f"runs/five-fold-{fold}") for fold in range(5)]
    rows = read_table(folder / "runs/five-all-folds/per_slice.csv")
    for row in rows:
        own = runs[int(row["scored_by_fold"])].slices
        assert row["id"] in own.split["val"] and row["patient"] not in own.patients("train")
    everyone = set(runs[0].slices.facts) - set(runs[0].slices.split["test"])
    assert sorted(row["id"] for row in rows) == sorted(everyone)


@pytest.mark.slow
def test_the_joint_scores_have_intervals_over_all_patients(five):
    folder, output = five
    summary = json.loads((folder / "runs/five-all-folds/summary.json").read_text())
    rows = [row for row in read_table(folder / "runs/five-all-folds/per_slice.csv") if row["dice"]]
    dice, patients = np.array([float(row["dice"]) for row in rows]), np.array([row["patient"] for row in rows])
    scores = summary["scores"]
    assert scores["all"]["dice"]["mean"] == pytest.approx(dice.mean())
    assert scores["all"]["dice"]["interval"] == pytest.approx(interval_over_patients(dice, patients))
    in_fold = [float(row["dice"]) for row in rows if row["scored_by_fold"] == "3"]
    assert scores["fold 3"]["dice"]["mean"] == pytest.approx(np.mean(in_fold)) and scores["fold 3"]["slices"] == len(
        in_fold
    )
    assert summary["detection"]["specificity"] and {"meningioma", "glioma", "pituitary"} < scores.keys()
    assert "\nfold 4 " in output and "runs/five-all-folds/per_slice.csv" in output


@pytest.mark.slow
def test_the_final_network_learns_from_all_patients_and_takes_its_rules_from_the_folds(five, phantoms, monkeypatch):
    folder, _ = five
    final = ["--data", phantoms, *ALL[:-1], "final"]
    done = run_script("train", *final, "--seed", 1, cwd=folder)
    assert done.returncode == 2 and done.stderr == (
        "'runs/five-fold-0' has another seed: repeat the options of --fold all.\n"
    )
    done = run_script("train", *final, cwd=folder)
    assert done.returncode == 0 and "Dice of the five folds, each on its own validation patients" in done.stdout, (
        done.stderr
    )
    run = SavedRun.open(folder / "runs/five-final")
    runs = [SavedRun.open(folder / f"runs/five-fold-{fold}") for fold in range(5)]
    assert not run.slices.split["val"]
    assert sorted(run.slices.split["train"]) == sorted(id for one in runs for id in one.slices.split["val"])
    assert read_table(run.folder / "history.csv")[0]["val_dice"] == ""
    # Each slice is judged by the network that did not learn from it.
    validation = Validation(run, load_slices(phantoms, 64))
    judged = dict(validation.score(lambda prediction, _: (prediction.source.id, prediction.evidence), ""))
    metrics = json.loads((run.folder / "metrics.json").read_text())
    assert len(judged) == metrics["val_slices_with_tumor"] and metrics["val_tumors_found"] >= 0.985
    pairs = {pair.id: pair for pair in find_pairs(phantoms)[0]}
    for one in runs:
        id = next(id for id in one.slices.split["val"] if id in judged)
        (expected,) = Predictor(one, precision="float32")([pairs[id].read_image()])
        assert judged[id] == pytest.approx(expected.evidence, abs=1e-5)
    chosen = np.arange(len(judged)) % 3 == 0
    some = validation.score(lambda prediction, _: prediction.source.id, "", chosen=chosen)
    assert some == [id for id, is_chosen in zip(judged, chosen, strict=True) if is_chosen]
    # The presence head of a fold that was not trained says nothing.
    monkeypatch.setattr(finish, "has_learned_presence", lambda one, slices: one.folder.name != "five-fold-2")
    partly = Validation(run, load_slices(phantoms, 64))
    of_fold_2 = set(runs[2].slices.split["val"])
    assert [id in of_fold_2 for id in judged] == (~partly.has_evidence()).tolist()
    free = partly.score(lambda prediction, _: prediction.source.id, "", has_tumor=False)
    assert free and not of_fold_2 & set(free) and len(partly.evidence_of_healed()) <= len(judged)
    done = run_script("evaluate", run.folder, cwd=folder)
    assert done.returncode == 2 and "has no validation slices, as it learned from all patients" in done.stderr
    done = run_script("evaluate", run.folder, "--split", "test", cwd=folder)
    assert done.returncode == 0, done.stderr
    done = run_script("train", *final, cwd=folder)
    assert done.returncode == 2 and "already contains a run" in done.stderr
    # Interrupted after the last epoch, it continues; not without the folds.
    (run.folder / "metrics.json").rename(run.folder / "old.json")
    done = run_script("train", "--resume", run.folder, cwd=folder)
    assert done.returncode == 0 and json.loads((run.folder / "metrics.json").read_text()) == metrics, done.stderr


def test_a_final_network_needs_its_folds(phantoms, tmp_path):
    done = run_script("train", "--data", phantoms, *ALL[:-1], "final", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr == (
        "--fold final needs the five networks of --fold all, but 'runs/five-fold-0' is missing or not finished: run "
        "the same command with --fold all first, or move these networks back beside the final one.\n"
    )
    assert not (tmp_path / "runs/five-final").exists()


@pytest.mark.slow
def test_scores_of_another_network_are_computed_again(five, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(five[0] / "runs/five-fold-0", run)
    assert is_scored(run)
    (run / "confidence.json").write_text((run / "confidence.json").read_text() + "\n")  # as after a longer training
    assert not is_scored(run)


@pytest.mark.slow
def test_a_patients_table_may_have_a_column_fold(five, tmp_path):
    for fold in range(5):
        scores = tmp_path / f"{fold}/evaluation-val"
        shutil.copytree(five[0] / f"runs/five-fold-{fold}/evaluation-val", scores)
        write_table(scores / "per_slice.csv", [row | {"fold": "9"} for row in read_table(scores / "per_slice.csv")])
    known = json.loads((scores / "summary.json").read_text())
    write_json(scores / "summary.json", known | {"caveat": f"{known['caveat']}\nWarning: one of these is known."})
    summary = join([tmp_path / str(fold) for fold in range(5)], tmp_path / "joined")
    assert summary["scores"]["fold 3"]["slices"] > 0
    # What is to be known about the scores of one fold holds for all of them together.
    assert summary["caveat"].splitlines() == [*known["caveat"].splitlines(), "Warning: one of these is known."]


@pytest.mark.slow
def test_the_same_command_continues_and_other_options_are_refused(five, phantoms, tmp_path):
    shutil.copytree(five[0] / "runs", tmp_path / "runs")
    shutil.rmtree(tmp_path / "runs/five-fold-3/evaluation-val")
    shutil.rmtree(tmp_path / "runs/five-all-folds")
    (tmp_path / "runs/five-fold-2/evaluation-val/report.html").unlink()  # the evaluation was killed before the end
    unfinished = tmp_path / "runs/five-fold-4"
    for name in ("metrics.json", "confidence.json"):
        (unfinished / name).unlink()
    shutil.rmtree(unfinished / "evaluation-val")
    done = run_script("train", "--data", phantoms, *ALL, cwd=tmp_path)
    assert done.returncode == 0 and done.stdout.count("Resuming after epoch 1 of 1.") == 1, done.stderr
    assert (tmp_path / "runs/five-fold-2/evaluation-val/report.html").exists()
    once, continued = (read_table(folder / "runs/five-all-folds/per_slice.csv") for folder in (five[0], tmp_path))
    assert [row["id"] for row in continued] == [row["id"] for row in once]
    # Threads may add probabilities in another order.
    dice = [[float(row["dice"] or 0) for row in rows] for rows in (once, continued)]
    assert dice[1] == pytest.approx(dice[0], abs=1e-4)
    assert (tmp_path / "runs/five-all-folds/summary.json").exists()
    # Threads may differ, as in --resume.
    done = run_script("train", "--data", phantoms, *ALL, "--threads", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_script("train", "--data", phantoms, *ALL, "--seed", 1, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == ("'runs/five-fold-0' has another seed: repeat the options, or choose another --name.\n")


@pytest.mark.slow
def test_folds_of_different_patients_are_not_joined(five, tmp_path):
    shutil.copytree(five[0] / "runs", tmp_path / "runs")
    first, second = (tmp_path / f"runs/five-fold-{fold}" for fold in range(2))
    check_same_slices(first, second)
    changed, *others = read_table(second / "slices.csv")
    write_table(second / "slices.csv", [changed | {"fingerprint": "other"}, *others])
    with pytest.raises(UserError, match="have changed between '.*fold-0' and '.*fold-1': restore them"):
        check_same_slices(first, second)
    for content in ('{"slices": "val", "data": "/x/val"}', "{"):
        (first / "evaluation-val/summary.json").write_text(content)
        with pytest.raises(UserError, match="evaluation-val' has other scores, or damaged ones .*: delete or rename"):
            is_scored(first)


def test_one_training_has_one_fold():
    with pytest.raises(UserError, match="call train_folds"):
        train(TrainingOptions(DataOptions("phantom", fold="all")))


def test_several_workers_cannot_train_all_folds(phantoms, tmp_path, monkeypatch):
    workers = {"worker": ["localhost:1", "localhost:2"]}
    monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": workers, "task": {"type": "worker", "index": 0}}))
    done = run_script("train", "--data", phantoms, *ALL, cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.startswith("--fold all needs a single worker: ")


def test_recipes_are_compared_slice_by_slice_with_intervals_over_patients(tmp_path, monkeypatch):
    monkeypatch.setattr(folds_benchmark, "KEPT", tmp_path)
    images = {"no-tumor/te-0020": 9, "no-tumor/te-0001": 0}  # the first one is listed: it shows a large mass

    def keep(training: str, *rows: tuple[str, str, float, float]) -> None:
        table = [
            {"id": id, "patient": patient, "truth_pixels": 5, "predicted_pixels": 5 * bool(dice), "iou": 0.5}
            | {"dice": dice, "dice_always_outlined": always, "surface_dice": 0, "hd95_pixels": 1}
            | {"tumor_probability": 0.5}
            for id, patient, dice, always in rows
        ]
        if training == "quick-fold-0":
            numbers = dict.fromkeys(table[0].keys() - {"id", "patient", "truth_pixels", "predicted_pixels"}, "")
            table += [
                {"id": id, "patient": id, "truth_pixels": 0, "predicted_pixels": pixels} | numbers
                for id, pixels in images.items()
            ]
        write_table(tmp_path / f"{training}.csv", table)
        write_json(tmp_path / f"{training}.json", {"date": "", "machine": "this one", "versions": {}})

    for fold in range(5):
        keep(f"quick-fold-{fold}", (f"{fold}", f"patient {fold}", 0.0 if fold == 4 else 0.8, 0.6))
    keep("by-slice", ("0", "0", 0.9, 0.9), ("3", "3", 0.9, 0.5))
    figures = folds_benchmark.gather()
    assert figures["scores"]["all"]["dice"]["mean"] == pytest.approx(0.64)  # (4 x 0.8 + 0) / 5
    assert figures["scores_always_outlined"]["all"]["dice"]["mean"] == pytest.approx(0.6)
    assert figures["tumors_outlined"] == 0.8
    assert figures["false_alarms"]["with another lesion"]["outlined"]["mean"] == 1
    assert figures["false_alarms"]["without another lesion"]["outlined"]["mean"] == 0
    # 0.9 - 0.6 and 0.5 - 0.6, always outlined; their mean is 0.1, and two patients give their values as the interval.
    assert figures["split_by_slice"]["optimism"]["mean"] == pytest.approx(0.1)
    assert figures["split_by_slice"]["optimism"]["interval"] == pytest.approx((-0.1, 0.3))
    assert "default" not in figures and "fewer" not in figures
    for training, always in (("quick-quarter", 0.3), ("quick-half", 0.5)):
        keep(training, ("0", "patient 0", always, always))
    fewer = folds_benchmark.gather()["fewer"]
    assert [(one["patients"], one["of"], one["dice"]) for one in fewer.values()] == [(1, 4, 0.3), (2, 4, 0.5)]
    assert fewer["quick-quarter"]["gain"]["mean"] == pytest.approx(-0.3)
    # Fewer patients train for as many steps, and never with a patient of fold 0.
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path)
    slices = [
        {"id": f"{each}", "patient": f"patient {(each + 1) // 2}", "tumor": "", "split": "train"} for each in range(17)
    ]
    write_table(tmp_path / "patients.csv", slices)
    _, table, _, epochs = folds_benchmark.fewer_patients(tmp_path, "quick-half")
    splits = {split: {row["patient"] for row in read_table(table) if row["split"] == split} for split in SPLITS}
    assert splits["val"] == {"patient 0"} and len(splits["train"]) == len(splits["test"]) == 4
    assert epochs == 40
    # Without images of a kind, nothing is said about it.
    rows = folds_benchmark.read_kept("quick-fold-0")
    assert list(folds_benchmark.false_alarms(rows[1:2])) == ["with another lesion"]
