"""The machine's part: which number format the network computes in here, and the memory that is free."""

import contextlib
import os
import platform
import re
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import keras
import numpy as np
import psutil
import tensorflow as tf

# Where Linux tells what a container may use (control groups, version 2 and 1).
MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def choose_precision(wanted: str) -> str:
    """Resolve "auto" to float32 or mixed_bfloat16, whichever runs this project's kind of layer faster."""
    if wanted != "auto":
        return wanted
    float32, bfloat16 = _convolution_seconds(tf.float32, tf.bfloat16)
    # CPUs that list bfloat16 may still run it at half speed, so flags cannot tell. The margin
    # pays for the conversions between layers and keeps the choice stable on one machine.
    return "mixed_bfloat16" if float32 > 1.2 * bfloat16 else "float32"


def _convolution_seconds(*dtypes: tf.DType) -> list[float]:
    """Least time of a 3 x 3 convolution of 64 channels on eight 64 x 64 maps, in each number format."""

    def convolution(dtype: tf.DType) -> Callable[[], tf.Tensor]:
        images = tf.zeros((8, 64, 64, 64), dtype)
        kernel = tf.zeros((3, 3, 64, 64), dtype)
        return tf.function(lambda: tf.reduce_sum(tf.nn.conv2d(images, kernel, 1, "SAME")))

    def seconds(convolve: Callable[[], tf.Tensor]) -> float:
        start = time.perf_counter()
        convolve().numpy()
        return time.perf_counter() - start

    convolutions = [convolution(dtype) for dtype in dtypes]
    # In turns, and the least of each: what else the machine does for a moment must not decide.
    # The first turn builds the graphs.
    turns = [[seconds(convolve) for convolve in convolutions] for _ in range(10)]
    return [min(times) for times in zip(*turns[1:], strict=True)]


def use_precision(precision: str) -> None:
    """Layers built from now on compute in this format; their weights stay float32."""
    keras.config.set_dtype_policy(precision)


def free_memory() -> int:
    """Bytes that this process can still take without the system killing it."""
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    for path in MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # not there, or "max"
            free = min(free, int(Path(path).read_text()) - psutil.Process().memory_info().rss)
    return free


VECTORS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")


def installed_versions() -> dict[str, str]:
    """Python's and the numeric packages' versions: with others, results may differ in the last digits."""
    packages = {package.__name__: package.__version__ for package in (tf, keras, np, cv2)}
    return {"python": platform.python_version()} | packages


def machine_description() -> str:
    """Processor, cores and system, for reports."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # only Linux has it
        told = Path("/proc/cpuinfo").read_text()
        models = re.findall(r"model name\s*: (.*)", told)
        processor = models[0] if models else processor
        # Clouds hide the model; how wide its vectors are decides speed most.
        widest = [name for name in VECTORS if re.search(rf"\b{name}\b", told)]
        processor += f" with {widest[0].upper().replace('_', '-')}" if widest else ""
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}"


def environment() -> dict[str, str]:
    """Number of threads and oneDNN's switch: with others, sums are taken in another order."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    switches = ("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return {"cores": str(len(cores))} | {name: os.environ.get(name, "default") for name in switches}
