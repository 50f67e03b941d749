"""Reading the weights of a .keras file without running any code from it."""

import contextlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import keras
import numpy as np

from unet.errors import UserError, one_line

# Weights of each layer, float32, in Keras' order, by the name of the layer.
LayerWeights = dict[str, list[np.ndarray]]


@contextlib.contextmanager
def damage_reported(path: Path) -> Iterator[None]:
    """A context that turns every error into a UserError about the file."""
    try:
        yield
    except Exception as error:  # zipfile, h5py and Keras raise many types for damaged files
        raise UserError(f"'{path}' does not contain this run's network: {one_line(error)}.") from error


def read_weights(path: Path, count: int) -> LayerWeights:
    """The weights in a .keras file, in which nothing else is read.

    UserError if the file is damaged or does not have `count` weights. Their number and size are checked before they
    are read, since a damaged or hostile file may claim any.
    """
    with damage_reported(path):
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo("model.weights.h5")
            if member.file_size > 2**20 + 8 * count:
                raise ValueError(f"its weights take {member.file_size:,} bytes")
            content = archive.read(member)
        with h5py.File(io.BytesIO(content)) as file:
            datasets = []
            file.visititems(lambda _, item: datasets.append(item) if isinstance(item, h5py.Dataset) else None)
            if any(dataset.external or dataset.is_virtual for dataset in datasets):
                raise ValueError("its weights are in other files")
            size = sum(dataset.size for dataset in datasets)
            if size != count:
                raise ValueError(f"it has {size:,} weights, not {count:,}")
            # By their paths in this file: a name may be a link to another one.
            arrays = {dataset.name: dataset[()].astype(np.float32) for dataset in datasets}
            groups = [file[f"layers/{name}/vars"] for name in file["layers"]]
            return {
                str(group.attrs["name"]): [arrays[f"{group.name}/{i}"] for i in range(len(group))] for group in groups
            }


def load_weights(network: keras.Model, path: Path) -> None:
    """Set a network's weights from a .keras file; UserError if the file is damaged or does not fit."""
    weights = read_weights(path, network.count_params())
    with damage_reported(path):
        for layer in network.layers:
            layer.set_weights(weights[layer.name])


def take_over(network: keras.Model, weights: LayerWeights) -> tuple[list[str], list[str]]:
    """Set the weights of all layers that have the same shape; returns the names of these, and of the rest."""
    taken, rest = [], []
    for layer in filter(lambda layer: layer.weights, network.layers):
        given = weights.get(layer.name, [])
        fits = [tuple(own.shape) for own in layer.weights] == [array.shape for array in given]
        (taken if fits else rest).append(layer.name)
        if fits:
            layer.set_weights(given)
    return taken, rest


def weights_of(network: keras.Model) -> LayerWeights:
    return {layer.name: layer.get_weights() for layer in network.layers}
