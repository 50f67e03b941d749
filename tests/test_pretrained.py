"""The pretrained network: complete, small, free of local paths, and used by default."""

import csv
import json
import re
import sys
import zipfile

import h5py
import numpy as np
import pytest
from ready import ROOT, run_script

sys.path.insert(0, str(ROOT / "benchmarks"))
from rendering.scores import score_table

from unet.data.phantoms import phantom_slice
from unet.errors import UserError
from unet.evaluation.metrics import score
from unet.images.preprocessing import to_network_input, to_training_image
from unet.images.reading import read_image
from unet.machine import use_precision
from unet.network.saved_run import PRETRAINED, SavedRun
from unet.network.weights import read_weights


def test_it_is_small_and_contains_no_local_paths():
    files = [path for path in PRETRAINED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 15e6
    config = SavedRun.open(None).config
    assert not config.data_folder.startswith("/") and config.options.data.data == config.data_folder
    for path in files:
        assert path.suffix in (".json", ".csv", ".md", ".keras") or path.name == "curves.png"
        if path.suffix in (".json", ".csv", ".md"):
            assert not re.search(r"""["' ]/[a-z]""", path.read_text()), f"'{path}' contains a local path"


def test_it_uses_the_published_split():
    with open(ROOT / "unet" / "data" / "published.csv", newline="") as file:
        part = {row["id"]: row["split"] for row in csv.DictReader(file)}
    split = SavedRun.open().slices.split
    for name in ("train", "val"):
        assert set(split[name]) == {id for id, split in part.items() if split == name}


def test_its_model_card_has_the_measured_scores():
    scores = json.loads((PRETRAINED / "scores.json").read_text())["scores"]
    assert score_table(scores) in (PRETRAINED / "README.md").read_text()


def test_prediction_uses_it_by_default(phantoms, tmp_path):
    done = run_script("predict", phantoms / "images", "--output", "out", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = [
        score(read_image(phantoms / "masks" / path.name) > 0, read_image(path) > 0)["dice"]
        for path in (tmp_path / "out" / "masks").iterdir()
    ]
    # It was not trained on simulated slices, but it recognizes a bright lump.
    assert np.mean(scores) > 0.3


def test_evaluation_uses_it_by_default(phantoms, tmp_path):
    done = run_script("evaluate", "--data", phantoms, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/pretrained/evaluation-phantoms/summary.json").exists()
    done = run_script("evaluate", cwd=tmp_path)
    assert done.returncode == 2
    assert "data/brain-tumor-segmentation' does not exist: say where it is with --data and --split val" in done.stderr


def test_training_can_start_from_it_with_batch_normalization():
    use_precision("float32")  # another test may have left a format that is fast on this machine
    network = SavedRun.open().load_trainable_network()
    image = simulated_input()
    as_predicted = network(image, training=False)["outline"].numpy()
    folded = SavedRun.open().load_network("float32")(image)["outline"].numpy()
    np.testing.assert_allclose(as_predicted, folded, atol=1e-4)
    layers = [layer for layer in network.layers if "normalization" in layer.name]
    # The statistics are recovered, not the 0 and 1 of a new layer.
    assert len(layers) == 22 + 4 and all(np.ptp(layer.moving_variance.numpy()) > 0 for layer in layers)


def simulated_input() -> np.ndarray:
    """A simulated slice as network input, float32 (1, 256, 256, 1)."""
    return to_network_input(to_training_image(phantom_slice(0, 0, 1, 3, 256).image, 256)[np.newaxis])


def test_a_run_in_another_format_says_so(tmp_path):
    (tmp_path / "config.json").write_text('{"format_version": 1, "options": {}}')
    with pytest.raises(UserError, match="has format 1, but this version reads format 5"):
        SavedRun.open(tmp_path)


def test_weights_in_other_files_are_refused(tmp_path):
    (tmp_path / "secret").write_bytes(bytes(4 * 24))
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file.create_dataset("layers/conv2d/vars/0", (24,), np.float32, external=[(str(tmp_path / "secret"), 0, 96)])
    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.write(tmp_path / "model.weights.h5", "model.weights.h5")
    with pytest.raises(UserError, match="its weights are in other files"):
        read_weights(tmp_path / "model.keras", 24)


HEADER, ROW = "id,used_for,fingerprint", "1,train,,p1\n"
DAMAGED = {
    "empty": "",
    "no rows": f"{HEADER},patient\n",
    "no patients": f"{HEADER}\n1,train,\n2,val,\n",
    "not UTF-8": "\xff",
    "a lost row": f"{HEADER},patient\n{ROW}",
    "a row too many": f"{HEADER},patient\n{ROW}2,val,,p2\n3,val,,p3\n",
    "a repeated id": f"{HEADER},patient\n{ROW}{ROW}",
    "a cut row": f"{HEADER},patient\n{ROW}2,val\n",
    "an extra cell": f"{HEADER},patient\n{ROW}2,val,,p2,more\n",
    "an unknown split": f"{HEADER},patient\n{ROW}2,valid,,p2\n",
    "a lost fingerprint": f"{HEADER},patient\n{ROW}2,val,abc,p2\n",
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_slice_table_is_one_line(content, tmp_path):
    config = json.loads((PRETRAINED / "config.json").read_text()) | {"slice_count": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "slices.csv").write_bytes(content.encode("latin-1"))
    with pytest.raises(UserError, match="slices.csv' is damaged: restore it.$"):
        SavedRun.open(tmp_path)
    (tmp_path / "slices.csv").write_text(f"{HEADER},patient\n{ROW}2,val,,p2\n")
    assert SavedRun.open(tmp_path).slices.patients("val") == {"p2"}
