"""What optional packages cost: size of the wheel, seconds to import.

Usage:

    python benchmarks/extras.py

The machine must be idle; tests/requirements.txt and openvino must be installed. Imports are timed in
processes of their own, the median of five, less an empty one's. Results go to benchmarks/results/extras.json.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from unet.files import write_json  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "extras.json"
# Package, module, what is worth it.
EXTRAS = (
    ("kaggle", "kagglesdk", "`train.py` fetches the data set; imported for a download only"),
    ("nibabel", "nibabel", "NIfTI volumes in and out, with their affines"),
    (
        "tensorboard",
        "tensorboard.summary",
        "`--tensorboard`; TensorFlow does not bring it any more",
    ),
    ("onnx", "onnx", "export, with tf2onnx"),
    ("tf2onnx", "tf2onnx", "export to ONNX"),
    ("onnxruntime", "onnxruntime", "proves an ONNX export; runs it anywhere"),
    ("openvino", "openvino", "export to OpenVINO, and its proof"),
    ("pydicom", "pydicom", "DICOM slices and series"),
    ("highdicom", "highdicom", "masks as DICOM-SEG, which viewers lay over their scan"),
    ("pyarrow", "pyarrow.fs", "object stores; comes with Ray"),
    ("ray", "ray.data", "`predict.py --ray`"),
)


def wheel_megabytes(package: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        wanted = f"{package}=={version(package)}"
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, wanted],
            check=True, capture_output=True,
        )  # fmt: skip
        (wheel,) = Path(folder).iterdir()
        return wheel.stat().st_size / 1e6


def import_seconds(module: str) -> float:
    """Median of five, after one that fills the disk's cache."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def measure() -> dict:
    from unet.machine import installed_versions, machine_description

    empty = import_seconds("sys")
    return {
        "date": f"{datetime.now():%Y-%m-%d}",
        "machine": machine_description(),
        "versions": installed_versions(),
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
    results = measure()
    write_json(RESULTS, results)
    for extra in results["extras"]:
        print(extra)
