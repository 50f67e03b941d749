"""Which images without a tumor show a mass or another lesion, as judged by eye: no-tumor-lesions.csv."""

import numpy as np
from running import ROOT

from unet.tables import read_table


def show_lesions(ids: list[str]) -> np.ndarray:
    """Whether each of these images, such as no-tumor/te-0013, shows a lesion, bool (n,)."""
    listed = {row["id"] for row in read_table(ROOT / "benchmarks" / "no-tumor-lesions.csv")}
    return np.array([id.rpartition("/")[2] in listed for id in ids], bool)
