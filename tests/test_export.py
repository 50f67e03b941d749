"""Exported networks do what Keras does, at any size, or are not exported."""

from importlib.util import find_spec

import numpy as np
import pytest
from conftest import run_module
from ready import ROOT

from unet.data.phantoms import phantom_slice
from unet.errors import UserError
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import ExportOptions
from unet.prediction import export


@pytest.mark.parametrize("kind", list(export.FORMATS))
def test_an_exported_network_agrees_with_keras(kind, tmp_path):
    missing = [name for name in export.FORMATS[kind].packages if not find_spec(name)]
    done = run_module("unet.prediction.export", "--format", kind, "--output", tmp_path / "out.xml", cwd=ROOT)
    if missing:
        assert done.returncode == 2
        assert f"--format {kind} needs: pip install {' '.join(missing)}" in done.stderr
        return
    assert done.returncode == 0 and "agrees with Keras: Dice" in done.stdout, done.stderr
    predict = export.FORMATS[kind].open(tmp_path / "out.xml")
    image = phantom_slice(5, 0, 1, 3, 240).image[:, 30:]
    expected = Predictor(SavedRun.open(None), precision="float32")([image])[0]
    assert expected.max() > 0.5
    np.testing.assert_allclose(predict(image), expected, atol=0.005)
    again = run_module("unet.prediction.export", "--format", kind, "--output", tmp_path / "out.xml", cwd=ROOT)
    assert again.returncode == 2 and "is there already" in again.stderr


def test_a_network_that_differs_is_not_kept(trained, tmp_path, monkeypatch):
    class Different(export.Format):
        pass

    kind = Different("", export.to_saved_model, lambda path: lambda image: 1 - image / 255)
    monkeypatch.setitem(export.FORMATS, "saved_model", kind)
    with pytest.raises(UserError, match="not kept"):
        export.export(ExportOptions(trained, "saved_model", tmp_path / "out"))
    assert not (tmp_path / "out").exists()
