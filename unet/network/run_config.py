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

from dataclasses import dataclass, field

from pydantic import TypeAdapter

from unet.options import TrainingOptions

FORMAT_VERSION = 1


@dataclass(frozen=True)
class RunConfig:
    """Content of config.json."""

    format_version: int
    options: TrainingOptions
    precision: str  # of the network in training, "auto" resolved
    percentiles: tuple[float, float]  # of grey values, clipped before scaling to 0..255
    threshold: float  # probability from which a pixel is tumor
    split: dict[str, list[str]]  # ids of train, val and test
    split_source: str
    data_folder: str  # absolute, but for the run that is shipped
    fingerprints: dict[str, str]  # of the pixels of each id; none in the run that is shipped
    facts: dict[str, dict[str, str]]  # of each id: patient, tumor ...
    versions: dict[str, str]
    machine: str
    peak: float = 0.0  # which a region of such pixels must reach somewhere
    environment: dict[str, str] = field(default_factory=dict)  # what else may change the last digits


_CONFIG = TypeAdapter(RunConfig)


def flat(tree: dict, name: str) -> dict[str, object]:
    """Leaves of nested dicts by their dotted names."""
    leaves = {}
    for key, value in tree.items():
        inner = f"{name}.{key}"
        leaves |= flat(value, inner) if isinstance(value, dict) else {inner: value}
    return leaves
