"""Outline tumors from Python: unet.load returns a run that predicts arrays, files and folders, as predict.py does."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from unet.errors import ImageError, UserError
from unet.images.reading import LONGEST_SIDE, to_grey
from unet.machine import configure_machine
from unet.network.predictor import Predictor
from unet.network.saved_run import SavedRun
from unet.options import PredictionOptions
from unet.prediction.inputs import Input, find_inputs
from unet.prediction.outlines import as_trained, open_run, outline_image, outline_inputs
from unet.prediction.rows import Outlined, PredictionRow

NOWHERE = Path(os.devnull)  # as an output folder: nothing is written


class LoadedRun:
    """A trained network, or the mean of several, ready to outline tumors; unet.load(...) makes one.

    Args:
        runs: Folders of runs, or what unet.train returned. Without any: the pretrained network.
        options: mirror, always_outline, threshold, peak, batch_size, reading or machine of PredictionOptions.

    Raises:
        UserError: If there is no such run or device, or the run has no network yet.

    Example:
        >>> run = load("runs/first")
        >>> result = run.predict("data/phantom/images/phantom_000_0.png")
        >>> result.mask.shape, result.mask.dtype, result.probability.dtype
        ((64, 64), dtype('bool'), dtype('float32'))
        >>> [row.status for row in run.rows("data/phantom/images")][:2]
        ['ok', 'ok']
    """

    def __init__(self, *runs: SavedRun | Path | str, **options: object):
        if wrong := [run for run in runs if not isinstance(run, SavedRun | str | os.PathLike)]:
            raise UserError(f"{wrong[0]!r} is not a run: give the folder of one, or of several one after the other.")
        folders = tuple(run.folder if isinstance(run, SavedRun) else Path(run) for run in runs)
        self.options = options = configure_machine(PredictionOptions((), NOWHERE, folders, **options))
        self.saved = open_run(options.run, options)
        self.saved.warn_if_unfinished()
        self.options = options = as_trained(self.saved, options)
        self.predictor = Predictor(self.saved, options.batch_size, options.mirror, None, options.always_outline)

    def predict(self, source: np.ndarray | Path | str) -> Outlined:
        """Outline the tumors in one image or scan.

        Args:
            source: Pixels, uint8 (height, width) or, as RGB, (height, width, 3); or the path of an image, a NIfTI file
                or the folder of a DICOM series.

        Returns:
            The mask, bool, and the probability of tumor in each pixel, float32: both (height, width), or for a scan
            (x, y, z) on the grid of its file. The mask is empty if no tumor is found. `row` has the columns of
            predictions.csv, and `regions` those of regions.csv for a scan.

        Raises:
            UserError: If the image cannot be read (ImageError), or there is not exactly one at the path.
        """
        if isinstance(source, str | os.PathLike):
            inputs = find_inputs((os.fspath(source),), NOWHERE)
            if len(inputs) > 1:
                raise UserError(f"'{source}' contains {len(inputs)} images: name one of them, or call rows.")
            (outlined,) = outline_inputs(self.predictor, inputs, self.options)
        else:
            (prediction,) = self.predictor([to_image(np.asarray(source), self.options.reading.channel)])
            outlined = outline_image(replace(prediction, source=Input("", "array")), self.predictor, self.options)
        if not outlined.row.is_ok:
            raise ImageError(outlined.row.status)
        return outlined

    def rows(self, *paths: Path | str) -> list[PredictionRow]:
        """The rows of predictions.csv for all images and scans, such as for pandas.DataFrame(rows). Nothing is written.

        Args:
            paths: Files, folders (searched recursively) and globs.

        Returns:
            One row per image or scan. One that cannot be read has the reason as its status.

        Raises:
            UserError: If there are no images.
        """
        if wrong := [path for path in paths if not isinstance(path, str | os.PathLike)]:
            raise UserError(f"{wrong[0]!r} is not a path: give files, folders or globs, one after the other.")
        inputs = find_inputs(tuple(map(os.fspath, paths)), NOWHERE)
        return list(outline_inputs(self.predictor, inputs, self.options, use=lambda outlined: outlined.row))


load = LoadedRun


def to_image(pixels: np.ndarray, channel: str | None) -> np.ndarray:
    """An array as grey uint8 (height, width), as if read from a file; ImageError if it is not an image."""
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))
    if pixels.dtype != np.uint8 or not is_image or not pixels.size:
        wanted = "uint8 (height, width), or as RGB (height, width, 3)"
        raise ImageError(f"An array of {pixels.dtype} {pixels.shape} is not an image: pass {wanted}.")
    if max(pixels.shape) > LONGEST_SIDE:
        raise ImageError(f"The array has {pixels.shape} pixels, with a side longer than {LONGEST_SIDE}: crop it.")
    return to_grey(Path("array"), Image.fromarray(pixels), channel)
