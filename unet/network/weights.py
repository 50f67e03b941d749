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

import io
import zipfile
from pathlib import Path

import h5py
import keras

from unet.errors import UserError


def load_weights(model: keras.Model, path: Path) -> None:
    """Set a network's weights from a .keras file, of which nothing else is read.

    UserError where they do not fit. Their number and size are checked first: a damaged or hostile file
    may claim any.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            member = archive.getinfo("model.weights.h5")
            limit = 2**20 + 8 * model.count_params()
            if member.file_size > limit:
                raise ValueError(f"its weights take {member.file_size:,} bytes")
            content = archive.read(member)
        with h5py.File(io.BytesIO(content)) as file:
            sizes = []
            file.visititems(
                lambda _, item: sizes.append(item.size) if isinstance(item, h5py.Dataset) else None
            )
        if sum(sizes) != model.count_params():
            raise ValueError(f"it has {sum(sizes):,} weights, not {model.count_params():,}")
        model.load_weights(path)
    except Exception as error:  # zipfile, h5py and Keras raise many kinds for damaged files
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(f"'{path}' does not hold this run's network: {reason}.") from error
