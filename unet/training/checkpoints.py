"""Checkpoints: the whole state of a training, written so that a kill at any time leaves a readable one."""

import hashlib
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np

from unet.errors import UserError
from unet.files import write_whole
from unet.network.run_config import CONFIG
from unet.network.saved_run import CHECKPOINTS, SavedRun

KEPT = 2
EPOCHS = "options.epochs"  # the only setting that may change: see change_epochs


def save_checkpoint(
    run: SavedRun, number: int, arrays: list[np.ndarray], progress: dict, pattern: str = CHECKPOINTS
) -> None:
    """Save a state in the file with this number: variables in order, and the progress as JSON. `pattern` is that of the
    files of one part of a training."""
    content = io.BytesIO()
    state = {"settings": decisive_settings(run), "progress": progress}
    variables = {f"variable_{index}": array for index, array in enumerate(arrays)}
    np.savez(content, state=json.dumps(state), **variables)
    write_whole(run.folder / pattern.replace("*", f"{number:09d}"), content.getvalue())
    for path in checkpoints(run, pattern)[:-KEPT]:
        path.unlink()


def load_checkpoint(run: SavedRun, pattern: str = CHECKPOINTS) -> tuple[list[np.ndarray], dict] | None:
    """Variables and progress of the newest readable checkpoint; None if there are none. Damaged ones are renamed.
    UserError if all of the first part are damaged, one cannot be read, or the run's settings have changed."""
    for path in reversed(checkpoints(run, pattern)):
        try:
            with np.load(path, allow_pickle=False) as content:
                arrays = [content[f"variable_{index}"] for index in range(len(content.files) - 1)]
                state = json.loads(str(content["state"]))
        except OSError as error:
            raise UserError(f"Cannot read '{path}': {error.strerror or error}.") from error
        except MemoryError:
            raise
        except Exception as error:  # zipfile, zlib and numpy raise many types for damaged files
            os.replace(path, f"{path}.damaged")
            print(f"'{path}' is damaged ({error}): renamed to '{path.name}.damaged'.")
            continue
        saved = {name: value for name, value in state["settings"].items() if name != EPOCHS}
        if different := first_difference(saved, decisive_settings(run)):
            raise UserError(
                f"'{run.folder}' differs in {different} from '{path.name}': restore its "
                "config.json and slices.csv, or start a new run."
            )
        return arrays, state["progress"]
    if pattern == CHECKPOINTS and any(run.folder.glob(f"{CHECKPOINTS}.damaged")):
        raise UserError(
            f"'{run.folder}' has no readable checkpoint: start a new run. The best network so far is still there."
        )
    return None


def checkpoints(run: SavedRun, pattern: str = CHECKPOINTS) -> list[Path]:
    """Checkpoint files from the oldest to the newest."""
    return sorted(run.folder.glob(pattern))


def decisive_settings(run: SavedRun) -> dict[str, object]:
    """Everything that must not change during a training, by name."""
    options = CONFIG.dump_python(run.config, mode="json")["options"]
    slices = json.dumps(run.slices.rows()).encode()
    return {
        "precision": run.config.precision,
        "initial_network": run.config.initial_network,
        "teacher": run.config.teacher,
        "slices": hashlib.sha256(slices).hexdigest()[:16],
        **flatten(options, "options"),
    }


def settings_of_all_workers(run: SavedRun) -> dict[str, object]:
    """The decisive settings that must be the same for all workers. Their paths and machines may differ."""
    own = ("options.data.", "options.machine.", "options.name", "options.resume", "options.init", "options.teacher")
    return {name: value for name, value in decisive_settings(run).items() if not name.startswith(own)}


def first_difference(settings: dict[str, object], others: dict[str, object]) -> str:
    """The first of these settings that has another value, or none, in others; "" if all are the same."""
    return next((name for name, value in settings.items() if others.get(name) != value), "")


def flatten(tree: dict, name: str) -> dict[str, object]:
    """Leaves of nested dicts by their dotted names."""
    leaves = {}
    for key, value in tree.items():
        path = f"{name}.{key}"
        leaves |= flatten(value, path) if isinstance(value, dict) else {path: value}
    return leaves


def check_disk(run: SavedRun, arrays: list[np.ndarray]) -> None:
    """UserError if the checkpoints that are kept, and the one being written, do not fit on the disk."""
    needed = (KEPT + 1) * sum(array.nbytes for array in arrays)
    needed -= sum(path.stat().st_size for path in checkpoints(run))
    free = shutil.disk_usage(run.folder).free
    if free < needed:
        raise UserError(
            f"The disk of '{run.folder}' has {free / 2**30:.2f} GiB free, but the checkpoints need "
            f"{needed / 2**30:.2f} GiB more: free some space or train on another disk."
        )
