"""Prediction end to end: slices a second, first mask, memory; beside the network alone and the author's loop.

Usage:

    python benchmarks/prediction.py FOLDER          PNGs of 512 x 512 pixels, as Kaggle has them

The machine must be idle. predict.py runs as users run it, on links to FOLDER's images under new names; a
first run, which fills the disk's cache, does not count. As a machine's speed drifts by some percent within
minutes, rounds of the network alone and predict.py follow each other; the middle one of their shares counts.
The author's loop reads, scales, predicts and writes one image after the other with the data set
author's network, as his test script does. Results go to benchmarks/results/prediction.json.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import tyro
from timing import link_images, peak_gib, times_of

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from unet.files import write_json  # noqa: E402
from unet.images.folders import find_files  # noqa: E402


@dataclass(frozen=True)
class PredictionBenchmark:
    """What to predict with, and how many."""

    folder: tyro.conf.Positional[Path]
    """Folder of slices."""
    run: Path | None = None
    """Run to predict with. Default: the network that comes with the project."""
    few: int = 100
    """Files of the small folder."""
    many: int = 5000
    """Files of the large one: speed is that of the difference, without the start."""
    rounds: int = 5
    """How often predict.py and the network alone are measured."""
    author: int = 40
    """Slices for the author's loop."""
    output: Path = ROOT / "benchmarks" / "results" / "prediction.json"
    """Where the figures go."""


def measure(options: PredictionBenchmark) -> dict:
    """All figures; the network alone and the author's loop in this process, predict.py in its own."""
    images = find_files(options.folder)
    author = author_loop(images[: options.author])
    speed_alone = network_alone(images, options.run)
    rounds = []
    # Removed at the end only: where many files have just gone, some disks are slow to make new ones.
    with tempfile.TemporaryDirectory() as temporary:
        predict_many(images, 1, options.run, Path(temporary))
        before = speed_alone()
        for number in range(options.rounds):
            folder = Path(temporary) / str(number)
            folder.mkdir()
            few = predict_many(images, options.few, options.run, folder)
            many = predict_many(images, options.many, options.run, folder)
            after = speed_alone()
            speed = (options.many - options.few) / (many["seconds"] - few["seconds"])
            alone = (before + after) / 2
            rounds.append(
                {
                    "few": few,
                    "many": many,
                    "slices_per_second": speed,
                    "network_alone_slices_per_second": alone,
                    "share_of_network_alone": speed / alone,
                }
            )
            before = after
    shares = [one["share_of_network_alone"] for one in rounds]
    middle = sorted(rounds, key=lambda one: one["share_of_network_alone"])[len(rounds) // 2]

    from unet.machine import installed_versions, machine_description

    results = {
        "date": f"{datetime.now():%Y-%m-%d}",
        "machine": machine_description(),
        "versions": installed_versions(),
        **middle,
        "shares": shares,
        "author_loop_slices_per_second": author,
        "times_the_author_loop": middle["slices_per_second"] / author,
    }
    write_json(options.output, results)
    return results


def predict_many(images: list[Path], count: int, run: Path | None, temporary: Path) -> dict:
    """Seconds, seconds until the first mask and peak memory of predict.py on `count` files."""
    folder = link_images(images, count, temporary / f"images-{count}")
    output = temporary / f"output-{count}"
    command = [sys.executable, ROOT / "predict.py", folder, "--output", output]
    start = time.perf_counter()
    process = subprocess.Popen([*command, *(["--run", run] if run else [])])
    while not any((output / "masks").glob("*.png")) and process.poll() is None:
        time.sleep(0.02)
    first = time.perf_counter() - start
    # wait4 tells the peak memory of this child alone.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"predict.py failed on {count} files of '{folder}'.")
    return {
        "files": count,
        "seconds": seconds,
        "first_mask_seconds": first,
        "peak_memory_gib": peak_gib(usage),
    }


def network_alone(images: list[Path], run: Path | None) -> Callable[[], float]:
    """What measures slices a second of the network with its mirror image, on inputs that are ready."""
    import tensorflow as tf

    from unet.images.preprocessing import to_network_input, to_training_image
    from unet.images.reading import read_image
    from unet.network.predictor import Predictor
    from unet.network.saved_run import SavedRun

    predictor = Predictor(SavedRun.open(run))
    squares = [to_training_image(read_image(path), predictor.size) for path in images[: predictor.batch_size]]
    inputs = tf.constant(to_network_input(np.stack(squares)))

    def speed() -> float:
        times = times_of(lambda: predictor.network(inputs).numpy(), repetitions=100)
        return len(squares) / statistics.median(times)

    return speed


def author_loop(images: list[Path]) -> float:
    """Slices a second of the author's loop."""
    from speed_keras import plain_unet

    model = plain_unet()
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for path in images:
            start = time.perf_counter()
            image = cv2.resize(cv2.imread(str(path)), (256, 256))
            # His network takes three channels; ours of his has one, which is a little faster.
            grey = image[np.newaxis, ..., :1].astype(np.float32) / 255
            mask = model.predict(grey, verbose=0)[0] >= 0.5
            white = np.repeat(mask, 3, axis=-1).astype(np.uint8) * 255
            joined = np.concatenate([image, white], axis=1)
            cv2.imwrite(f"{folder}/{path.name}", joined)
            times.append(time.perf_counter() - start)
    return 1 / statistics.median(times)


if __name__ == "__main__":
    for name, value in measure(tyro.cli(PredictionBenchmark, description=__doc__)).items():
        print(f"{name}: {value}")
