"""The machine's part: which number format the network computes in here, and the memory that is free."""

import contextlib
import time
from pathlib import Path

import keras
import psutil
import tensorflow as tf

# Where Linux tells what a container may use (control groups, version 2 and 1).
MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def choose_precision(wanted: str) -> str:
    """Resolve "auto" to float32 or mixed_bfloat16, whichever runs this project's kind of layer faster."""
    if wanted != "auto":
        return wanted
    seconds = {dtype: _convolution_seconds(dtype) for dtype in (tf.float32, tf.bfloat16)}
    # CPUs that list bfloat16 may still run it at half speed, so flags cannot tell. The margin
    # pays for the conversions between layers and keeps the choice stable on one machine.
    faster = seconds[tf.float32] > 1.2 * seconds[tf.bfloat16]
    return "mixed_bfloat16" if faster else "float32"


def _convolution_seconds(dtype: tf.DType) -> float:
    """Median time of a 3 x 3 convolution of 64 channels on eight 64 x 64 maps."""
    images = tf.zeros((8, 64, 64, 64), dtype)
    kernel = tf.zeros((3, 3, 64, 64), dtype)
    convolve = tf.function(lambda: tf.reduce_sum(tf.nn.conv2d(images, kernel, 1, "SAME")))
    convolve().numpy()
    times = []
    for _ in range(9):
        start = time.perf_counter()
        convolve().numpy()
        times.append(time.perf_counter() - start)
    return sorted(times)[4]


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
