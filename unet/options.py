"""Every option a user has, with its default and its help text.

Options live here, not next to the code that uses them, so that `--help` answers without importing TensorFlow.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge, Gt, Interval, Len

Fraction = Annotated[float, Interval(ge=0, le=1)]
Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Interval(ge=1, lt=2**31)]
Side = Annotated[int, Interval(ge=1, le=8192)]
Channels = Annotated[int, Interval(ge=1, le=1024)]
LayoutName = Literal[
    "masks", "labels", "annotations", "split/masks", "split/labels", "split/annotations", "nnunet", "cases", "beside"
]
IMAGES = tyro.conf.arg(metavar="IMAGES ...", help_behavior_hint="")
RUN, RUNS = tyro.conf.arg(metavar="[RUN]"), tyro.conf.arg(metavar="[RUN [RUN]]")
# The options of a group appear on the command line without the group's name.
Ungrouped = tyro.conf.arg(name="")


@dataclass(frozen=True)
class ReadingOptions:
    """How image files are read."""

    max_pixels: Count = 100_000_000
    """Refuse images (and volumes) with more pixels than this, before decoding them."""
    plane: Literal["axial", "coronal", "sagittal"] | None = None
    """Plane in which scans are sliced. Default: the acquisition plane for thick slices and slabs, or else all three."""
    channel: Literal["red", "green", "blue", "grey"] | None = None
    """Channel of color images to use. Default: that of the run, or else the luminance (grey)."""
    volume: Count | None = None
    """Number of the volume to use in 4-D NIfTI files, counted from 1. Default: the first, with a warning."""


@dataclass(frozen=True)
class PairingOptions(ReadingOptions):
    """How the files of a data folder are paired and read."""

    layout: LayoutName | None = None
    """Where masks are: next to images/, in train/, val/ and test/, in labelsTr/, in BraTS-like case folders, or beside
    each image. Default: whichever of these the data folder has."""
    mask_suffix: str | None = None
    """Suffix of the names of masks: with _mask, masks/NAME_mask.png belongs to images/NAME.png. Default:
    nothing, or _mask for masks beside images."""
    labels: str | None = None
    """Values (1 or 1,2,4) or colors (ff0000) of the tumor in masks, or any for all but 0. Default: all but 0, if there
    is only one other value."""
    mask_threshold: Positive | None = None
    """Smallest value that counts as tumor, for masks with soft borders or in JPEG, such as 128 of 255, or 0.5 of 1."""


@dataclass(frozen=True)
class MachineOptions:
    """Which threads and device to use. Runs and results record them."""

    threads: Annotated[int, Interval(ge=1, le=1024)] | None = None
    """Threads for the network, and threads that read and write images. Default: one per core for each."""
    device: str | None = None
    """cpu, or one GPU: gpu:0, gpu:1 ... Default: all GPUs to train and the first one to predict, or else the CPU."""


@dataclass(frozen=True)
class ModelConfig:
    """Shape of the U-Net."""

    width: Channels = 24
    """Channels of the first level; each level below has twice as many, up to max-width."""
    max_width: Channels = 256
    """Maximum number of channels of a level."""
    depth: Annotated[int, Interval(ge=1, le=10)] = 6
    """Number of resolution levels, including the bottleneck; each halves the resolution of the one above."""
    stem_stride: Annotated[int, Interval(ge=1, le=16)] = 2
    """Stride of the first convolution; 1 keeps the full resolution."""

    @property
    def widths(self) -> list[int]:
        """Channels of each level, from the first to the bottleneck."""
        return [min(self.width << level, self.max_width) for level in range(self.depth)]

    @property
    def divisor(self) -> int:
        """The height and width of an input must be multiples of this."""
        return self.stem_stride << (self.depth - 1)


@dataclass(frozen=True)
class AugmentationConfig:
    """Random augmentation of training slices, after nnU-Net. Most options are probabilities."""

    spatial: Fraction = 0.8
    """Probability of a rotation, scaling and shift."""
    rotation_degrees: float = 30.0
    """Largest rotation in either direction."""
    scale_min: Positive = 0.7
    """Smallest magnification."""
    scale_max: Positive = 1.4
    """Largest magnification."""
    shift: Fraction = 0.08
    """Largest shift in either direction, as a fraction of the image side, before scaling."""
    mirror_left_right: Fraction = 0.5
    """Probability of mirroring left and right."""
    mirror_up_down: Fraction = 0.0
    """Probability of mirroring up and down."""
    noise: Fraction = 0.1
    """Probability of Gaussian noise, up to a tenth of the image's standard deviation."""
    blur: Fraction = 0.1
    """Probability of a Gaussian blur with a sigma of 0.5 to 1 pixel."""
    brightness: Fraction = 0.15
    """Probability of a brightness factor of 0.75 to 1.25."""
    contrast: Fraction = 0.15
    """Probability of a contrast factor of 0.75 to 1.25 that keeps the range of grey values."""
    low_resolution: Fraction = 0.125
    """Probability of downsampling by a factor of 0.5 to 1 and upsampling again."""
    gamma: Fraction = 0.3
    """Probability of a gamma of 0.7 to 1.5 that keeps the mean and standard deviation."""
    inverted_gamma: Fraction = 0.1
    """Probability of the same gamma on the inverted image."""
    copy_paste: Fraction = 0.3
    """Probability of pasting in the tumor of another slice, at its original position."""
    grafted: Fraction = 0.4
    """For the presence head: probability of blending healthy tissue in beside the tumor, so that seams do not reveal
    slices whose tumor was replaced by healthy tissue."""
    hidden: Fraction = 0.4
    """For the presence head: probability of hiding a part of the head, with the whole tumor or none of it."""


@dataclass(frozen=True)
class DataOptions:
    """Where the slices come from and how they are split."""

    data: str = "data/brain-tumor-segmentation"
    """Folder with images/ and masks/ (files of the same name) or in another layout (docs/your-data.md), or 'phantom'
    for simulated slices."""
    no_tumor: tuple[Path, ...] = ()
    """Folders of images without a tumor, which need no masks. Each may have a patients.csv. data/no-tumor is
    downloaded."""
    patients: Path | None = None
    """CSV with the columns id and patient, and optionally tumor, plane and split. Default: patients.csv in the data
    folder, or the published table if it describes these slices."""
    fold: Literal[0, 1, 2, 3, 4, "all", "final"] | None = None
    """0 to 4: validate on this fold of the training and validation patients. all: train five networks, one per fold,
    and score each patient with the network that was not trained on that patient. final: once these five exist, train
    one network on all these patients, with thresholds from the five."""
    memory_gib: Positive = 4.0
    """Keep slices in memory up to this size, and on disk beyond it."""
    reading: Annotated[PairingOptions, Ungrouped] = field(default_factory=PairingOptions)


@dataclass(frozen=True)
class TrainingOptions:
    """Train a U-Net to outline tumors. Everything about the run is saved in runs/NAME/."""

    data: Annotated[DataOptions, Ungrouped] = field(default_factory=DataOptions)
    name: str | None = None
    """Name of the run's folder in runs/. Default: date, time and image size."""
    resume: Path | None = None
    """Continue this run where it stopped, with its own options. You may add --data and --no-tumor if the data have
    moved, and --epochs to change the number of epochs. Give --threads and --device again if you used them."""
    init: str | None = None
    """Start from the weights of this run, or of the pretrained network: pretrained. Then the defaults are the size,
    channel and shape of its network, a third of the epochs, and a quarter of the learning rate."""
    teacher: Path | None = None
    """Folder with the probabilities of another network for the training slices, ID.png: learn from these as well.
    predict.py --probabilities and benchmarks/teacher.py write such folders."""
    quick: bool = False
    """Use the quick recipe, which takes less than half as long: 20 epochs and width 16, unless given."""
    seed: Annotated[int, Interval(ge=0, lt=2**31)] = 0
    """Seed of the initial weights, the order of the slices and the augmentation."""
    size: Side = 256
    """Side in pixels to which slices are scaled for the network."""
    epochs: Count = 30
    """Number of passes over the training slices."""
    batch_size: Count = 16
    """Slices with tumor per step, over all devices."""
    presence_epochs: Annotated[int, Interval(ge=0, lt=2**31)] = 12
    """Epochs of the presence head, which is trained after the U-Net if the data contain slices without a tumor."""
    learning_rate: Positive = 2e-3
    """Peak of the cosine schedule."""
    weight_decay: Annotated[float, Ge(0)] = 1e-2
    """Decoupled weight decay of AdamW."""
    ema: Fraction = 0.03
    """Span of the exponential moving average of the weights, as a fraction of all steps. The averaged
    weights are the ones that are kept."""
    tensorboard: bool = False
    """Also write scores and pictures for TensorBoard, in the run's folder."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "auto"
    """Number format of the network. auto times a convolution and takes bfloat16 if it is faster.
    mixed_float16, for GPUs without bfloat16, scales the loss."""
    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    machine: Annotated[MachineOptions, Ungrouped] = field(default_factory=MachineOptions)


QUICK = TrainingOptions(quick=True, epochs=20, model=ModelConfig(width=16))


@dataclass(frozen=True)
class DescribeOptions:
    """Print the layers, parameters and FLOPs of a U-Net."""

    model: ModelConfig = field(default_factory=ModelConfig)
    size: Side = 256
    """Side of the input image in pixels."""


@dataclass(frozen=True)
class DownloadOptions:
    """Download the published data set from Kaggle."""

    no_tumor: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Download images without a tumor instead, for --no-tumor: data/no-tumor."""
    keep_zip: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Keep the archive, next to the folder."""


@dataclass(frozen=True)
class EvaluationOptions:
    """Score a run, an ensemble of runs or masks of another program, or compare any two of these."""

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], RUNS] = ()
    """Folder of one run made by train.py, or of two to compare. Default: pretrained, the network in this package."""
    ensemble: tuple[Path, ...] = ()
    """Folders of runs to score as one, by the mean of their probabilities. If a run is named too, compare it with this
    ensemble."""
    masks: Annotated[tuple[Path, ...], Len(0, 2)] = ()
    """Folder of masks that any program made, named like the images, to score on --data. If a run is named too,
    compare it with these masks. Two folders: compare them."""
    split: Literal["train", "val", "test"] | None = None
    """Split of the run's data to score. Default: val, or everything in --data."""
    data: Path | None = None
    """Folder with images/ and masks/ to score instead. With --split: where the run's data are now."""
    no_tumor: tuple[Path, ...] = ()
    """Folders of images without a tumor to score as well, or alone."""
    patients: Path | None = None
    """CSV with the patient of each slice in --data, as for train.py."""
    output: Path | None = None
    """Folder for the results. Default: evaluation-SPLIT (or evaluation-FOLDER for --data) or
    compared-with-B-on-SPLIT in the folder of the (first) run; in its ensemble-of-N/ for an ensemble; in
    runs/pretrained/ for the pretrained network; in runs/masks-FOLDER/ for masks."""
    spacing_mm: Annotated[float, Gt(0)] | None = None
    """Side of a pixel in mm, for distances in mm. Default: that of scans and the published set; otherwise unknown."""
    always_outline: bool = False
    """Outline every image, whether or not the network finds a tumor."""
    mirror: bool = True
    """Average the probabilities of each slice and its mirror image (test-time augmentation): slightly better,
    twice as slow."""
    reading: Annotated[PairingOptions, Ungrouped] = field(default_factory=PairingOptions)
    machine: Annotated[MachineOptions, Ungrouped] = field(default_factory=MachineOptions)


@dataclass(frozen=True)
class ExportOptions:
    """Export a run's network, including its preprocessing, to another runtime."""

    run: Annotated[tyro.conf.Positional[Path | None], RUN] = None
    """Folder of the run. Default: the pretrained network."""
    format: Literal["onnx", "litert", "saved_model", "openvino"] = "onnx"
    """For ONNX Runtime, LiteRT (TensorFlow Lite), TensorFlow or OpenVINO."""
    output: Path | None = None
    """File to write (a folder for saved_model). Default: the run's name in the current folder."""
    mirror: bool = True
    """Average the probabilities of each image and its mirror image inside the exported network."""
    machine: Annotated[MachineOptions, Ungrouped] = field(default_factory=MachineOptions)


@dataclass(frozen=True)
class PredictionOptions:
    """Outline tumors in images, NIfTI volumes and DICOM series: masks, overlays and a table of measurements."""

    images: Annotated[tyro.conf.Positional[tuple[str, ...]], IMAGES]
    """Image, NIfTI or DICOM files, folders (searched recursively), quoted globs, or URIs of images, NIfTI
    files and folders in an object store (s3://, gs://, hdfs://)."""
    output: Path
    """Folder for report.html, masks/, overlays/ and predictions.csv."""
    run: tuple[Path, ...] = ()
    """Folder of the run whose network to use, or of several (runs/NAME-fold-*), which are averaged. Default: the
    pretrained network."""
    threshold: Annotated[float, Interval(gt=0, le=1)] | None = None
    """Probability at which a pixel counts as tumor. Default: the run's."""
    peak: Fraction | None = None
    """Probability that at least one pixel of a region must reach, or the region is dropped; 0 keeps all regions. If no
    region reaches it, the strongest one is kept if it reaches 0.5. Default: the run's."""
    probabilities: bool = False
    """Also write the probability of each pixel to probabilities/: 16-bit PNG for images, float NIfTI for scans."""
    mirror: bool = True
    """Average the probabilities of each image and its mirror image (test-time augmentation): slightly better,
    twice as slow."""
    always_outline: bool = False
    """Outline every image, whether or not the network finds a tumor: for images that are known to have one."""
    batch_size: Annotated[int, Interval(ge=1, le=256)] = 8
    """Images per batch."""
    shard: str = "1/1"
    """Process only part I of N ('3/8') of the files, for job arrays. Each part has its own folder in the
    output folder."""
    ray: Annotated[tuple[str, ...] | None, Len(0, 1), tyro.conf.arg(metavar="[ADDRESS]")] = None
    """Use a Ray cluster: its address, 'local' to start one on this machine, or nothing for the cluster that
    Ray finds (or else 'local')."""
    resume: bool = False
    """Continue an interrupted prediction of the same images, with the same options, in the output folder."""
    overwrite: bool = False
    """Replace the results of an earlier prediction in the output folder."""
    reading: Annotated[ReadingOptions, Ungrouped] = field(default_factory=ReadingOptions)
    machine: Annotated[MachineOptions, Ungrouped] = field(default_factory=MachineOptions)
