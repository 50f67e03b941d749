"""What predict.py does: images and volumes in, masks, overlays and a table of measurements out."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from itertools import zip_longest
from pathlib import Path

from unet.errors import UserError
from unet.files import write_json, write_whole
from unet.network.saved_run import SavedRun
from unet.options import PredictionOptions
from unet.prediction.inputs import SETTINGS, TABLE, Input
from unet.prediction.outlines import COLUMNS, Measurement, Outlined, picture_name
from unet.tables import read_table, table_text

OUTPUTS = (SETTINGS, TABLE, "report.html", "contact_sheet.jpg", "masks", "overlays")


def write_files(outlined: Outlined, folder: Path) -> Measurement:
    """Write the files of one input; its row, which says so where their names are too long."""
    try:
        for name, content in outlined.files.items():
            write_whole(folder / name, content, durable=False)
    except UserError as error:
        if error.__cause__.errno != errno.ENAMETOOLONG:
            raise
        return Measurement(outlined.row.path, str(error))
    return outlined.row


def outputs_of(inputs: list[Input], folder: Path) -> list[tuple[Path, Path | None, dict]]:
    """Of each input the picture of its outline, its mask (None of a volume) and its row of the table."""
    rows = read_table(folder / TABLE, errors="surrogateescape")
    return [
        (
            folder / picture_name(input),
            None if input.is_volume else folder / "masks" / f"{input.name}.png",
            row,
        )
        for input, row in zip(inputs, rows, strict=True)
    ]


def state_of(inputs: list[Input]) -> str:
    """Hash of the files' sizes and times, as far as they are on this machine: do they still hold the same?"""
    state = []
    for input in inputs:
        for path in input.series or (input.path,):
            with contextlib.suppress(OSError, ValueError):  # gone, or in an object store
                told = os.stat(path)
                state.append((str(path), told.st_size, told.st_mtime_ns))
    return hashlib.sha256(repr(state).encode(errors="surrogateescape")).hexdigest()[:16]


def settings_of(run: SavedRun, options: PredictionOptions) -> dict[str, object]:
    """What decides the results, beside the images: content of prediction.json."""
    return {
        "network": run.network_digest(),
        "threshold": run.config.threshold,
        "peak": run.config.peak,
        "mirror": options.mirror,
        "max_pixels": options.max_pixels,
        "axis": options.axis,
        # The last digits of a probability may depend on how many images are computed at once.
        "batch_size": options.batch_size,
    }


def prepare_output(
    options: PredictionOptions, settings: dict[str, object], inputs: list[Input]
) -> list[dict[str, str]]:
    """Make the output folder ready; returns the rows that an earlier prediction finished (--resume).

    Raises UserError where the folder cannot be written, or holds what must not be replaced or mixed.
    """
    folder = options.output
    if options.resume and options.overwrite:
        raise UserError("--resume keeps what --overwrite replaces: give one of them.")
    old = [name for name in OUTPUTS if (folder / name).exists()]
    if old and SETTINGS not in old:
        # A data set has masks/ too: those must never be replaced.
        raise UserError(f"'{folder}' holds {old[0]} of something else: choose another --output.")
    if old and not (options.resume or options.overwrite):
        raise UserError(
            f"'{folder}' holds results: choose another --output, go on with --resume or replace them "
            "with --overwrite."
        )
    done = finished_rows(folder, settings, inputs) if old and options.resume else []
    try:
        if not done:
            # The table first: without it nothing counts as done.
            (folder / TABLE).unlink(missing_ok=True)
            for name in ("report.html", "contact_sheet.jpg"):
                (folder / name).unlink(missing_ok=True)
            for name in ("masks", "overlays"):
                if (folder / name).exists():
                    shutil.rmtree(folder / name)
            write_json(folder / SETTINGS, settings | {"images": state_of(inputs)})
            for name in ("masks", "overlays"):
                (folder / name).mkdir()
    except OSError as error:
        raise UserError(f"Cannot write to --output '{folder}': {error.strerror}.") from error
    write_whole(folder / TABLE, table_text(COLUMNS, done))
    return done


def finished_rows(folder: Path, settings: dict[str, object], inputs: list[Input]) -> list[dict[str, str]]:
    """Rows of the batches that an earlier prediction finished; UserError where it was another one."""
    try:
        begun_with = json.loads((folder / SETTINGS).read_text())
    except ValueError as error:
        raise UserError(f"'{folder / SETTINGS}' is damaged: start again with --overwrite.") from error
    for name, value in settings.items():
        if begun_with.get(name) != value:
            raise UserError(
                f"'{folder}' was begun with {name} {begun_with.get(name)}, not {value}: go on with the "
                "same, or start again with --overwrite."
            )
    if not (folder / TABLE).exists():
        return []
    rows = read_table(folder / TABLE, errors="surrogateescape")
    if not (folder / TABLE).read_bytes().endswith(b"\n"):
        del rows[-1:]  # half-written
    rows = [row for row in rows if None not in row.values()]
    for row, input in zip_longest(rows, inputs[: len(rows)]):
        if input is None or row["path"] != input.path:
            raise UserError(
                f"'{folder}' was begun with other images ('{row['path']}'): go on with the same, or "
                "start again with --overwrite."
            )
    state = state_of(inputs)
    if begun_with.get("images", state) != state:
        raise UserError(
            f"The images have changed since '{folder}' was begun, or some were added: start again with "
            "--overwrite."
        )
    if len(rows) < sum(not input.is_volume for input in inputs):
        # Whole batches only, so that the rest is computed as if nothing had happened.
        rows = rows[: len(rows) // settings["batch_size"] * settings["batch_size"]]
    return rows
