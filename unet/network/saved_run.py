"""The run folder: everything that evaluation and prediction need from a training.

config.json         options, preprocessing, threshold and peak, versions
slices.csv          one row per slice: what it was used for, its fingerprint and its patient
model.keras         the network of the best epoch: averaged weights, with batch normalization
confidence.json     how to estimate the quality of an outline, and what training images look like
history.csv         scores with one row per epoch; next to it timing.csv, and presence_history.csv of the presence head
metrics.json        the final scores
film.npz            how a few slices were outlined after some of the epochs
checkpoint-N.npz    the whole state after N steps, for --resume; presence-N.npz after N epochs of the presence head
"""

import contextlib
import hashlib
import sys
import tempfile
from dataclasses import fields, replace
from itertools import zip_longest
from pathlib import Path

import keras
from pydantic import TypeAdapter

from unet.errors import UserError
from unet.files import TEMPORARY, read_json, write_json, write_whole
from unet.machine import choose_precision, environment, installed_versions, machine_description, use_precision
from unet.network.confidence import ConfidenceModel
from unet.network.model import build_unet
from unet.network.normalization import count_with_normalization, fold_normalization
from unet.network.run_config import CONFIG, PRETRAINED, RunConfig, SliceTable, read_config, read_slice_table, run_folder
from unet.network.weights import damage_reported, load_weights, read_weights
from unet.options import ReadingOptions
from unet.tables import write_table

CHECKPOINTS, PRESENCE_CHECKPOINTS = "checkpoint-*.npz", "presence-*.npz"
CONFIDENCE = TypeAdapter(ConfidenceModel)
UNKNOWN_ORIGIN = (
    "the run of --init '{}' is gone or has changed, so nobody knows whether it was trained on these patients."
)


class SavedRun:
    """A run folder and the content of its config.json and slices.csv."""

    def __init__(self, folder: Path, config: RunConfig, slices: SliceTable):
        self.folder = folder
        self.config = config
        self.slices = slices
        self.runs = [self]  # those of an ensemble are several

    @staticmethod
    def check_free(folder: Path) -> None:
        """UserError if a folder contains a trained network or a checkpoint."""
        if any(folder.glob(CHECKPOINTS)) or (folder / "model.keras").exists():
            raise UserError(f"'{folder}' already contains a run: choose another --name, or --resume it.")

    @classmethod
    def open(cls, folder: Path | str | None = None) -> "SavedRun":
        """Open a run folder, or the pretrained run.

        UserError if the folder does not contain a run, or one in another format.
        """
        folder = run_folder(folder or PRETRAINED)
        config = read_config(folder)
        return cls(folder, config, read_slice_table(folder, config.slice_count))

    def origin(self) -> "SavedRun | None":
        """The run of --init, with the weights that this one started from; None without --init, or if that run was
        deleted, or has other weights since."""
        with contextlib.suppress(UserError):
            origin = self.parent()
            return origin if origin and self.started_from(origin) else None

    def started_from(self, other: "SavedRun") -> bool:
        """Whether this run started from the weights that another one has now; not if that has none."""
        with contextlib.suppress(UserError):
            return other.network_fingerprint() == self.config.initial_network
        return False

    def parent(self) -> "SavedRun | None":
        """The run of --init, whatever its weights are now; None without --init. UserError if it is gone."""
        return SavedRun.open(run_folder(self.config.options.init)) if self.config.options.init else None

    @property
    def lineage(self) -> "list[SavedRun]":
        """The run, the run of its --init, the run of that one's --init, and so on, as far as they are still there."""
        found, folders = [self], {self.folder.resolve()}
        with contextlib.suppress(UserError):
            while (parent := found[-1].parent()) and parent.folder.resolve() not in folders:
                found.append(parent)
                folders.add(parent.folder.resolve())
        return found

    @property
    def lost_origin(self) -> str | None:
        """The run of an --init in the lineage that is gone, or has other weights now, by the name that was given; None
        if all are there."""
        lineage = self.lineage
        for run, parent in zip_longest(lineage, lineage[1:]):
            if run.config.options.init and not (parent and run.started_from(parent)):
                return run.config.options.init
        return None

    def reading_with(self, given: ReadingOptions, kind: type | None = None) -> ReadingOptions:
        """Given options, in which defaults are replaced by what the training had; with a kind, only the options of
        that class."""
        trained, defaults = self.config.options.data.reading, type(given)()
        names = [option.name for option in fields(kind or defaults)]
        unchanged = [name for name in names if getattr(given, name) == getattr(defaults, name)]
        return replace(given, **{name: getattr(trained, name) for name in unchanged})

    def create(self) -> None:
        """Write config.json and slices.csv of a new run; UserError if the folder already contains one."""
        self.check_free(self.folder)
        write_table(self.folder / "slices.csv", self.slices.rows())
        self.write_config()

    def write_config(self) -> None:
        write_whole(self.folder / "config.json", CONFIG.dump_json(self.config, indent=1))

    def update_config(self, **changes: object) -> None:
        """Change fields of config.json, and write it if that makes a difference."""
        config = replace(self.config, **changes)
        if config != self.config:
            self.config = config
            self.write_config()

    def warn_if_unfinished(self) -> None:
        """Print a warning if the training, or one of an ensemble, has not finished: the thresholds are chosen at its
        end."""
        for run in self.runs:
            if not (run.folder / "metrics.json").exists():
                print(
                    f"Warning: the training of '{run.folder}' has not finished, so its thresholds are not chosen yet: "
                    "continue it with train.py --resume.",
                    file=sys.stderr,
                )

    def print_changes(self) -> None:
        """Print what has changed since the run was started and may change the last digits of its results."""
        now = {"machine": machine_description()} | installed_versions() | environment()
        then = {"machine": self.config.machine} | self.config.versions | self.config.environment
        for name, value in then.items():
            if now.get(name) != value:
                print(
                    f"'{self.folder}' was started with {name} {value}, but now it is {now.get(name)}: the last "
                    "digits of the results may differ."
                )

    def save_confidence_model(self, model: ConfidenceModel) -> None:
        write_whole(self.folder / "confidence.json", CONFIDENCE.dump_json(model))

    def confidence_model(self) -> ConfidenceModel | None:
        """Content of confidence.json; None if the training has not finished."""
        path = self.folder / "confidence.json"
        return read_json(path, CONFIDENCE) if path.exists() else None

    def save_network(self, network: keras.Model) -> None:
        """Write model.keras, whole or not at all; UserError if the disk is full."""
        try:
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=TEMPORARY) as folder:
                path = Path(folder) / "model.keras"
                network.save(path)
                content = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"Cannot write '{self.folder}/model.keras': {error.strerror or error}. The old file is unchanged."
            ) from error
        write_whole(self.folder / "model.keras", content)

    def load_trainable_network(self) -> keras.Model:
        """The saved network with batch normalization, to train it further, in the current dtype policy."""
        network = build_unet(self.config.options.model)
        load_weights(network, self._network_file())
        return network

    def load_network(self, precision: str | None = None) -> keras.Model:
        """The saved network for prediction, with normalization folded into its convolutions.

        A precision of None takes that of the training options, where "auto" is decided on this machine. UserError if
        model.keras is missing, damaged, or does not fit config.json.
        """
        path = self._network_file()
        use_precision(precision or choose_precision(self.config.options.precision))
        folded = build_unet(self.config.options.model, normalization=None)
        weights = read_weights(path, count_with_normalization(folded))
        with damage_reported(path):
            fold_normalization(weights, folded)
        return folded

    def network_fingerprint(self) -> str:
        """Hash of model.keras and confidence.json, to tell networks apart."""
        files = (self._network_file(), self.folder / "confidence.json")
        content = b"".join(path.read_bytes() for path in files if path.exists())
        return hashlib.sha256(content).hexdigest()[:16]

    def _network_file(self) -> Path:
        path = self.folder / "model.keras"
        if not path.exists():
            raise UserError(f"'{path}' is missing: the run has not finished an epoch yet.")
        return path

    def write_history(self, rows: list[dict[str, float]], timing: list[dict[str, float]]) -> None:
        """Write history.csv, the same whenever a training is repeated, and timing.csv."""
        write_table(self.folder / "history.csv", rows)
        write_table(self.folder / "timing.csv", timing)

    def write_presence_history(self, rows: list[dict[str, float]]) -> None:
        """Write presence_history.csv: epoch and loss of the training of the presence head."""
        write_table(self.folder / "presence_history.csv", rows)

    def write_metrics(self, metrics: dict[str, object]) -> None:
        write_json(self.folder / "metrics.json", metrics)
