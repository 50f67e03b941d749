"""What each extra package costs: the size of its wheel and the seconds to import it.

Usage:

    python benchmarks/extras.py

The machine must be idle, and all packages in EXTRAS must be installed. Each import is timed in five new processes; the
figure is the median minus that of an empty process. Results are written to benchmarks/results/extras.json.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import tyro
from running import ROOT, provenance

from unet.files import write_json

RESULTS = ROOT / "benchmarks" / "results" / "extras.json"
# Package, module, and what it is for.
EXTRAS = (
    ("kaggle", "kagglesdk", "downloads the data set; imported only for that"),
    ("nibabel", "nibabel", "reads and writes NIfTI volumes with their affines"),
    ("tensorboard", "tensorboard.summary", "`train.py --tensorboard`; TensorFlow no longer includes it"),
    ("onnx", "onnx", "export to ONNX, with tf2onnx"),
    ("tf2onnx", "tf2onnx", "export to ONNX, with onnx"),
    ("onnxruntime", "onnxruntime", "runs ONNX exports, and checks them"),
    ("openvino", "openvino", "export to OpenVINO, and checking it"),
    ("pydicom", "pydicom", "reads DICOM slices and series"),
    ("imagecodecs", "imagecodecs", "decodes JPEG Lossless and 12-bit JPEG in DICOM"),
    ("highdicom", "highdicom", "writes masks as DICOM-SEG, which viewers draw over the scan"),
    ("pyarrow", "pyarrow.fs", "object stores; installed with Ray"),
    ("ray", "ray.data", "`predict.py --ray`"),
)


def wheel_megabytes(package: str) -> float:
    """Size of the wheel of the installed version, in MB."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{package}=={version(package)}"
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, wanted],
            check=True,
            capture_output=True,
        )
        (wheel,) = Path(folder).iterdir()
        return wheel.stat().st_size / 1e6


def import_seconds(module: str) -> float:
    """Median of five imports, after one that fills the disk cache."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def measure() -> dict:
    """All figures, as in extras.json."""

    empty = import_seconds("sys")
    return {
        **provenance(),
        "extras": [
            {
                "package": package,
                "version": version(package),
                "wheel_megabytes": wheel_megabytes(package),
                "import_seconds": max(0.0, import_seconds(module) - empty),
                "why": why,
            }
            for package, module, why in EXTRAS
        ],
    }


if __name__ == "__main__":
    results = tyro.cli(measure, description=__doc__)
    write_json(RESULTS, results)
    for extra in results["extras"]:
        print(extra)
