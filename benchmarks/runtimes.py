"""Speed of the network in other runtimes than TensorFlow: is one so much faster that predict.py should use it?

Usage:

    python benchmarks/runtimes.py

The machine must be idle, and onnx, tf2onnx, onnxruntime and openvino must be installed. The pretrained network
is exported to each format in float32, including preprocessing and mirror averaging. Each export predicts
simulated slices of 512 x 512 pixels one at a time. For comparison, the network of predict.py predicts them in batches.
Results are written to benchmarks/results/runtimes.json.
"""

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import tyro
from running import ROOT, provenance
from timing import times_of

from unet.files import write_json

RESULTS = ROOT / "benchmarks" / "results" / "runtimes.json"
SECONDS = 10.0


def measure() -> dict:
    """All figures, as in runtimes.json."""
    from unet.data.phantoms import phantom_slice
    from unet.network.predictor import Predictor
    from unet.network.saved_run import SavedRun
    from unet.prediction.export import FORMATS, compare, save, simulate_batches
    from unet.prediction.exported_graph import with_preprocessing

    image = phantom_slice(0, 0, 1, 3, 512).image
    results = {**provenance(), "slices_per_second": {}, "dice_with_keras": {}}
    speeds = results["slices_per_second"]
    for precision in ("float32", "mixed_bfloat16"):
        predictor = Predictor(SavedRun.open(), precision=precision)
        step = partial(predictor, [image] * predictor.batch_size)
        speeds[f"predict.py, {precision}"] = speed_of(step, predictor.batch_size)
    predictor = Predictor(SavedRun.open(), precision="float32")
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in FORMATS.items():
            source = save(with_preprocessing(predictor, kind.batch), Path(folder) / name)
            run = kind.open(kind.convert(source, Path(folder) / f"model{kind.suffix}"))
            results["dice_with_keras"][name] = compare(predictor, run, simulate_batches(1)).dice
            speeds[name] = speed_of(partial(run, image[np.newaxis]), 1)
            print(name, speeds[name], flush=True)
    return results


def speed_of(step: Callable[[], object], slices: int) -> float:
    """Slices per second of a step that predicts `slices` slices."""
    return slices / statistics.median(times_of(step, repetitions=5, seconds=SECONDS))


if __name__ == "__main__":
    results = tyro.cli(measure, description=__doc__)
    write_json(RESULTS, results)
    print(results)
