"""TensorBoard shows the same scores as the run's tables."""

from importlib.util import find_spec

import pytest
from conftest import TINY
from ready import run_script

from unet.tables import read_table


@pytest.mark.slow
def test_scores_and_pictures_are_those_of_the_run(phantoms, tmp_path):
    done = run_script("train", "--data", phantoms, "--name", "tiny", "--tensorboard", *TINY, cwd=tmp_path)
    if not find_spec("tensorboard"):
        assert done.returncode == 2
        assert done.stderr == "--tensorboard needs: pip install tensorboard\n"
        return
    assert done.returncode == 0, done.stderr
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    parts = {}
    for part in ("train", "validation"):
        parts[part] = EventAccumulator(str(tmp_path / "runs/tiny/tensorboard" / part))
        parts[part].Reload()
    assert set(parts["train"].Tags()["tensors"]) == {"loss", "dice", "learning_rate"}
    rows = read_table(tmp_path / "runs/tiny/history.csv")
    for part, name, column in (
        ("train", "loss", "loss"),
        ("validation", "dice", "val_dice"),
        ("train", "learning_rate", "learning_rate"),
    ):
        scores = {event.step: float(make_ndarray(event.tensor_proto)) for event in parts[part].Tensors(name)}
        assert scores == {int(row["epoch"]): pytest.approx(float(row[column])) for row in rows}
    for name in ("samples", "film_strip"):
        picture = parts["validation"].Tensors(name)[-1].tensor_proto
        assert make_ndarray(picture)[2].startswith(b"\x89PNG")
    assert not parts["train"].Tags()["graph"] and not parts["validation"].Tags()["graph"]
