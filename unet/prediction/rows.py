"""What is known about one input after its prediction: a row of predictions.csv, and files."""

from dataclasses import dataclass, field, fields, replace

import numpy as np

from unet.network.predictor import Predictor
from unet.network.regions import Region


@dataclass(frozen=True)
class PredictionRow:
    """A row of predictions.csv. What is None is an empty cell there."""

    path: str
    status: str = "ok"  # or why the file was skipped
    width: int | None = None
    height: int | None = None
    slices: int | None = None  # of a volume
    regions: int | None = None  # that are outlined in a volume
    tumor_probability: float | None = None  # that there is a tumor
    tumor_pixels: int | None = None  # voxels of a volume
    tumor_percent: float | None = None  # of the image or volume
    tumor_mm3: float | None = None  # of a volume, if its voxel size is known
    left: int | None = None  # bounding box of the tumor in an image, including right and bottom
    top: int | None = None
    right: int | None = None
    bottom: int | None = None
    mean_probability: float | None = None  # over the tumor's pixels
    expected_dice: float | None = None  # estimated without the truth, if anything is outlined
    review: str = ""  # why a person should look at it

    @property
    def is_ok(self) -> bool:
        return self.status == "ok"

    @classmethod
    def from_cells(cls, cells: dict[str, str]) -> "PredictionRow":
        """A row as read from predictions.csv."""
        values: dict[str, object] = {}
        for column in fields(cls):
            cell = cells[column.name]
            types = getattr(column.type, "__args__", ())  # of "int | None": int and None
            values[column.name] = (types[0](cell) if cell else None) if types else cell
        return cls(**values)


COLUMNS = [column.name for column in fields(PredictionRow)]


@dataclass(frozen=True, eq=False)
class Outlined:
    """What is found in one input, and written for it. Arrays have the grid of its file: (x, y, z) of a NIfTI file, and
    (column, row, slice) of a DICOM series. None if the input cannot be read."""

    row: PredictionRow
    files: dict[str, bytes] = field(default_factory=dict, repr=False)  # by their paths in the output folder
    probability: np.ndarray | None = field(default=None, repr=False)  # of tumor if there is one, float32, in [0, 1]
    mask: np.ndarray | None = field(default=None, repr=False)  # bool, True for tumor; empty if no tumor is found
    regions: tuple[Region, ...] = ()  # that are outlined in a scan, from the largest to the smallest

    @property
    def tumor_probability(self) -> float | None:
        return self.row.tumor_probability

    @property
    def expected_dice(self) -> float | None:
        return self.row.expected_dice


def judge(
    row: PredictionRow, predictor: Predictor, square: np.ndarray, evidence: float, confidence: float
) -> PredictionRow:
    """A row with its tumor probability, expected Dice and the reason to review it, as far as the run can tell.

    Takes the network's input, uint8 (size, size), the evidence of a tumor, and the confidence in the outline.
    """
    presence, model = predictor.tumor_probability(evidence), predictor.confidence_model
    return replace(
        row,
        tumor_probability=None if presence is None else round(presence, 4),
        expected_dice=round(model.expect_dice(confidence), 4) if model and row.tumor_pixels else None,
        review=predictor.review_reason(square, evidence, confidence, in_scan=row.slices is not None),
    )
