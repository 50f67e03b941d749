"""--shard: all parts together give the same results as one prediction, each file once."""

from pathlib import Path

import pytest
from ready import run_script

from unet.errors import UserError
from unet.options import PredictionOptions
from unet.prediction.inputs import Input
from unet.prediction.predict import take_shard
from unet.tables import read_table

INPUTS = [Input(f"{number}.png", str(number)) for number in range(7)]


def part(shard: str) -> tuple[str, list[str]]:
    options, inputs = take_shard(PredictionOptions((), Path("out"), shard=shard), INPUTS)
    return str(options.output), [input.name for input in inputs]


def test_parts_computed_by_hand():
    assert part("1/1") == ("out", list("0123456"))
    assert part("1/3") == ("out/shard-1-of-3", ["0", "3", "6"])
    assert part("3/3") == ("out/shard-3-of-3", ["2", "5"])
    with pytest.raises(UserError, match="there are only 7 files"):
        part("8/8")


@pytest.mark.parametrize("text", ["", "3", "0/2", "3/2", "-1/2", "a/b", "1/2/3", "1.0/2", "²/3"])
def test_an_invalid_shard_is_refused(text):
    with pytest.raises(UserError, match="give I/N"):
        part(text)


def test_every_file_is_in_one_part_with_the_same_mask(trained, phantoms, tmp_path):
    images = phantoms / "images"
    whole = run_script("predict", images, "--run", trained, "--output", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    paths, masks = [], {}
    for number in (1, 2, 3):
        shard = ["--output", "parts", "--shard", f"{number}/3"]
        done = run_script("predict", images, "--run", trained, *shard, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        folder = tmp_path / "parts" / f"shard-{number}-of-3"
        paths += [row["path"] for row in read_table(folder / "predictions.csv")]
        masks |= {path.name: path.read_bytes() for path in (folder / "masks").iterdir()}
    rows = read_table(tmp_path / "whole" / "predictions.csv")
    assert sorted(paths) == sorted(row["path"] for row in rows)
    assert masks == {path.name: path.read_bytes() for path in (tmp_path / "whole/masks").iterdir()}
    # Of more images, this part would have others: some would be in no part.
    again = ["--output", "parts", "--shard", "1/3", "--overwrite"]
    done = run_script("predict", images, phantoms / "masks", "--run", trained, *again, cwd=tmp_path)
    assert done.returncode == 2 and "shard-2-of-3' belongs to another set of images" in done.stderr
    done = run_script("predict", images, "--run", trained, *again, "--threshold", 0.9, cwd=tmp_path)
    assert done.returncode == 2 and "shard-2-of-3' was made with another threshold: repeat its" in done.stderr
    # One that has run out of memory may have smaller batches.
    done = run_script("predict", images, "--run", trained, *again, "--batch-size", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_script("predict", images, "--run", trained, "--output", "parts", "--shard", "4/3", cwd=tmp_path)
    assert done.returncode == 2 and "--shard 4/3" in done.stderr
