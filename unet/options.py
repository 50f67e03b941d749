"""Every choice a user has, with its default and its help, once.

They stand here and not beside their consumers so that `--help` answers without importing TensorFlow.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Gt, Interval, Len

Share = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Ge(1)]
MAX_PIXELS = 100_000_000


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the U-Net."""

    width: Annotated[int, Interval(ge=1, le=1024)] = 24
    """Channels of the first level; every level below has twice as many, up to max-width."""
    max_width: Annotated[int, Interval(ge=1, le=1024)] = 256
    """Most channels a level may have."""
    depth: Annotated[int, Interval(ge=1, le=10)] = 6
    """Resolution levels, the bottleneck among them; each halves the one above."""
    stem_stride: Annotated[int, Interval(ge=1, le=16)] = 2
    """Pixels to a side that the first convolution merges into one; 1 keeps full resolution."""
    dropout: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share of the bottleneck's channels that training switches off at random."""

    @property
    def widths(self) -> list[int]:
        """Channels of each level, from the first to the bottleneck."""
        return [min(self.width << level, self.max_width) for level in range(self.depth)]

    @property
    def divisor(self) -> int:
        """What an input's height and width must be a multiple of."""
        return self.stem_stride << (self.depth - 1)


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of training slices; after nnU-Net's, each with the probability to happen."""

    spatial: Share = 0.8
    """Probability of a rotation, scaling and shift."""
    rotation_degrees: float = 30.0
    """Largest rotation either way."""
    scale_min: Positive = 0.7
    """Smallest magnification."""
    scale_max: Positive = 1.4
    """Largest magnification."""
    shift: Share = 0.08
    """Largest shift either way, as a share of the image's side."""
    mirror_left_right: Share = 0.5
    """Probability of mirroring left and right."""
    mirror_up_down: Share = 0.0
    """Probability of mirroring up and down."""
    noise: Share = 0.1
    """Probability of Gaussian noise, up to a tenth of the image's standard deviation."""
    blur: Share = 0.1
    """Probability of a Gaussian blur with sigma 0.5 to 1 pixel."""
    brightness: Share = 0.15
    """Probability of a brightness factor 0.75 to 1.25."""
    contrast: Share = 0.15
    """Probability of a contrast factor 0.75 to 1.25 that keeps the range."""
    low_resolution: Share = 0.125
    """Probability of sampling down by 0.5 to 1 and up again."""
    gamma: Share = 0.3
    """Probability of a gamma 0.7 to 1.5 that keeps mean and standard deviation."""
    inverted_gamma: Share = 0.1
    """Probability of the same on the inverted image."""
    copy_paste: Share = 0.3
    """Probability that another slice's tumor is pasted in, where it stands there."""


@dataclass(frozen=True)
class DataOptions:
    """Where slices come from and how they are split."""

    data: str = "data/brain-tumor-segmentation"
    """Folder with images/ and masks/ of equal names, or 'phantom' for simulated slices."""
    patients: Path | None = None
    """CSV with columns id, patient and optionally tumor and split. Default: patients.csv in the data
    folder, else data/patients.csv where it describes these slices."""
    fold: Literal[0, 1, 2, 3, 4] | None = None
    """Validate on this fold of five over the training and validation patients."""
    memory_gib: Positive = 4.0
    """Slices are kept in memory up to this size, on disk past it."""
    max_pixels: Count = MAX_PIXELS
    """Images of more pixels are refused before they are decoded."""


@dataclass(frozen=True)
class TrainingOptions:
    """Train a U-Net to outline tumors; everything about the run is kept in runs/NAME/."""

    data: Annotated[DataOptions, tyro.conf.arg(name="")] = field(default_factory=DataOptions)
    name: str | None = None
    """Name of the run's folder below runs/. Default: date, time and image size."""
    resume: Path | None = None
    """Go on with this run where it stopped; all other options come from the run. Where its data have
    moved, --data says to where."""
    quick: bool = False
    """Take the quick recipe: within half an hour on two cores. Options beside it count as given."""
    seed: Annotated[int, Interval(ge=0, lt=2**31)] = 0
    """Decides weights, order and augmentation."""
    size: Annotated[int, Interval(ge=1, le=8192)] = 256
    """Side in pixels to which slices are scaled for the network."""
    epochs: Count = 30
    """Times each training slice is seen."""
    batch_size: Count = 16
    """Slices a step, over all devices."""
    learning_rate: Positive = 2e-3
    """Peak of the cosine schedule."""
    warmup: Share = 0.05
    """Share of the steps over which the learning rate rises from zero."""
    weight_decay: Annotated[float, Ge(0)] = 1e-2
    """Decoupled weight decay of AdamW."""
    ema: Share = 0.03
    """Share of the steps over which weights are averaged (exponentially); the average is what is kept."""
    tensorboard: bool = False
    """Write scores and pictures for TensorBoard too, in the run's folder."""
    dice: Literal["image", "batch"] = "image"
    """Take the Dice loss over each image, or over the pixels of the whole batch."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """Number format of the network; auto times a convolution in bfloat16 and takes what is faster.
    mixed_float16, for GPUs without bfloat16, scales the loss."""
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)


QUICK = TrainingOptions(quick=True, epochs=20, model=ModelConfig(width=16))


@dataclass(frozen=True)
class DescribeOptions:
    """Print the layers, parameters and FLOPs of a U-Net."""

    model: ModelConfig = field(default_factory=ModelConfig)
    size: Annotated[int, Interval(ge=1, le=8192)] = 256
    """Side in pixels of the images it takes."""


@dataclass(frozen=True)
class EvaluationOptions:
    """Score a run on patients it was not trained on, or compare two."""

    runs: tyro.conf.Positional[tuple[Path, ...]] = ()
    """Folder of the run, as train.py made it, or of two. Default: the network that comes with the project."""
    split: Literal["train", "val", "test"] | None = None
    """Part of the run's data to score. Default: val, or everything below --data."""
    data: Path | None = None
    """Folder with images/ and masks/: scored whole, or the named split where the data have moved."""
    patients: Path | None = None
    """CSV with the patient of each slice in --data, as for train.py."""
    output: Path | None = None
    """Where results go. Default: evaluation-SPLIT, or -FOLDER of --data, in the run's folder (of two runs
    compared-with-B-on-SPLIT in A's); for the network that comes with the project, in runs/pretrained/."""
    max_pixels: Count = MAX_PIXELS
    """Images of more pixels are refused before they are decoded."""
    spacing_mm: Annotated[float, Gt(0)] | None = None
    """Side of a pixel in mm, for distances in mm. Default: known for the published set only."""
    mirror: bool = True
    """Average the outlines of each slice and of its mirror image: a bit better, takes twice as long."""


@dataclass(frozen=True)
class ExportOptions:
    """Write a run's network, preprocessing inside, for another runtime."""

    run: tyro.conf.Positional[Path | None] = None
    """Folder of the run. Default: the network that comes with the project."""
    format: Literal["onnx", "litert", "saved_model", "openvino"] = "onnx"
    """For ONNX Runtime, LiteRT (TensorFlow Lite), TensorFlow, or OpenVINO."""
    output: Path | None = None
    """File (of saved_model a folder) to write. Default: the run's name here."""
    mirror: bool = True
    """Average the outlines of each image and of its mirror image inside of the network."""


@dataclass(frozen=True)
class PredictionOptions:
    """Outline tumors in images and NIfTI volumes: masks, overlays and a table of measurements."""

    images: tyro.conf.Positional[tuple[str, ...]]
    """Image, NIfTI or DICOM files, folders (searched with all folders below), quoted globs, or URIs of
    images, NIfTI files and folders of them in an object store (s3://, gs://)."""
    output: Path
    """Folder for masks/, overlays/ and predictions.csv."""
    run: Path | None = None
    """Folder of the run whose network to use. Default: the one that comes with the project."""
    mirror: bool = True
    """Average the outlines of each image and of its mirror image: a bit better, takes twice as long."""
    max_pixels: Count = MAX_PIXELS
    """Images of more pixels are refused before they are decoded."""
    axis: Literal[0, 1, 2] | None = None
    """Axis of a NIfTI file's array along which its slices lie. Default: where the spacing is largest."""
    batch_size: Annotated[int, Interval(ge=1, le=256)] = 8
    """Images the network takes at once."""
    shard: str = "1/1"
    """Take only part I of N ('3/8') of the files, for job arrays; each part writes to a folder of its own
    in the output folder."""
    ray: Annotated[tuple[str, ...] | None, Len(0, 1), tyro.conf.arg(metavar="[ADDRESS]")] = None
    """Outline on a Ray cluster: its address, 'local' for one made of this machine's cores, or nothing for
    the cluster that Ray finds, else 'local'."""
    resume: bool = False
    """Go on with what an earlier prediction with the same options and images left in the output folder."""
    overwrite: bool = False
    """Replace what an earlier prediction left in the output folder."""
