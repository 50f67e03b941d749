"""report.html and contact_sheet.jpg of a prediction: what a person should look at, most doubtful first."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from statistics import median
from urllib.parse import quote

import cv2
import numpy as np

from unet.errors import ImageError
from unet.files import write_whole
from unet.images.encoding import encode_jpeg
from unet.images.masks import read_mask
from unet.images.reading import read_image
from unet.machine import machine_facts, thread_count
from unet.network.presence import probability_text
from unet.options import PairingOptions, ReadingOptions
from unet.pictures.overlays import montage
from unet.pictures.page import Card, Report, Sort, Tile, contour_path, embed_picture, render
from unet.pictures.table import Table
from unet.prediction.inputs import Input
from unet.prediction.names import CONTACT_SHEET, REPORT, TABLE, mask_name, overlay_name, viewer_name
from unet.prediction.output import OutputFolder
from unet.prediction.rows import PredictionRow

MOST_TILES, MOST_ON_SHEET, MOST_SKIPPED = 300, 40, 100
# Why to review an image, most serious first.
REASONS = ("unlike training data", "tumor uncertain", "low expected Dice", "nothing outlined", "")
ALWAYS_OUTLINED = (
    "Every image is outlined, as requested with --always-outline, whatever its tumor probability. The expected Dice is "
    "for images with a tumor."
)
Result = tuple[Input, PredictionRow]
SORTS = [
    Sort("most doubtful first", "order"),
    Sort("tumor probability, highest first", "presence", -1),
    Sort("tumor probability, lowest first", "presence"),
    Sort("expected Dice, lowest first", "expected"),
    Sort("expected Dice, highest first", "expected", -1),
    Sort("tumor, largest first", "size", -1),
    Sort("tumor, smallest first", "size"),
]


def write_report(output: OutputFolder, reading: ReadingOptions) -> None:
    """Write the report and the contact sheet of a finished prediction."""
    rows = output.read_rows()
    done = [(input, row) for input, row in zip(output.inputs, rows, strict=True) if row.is_ok]
    shown = most_doubtful(done, MOST_TILES, output)
    with ThreadPoolExecutor(thread_count()) as threads:
        tiles = threads.map(lambda order, result: make_tile(order, result, output, reading), range(len(shown)), shown)
        tiles = [tile for tile in tiles if tile]
    if done:
        sheet = contact_sheet(most_doubtful(done, MOST_ON_SHEET, output), output)
        write_whole(output.folder / CONTACT_SHEET, encode_jpeg(sheet, quality=90))
    which = "All images" if len(tiles) == len(done) else f"The {len(tiles)} most doubtful of {len(done)} images"
    content = Report(
        title=f"Prediction for {len(rows)} file{'s' * (len(rows) != 1)}",
        lead=[
            "Below each image are its tumor probability and, if it has an outline, the expected Dice: how well the "
            "outline fits, estimated without the truth. evaluate.py measures how good these estimates are. "
            f"{TABLE} lists all images and measurements.",
            *([ALWAYS_OUTLINED] if output.settings["always_outline"] else []),
        ],
        cards=headline_cards(rows, output),
        tables=skipped_table(rows),
        plots=[],
        tiles_title="What to look at",
        tiles_lead=f"{which}.",
        tiles=tiles,
        sorts=SORTS,
        outlines={"prediction": "prediction"},
        about=output.settings | machine_facts(),
    )
    write_whole(output.folder / REPORT, render(content))


def most_doubtful(results: list[Result], count: int, output: OutputFolder) -> list[Result]:
    """At most `count` results, most serious reason first. Each reason to review gets a fair share of the places, and
    results without a reason get what remains."""
    by_reason: dict[str, list[Result]] = {reason: [] for reason in REASONS}
    for result in sorted(results, key=lambda result: certainty(result[1], output)):
        by_reason[result[1].review].append(result)
    *doubtful, rest = by_reason.values()
    in_turn = [result for turn in zip_longest(*doubtful) for result in turn if result]
    # Sorting keeps the order within a reason.
    return sorted((in_turn + rest)[:count], key=lambda result: REASONS.index(result[1].review))


def certainty(row: PredictionRow, output: OutputFolder) -> float:
    """How little doubt there is about a result, to compare it with others that have the same reason to review."""
    if row.review == "tumor uncertain":
        return abs(row.tumor_probability - output.presence_threshold(row))
    if row.tumor_pixels:
        return row.expected_dice or 0.0
    # Images without an outline follow those with one, most likely tumor first.
    return 2 - (row.tumor_probability or 0.0)


def headline_cards(rows: list[PredictionRow], output: OutputFolder) -> list[Card]:
    done = [row for row in rows if row.is_ok]
    found = Counter(output.finding(row) for row in done)
    reasons = Counter(row.review for row in done if row.review)
    expected = [row.expected_dice for row in done if row.expected_dice is not None]
    kinds = {" (scans)" if row.slices else "": output.presence_threshold(row) for row in done}
    limits = [f"{threshold:.2g}{kind}" for kind, threshold in sorted(kinds.items()) if threshold is not None]
    notes = {
        "tumor outlined": f"of {len(rows)} file{'s' * (len(rows) != 1)}; {len(rows) - len(done)} skipped",
        "no tumor found": f"tumor probability below {' or '.join(limits)}",
        "nothing outlined": "no pixel reaches the threshold",
    }
    cards = [
        *(Card(name.capitalize(), f"{found[name]}", notes[name]) for name in output.shown_findings(found)),
        Card("To review", f"{reasons.total()}", ", ".join(f"{count} {name}" for name, count in reasons.items())),
    ]
    if expected:
        cards.append(Card("Expected Dice", f"{median(expected):.2f}", "median of images with an outline"))
    return cards


def skipped_table(rows: list[PredictionRow]) -> list[Table]:
    """A table of the files that could not be read, if there are any."""
    reasons = [[row.status] for row in rows if not row.is_ok]
    if not reasons:
        return []
    which = f", the first {MOST_SKIPPED}" if len(reasons) > MOST_SKIPPED else ""
    return [Table(f"Skipped{which}", [["file and reason"], *reasons[:MOST_SKIPPED]])]


def make_tile(order: int, result: Result, output: OutputFolder, reading: ReadingOptions) -> Tile | None:
    """An image with its outline, read again; None if it cannot be read any more."""
    input, row = result
    path = Path(row.path)
    try:
        if input.is_volume or "://" in row.path:
            # The overlay has the outlines in it.
            overlay = read_picture(output.folder / overlay_name(input.name, input.is_volume))
            uri, width, height = embed_picture(overlay, side=1024)
            outline = ""
        else:
            uri, width, height = embed_picture(read_image(path, reading))
            mask = read_mask(
                output.folder / mask_name(input.name, is_volume=False), PairingOptions(max_pixels=reading.max_pixels)
            )
            outline = contour_path(mask.astype(np.float32), 0.5, width)
    except (ImageError, OSError):
        return None
    is_judged = row.expected_dice is not None or row.tumor_probability is not None
    doubt = row.review or ("not marked for review" if is_judged else "not judged")
    found = output.finding(row)
    return Tile(
        label=f"{short_name(input)}: {', '.join(verdict(row, output))}",
        image=uri,
        width=width,
        height=height,
        prediction=outline,
        viewer=quote(viewer_name(input.name), errors="surrogateescape") if input.is_volume else "",
        groups=list(dict.fromkeys([doubt, found])),
        sort={
            "order": order,
            "presence": row.tumor_probability,
            "expected": row.expected_dice,
            "size": row.tumor_percent or 0.0,
        },
        about={
            name.replace("_", " ").replace("dice", "Dice"): str(value)
            for name, value in asdict(row).items()
            if value not in (None, "")
        },
    )


def short_name(input: Input) -> str:
    """The name of a file, or of a series."""
    return Path(input.name if input.series else input.path).name


def verdict(row: PredictionRow, output: OutputFolder) -> list[str]:
    """What matters most about an image: its tumor probability, with the expected Dice of an outline, and the reason to
    review it, if there is one."""
    found = output.finding(row)
    numbers = found
    if found == "no tumor found":
        numbers = f"no tumor found ({probability_text(row.tumor_probability)})"
    elif row.expected_dice is not None:
        tumor = "" if row.tumor_probability is None else f"tumor {probability_text(row.tumor_probability)}, "
        numbers = f"{tumor}expected Dice {row.expected_dice:.2f}"
    return [numbers] if row.review in ("", found) else [numbers, row.review]


def read_picture(path: Path) -> np.ndarray:
    """One of our own pictures as BGR uint8 (height, width, 3); OSError if it is gone or damaged."""
    # cv2.imread cannot open every file name.
    content = np.frombuffer(path.read_bytes(), np.uint8)
    picture = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    if picture is None:
        raise OSError(f"'{path}' is damaged")
    return picture


def contact_sheet(results: list[Result], output: OutputFolder) -> np.ndarray:
    """Results with their verdict and file name, BGR uint8 (height, width, 3). Those whose overlay was deleted since are
    black."""
    tiles, labels = [], []
    for input, row in results:
        try:
            tiles.append(read_picture(output.folder / overlay_name(input.name, input.is_volume)))
        except OSError:
            tiles.append(np.zeros((1, 1, 3), np.uint8))
        name = short_name(input).encode("ascii", "replace").decode()
        shortened = name if len(name) <= 28 else f"{name[:12]}...{name[-13:]}"
        labels.append("\n".join([*verdict(row, output), shortened]))
    return montage(tiles, labels)
