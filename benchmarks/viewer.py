"""The viewer of scans: size of its page, and time until it shows the first image, in headless Chromium.

Usage:

    python benchmarks/viewer.py ch2.nii.gz --pictures /tmp/pictures

The machine must be idle. The head, a NIfTI volume, gets a simulated tumor, is resampled to thick and to thin slices,
and is outlined by predict.py. Chromium draws with the processor, as on a computer without a graphics card. Results are
written to benchmarks/results/viewer.json, and screenshots of each page, wide and narrow, to the folder of --pictures.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import tyro
from playwright.sync_api import Browser, sync_playwright
from running import ROOT, provenance
from scans import implant
from scipy import ndimage

from unet.files import write_json
from unet.images.nifti import read_volume

SHAPES_AND_SPACING = {"thick_slices": ((256, 256, 26), (0.9, 0.9, 6)), "thin_slices": ((240, 240, 155), (1, 1, 1))}
TUMOR_MM = 36
REPEATS = 3
WINDOWS = {"wide": (1280, 900), "narrow": (390, 844)}  # pixels
ARGUMENTS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]


@dataclass(frozen=True)
class ViewerOptions:
    """Which head, and where pictures go."""

    head: tyro.conf.Positional[Path]
    """NIfTI volume of a head without a tumor."""
    pictures: Path | None = None
    """Folder for screenshots."""
    output: Path = ROOT / "benchmarks" / "results" / "viewer.json"
    """File for the figures."""


def measure(options: ViewerOptions) -> None:
    """Measure, and write the figures."""
    volume, _, tumor = implant(read_volume(options.head), 0, TUMOR_MM)
    pages = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (shape, spacing) in SHAPES_AND_SPACING.items():
            voxels = ndimage.zoom(volume.grey, np.divide(shape, volume.grey.shape), order=1)
            image = nibabel.Nifti1Image(voxels, np.diag([*spacing, 1.0]))
            nibabel.save(image, Path(folder) / f"{name}.nii.gz")
        command = [sys.executable, ROOT / "predict.py", *Path(folder).glob("*.nii.gz"), "--output", f"{folder}/out"]
        subprocess.run(command, check=True)
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
            for name, (shape, _) in SHAPES_AND_SPACING.items():
                page = Path(folder) / "out" / "scans" / f"{name}.html"
                seconds = [first_image(browser, page, None) for _ in range(REPEATS)]
                pages.append({"name": name, "shape": shape, "megabytes": page.stat().st_size / 1e6, "seconds": seconds})
                print(pages[-1])
                for window in WINDOWS if options.pictures else ():
                    first_image(browser, page, options.pictures, window)
            version = browser.version
        bundle = (Path(folder) / "out" / "scans" / "niivue.umd.js").stat().st_size / 1e6
    figures = {**provenance(chromium=version), "tumor": tumor, "bundle_megabytes": bundle, "pages": pages}
    write_json(options.output, figures)


def first_image(browser: Browser, page: Path, pictures: Path | None, window: str = "wide") -> float:
    """Seconds until a page shows its scan, in a new window without a network."""
    width, height = WINDOWS[window]
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True)
    tab = context.new_page()
    start = time.perf_counter()
    tab.goto(page.as_uri())
    tab.wait_for_function("document.body.dataset.ready", timeout=120_000)
    tab.screenshot()  # the page is ready when it has asked for the image; a screenshot waits until it is drawn
    seconds = time.perf_counter() - start
    if pictures:
        tab.screenshot(path=pictures / f"{page.stem}_{window}.png", full_page=True)
    context.close()
    return seconds


if __name__ == "__main__":
    measure(tyro.cli(ViewerOptions, description=__doc__))
