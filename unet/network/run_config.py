"""Content of a run folder's config.json and slices.csv."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from unet.errors import UserError
from unet.files import read_json
from unet.fingerprints import image_hash
from unet.images.preprocessing import PERCENTILES
from unet.network.outlining import OutlineRule
from unet.network.presence import PresenceRule
from unet.options import TrainingOptions
from unet.tables import Facts, read_table

FORMAT_VERSION = 5
# The pretrained run. Its README.md is the model card.
PRETRAINED = Path(__file__).parent / "pretrained"
# Columns of slices.csv that are not facts from the patients table.
ID, USED_FOR, FINGERPRINT = "id", "used_for", "fingerprint"


@dataclass(frozen=True)
class FormatVersion:
    """What every format of config.json contains."""

    format_version: int


@dataclass(frozen=True)
class RunConfig:
    """Content of config.json."""

    format_version: int
    options: TrainingOptions
    precision: str  # of the network in training, with "auto" resolved
    percentiles: tuple[float, float]  # of the grey values, mapped to 0 and 255
    outline_rule: OutlineRule  # chosen at the end of the training, on slices with tumor
    presence_rule: PresenceRule | None  # fitted if there are validation slices without tumor
    split_source: str  # how the split was made, in words
    slice_count: int  # rows of slices.csv
    data_folder: str  # absolute, except in the pretrained run
    no_tumor_folders: list[str]  # likewise
    versions: dict[str, str]  # of Python and the numeric packages
    machine: str
    environment: dict[str, str]  # other settings that may change the last digits
    initial_network: str | None = None  # fingerprint of the network that --init names
    teacher: str | None = None  # fingerprint of the labels that --teacher gives the training slices


CONFIG = TypeAdapter(RunConfig)


@dataclass(frozen=True)
class SliceTable:
    """Content of slices.csv: what each slice was used for, and what is known about it."""

    split: dict[str, list[str]]  # ids of train, val and test
    fingerprints: dict[str, str]  # hashes of each id's image and mask; "" in the pretrained run
    facts: Facts

    def patients(self, split: str) -> set[str]:
        """The patients in a split."""
        return {self.facts[id]["patient"] for id in self.split[split]}

    def are_known(self, split: str, fingerprints: Iterable[str], patients: Iterable[str]) -> list[bool]:
        """Whether the image of each slice, given its fingerprint and patient, is in a split, or shows a patient who is.
        The mask may be another one."""
        known = {image_hash(self.fingerprints[id]) for id in self.split[split]} - {""}
        known_patients = self.patients(split)
        pairs = zip(fingerprints, patients, strict=True)
        return [image_hash(fingerprint) in known or patient in known_patients for fingerprint, patient in pairs]

    def rows(self) -> list[dict[str, str]]:
        """One row per slice, as in slices.csv. Facts never have our names: read_patients refuses these."""
        used_for = {id: split for split, ids in self.split.items() for id in ids}
        return [
            {ID: id, USED_FOR: used_for[id], FINGERPRINT: self.fingerprints[id], **facts}
            for id, facts in self.facts.items()
        ]

    @classmethod
    def from_rows(cls, rows: list[dict[str, str]]) -> "SliceTable":
        """Undo rows(); ValueError for a table that was not written by it."""
        if not rows or not {ID, USED_FOR, FINGERPRINT, "patient"} <= rows[0].keys():
            raise ValueError("rows or columns are missing")
        # csv collects extra cells under None, and fills missing ones with None.
        if any(None in row or None in row.values() for row in rows):
            raise ValueError("cells are missing or extra")
        split: dict[str, list[str]] = {"train": [], "val": [], "test": []}
        fingerprints, facts = {}, {}
        for row in rows:
            id = row.pop(ID)
            split[row.pop(USED_FOR)].append(id)
            fingerprints[id] = row.pop(FINGERPRINT)
            facts[id] = row
        if len(facts) < len(rows) or len({bool(fingerprint) for fingerprint in fingerprints.values()}) > 1:
            raise ValueError("ids are repeated, or some fingerprints are missing")
        return cls(split, fingerprints, facts)


def run_folder(name: str | Path) -> Path:
    """The folder of a run; that of the pretrained network is called pretrained."""
    return PRETRAINED if str(name) == "pretrained" else Path(name)


def read_config(folder: Path) -> RunConfig:
    """config.json of a run folder; UserError if it is missing, invalid or in another format."""
    path = folder / "config.json"
    try:
        version = read_json(path, TypeAdapter(FormatVersion)).format_version
    except OSError as error:
        raise UserError(
            f"'{folder}' is not the folder of a run (train.py writes these in runs/): cannot read '{path}'."
        ) from error
    # First, as other formats have other fields.
    if version != FORMAT_VERSION:
        raise UserError(
            f"'{path}' has format {version}, but this version reads format {FORMAT_VERSION}: use the "
            "version that wrote it."
        )
    config = read_json(path, CONFIG)
    if config.percentiles != PERCENTILES:
        raise UserError(f"'{path}' has percentiles {config.percentiles}, but only {PERCENTILES} are supported.")
    return config


def read_slice_table(folder: Path, count: int) -> SliceTable:
    """slices.csv of a run folder; UserError if it is missing, damaged, or does not have `count` rows."""
    path = folder / "slices.csv"
    try:
        rows = read_table(path)
        if len(rows) != count:
            raise ValueError("rows are missing or extra")
        return SliceTable.from_rows(rows)
    except OSError as error:
        raise UserError(
            f"'{folder}' is not the folder of a run (train.py writes these in runs/): cannot read '{path}'."
        ) from error
    except Exception as error:  # missing cells or columns, unknown splits, text that is not UTF-8
        raise UserError(f"'{path}' is damaged: restore it.") from error
