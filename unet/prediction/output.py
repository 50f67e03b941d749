"""The output folder of a prediction: never half-written, never mixed, and resumable."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections import Counter
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

from unet.errors import UserError
from unet.files import append_whole, write_json, write_whole
from unet.machine import machine_facts
from unet.network.presence import PresenceRule
from unet.network.regions import REGION_COLUMNS
from unet.network.saved_run import SavedRun
from unet.options import PredictionOptions
from unet.pictures import viewer
from unet.prediction.inputs import Input
from unet.prediction.names import (
    CONTACT_SHEET,
    MASKS,
    NIIVUE,
    OVERLAYS,
    PROBABILITIES,
    REGIONS,
    REPORT,
    SCANS,
    SETTINGS,
    SHARD,
    TABLE,
    regions_name,
)
from unet.prediction.rows import COLUMNS, Outlined, PredictionRow
from unet.tables import read_table, table_text

OF_ONE_SHARD = ("batch_size", "max_pixels")  # settings in which a shard may differ, to fit into memory
# A file's name is too long, or is that of a folder of other results.
REFUSED_NAMES = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST)


@dataclass(frozen=True)
class OutputFolder:
    """Results for some inputs, made with some settings."""

    folder: Path
    settings: dict[str, object]
    inputs: list[Input]

    @property
    def presence_rule(self) -> PresenceRule | None:
        """The rule that decides which images are outlined; None if it does not matter."""
        rule = None if self.settings["always_outline"] else self.settings["presence_rule"]
        return rule and PresenceRule(**rule)

    def presence_threshold(self, row: PredictionRow) -> float | None:
        """The tumor probability from which on an image, or a region of a scan, is outlined; None if it does not
        matter."""
        rule = self.presence_rule
        return rule and (rule if row.slices is None else rule.for_scans).threshold

    def finding(self, row: PredictionRow) -> str:
        """What was found in an image: "tumor outlined", "no tumor found", or "nothing outlined" if no pixel reaches the
        threshold although a tumor was found, or its presence does not decide."""
        if row.tumor_pixels:
            return "tumor outlined"
        threshold, probability = self.presence_threshold(row), row.tumor_probability
        # Rounded, as it is in the table: what reaches the threshold exactly is outlined.
        is_below = None not in (threshold, probability) and probability <= round(threshold, 4)
        return "no tumor found" if is_below else "nothing outlined"

    def shown_findings(self, tally: Counter) -> list[str]:
        """Which findings to report, given how many images have each."""
        if not self.presence_rule:
            return ["tumor outlined", "nothing outlined"]
        return ["tumor outlined", "no tumor found", *(["nothing outlined"] if tally["nothing outlined"] else [])]

    def prepare(self, resume: bool, overwrite: bool) -> list[PredictionRow]:
        """Get the folder ready to write to; returns the rows that an earlier prediction finished, for --resume.
        UserError if the folder is not writable, or contains anything that must not be replaced or mixed."""
        if resume and overwrite:
            raise UserError("--resume keeps what --overwrite replaces: give only one of them.")
        names = (SETTINGS, TABLE, REGIONS, REPORT, CONTACT_SHEET, MASKS, PROBABILITIES, OVERLAYS, SCANS)
        found = [name for name in names if (self.folder / name).exists()]
        if found and SETTINGS not in found:
            # A data set has masks/ too, which must never be replaced.
            raise UserError(
                f"'{self.folder}' contains '{found[0]}', which no prediction wrote: choose another --output."
            )
        if found and not (resume or overwrite):
            raise UserError(
                f"'{self.folder}' contains results: choose another --output, continue with --resume, or replace them "
                "with --overwrite."
            )
        self._check_other_shards()
        done = self._finished_rows() if found and resume else []
        try:
            if not done:
                self._start_anew()
        except OSError as error:
            raise UserError(f"Cannot write to --output '{self.folder}': {error.strerror}.") from error
        write_whole(self.folder / TABLE, rows_as_csv(done, header=True))
        return done

    def write_files(self, outlined: Outlined) -> PredictionRow:
        """Write the files of one input; returns its row, or a row that says that a file cannot have its name."""
        try:
            for name, content in outlined.files.items():
                write_whole(self.folder / name, content, durable=False)
        except UserError as error:
            if error.__cause__.errno not in REFUSED_NAMES:
                raise
            for name in outlined.files:
                with contextlib.suppress(OSError):
                    (self.folder / name).unlink()
            return PredictionRow(outlined.row.path, status=f"{error} Rename the image.")
        return outlined.row

    def append(self, rows: list[PredictionRow]) -> None:
        """Add rows to the table, after their files: what has a row is finished."""
        append_whole(self.folder / TABLE, rows_as_csv(rows))

    def read_rows(self) -> list[PredictionRow]:
        """All complete rows of the table."""
        path = self.folder / TABLE
        cells = read_table(path, errors="surrogateescape")
        if not path.read_bytes().endswith(b"\n"):
            del cells[-1:]  # half-written
        try:
            return [PredictionRow.from_cells(row) for row in cells if None not in row.values()]
        except (ValueError, KeyError) as error:
            raise UserError(f"'{path}' is damaged: start again with --overwrite.") from error

    def write_regions(self) -> None:
        """Collect the regions of all scans in one table, if there are scans."""
        rows = []
        scans = [input for input in self.inputs if input.is_volume]
        for input in scans:
            path = self.folder / regions_name(input.name)
            if path.exists():  # not if the scan was skipped
                rows += [{"path": input.path} | row for row in read_table(path)]
        if scans:
            text = table_text(["path", *REGION_COLUMNS], rows)
            write_whole(self.folder / REGIONS, text)

    def _check_other_shards(self) -> None:
        """UserError if another shard has other settings, or other images, so that some would be in no shard."""
        others = self.folder.parent.glob(f"{SHARD}*/{SETTINGS}") if "all_images" in self.settings else []
        for path in sorted(path for path in others if path.parent != self.folder):
            with contextlib.suppress(OSError, ValueError):  # being written, or damaged
                other = json.loads(path.read_text())
                different = [name for name, value in self.settings.items() if other.get(name) != value]
                if "all_images" in different:
                    raise UserError(
                        f"'{path.parent}' belongs to another set of images, as files were added or removed since: "
                        "delete the folders of all shards and start again, or choose another --output."
                    )
                if different := [name for name in different if name not in OF_ONE_SHARD]:
                    raise UserError(
                        f"'{path.parent}' was made with another {different[0].replace('_', ' ')}: repeat its options, "
                        "choose another --output, or delete the folders of all shards and start again."
                    )

    def _start_anew(self) -> None:
        # The table first: without it, nothing counts as finished.
        for name in (TABLE, REGIONS, REPORT, CONTACT_SHEET):
            (self.folder / name).unlink(missing_ok=True)
        for name in (MASKS, PROBABILITIES, OVERLAYS, SCANS):
            if (self.folder / name).exists():
                shutil.rmtree(self.folder / name)
        about = machine_facts() | {"images": hash_of_files(self.inputs)}
        write_json(self.folder / SETTINGS, self.settings | about)
        for name in (MASKS, OVERLAYS):
            (self.folder / name).mkdir()
        if any(input.is_volume for input in self.inputs):
            write_whole(self.folder / NIIVUE, viewer.BUNDLE.read_bytes())

    def _finished_rows(self) -> list[PredictionRow]:
        """Rows of the batches that an earlier prediction finished; UserError if it was a different one."""
        try:
            earlier = json.loads((self.folder / SETTINGS).read_text())
        except ValueError as error:
            raise UserError(f"'{self.folder / SETTINGS}' is damaged: start again with --overwrite.") from error
        for name, value in self.settings.items():
            if earlier.get(name) != value:
                raise UserError(
                    f"'{self.folder}' was started with {name} {earlier.get(name)}, not {value}: continue with the "
                    "same, or start again with --overwrite."
                )
        if not (self.folder / TABLE).exists():
            return []
        rows = self.read_rows()
        for row, input in zip_longest(rows, self.inputs[: len(rows)]):
            if input is None or row.path != input.path:
                raise UserError(
                    f"'{self.folder}' was started with other images ('{row.path}'): continue with the same, or start "
                    "again with --overwrite."
                )
        state = hash_of_files(self.inputs)
        if earlier.get("images", state) != state:
            raise UserError(
                f"Images have changed or been added since '{self.folder}' was started: start again with --overwrite."
            )
        if len(rows) < sum(not input.is_volume for input in self.inputs):
            # Only whole batches, so that the rest is computed as if nothing had happened.
            rows = rows[: len(rows) // self.settings["batch_size"] * self.settings["batch_size"]]
        return rows


def rows_as_csv(rows: list[PredictionRow], header: bool = False) -> str:
    """Rows as the text of predictions.csv."""
    return table_text(COLUMNS, [asdict(row) for row in rows], header)


def settings_of(run: SavedRun, options: PredictionOptions) -> dict[str, object]:
    """Everything that determines the results, apart from the images: content of prediction.json."""
    return {
        "network": run.network_fingerprint(),
        "threshold": run.config.outline_rule.threshold,
        "peak": run.config.outline_rule.peak,
        "strict_threshold": run.config.outline_rule.is_strict,
        "presence_rule": run.config.presence_rule and asdict(run.config.presence_rule),
        "always_outline": options.always_outline,
        "mirror": options.mirror,
        "probabilities": options.probabilities,
        "max_pixels": options.reading.max_pixels,
        "channel": options.reading.channel,
        "plane": options.reading.plane,
        "volume": options.reading.volume,
        # The last digits of a probability may depend on the number of images in a batch.
        "batch_size": options.batch_size,
    }


def hash_of_names(inputs: list[Input]) -> str:
    """Hash of the names of all inputs, which are the same on every machine."""
    return hashlib.sha256(repr([input.name for input in inputs]).encode(errors="surrogateescape")).hexdigest()[:16]


def hash_of_files(inputs: list[Input]) -> str:
    """Hash of the sizes and times of all files on this machine, to notice changes."""
    state = []
    for input in inputs:
        for path in input.series or (input.path,):
            with contextlib.suppress(OSError, ValueError):  # gone, or in an object store
                status = os.stat(path)
                state.append((str(path), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr(state).encode(errors="surrogateescape")).hexdigest()[:16]
