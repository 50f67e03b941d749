"""The example in docs/your-data.md trains on another public data set, and runs know how their data are named."""

import re
import shutil

import cv2
import numpy as np
import pytest
from conftest import TINY
from ready import ROOT, run_script

from unet.images.masks import read_mask
from unet.images.reading import read_image
from unet.network.saved_run import SavedRun
from unet.options import PairingOptions, ReadingOptions
from unet.tables import read_table


@pytest.mark.slow
def test_the_example_trains_on_the_lgg_layout_in_one_command(phantoms, tmp_path):
    for row in read_table(phantoms / "patients.csv"):
        grey = read_image(phantoms / "images" / f"{row['id']}.png")
        mask = read_mask(phantoms / "masks" / f"{row['id']}.png")
        folder = tmp_path / "kaggle_3m" / row["patient"]
        folder.mkdir(parents=True, exist_ok=True)
        # Three sequences as color channels.
        assert cv2.imwrite(str(folder / f"{row['id']}.tif"), np.dstack([grey // 2, grey, grey]))
        assert cv2.imwrite(str(folder / f"{row['id']}_mask.tif"), mask.astype(np.uint8) * 255)
    text = (ROOT / "docs" / "your-data.md").read_text()
    train, evaluate = re.search(r"## Example: the LGG.*?```bash\n(.*?)```", text, re.DOTALL)[1].splitlines()
    done = run_script("train", *train.split()[2:], *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "NAME with NAME_mask: 50 pairs of 25 patients, by their folders." in done.stdout
    assert "Split by patient (the patients' folders, or DICOM headers) into seven folds" in done.stdout
    done = run_script("evaluate", *evaluate.split()[2:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_run_knows_how_its_masks_are_named(phantoms, tmp_path):
    shutil.copytree(phantoms, tmp_path / "data")
    for path in (tmp_path / "data/masks").iterdir():
        path.rename(path.with_stem(f"{path.stem}-roi"))
    done = run_script("train", "--data", "data", "--mask-suffix=-roi", "--name", "roi", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run_script("evaluate", "runs/roi", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # An option changes what it names, and nothing else.
    run = SavedRun.open(tmp_path / "runs/roi")
    assert run.reading_with(PairingOptions(channel="red")) == PairingOptions(channel="red", mask_suffix="-roi")
    assert run.reading_with(ReadingOptions(plane="axial")) == ReadingOptions(plane="axial")
