"""What predict.py does: images and volumes in, masks, overlays and a table of measurements out."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from itertools import chain, islice

import tensorflow as tf
from tqdm import tqdm

from unet.errors import UserError
from unet.files import append_whole, only_process_in
from unet.network.predictor import Predictor, in_batches
from unet.network.saved_run import SavedRun
from unet.options import PredictionOptions
from unet.prediction import report
from unet.prediction.inputs import TABLE, Input, find_inputs
from unet.prediction.outlines import COLUMNS, Measurement, Outlined, outline
from unet.prediction.output import outputs_of, prepare_output, settings_of, write_files
from unet.tables import table_text


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
                tally["with tumor"] += report.has_tumor(row)
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
        report.write(outputs, settings_of(run, options), options.output)
    print(
        f"{tally['outlined']} of {len(inputs)} images outlined, {tally['with tumor']} with tumor, "
        f"{tally['to review']} to review, {tally['skipped']} skipped: see {options.output}/report.html and "
        f"{options.output}/{TABLE}."
    )
    return 3 if tally["skipped"] else 0


def outliner(run: SavedRun, options: PredictionOptions) -> Callable[[list[Input]], Iterator[Measurement]]:
    """What outlines inputs here or on a Ray cluster and writes their files; UserError where it cannot."""

    def write(outlined: Outlined) -> Measurement:
        return write_files(outlined, options.output)

    if options.ray is not None:
        from unet.prediction.cluster import outline_on_ray

        outline_there = outline_on_ray(run, options)
        return lambda inputs: map(write, outline_there(inputs))
    predictor = Predictor(run, options.batch_size, options.mirror)
    return lambda inputs: outline(predictor, inputs, options.axis, options.max_pixels, write)


def part_of(options: PredictionOptions, inputs: list[Input]) -> tuple[PredictionOptions, list[Input]]:
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
    with tqdm(total=len(inputs), desc="Predicting", initial=first, unit="file", disable=None) as bar:
        for batch in chain(batches, ([volume] for volume in rows)):
            batch = [asdict(row) for row in batch]
            # After their masks: what has a row is done.
            append_whole(options.output / TABLE, table_text(COLUMNS, batch, header=False))
            for row in batch:
                if row["status"] != "ok":
                    bar.write(f"skipped: {row['status']}")
                yield row
            bar.update(len(batch))
