"""Speed, time to the first mask and memory of predict.py, next to the network alone and the Kaggle author's script.

Usage:

    python benchmarks/prediction.py FOLDER          PNGs of 512 x 512 pixels, as on Kaggle

The machine must be idle. predict.py runs as users run it, on links to the images in FOLDER under new names. A first
run fills the disk cache and does not count. Since the speed of a machine drifts by a few percent within minutes, the
network alone and predict.py are measured in alternating rounds. The round with the median ratio of the two speeds
counts. As in the author's test script, author_loop reads, scales, predicts and writes one image after another, with
the author's network. Results are written to benchmarks/results/prediction.json.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro
from running import ROOT, provenance
from timing import link_images, peak_gib, times_of

from unet.files import write_json
from unet.images.folders import find_files


@dataclass(frozen=True)
class PredictionBenchmark:
    """Which images to predict, and how many."""

    folder: tyro.conf.Positional[Path]
    """Folder of images."""
    run: Path | None = None
    """Run to predict with. Default: the pretrained network."""
    few: int = 100
    """Number of files in the small folder."""
    many: int = 5000
    """Number of files in the large folder. The difference gives the speed without the start."""
    rounds: int = 5
    """Number of rounds."""
    author: int = 40
    """Number of files for author_loop."""
    output: Path = ROOT / "benchmarks" / "results" / "prediction.json"
    """File for the figures."""


def measure(options: PredictionBenchmark) -> dict:
    """Measure and write all figures: predict.py in its own process, the rest in this one."""
    images = find_files(options.folder)
    author = author_loop(images[: options.author])
    speed_alone = network_alone(images, options.run)
    rounds = []
    # Removed only at the end: some disks are slow to create files soon after many were deleted.
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
    shares = [each["share_of_network_alone"] for each in rounds]
    median = sorted(rounds, key=lambda each: each["share_of_network_alone"])[len(rounds) // 2]

    results = {
        **provenance(),
        **median,
        "shares": shares,
        "author_loop_slices_per_second": author,
        "times_the_author_loop": median["slices_per_second"] / author,
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
    # wait4 reports the peak memory of this child only.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"predict.py failed on {count} files in '{folder}': see its output above.")
    return {"files": count, "seconds": seconds, "first_mask_seconds": first, "peak_memory_gib": peak_gib(usage)}


def network_alone(images: list[Path], run: Path | None) -> Callable[[], float]:
    """A function that measures the slices per second of the network, with mirror averaging, on a prepared batch."""
    import tensorflow as tf

    from unet.images.preprocessing import to_network_input, to_training_image
    from unet.images.reading import read_image
    from unet.network.predictor import Predictor
    from unet.network.saved_run import SavedRun

    predictor = Predictor(SavedRun.open(run))
    squares = [to_training_image(read_image(path), predictor.size) for path in images[: predictor.batch_size]]
    inputs = tf.constant(to_network_input(np.stack(squares)))

    def speed() -> float:
        times = times_of(lambda: predictor.network(inputs)["outline"].numpy(), repetitions=100)
        return len(squares) / statistics.median(times)

    return speed


def author_loop(images: list[Path]) -> float:
    """Slices per second of the test script of the Kaggle data set's author."""
    from speed_keras import plain_unet

    model = plain_unet()
    times = []
    with tempfile.TemporaryDirectory() as folder:
        for path in images:
            start = time.perf_counter()
            image = cv2.resize(cv2.imread(str(path)), (256, 256))
            # One channel, a little faster than the author's three.
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
