"""Teachers: networks with an ImageNet encoder, whose probabilities train.py can learn from with --teacher.

Usage:

    python benchmarks/teacher.py FOLDER OUTPUT --peers-python /tmp/venv-peers/bin/python
    python benchmarks/teacher.py FOLDER OUTPUT --peers-python /tmp/venv-peers/bin/python --fold 0

Each training slice of a split (the published one, or that of --fold) gets the opinion of a teacher that was trained on
other patients, and never on those that validate or test. For that, the training patients are divided into parts, and
each teacher is trained without one of them. The parts for --fold are the other four folds, so the teacher without folds
0 and 3 serves both. Probabilities are written to OUTPUT/probabilities/ or OUTPUT/probabilities-fold-N/, one PNG of 0 to
255 per slice. Trained teachers are kept in OUTPUT/teachers/. An interrupted run continues with the same command.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro
from running import ROOT

from unet.data.slices import Slices, load_slices
from unet.data.split import Split, kinds_of, split_slices, stratified_folds
from unet.options import DataOptions

SIZE = 256
PARTS = 3  # of the training patients of the published split


@dataclass(frozen=True)
class TeacherOptions:
    """Train teachers, and write what they think of the slices they have not seen."""

    folder: tyro.conf.Positional[Path]
    """Folder of the published data."""
    output: tyro.conf.Positional[Path]
    """Folder for the teachers and their probabilities."""
    peers_python: Path
    """Python of the peers' environment."""
    fold: int | None = None
    """The fold that validates, 0 to 4. Default: the published split."""
    network: str = "smp-lite0-imagenet"
    """Network in speed_torch.py."""
    epochs: int = 12
    """Passes over the slices."""
    seed: int = 0
    """Seed of the order and the augmentation."""


def write_opinions(options: TeacherOptions) -> None:
    """Train the teachers of a split, and write the probabilities of its training slices."""
    slices = load_slices(options.folder, SIZE)
    (options.output / "teachers").mkdir(parents=True, exist_ok=True)
    arrays = options.output / "slices.npz"
    if not arrays.exists():
        np.savez(arrays, images=slices.images, masks=slices.masks)
    name = "probabilities" if options.fold is None else f"probabilities-fold-{options.fold}"
    folder = options.output / name
    for teacher, train, predict in divide(options, slices):
        file = options.output / "teachers" / f"{teacher}.npz"
        if not file.exists():
            job = {"network": options.network, "epochs": options.epochs, "seed": options.seed, "slices": str(arrays)}
            job |= {"train": slices.indices(train).tolist(), "output": str(file)}
            # Also the slices of the other part: for another --fold, they are the ones to predict.
            job |= {"predict": slices.indices(sorted(set(slices.ids) - set(train))).tolist()}
            worker = ROOT / "benchmarks" / "teacher_torch.py"
            command = [options.peers_python, worker, json.dumps(job)]
            subprocess.run(command, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True)
        with np.load(file) as kept:
            probability = dict(zip(kept["indices"].tolist(), kept["probability"], strict=True))
        for id, index in zip(predict, slices.indices(predict).tolist(), strict=True):
            path = folder / f"{id}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(cv2.imencode(".png", probability[index])[1].tobytes())
        print(f"{teacher}: {len(predict)} slices in '{folder}'.", flush=True)


def divide(options: TeacherOptions, slices: Slices) -> list[tuple[str, list[str], list[str]]]:
    """Name of each teacher, the ids it is trained on, and the ids it predicts."""

    def split(fold: int | None) -> Split:
        return split_slices(slices, options.folder, DataOptions(str(options.folder), fold=fold))

    own = split(options.fold)
    if options.fold is None:
        parts = dict(enumerate(stratified_folds(own.ids["train"], own.facts, kinds_of(slices, own.facts), PARTS)))
        names = {part: f"train-without-{part}" for part in parts}
    else:
        parts = {fold: split(fold).ids["val"] for fold in range(5) if fold != options.fold}
        names = {fold: "without-folds-{}-{}".format(*sorted((fold, options.fold))) for fold in parts}
    return [
        (names[part], [id for id in own.ids["train"] if id not in set(predict)], predict)
        for part, predict in parts.items()
    ]


if __name__ == "__main__":
    write_opinions(tyro.cli(TeacherOptions, description=__doc__))
