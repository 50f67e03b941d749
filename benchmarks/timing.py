"""What the benchmarks share: a job and how its steps are timed, memory, slices of an epoch, many images."""

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
    """One network in one setting, measured in a process of its own."""

    network: str
    precision: str  # float32 or bfloat16
    mode: str  # how the framework runs it: see speed.py
    batch: int
    size: int  # pixels a side
    repetitions: int
    seconds: float

    @classmethod
    def from_command_line(cls) -> "Job":
        return cls(**json.loads(sys.argv[1]))

    def time(self, step: Callable[[], object]) -> list[float]:
        """Seconds of each `step` after warm-up: `repetitions` of them, more until `seconds` are over."""
        return times_of(step, self.repetitions, self.seconds)

    def speed(self, step: Callable[[], object]) -> dict[str, float]:
        """Slices per second of `step`, which takes a batch; peak memory of the process until now."""
        times = self.time(step)
        return {
            "slices_per_second": self.batch / statistics.median(times),
            "slowest": self.batch / max(times),
            "fastest": self.batch / min(times),
            "repetitions": len(times),
            "peak_memory_gib": peak_gib(resource.getrusage(resource.RUSAGE_SELF)),
        }


def times_of(step: Callable[[], object], repetitions: int, seconds: float = 0.0) -> list[float]:
    """Seconds of each `step` after warm-up: `repetitions` of them, more until `seconds` are over."""
    for _ in range(WARM_UP_STEPS):
        step()
    times = []
    while len(times) < repetitions or sum(times) < seconds:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return times


def slices_an_epoch(config: dict) -> int:
    """Slices that a run trains on in an epoch: whole batches; `config` is its config.json."""
    train = len(config["split"]["train"])
    batch = min(config["options"]["batch_size"], train)
    return train // batch * batch


def link_images(images: list[Path], count: int, folder: Path) -> Path:
    """A new folder of `count` links to the images, which repeat under new names."""
    folder.mkdir()
    for number, image in enumerate(itertools.islice(itertools.cycle(images), count)):
        os.symlink(image.resolve(), folder / f"{number:06d}{image.suffix}")
    return folder


def peak_gib(usage: resource.struct_rusage) -> float:
    """Peak memory of a process in GiB."""
    # macOS counts bytes, Linux KiB.
    return usage.ru_maxrss / (2**30 if sys.platform == "darwin" else 2**20)


def tell(figures: dict) -> None:
    """One line of JSON for speed.py; of several, with what later failed, the last counts."""
    print(json.dumps(figures), flush=True)
