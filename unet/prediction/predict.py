"""What predict.py does: images and volumes in; masks, overlays and a table of measurements out."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, islice

import tensorflow as tf
from tqdm import tqdm

from unet.errors import UserError
from unet.files import only_process_in
from unet.machine import configure_machine
from unet.network.predictor import Predictor, in_batches
from unet.network.saved_run import SavedRun
from unet.options import PredictionOptions
from unet.prediction.inputs import Input, find_inputs
from unet.prediction.names import REPORT, SHARD, TABLE
from unet.prediction.outlines import as_trained, open_run, outline_inputs
from unet.prediction.output import OutputFolder, hash_of_names, settings_of
from unet.prediction.report import write_report
from unet.prediction.rows import Outlined, PredictionRow


def predict(options: PredictionOptions) -> int:
    """Outline the tumors in images and volumes.

    Args:
        options: Which images, which run, and where the results go.

    Returns:
        The exit code: 0 if all inputs were read, 3 if any was skipped. The results are in options.output:
        masks/, overlays/, predictions.csv with one row per input, and report.html.

    Raises:
        UserError: If there are no images, the run or the output folder cannot be used, or memory or disk is full.

    Example:
        >>> from pathlib import Path
        >>> predict(PredictionOptions(("data/phantom/images/phantom_000_0.png",), Path("out")))  # doctest: +ELLIPSIS
        1 of 1 images read: ...
        0
    """
    options = configure_machine(options)
    everything = find_inputs(options.images, options.output)
    options, inputs = take_shard(options, everything)
    run = open_run(options.run, options)
    run.warn_if_unfinished()
    options = as_trained(run, options)
    settings = settings_of(run, options)
    if len(inputs) < len(everything):
        settings |= {"all_images": hash_of_names(everything)}
    output = OutputFolder(options.output, settings, inputs)
    outline = choose_outliner(run, options, output.write_files)
    with only_process_in(options.output):
        # After everything that may fail, as --overwrite deletes earlier results.
        done = output.prepare(options.resume, options.overwrite)
        tally = Counter()
        try:
            rows = outline(inputs[len(done) :])
            for row in chain(done, append_rows(output, rows, len(done), options.batch_size)):
                tally["read" if row.is_ok else "skipped"] += 1
                tally[output.finding(row)] += row.is_ok
                tally["to review"] += bool(row.review)
        except KeyboardInterrupt:
            print("Continue with the same command and --resume.")
            raise
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            raise UserError(
                f"Out of memory: start again with --overwrite and a --batch-size below {options.batch_size}, or with "
                "smaller images."
            ) from error
        output.write_regions()
        write_report(output, options.reading)
    found = ", ".join(f"{name} in {tally[name]}" for name in output.shown_findings(tally))
    print(
        f"{tally['read']} of {len(inputs)} images read: {found}, {tally['to review']} to review, {tally['skipped']} "
        f"skipped: see {options.output}/{REPORT} and {options.output}/{TABLE}."
    )
    return 3 if tally["skipped"] else 0


def choose_outliner(
    run: SavedRun, options: PredictionOptions, write: Callable[[Outlined], PredictionRow]
) -> Callable[[list[Input]], Iterator[PredictionRow]]:
    """A function that outlines inputs, on this machine or on a Ray cluster, and writes the results here.
    UserError if the run has no network, or there is no cluster."""
    if options.ray is not None:
        from unet.prediction.cluster import outline_on_ray

        outline_there = outline_on_ray(run, options)
        return lambda inputs: map(write, outline_there(inputs))
    predictor = Predictor(run, options.batch_size, options.mirror, always_outline=options.always_outline)
    return lambda inputs: outline_inputs(predictor, inputs, options, write)


def take_shard(options: PredictionOptions, inputs: list[Input]) -> tuple[PredictionOptions, list[Input]]:
    """The part of the inputs that --shard names, and options with its output folder; UserError if it is empty."""
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", options.shard)
    number, count = map(int, match.groups()) if match else (0, 0)
    if not 1 <= number <= count:
        raise UserError(f"--shard {options.shard} is invalid: give I/N, such as 3/8.")
    if count == 1:
        return options, inputs
    # Every count-th input: neighbors have similar sizes, so all parts take about equally long.
    part = inputs[number - 1 :: count]
    if not part:
        raise UserError(f"--shard {options.shard} is empty: there are only {len(inputs)} files.")
    return replace(options, output=options.output / f"{SHARD}{number}-of-{count}"), part


def append_rows(
    output: OutputFolder, rows: Iterator[PredictionRow], first: int, batch_size: int
) -> Iterator[PredictionRow]:
    """Append the rows of the inputs from `first` on to the table, one batch at a time, and yield them."""
    images = sum(not input.is_volume for input in output.inputs[first:])
    batches = in_batches(islice(rows, images), batch_size)
    with tqdm(total=len(output.inputs), desc="Predicting", initial=first, unit="file", disable=None) as bar:
        for batch in chain(batches, ([volume] for volume in rows)):
            output.append(batch)
            for row in batch:
                if not row.is_ok:
                    bar.write(f"skipped: {row.status}")
                yield row
            bar.update(len(batch))
