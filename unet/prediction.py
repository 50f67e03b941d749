"""What predict.py does: images and volumes in, masks, overlays and a table of measurements out."""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import chain, islice, zip_longest
from pathlib import Path

import tensorflow as tf
from tqdm import tqdm

from unet import prediction_report
from unet.files import (
    UserError,
    append_whole,
    only_process_in,
    read_table,
    table_text,
    write_json,
    write_whole,
)
from unet.inference import Predictor, in_batches
from unet.inputs import SETTINGS, TABLE, Input, find_inputs
from unet.options import PredictionOptions
from unet.results import COLUMNS, Measurement, Outlined, outline, picture_name
from unet.saved_run import SavedRun

OUTPUTS = (SETTINGS, TABLE, "report.html", "contact_sheet.jpg", "masks", "overlays")


def predict(options: PredictionOptions) -> int:
    """Write masks, overlays and predictions.csv for all images; returns 3 if any was skipped, else 0."""
    run = SavedRun.open(options.run)
    inputs = find_inputs(options.images, options.output)
    options, inputs = part_of(options, inputs)
    outline_and_write = outliner(run, options)
    with only_process_in(options.output):
        # After all that may fail: --overwrite deletes earlier results.
        done = prepare_output(options, settings_of(run, options), inputs)
        tally = Counter()
        try:
            rows = outline_and_write(inputs[len(done) :])
            for row in chain(done, keep(rows, inputs, len(done), options)):
                tally["outlined" if row["status"] == "ok" else "skipped"] += 1
                tally["with tumor"] += prediction_report.has_tumor(row)
                tally["to review"] += bool(row["review"])
        except KeyboardInterrupt:
            print("Go on with the same command and --resume.")
            raise
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            raise UserError(
                f"Out of memory: start again with a --batch-size below {options.batch_size} and "
                "--overwrite, or with smaller images."
            ) from error
        outputs = outputs_of(inputs, options.output)
        prediction_report.write(outputs, settings_of(run, options), options.output)
    print(
        f"{tally['outlined']} of {len(inputs)} images outlined, {tally['with tumor']} with tumor, "
        f"{tally['to review']} to review, {tally['skipped']} skipped: see {options.output}/report.html and "
        f"{options.output}/{TABLE}."
    )
    return 3 if tally["skipped"] else 0


def outliner(
    run: SavedRun, options: PredictionOptions
) -> Callable[[list[Input]], Iterator[Measurement]]:
    """What outlines inputs here or on a Ray cluster and writes their files; UserError where it cannot."""

    def write(outlined: Outlined) -> Measurement:
        return write_files(outlined, options.output)

    if options.ray is not None:
        from unet.cluster import outline_on_ray

        outline_there = outline_on_ray(run, options)
        return lambda inputs: map(write, outline_there(inputs))
    predictor = Predictor(run, options.batch_size, options.mirror)
    return lambda inputs: outline(predictor, inputs, options.axis, options.max_pixels, write)


def part_of(
    options: PredictionOptions, inputs: list[Input]
) -> tuple[PredictionOptions, list[Input]]:
    """What --shard leaves of options and inputs; UserError where that is nothing."""
    told = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", options.shard)
    number, count = map(int, told.groups()) if told else (0, 0)
    if not 1 <= number <= count:
        raise UserError(f"--shard {options.shard} is no part of a whole: give I/N, such as 3/8.")
    if count == 1:
        return options, inputs
    # Every count-th: neighbours are alike in size, so the parts take about as long.
    part = inputs[number - 1 :: count]
    if not part:
        raise UserError(f"--shard {options.shard} is empty: there are {len(inputs)} files only.")
    return replace(options, output=options.output / f"shard-{number}-of-{count}"), part


def keep(
    rows: Iterator[Measurement], inputs: list[Input], first: int, options: PredictionOptions
) -> Iterator[dict]:
    """Add the rows of `inputs` from `first` on to the table, a batch at a time; yields them."""
    images = sum(not input.is_volume for input in inputs[first:])
    batches = in_batches(islice(rows, images), options.batch_size)
    with tqdm(
        total=len(inputs), desc="Predicting", initial=first, unit="file", disable=None
    ) as bar:
        for batch in chain(batches, ([volume] for volume in rows)):
            batch = [asdict(row) for row in batch]
            # After their masks: what has a row is done.
            append_whole(options.output / TABLE, table_text(COLUMNS, batch, header=False))
            for row in batch:
                if row["status"] != "ok":
                    bar.write(f"skipped: {row['status']}")
                yield row
            bar.update(len(batch))


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


def state_of(inputs: list[Input]) -> str:
    """Hash of the files' sizes and times, as far as they are on this machine: do they still hold the same?"""
    state = []
    for input in inputs:
        for path in input.series or (input.path,):
            with contextlib.suppress(OSError, ValueError):  # gone, or in an object store
                told = os.stat(path)
                state.append((str(path), told.st_size, told.st_mtime_ns))
    return hashlib.sha256(repr(state).encode(errors="surrogateescape")).hexdigest()[:16]


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


def finished_rows(
    folder: Path, settings: dict[str, object], inputs: list[Input]
) -> list[dict[str, str]]:
    """Rows of the batches that an earlier prediction finished; UserError where it was another one."""
    try:
        begun_with = json.loads((folder / SETTINGS).read_text())
    except ValueError as error:
        raise UserError(
            f"'{folder / SETTINGS}' is damaged: start again with --overwrite."
        ) from error
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
