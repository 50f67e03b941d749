"""The example in docs/your-data.md turns another public data set into a data folder that trains."""

import re
import subprocess
import sys

import cv2
import numpy as np
from conftest import TINY
from ready import ROOT, run_script

from unet.images.reading import read_image, read_mask
from unet.tables import read_table


def test_the_example_arranges_the_lgg_layout(phantoms, tmp_path):
    for row in read_table(phantoms / "patients.csv"):
        grey = read_image(phantoms / "images" / f"{row['id']}.png")
        mask = read_mask(phantoms / "masks" / f"{row['id']}.png")
        folder = tmp_path / "kaggle_3m" / row["patient"]
        folder.mkdir(parents=True, exist_ok=True)
        # Three sequences as color channels.
        assert cv2.imwrite(str(folder / f"{row['id']}.tif"), np.dstack([grey // 2, grey, grey]))
        assert cv2.imwrite(str(folder / f"{row['id']}_mask.tif"), mask.astype(np.uint8) * 255)
    text = (ROOT / "docs" / "your-data.md").read_text()
    example = re.search(r"<!-- arrange -->\n```python\n(.*?)```", text, re.DOTALL)[1]
    subprocess.run([sys.executable, "-c", example], cwd=tmp_path, check=True)
    done = run_script("train", "--data", "data/lgg", "--name", "lgg", *TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Split by patient ('data/lgg/patients.csv') into seven folds" in done.stdout
    done = run_script("evaluate", "runs/lgg", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
