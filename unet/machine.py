"""This machine: what to use of it, its fastest number format, its free memory, and its description for reports."""

import contextlib
import os
import platform
import re
import timeit
from collections.abc import Callable
from pathlib import Path

import cv2
import keras
import numpy as np
import psutil
import tensorflow as tf

from unet.command_line import validated
from unet.errors import UserError

# Linux files with a container's memory limit (control groups, versions 2 and 1).
MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
VECTORS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")  # CPU flags, the widest vectors first


def configure_machine(options):
    """Check the options of a script, make TensorFlow use the threads and device that they name, and return the options.
    UserError if an option is invalid or there is no such device; RuntimeError if TensorFlow already uses others."""
    options = validated(options)
    threads, device = options.machine.threads, options.machine.device
    devices = {"cpu": []} | {f"gpu:{index}": [gpu] for index, gpu in enumerate(tf.config.list_physical_devices("GPU"))}
    if device not in (None, *devices):
        raise UserError(f"--device {device} is not one of this machine's devices: {', '.join(devices)}.")
    if device:
        tf.config.set_visible_devices(devices[device], "GPU")
    if threads:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    return options


def thread_count() -> int:
    """Threads that read and write images."""
    return tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count() or 1


def choose_precision(wanted: str) -> str:
    """The wanted number format. "auto" becomes mixed_bfloat16 if it speeds up a convolution, else float32."""
    if wanted != "auto":
        return wanted
    convolutions = [_convolution(dtype) for dtype in (tf.float32, tf.bfloat16)]
    # Rounds alternate between the formats, so that a brief load on the machine does not decide.
    # The first round builds the graphs.
    rounds = [[timeit.timeit(convolve, number=1) for convolve in convolutions] for _ in range(6)]
    float32, bfloat16 = (min(times) for times in zip(*rounds[1:], strict=True))
    # Timed, because some CPUs with a bfloat16 flag run it at half speed. The margin pays for the conversions
    # between layers and keeps the choice stable on one machine.
    return "mixed_bfloat16" if float32 > 1.2 * bfloat16 else "float32"


def _convolution(dtype: tf.DType) -> Callable[[], np.ndarray]:
    """A function that does a 3 x 3 convolution of 64 channels on eight 64 x 64 maps, in this number format."""
    images, kernel = tf.zeros((8, 64, 64, 64), dtype), tf.zeros((3, 3, 64, 64), dtype)
    convolve = tf.function(lambda: tf.reduce_sum(tf.nn.conv2d(images, kernel, 1, "SAME")), autograph=False)
    return lambda: convolve().numpy()


def use_precision(precision: str) -> None:
    """Make layers that are built later compute in this number format. Their weights stay float32."""
    keras.config.set_dtype_policy(precision)


def used_memory(group: Path) -> int:
    """Bytes that all processes of a container use, without files that the system may drop. OSError if unknown."""
    used = group / "memory.current"
    used = used if used.exists() else group / "memory.usage_in_bytes"
    statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int(used.read_text()) - int(statistics.get("total_inactive_file", statistics.get("inactive_file", 0)))


def free_memory() -> int:
    """Bytes that this process can still allocate before the system kills it."""
    free = psutil.virtual_memory().available + psutil.swap_memory().free
    for path in MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # no such file, or "max"
            free = min(free, int(Path(path).read_text()) - used_memory(Path(path).parent))
    return free


def installed_versions() -> dict[str, str]:
    """Versions of Python and the numeric packages. With others, results may differ in the last digits."""
    packages = {package.__name__: package.__version__ for package in (tf, keras, np, cv2)}
    return {"python": platform.python_version()} | packages


def machine_description() -> str:
    """Processor, number of cores and operating system, for reports."""
    processor = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # only on Linux
        cpuinfo = Path("/proc/cpuinfo").read_text()
        models = re.findall(r"model name\s*: (.*)", cpuinfo)
        processor = models[0] if models else processor
        # Cloud providers hide the model, and the width of its vectors affects speed most.
        widest = [name for name in VECTORS if re.search(rf"\b{name}\b", cpuinfo)]
        processor += f" with {widest[0].upper().replace('_', '-')}" if widest else ""
    return f"{processor}, {os.cpu_count()} cores, {platform.system()}"


def part_in_use() -> dict[str, str]:
    """Threads and device that TensorFlow uses, in the words of MachineOptions."""
    threads = tf.config.threading.get_intra_op_parallelism_threads()
    gpus = [gpu.name.removeprefix("/physical_device:").lower() for gpu in tf.config.get_visible_devices("GPU")]
    return {"threads": str(threads or "default"), "device": ", ".join(gpus) or "cpu"}


def machine_facts() -> dict[str, object]:
    """What results record about this machine."""
    return {"machine": machine_description(), **part_in_use(), "versions": installed_versions()}


def environment() -> dict[str, str]:
    """Cores, threads, device and the switches of TensorFlow's math. With others, sums are taken in another order."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count())
    switches = ("TF_ENABLE_ONEDNN_OPTS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    return {"cores": str(len(cores))} | part_in_use() | {name: os.environ.get(name, "default") for name in switches}
