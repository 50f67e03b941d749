"""predict.py on a Ray cluster: a pool of actors, each with the same Predictor, gives the same results.

If an actor is lost, Ray starts it again and repeats its work. The actors send masks and pictures back, so they need
access to the inputs but not to the output folder.
"""

import contextlib
import importlib.util
import io
import logging
import os
import pickle
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import unet
from unet.command_line import import_tensorflow_quietly, start_up_messages_hidden
from unet.errors import UserError, one_line, warn_once
from unet.network.saved_run import SavedRun
from unet.options import MachineOptions, PredictionOptions
from unet.prediction.inputs import Input
from unet.prediction.outlines import open_run, outline_inputs
from unet.prediction.rows import Outlined

NEEDED = {"config.json", "slices.csv", "model.keras", "confidence.json"}  # of a run, for a prediction
BATCHES_AT_ONCE = 8  # of images, at most, for an actor: if it is lost, all of them are repeated
ENVIRONMENT = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # Ray prints a lot: show only what ends it
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # with Ray's default of 15, other programs would get nearly all of the CPU
}


def outline_on_ray(run: SavedRun, options: PredictionOptions) -> Callable[[list[Input]], Iterator[Outlined]]:
    """A function that outlines inputs, in order, on the cluster at options.ray; UserError if it cannot connect."""
    if not importlib.util.find_spec("ray"):
        raise UserError('--ray needs Ray: pip install ".[ray]".')
    if options.machine != MachineOptions():
        raise UserError("--threads and --device do not apply to --ray, which gives each actor one core or one GPU.")
    address = "".join(options.ray)
    try:
        host = re.fullmatch(r"(?:ray://)?(.+):([0-9]+)", address)
        if host:  # Ray would keep trying for many minutes
            socket.create_connection(host.groups(), timeout=5).close()
        os.environ |= ENVIRONMENT
        # By default, Ray sends its token only to a cluster that it finds by itself.
        is_given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
        if is_given or (Path.home() / ".ray" / "auth_token").exists():
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        with start_up_messages_hidden():
            connect(run, address)
    except (OSError, ValueError, RuntimeError) as error:
        given = " ".join(["--ray", *options.ray])
        raise UserError(
            f"No Ray cluster at {given}: {one_line(error)}. Check the address, or start a cluster."
        ) from error
    return lambda inputs: stream(inputs, options)


def connect(run: SavedRun, address: str) -> None:
    """Connect to a cluster, or start one on this machine, and send it this package and the run. An empty address
    means the one in RAY_ADDRESS, or the cluster running on this machine, or else a new one."""
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        for index, member in enumerate(run.runs):
            copy = Path(folder, f"{index:03d}")
            shutil.copytree(member.folder, copy, ignore=lambda _, names: set(names) - NEEDED)
        ray.init(
            address or None,
            # Sent to the cluster's machines. All other packages must be installed there.
            runtime_env={"py_modules": [str(Path(unet.__file__).parent)], "working_dir": folder},
            log_to_driver=False,
            logging_level="ERROR",
        )


def stream(inputs: list[Input], options: PredictionOptions) -> Iterator[Outlined]:
    """Outlines of all inputs, in order, computed by one actor per GPU, or per core if there are no GPUs."""
    import ray

    if not inputs:
        return
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    resources = ray.cluster_resources()
    gpus, cores = int(resources.get("GPU", 0)), max(1, int(resources["CPU"]))
    chunks = list(chunks_of(inputs, options.batch_size, gpus or cores))
    outlined = ray.data.from_items(
        # Pickled: file names may contain bytes that are not valid text.
        [{"inputs": pickle.dumps(chunk)} for chunk in chunks],
        override_num_blocks=len(chunks),
    ).map_batches(
        Actor,
        batch_size=1,
        fn_constructor_args=(options,),
        compute=ray.data.ActorPoolStrategy(size=min(len(chunks), gpus or cores)),
        **({"num_gpus": 1} if gpus else {"num_cpus": 1}),
    )
    for row in outlined.iter_rows():
        for warning in row["warnings"].splitlines():
            warn_once(warning)
        yield from pickle.loads(row["outlined"])


def chunks_of(inputs: list[Input], batch_size: int, actors: int) -> Iterator[list[Input]]:
    """The inputs that an actor takes at once: whole batches of images, few enough for all actors, or one volume."""
    images = [input for input in inputs if not input.is_volume]
    batches = -(-len(images) // (2 * actors * batch_size))
    at_once = batch_size * min(max(batches, 1), BATCHES_AT_ONCE)
    for start in range(0, len(images), at_once):
        yield images[start : start + at_once]
    for volume in inputs[len(images) :]:
        yield [volume]


class Actor:
    """A Predictor in one of Ray's processes."""

    def __init__(self, options: PredictionOptions):
        import_tensorflow_quietly()
        import tensorflow as tf

        from unet.network.predictor import Predictor

        if not tf.config.list_physical_devices("GPU"):
            # One core per actor: otherwise each actor would start threads for all cores.
            tf.config.threading.set_intra_op_parallelism_threads(1)
        self.options = options
        # Ray starts the actor in a folder with copies of the runs.
        run = open_run(sorted(Path.cwd().glob("[0-9]*")), options)
        self.predictor = Predictor(run, options.batch_size, options.mirror, always_outline=options.always_outline)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list]:
        """Outline a pickled list of inputs; returns a pickled list of their outlines, and the printed warnings."""
        with contextlib.redirect_stderr(io.StringIO()) as warnings:
            outlined = outline_inputs(self.predictor, pickle.loads(batch["inputs"][0]), self.options)
            # Without arrays, which would be slow to send.
            outlined = [Outlined(one.row, one.files) for one in outlined]
        return {"outlined": [pickle.dumps(outlined)], "warnings": [warnings.getvalue()]}
