"""Exported networks agree with Keras on images of any size, or are not written."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import run_module
from ready import ROOT

from unet.data.phantoms import phantom_slice
from unet.errors import UserError
from unet.network.outlining import OutlineRule
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import ExportOptions
from unet.prediction import export


@pytest.mark.parametrize("format", list(export.FORMATS))
def test_an_exported_network_agrees_with_keras(format, tmp_path):
    missing = [name for name in export.FORMATS[format].packages if not find_spec(name)]
    arguments = ["unet.prediction.export", "--format", format, "--output", tmp_path / "out.xml"]
    done = run_module(*arguments, cwd=ROOT)
    if missing:
        assert done.returncode == 2
        assert f"--format {format} needs: pip install {' '.join(missing)}" in done.stderr
        return
    assert done.returncode == 0 and "agrees with Keras: Dice" in done.stdout, done.stderr
    predict = export.FORMATS[format].open(tmp_path / "out.xml")
    image = phantom_slice(5, 0, 1, 3, 240).image[:, 30:]
    expected = Predictor(SavedRun.open(), precision="float32")([image])[0]
    assert expected.max() > 0.5
    np.testing.assert_allclose(predict(image), expected, atol=0.005)
    again = run_module(*arguments, cwd=ROOT)
    assert again.returncode == 2 and "already exists" in again.stderr


def test_a_network_that_differs_is_not_written(trained, tmp_path, monkeypatch):
    different = replace(export.FORMATS["saved_model"], open=lambda path: lambda image: 1 - image / 255)
    monkeypatch.setitem(export.FORMATS, "saved_model", different)
    with pytest.raises(UserError, match="not kept"):
        export.export(ExportOptions(trained, "saved_model", tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_probabilities_are_compared_even_if_nothing_is_outlined():
    class Faint:
        rule = OutlineRule(0.5)

        def __call__(self, images):
            return [np.full(image.shape, 0.2) for image in images]

    image = np.zeros((10, 20), np.uint8)
    assert export.compare(Faint(), lambda image: np.full(image.shape, 0.205), [image]) == 1
    with pytest.raises(UserError, match="Dice 1.0000, same probability at 0.00% of"):
        export.compare(Faint(), lambda image: np.full(image.shape, 0.25), [image])


def test_the_shipped_network_outlines_the_simulated_tumors():
    predictor = Predictor(SavedRun.open(), precision="float32")
    images = [export.simulate_head(seed, *size) for seed, size in enumerate(export.SIZES)]
    for probability in predictor(images):
        # The tumor covers 1 to 2% of the image.
        assert probability.max() > 0.99 and 0.01 < predictor.rule.mask(probability).mean() < 0.03
