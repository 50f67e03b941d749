"""Loading the weights of a .keras file without running any code from it."""

import io
import zipfile
from pathlib import Path

import h5py
import keras

from unet.errors import UserError


def load_weights(network: keras.Model, path: Path) -> None:
    """Set a network's weights from a .keras file. Nothing else in the file is read.

    Raises:
        UserError: If the file is damaged or its weights do not fit. Their number and size are checked first, since
            a damaged or hostile file may claim any.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo("model.weights.h5")
            limit = 2**20 + 8 * network.count_params()
            if member.file_size > limit:
                raise ValueError(f"its weights take {member.file_size:,} bytes")
            content = archive.read(member)
        with h5py.File(io.BytesIO(content)) as file:
            sizes = []
            file.visititems(lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None)
        if sum(sizes) != network.count_params():
            raise ValueError(f"it has {sum(sizes):,} weights, not {network.count_params():,}")
        network.load_weights(path)
    except Exception as error:  # zipfile, h5py and Keras raise many types for damaged files
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"'{path}' does not contain this run's network: {reason}.") from error
