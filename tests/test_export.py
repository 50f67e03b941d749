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
from unet.network.outliner import Prediction
from unet.network.outlining import OutlineRule
from unet.network.predictor import Predictor
from unet.network.presence import PresenceRule
from unet.network.saved_run import PRETRAINED, SavedRun
from unet.options import ExportOptions
from unet.prediction import export
from unet.prediction.exported_graph import with_preprocessing

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
    assert done.returncode == 0 and "agrees with Keras on simulated slices: Dice" in done.stdout, done.stderr
    assert "If tumor_probability is 0.25 or more, tumor is where" in done.stdout
    predict = export.FORMATS[format].open(tmp_path / "out.xml")
    image = phantom_slice(5, 0, 1, 3, 240).image[:, 30:]
    predictor = Predictor(run, precision="float32")
    (expected,) = predictor([image])
    assert expected.probability.max() > 0.5
    outputs = predict(image[np.newaxis])
    np.testing.assert_allclose(outputs["probability"], expected.probability[np.newaxis], atol=0.005)
    assert 0.1 < predictor.tumor_probability(expected.evidence) < 0.9 and outputs["tumor_probability"].shape == (1,)
    assert outputs["tumor_probability"] == pytest.approx(predictor.tumor_probability(expected.evidence), abs=0.005)
    if not export.FORMATS[format].batch:
        check_batch(predict, predictor)
    if format == "onnx":
        check_metadata(tmp_path / "out.xml", run)
    again = run_module(*arguments, cwd=ROOT)
    assert again.returncode == 2 and "already exists" in again.stderr


def check_batch(predict, predictor):
    """Images of one batch have the answers that each of them has alone: in a tumor, and in the middle of none."""
    images = [phantom_slice(5, patient, 1, 3, 200, has_tumor=patient != 2).image[:150] for patient in (1, 2, 3)]
    outputs = predict(np.stack(images))
    for place, expected in enumerate(predictor(images)):
        np.testing.assert_allclose(outputs["probability"][place], expected.probability, atol=0.005)
        presence = predictor.tumor_probability(expected.evidence)
        assert outputs["tumor_probability"][place] == pytest.approx(presence, abs=0.005)
    assert np.ptp(outputs["tumor_probability"]) > 0.1


def check_metadata(path, run):
    """ONNX Runtime reads the rules from the file."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    rule = run.config.outline_rule
    assert float(facts["threshold"]) == rule.threshold and float(facts["peak"]) == rule.peak
    assert float(facts["presence_threshold"]) == RULE.threshold and facts["rule"] == export.how_to_outline(run)
    assert (facts["size"], facts["format_version"]) == ("256", str(run.config.format_version))
    assert facts["network"] == run.network_fingerprint()


def test_without_a_presence_rule_there_is_one_output():
    run = SavedRun.open()
    run.config = replace(run.config, presence_rule=None)
    module = with_preprocessing(Predictor(run, mirror=False, precision="float32"))
    assert module.outputs(np.zeros((2, 30, 20), np.uint8)).keys() == {"probability"}


def test_a_network_that_differs_is_not_written(trained, tmp_path, monkeypatch):
    def invert(image):
        return {"probability": 1 - image / 255, "tumor_probability": np.zeros(len(image), np.float32)}

    different = replace(export.FORMATS["saved_model"], open=lambda path: invert)
    monkeypatch.setitem(export.FORMATS, "saved_model", different)
    with pytest.raises(UserError, match="not kept"):
        export.export(ExportOptions(trained, "saved_model", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_network_that_mixes_up_the_images_of_a_batch_is_not_kept():
    predictor = Predictor(SavedRun.open(), mirror=False, precision="float32")
    outputs = with_preprocessing(predictor).outputs
    single, *_, three = export.simulate_batches(None)
    assert len(single) == 1 and len(three) == 3 and export.simulate_batches(1)[-1].shape[0] == 1

    def turned(images):
        return {name: np.roll(values, 1, axis=0) for name, values in outputs(images).items()}

    assert export.compare(predictor, turned, [single]).is_close  # of one image, which cannot be mixed up
    assert not export.compare(predictor, turned, [three]).is_close


def test_probabilities_are_compared_even_if_nothing_is_outlined():
    class Faint:
        rule, presence_rule = OutlineRule(0.5), RULE

        def __call__(self, images):
            return [Prediction(image, probability=np.full(image.shape, 0.2)) for image in images]

        def tumor_probability(self, prediction):
            return 0.3

        def mask(self, prediction):
            return self.rule.mask(prediction.probability)

    def compare(probability, tumor_probability):
        outputs = {
            "probability": np.full((1, 10, 20), probability),
            "tumor_probability": np.full(1, tumor_probability, np.float32),
        }
        return export.compare(Faint(), lambda images: outputs, [np.zeros((1, 10, 20), np.uint8)])

    close, other_pixels, other_tumor = compare(0.205, 0.305), compare(0.25, 0.3), compare(0.2, 0.32)
    assert close.is_close
    assert f"{close}" == "Dice 1.0000, same probability at 100.00% of pixels, tumor probability within 0.0050"
    assert not other_pixels.is_close and "Dice 1.0000, same probability at 0.00% of" in f"{other_pixels}"
    assert not other_tumor.is_close and "100.00% of pixels, tumor probability within 0.0200" in f"{other_tumor}"


def test_the_shipped_network_outlines_the_simulated_tumors():
    predictor = Predictor(SavedRun.open(), precision="float32")
    images = [export.simulate_head(seed, *size) for seed, size in enumerate(export.SIZES)]
    for prediction in predictor(images):
        # The tumor covers 1 to 2% of the image.
        assert prediction.probability.max() > 0.99 and 0.01 < predictor.mask(prediction).mean() < 0.03
