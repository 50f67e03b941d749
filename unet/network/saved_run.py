"""The run folder: all that evaluation and prediction need of a training; read and written here only.

In the folder:

    config.json   options, preprocessing, threshold, split with ids, data fingerprint, versions
    model.keras   the network of the best epoch: averaged weights, normalisation folded into convolutions
    quality.json  what makes an outline likely to be good, and an image like the training's
    history.csv   a row an epoch, timing.csv beside it      metrics.json   what was reached
    film.npz      how the same few slices were outlined after some epochs
    checkpoint-N.npz   the whole state after N steps, to go on from; the newest two are kept, and any that
                  is damaged as checkpoint-N.npz.damaged
"""

import contextlib
import hashlib
import io
import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from pydantic import TypeAdapter

from unet.errors import UserError
from unet.files import WRITING, read_json, write_json, write_whole
from unet.images.preprocessing import PERCENTILES
from unet.machine import choose_precision, environment, installed_versions, machine_description, use_precision
from unet.network.confidence import Quality
from unet.network.model import build_unet
from unet.network.run_config import _CONFIG, FORMAT_VERSION, RunConfig, flat
from unet.network.weights import load_weights
from unet.tables import write_table

# The run that comes with the project; its README.md says what it is for.
PRETRAINED = Path(__file__).parent / "pretrained"
CHECKPOINTS_KEPT = 2
_QUALITY = TypeAdapter(Quality)


class SavedRun:
    """A run folder, opened."""

    def __init__(self, folder: Path, config: RunConfig):
        self.folder = folder
        self.config = config

    @staticmethod
    def check_free(folder: Path) -> None:
        """UserError where a folder holds what a training learned; one that only began is replaced."""
        if any(folder.glob("checkpoint-*.npz")) or (folder / "model.keras").exists():
            raise UserError(f"'{folder}' holds a run: choose another --name or --resume it.")

    @classmethod
    def open(cls, folder: Path | None) -> "SavedRun":
        """A run that was saved, or the shipped one; UserError where a folder holds none or another format."""
        folder = folder or PRETRAINED
        path = folder / "config.json"
        try:
            config = read_json(path, _CONFIG)
        except OSError as error:
            raise UserError(f"'{folder}' is not a run folder: cannot read '{path}'.") from error
        if config.format_version != FORMAT_VERSION:
            raise UserError(
                f"'{path}' has format {config.format_version}, this program reads {FORMAT_VERSION}: "
                "use the program's version that wrote it."
            )
        if config.percentiles != PERCENTILES:
            raise UserError(f"'{path}' asks for percentiles {config.percentiles}: only {PERCENTILES}.")
        return cls(folder, config)

    def create(self) -> None:
        """Write a new run's config; UserError where its folder holds a run already."""
        self.check_free(self.folder)
        self.write_config()

    def write_config(self) -> None:
        write_whole(self.folder / "config.json", _CONFIG.dump_json(self.config, indent=1))

    def tell_changes(self) -> None:
        """Print what differs from when the run was started and may change the last digits of its results."""
        now = {"machine": machine_description()} | installed_versions() | environment()
        config = self.config
        then = {"machine": config.machine} | config.versions | config.environment
        for name, value in then.items():
            if now.get(name) != value:
                print(
                    f"'{self.folder}' was started with {name} {value}, now it is {now.get(name)}: results "
                    "may differ in the last digits."
                )

    def set_data_folder(self, folder: Path) -> None:
        """Keep where the data lie now."""
        if self.config.data_folder != str(folder.resolve()):
            self.config = replace(self.config, data_folder=str(folder.resolve()))
            self.write_config()

    def set_outlining(self, threshold: float, peak: float) -> None:
        """Keep the probability from which a pixel is tumor, and which its region must reach."""
        self.config = replace(self.config, threshold=threshold, peak=peak)
        self.write_config()

    def save_quality(self, quality: Quality) -> None:
        """Write quality.json."""
        write_whole(self.folder / "quality.json", _QUALITY.dump_json(quality))

    def quality(self) -> Quality | None:
        """What quality.json holds; None where the training has not finished."""
        path = self.folder / "quality.json"
        return read_json(path, _QUALITY) if path.exists() else None

    # ------------------------------------------------------------------ network

    def save_model(self, model: keras.Model) -> None:
        """Write model.keras, whole or not at all; UserError where the disk is full."""
        try:
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=WRITING) as folder:
                path = Path(folder) / "model.keras"
                model.save(path)
                content = path.read_bytes()
        except OSError as error:
            raise UserError(
                f"Cannot write '{self.folder}/model.keras': {error.strerror or error}. What was there stays."
            ) from error
        write_whole(self.folder / "model.keras", content)

    def load_model(self, precision: str | None = None) -> keras.Model:
        """The saved network, built from config.json: of the model file only weights are used, no code.

        It computes in `precision`; without, in what the training asked for, "auto" decided on this machine.
        """
        path = self._model_file()
        use_precision(precision or choose_precision(self.config.options.precision))
        model = build_unet(self.config.options.model, normalization=None)
        load_weights(model, path)
        return model

    def network_digest(self) -> str:
        """Hash of model.keras and quality.json, to tell networks apart."""
        files = (self._model_file(), self.folder / "quality.json")
        content = b"".join(path.read_bytes() for path in files if path.exists())
        return hashlib.sha256(content).hexdigest()[:16]

    def _model_file(self) -> Path:
        path = self.folder / "model.keras"
        if not path.exists():
            raise UserError(f"'{path}' is missing: the run has not finished an epoch yet.")
        return path

    # ------------------------------------------------------------------ progress

    def write_history(self, rows: list[dict[str, float]], timing: list[dict[str, float]]) -> None:
        """history.csv, a row an epoch, the same whenever a training is repeated; timing.csv beside it."""
        write_table(self.folder / "history.csv", rows)
        write_table(self.folder / "timing.csv", timing)

    def add_frame(self, epoch: int, probability: np.ndarray) -> dict[int, np.ndarray]:
        """Keep the film strip's frame after an epoch, uint8 (slices, size, size); returns all so far."""
        path = self.folder / "film.npz"
        frames = {}
        with contextlib.suppress(Exception):  # not there yet, or damaged: the film begins anew
            with np.load(path, allow_pickle=False) as kept:
                frames = {int(name): kept[name] for name in kept.files if int(name) < epoch}
        frames[epoch] = probability
        content = io.BytesIO()
        np.savez_compressed(content, **{str(name): frame for name, frame in frames.items()})
        write_whole(path, content.getvalue())
        return frames

    def write_metrics(self, metrics: dict[str, object]) -> None:
        """metrics.json, what was reached."""
        write_json(self.folder / "metrics.json", metrics)

    def save_checkpoint(self, steps: int, arrays: list[np.ndarray], progress: dict) -> None:
        """Keep the state after `steps` steps: variables in order, and progress as JSON can hold it."""
        content = io.BytesIO()
        named = {f"variable_{index}": array for index, array in enumerate(arrays)}
        told = {"made_with": self._decisive(), "progress": progress}
        np.savez(content, told=json.dumps(told), **named)
        write_whole(self.folder / f"checkpoint-{steps:09d}.npz", content.getvalue())
        for path in self._checkpoints()[:-CHECKPOINTS_KEPT]:
            path.unlink()

    def load_checkpoint(self) -> tuple[list[np.ndarray], dict] | None:
        """Variables and progress of the newest checkpoint that can be read; None without any.

        A damaged one is set aside. Raises UserError where all are damaged or one cannot be read now, and
        where config.json has changed since.
        """
        for path in reversed(self._checkpoints()):
            try:
                with np.load(path, allow_pickle=False) as content:
                    arrays = [content[f"variable_{i}"] for i in range(len(content.files) - 1)]
                    told = json.loads(str(content["told"]))
            except OSError as error:
                raise UserError(f"Cannot read '{path}': {error.strerror or error}.") from error
            except MemoryError:
                raise
            except Exception as error:  # zipfile, zlib and numpy raise many kinds for damaged files
                os.replace(path, f"{path}.damaged")
                print(f"'{path}' is damaged ({error}); it is called '{path.name}.damaged' now.")
                continue
            now = self._decisive()
            for name, value in told["made_with"].items():
                if now.get(name) != value:
                    raise UserError(
                        f"'{self.folder}/config.json' has another {name} than '{path.name}' was made "
                        "with: restore it or start a new run."
                    )
            return arrays, told["progress"]
        if any(self.folder.glob("checkpoint-*.npz.damaged")):
            raise UserError(
                f"'{self.folder}' has no checkpoint that can be read: start a new run. The network so far "
                "stays."
            )
        return None

    def _decisive(self) -> dict[str, object]:
        """What must not change while a run is trained, by its name in config.json."""
        content = _CONFIG.dump_python(self.config, mode="json")
        data = {
            name: hashlib.sha256(json.dumps(content[name]).encode()).hexdigest()[:16]
            for name in ("split", "fingerprints")
        }
        return {"precision": content["precision"]} | data | flat(content["options"], "options")

    def decisive_of_all(self) -> dict[str, object]:
        """What must be the same for all workers of a training: paths may differ."""
        own = ("options.data.", "options.name", "options.resume")
        return {name: value for name, value in self._decisive().items() if not name.startswith(own)}

    def checkpoint_bytes(self) -> int:
        """What the checkpoints take on disk."""
        return sum(path.stat().st_size for path in self._checkpoints())

    def _checkpoints(self) -> list[Path]:
        return sorted(self.folder.glob("checkpoint-*.npz"))
