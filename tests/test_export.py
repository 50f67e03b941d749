"""Exported networks agree with Keras on images of any size, or are not written."""

import shutil
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import run_module
from ready import ROOT

from unet.data.phantoms import phantom_slice
from unet.errors import UserError
from unet.network.outlining import OutlineRule
from unet.network.predictor import Prediction, Predictor
from unet.network.presence import PresenceRule
from unet.network.saved_run import PRETRAINED, SavedRun
from unet.options import ExportOptions
from unet.prediction import export

# Flat: the evidence for a tumor in a simulated slice is so strong that the probability would be 1.
RULE = PresenceRule(slope=0.2, intercept=-2, threshold=0.25, unsure_from=0.2, unsure_to=0.3)


@pytest.mark.parametrize("format", list(export.FORMATS))
def test_an_exported_network_agrees_with_keras(format, tmp_path):
    missing = [name for name in export.FORMATS[format].packages if not find_spec(name)]
    shutil.copytree(PRETRAINED, tmp_path / "run")
    run = SavedRun.open(tmp_path / "run")
    run.update_config(presence_rule=RULE)
    arguments = ["unet.prediction.export", run.folder, "--format", format, "--output", tmp_path / "out.xml"]
    done = run_module(*arguments, cwd=ROOT)
    if missing:
        assert done.returncode == 2
        assert f"--format {format} needs: pip install {' '.join(missing)}" in done.stderr
        return
    assert done.returncode == 0 and "agrees with Keras: Dice" in done.stdout, done.stderr
    assert "If tumor_probability is 0.25 or more, it outlines tumor where" in done.stdout
    predict = export.FORMATS[format].open(tmp_path / "out.xml")
    image = phantom_slice(5, 0, 1, 3, 240).image[:, 30:]
    predictor = Predictor(run, precision="float32")
    (expected,) = predictor([image])
    assert expected.probability.max() > 0.5
    outputs = predict(image)
    np.testing.assert_allclose(outputs["probability"], expected.probability, atol=0.005)
    assert 0.1 < predictor.tumor_probability(expected.evidence) < 0.9 and outputs["tumor_probability"].shape == ()
    assert outputs["tumor_probability"] == pytest.approx(predictor.tumor_probability(expected.evidence), abs=0.005)
    again = run_module(*arguments, cwd=ROOT)
    assert again.returncode == 2 and "already exists" in again.stderr


def test_without_a_presence_rule_there_is_one_output():
    run = SavedRun.open()
    run.config = replace(run.config, presence_rule=None)
    module = export.with_preprocessing(Predictor(run, mirror=False, precision="float32"))
    assert module.outputs(np.zeros((30, 20), np.uint8)).keys() == {"probability"}


def test_a_network_that_differs_is_not_written(trained, tmp_path, monkeypatch):
    def invert(image):
        return {"probability": 1 - image / 255, "tumor_probability": np.float32(0)}

    different = replace(export.FORMATS["saved_model"], open=lambda path: invert)
    monkeypatch.setitem(export.FORMATS, "saved_model", different)
    with pytest.raises(UserError, match="not kept"):
        export.export(ExportOptions(trained, "saved_model", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_probabilities_are_compared_even_if_nothing_is_outlined():
    class Faint:
        rule, presence_rule = OutlineRule(0.5), RULE

        def __call__(self, images):
            return [Prediction(image, probability=np.full(image.shape, 0.2)) for image in images]

        def tumor_probability(self, prediction):
            return 0.3

    def compare(probability, tumor_probability):
        outputs = {"probability": np.full((10, 20), probability), "tumor_probability": np.float32(tumor_probability)}
        return export.compare(Faint(), lambda image: outputs, [np.zeros((10, 20), np.uint8)])

    assert compare(0.205, 0.305) == 1
    with pytest.raises(UserError, match="Dice 1.0000, same probability at 0.00% of"):
        compare(0.25, 0.3)
    with pytest.raises(UserError, match="at 100.00% of pixels, tumor probability within 0.0200"):
        compare(0.2, 0.32)


def test_the_shipped_network_outlines_the_simulated_tumors():
    predictor = Predictor(SavedRun.open(), precision="float32")
    images = [export.simulate_head(seed, *size) for seed, size in enumerate(export.SIZES)]
    for prediction in predictor(images):
        # The tumor covers 1 to 2% of the image.
        assert prediction.probability.max() > 0.99 and 0.01 < predictor.mask(prediction).mean() < 0.03
