"""What the benchmarks share: timing of steps, peak memory, slices per epoch, and folders of many images."""

import csv
import itertools
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# The first call traces or compiles; the second fills the caches of the convolution library.
WARM_UP_STEPS = 2


@dataclass(frozen=True)
class Job:
    """One network in one setting, measured in its own process."""

    network: str
    precision: str  # float32 or bfloat16
    mode: str  # how the framework runs it; see speed.py
    batch: int
    size: int  # side of a slice in pixels
    repetitions: int
    seconds: float

    @classmethod
    def from_command_line(cls) -> "Job":
        """The job that speed.py passes to a worker as JSON."""
        return cls(**json.loads(sys.argv[1]))

    def time(self, step: Callable[[], object]) -> list[float]:
        """Seconds of each step after the warm-up, as many as this job needs."""
        return times_of(step, self.repetitions, self.seconds)

    def speed(self, step: Callable[[], object]) -> dict[str, float]:
        """Slices per second of a step on one batch, and the peak memory of the process so far."""
        times = self.time(step)
        return {
            "slices_per_second": self.batch / statistics.median(times),
            "slowest": self.batch / max(times),
            "fastest": self.batch / min(times),
            "repetitions": len(times),
            "peak_memory_gib": peak_gib(resource.getrusage(resource.RUSAGE_SELF)),
        }


def times_of(step: Callable[[], object], repetitions: int, seconds: float = 0.0) -> list[float]:
    """Seconds of each step after the warm-up: at least `repetitions` steps, and at least `seconds` in total."""
    for _ in range(WARM_UP_STEPS):
        step()
    times = []
    while len(times) < repetitions or sum(times) < seconds:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def slices_per_epoch(run: Path) -> int:
    """Slices that the U-Net of a run is trained on in an epoch, according to its timing.csv."""
    with open(run / "timing.csv", newline="") as file:
        return int(next(csv.DictReader(file))["slices"])


def link_images(images: list[Path], count: int, folder: Path) -> Path:
    """Fill a new folder with `count` links to these images, repeated under new names; returns the folder."""
    folder.mkdir()
    for number, image in enumerate(itertools.islice(itertools.cycle(images), count)):
        os.symlink(image.resolve(), folder / f"{number:06d}{image.suffix}")
    return folder


def peak_gib(usage: resource.struct_rusage) -> float:
    """Peak memory of a process in GiB."""
    # macOS counts bytes, Linux KiB.
    return usage.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def print_figures(figures: dict) -> None:
    """Print one line of JSON for speed.py or accuracy.py. speed.py uses the last line of a worker."""
    print(json.dumps(figures), flush=True)
