"""What TensorBoard would show is what the run's tables say."""

from importlib.util import find_spec

import pytest
from conftest import TINY
from ready import run_script

from unet.files import read_table


def test_scores_and_pictures(phantoms, tmp_path):
    done = run_script(
        "train", "--data", phantoms, "--name", "tiny", "--tensorboard", *TINY, cwd=tmp_path
    )
    if not find_spec("tensorboard"):
        assert done.returncode == 2
        assert done.stderr == "--tensorboard needs: pip install tensorboard\n"
        return
    assert done.returncode == 0, done.stderr
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(tmp_path / "runs/tiny/tensorboard"))
    events.Reload()
    rows = read_table(tmp_path / "runs/tiny/history.csv")
    for name in ("loss", "val_dice", "learning_rate"):
        told = {
            event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(name)
        }
        assert told == {int(row["epoch"]): pytest.approx(float(row[name])) for row in rows}
    for name in ("samples", "film_strip"):
        assert make_ndarray(events.Tensors(name)[-1].tensor_proto)[2].startswith(b"\x89PNG")
    assert not any(event for event in events.Tags()["tensors"] if "graph" in event)
