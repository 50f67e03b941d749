"""predict.py on a Ray cluster: the same Predictor in each of a pool of actors, the same results.

Needs Ray: requirements-ray.txt. Ray starts an actor that was lost again and repeats what it was at.
The actors send masks and pictures back, so they need to see the inputs but not the output folder.
"""

import importlib.util
import logging
import os
import pickle
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

import unet
from unet.command_line import import_tensorflow_quietly, start_up_messages_hidden
from unet.errors import UserError
from unet.network.saved_run import SavedRun
from unet.options import PredictionOptions
from unet.prediction.inputs import Input
from unet.prediction.outlines import Outlined, outline_inputs

# Large, in a run's folder.
NOT_NEEDED = ["checkpoint-*", "evaluation-*", "tensorboard", "film.npz"]
# Of images that an actor takes at once, at most: what is lost with it is repeated. Volumes come alone.
BATCHES_AT_ONCE = 8
SECONDS_TO_CONNECT = 5
ENVIRONMENT = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # Ray is loud: only what ends it is told
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # 15 by itself: it would get nothing beside other work
}


def outline_on_ray(run: SavedRun, options: PredictionOptions) -> Callable[[list[Input]], Iterator[Outlined]]:
    """What outlines inputs, in order, on the cluster at options.ray; UserError where there is none."""
    if not importlib.util.find_spec("ray"):
        raise UserError("--ray needs Ray: pip install -r requirements-ray.txt.")
    address = "".join(options.ray)
    try:
        host = re.fullmatch(r"(?:ray://)?(.+):([0-9]+)", address)
        if host:  # Ray itself would try for many minutes
            socket.create_connection(host.groups(), timeout=SECONDS_TO_CONNECT).close()
        os.environ |= ENVIRONMENT
        if token_is_there():
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        with start_up_messages_hidden():
            connect(run, address)
    except (OSError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        given = " ".join(["--ray", *options.ray])
        raise UserError(f"No Ray cluster at {given}: {reason}.") from error
    return lambda inputs: stream(inputs, options)


def token_is_there() -> bool:
    """Whether Ray has a token: by itself it shows one only to a cluster that it finds, not to one named."""
    given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    return bool(given) or (Path.home() / ".ray" / "auth_token").exists()


def connect(run: SavedRun, address: str) -> None:
    """Join a cluster, or make one of this machine, and send it the packages and the run.

    Without an address that of RAY_ADDRESS, or the one that was started here; where there is none it is made.
    """
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(
        address or None,
        # The cluster's machines need the packages, but neither this program nor the run.
        runtime_env={
            "py_modules": [str(Path(unet.__file__).parent)],
            "working_dir": str(run.folder),
            "excludes": NOT_NEEDED,
        },
        log_to_driver=False,
        logging_level="ERROR",
    )


def stream(inputs: list[Input], options: PredictionOptions) -> Iterator[Outlined]:
    """Outlines of all inputs, in order, by an actor on each GPU, or on each core where there are none."""
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
        # Pickled: names of files may hold what is no text.
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
        yield from pickle.loads(row["outlined"])


def chunks_of(inputs: list[Input], batch_size: int, actors: int) -> Iterator[list[Input]]:
    """What an actor takes at once: whole batches of images, so that each gets some, or a volume."""
    images = [input for input in inputs if not input.is_volume]
    batches = -(-len(images) // (2 * actors * batch_size))
    at_once = batch_size * min(max(batches, 1), BATCHES_AT_ONCE)
    for start in range(0, len(images), at_once):
        yield images[start : start + at_once]
    for volume in inputs[len(images) :]:
        yield [volume]


class Actor:
    """A Predictor in a process of Ray's."""

    def __init__(self, options: PredictionOptions):
        import_tensorflow_quietly()
        import tensorflow as tf

        from unet.network.predictor import Predictor

        if not tf.config.list_physical_devices("GPU"):
            # The core that it has: actors beside each other would fight for all of them.
            tf.config.threading.set_intra_op_parallelism_threads(1)
        self.options = options
        # Ray starts it in a copy of the run's folder.
        self.predictor = Predictor(SavedRun.open(Path.cwd()), options.batch_size, options.mirror)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, list[bytes]]:
        """A pickled list of inputs -> a pickled list of their outlines."""
        (chunk,) = batch["inputs"]
        inputs = pickle.loads(chunk)
        outlined = outline_inputs(self.predictor, inputs, self.options)
        return {"outlined": [pickle.dumps(list(outlined))]}
