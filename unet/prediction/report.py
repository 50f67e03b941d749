"""report.html and contact_sheet.jpg of a prediction: what a person should look at, most doubtful first."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from unet.errors import ImageError
from unet.files import write_whole
from unet.images.encoding import encode_jpeg
from unet.images.reading import read_image, read_mask
from unet.machine import installed_versions, machine_description
from unet.options import ReadingOptions
from unet.pictures.overlays import montage
from unet.pictures.page import Card, Report, Sort, Tile, contour_path, embed_picture, render
from unet.pictures.table import Table
from unet.prediction.inputs import Input
from unet.prediction.names import CONTACT_SHEET, REPORT, TABLE, mask_name, overlay_name
from unet.prediction.outlines import PredictionRow
from unet.prediction.output import OutputFolder

MOST_TILES, MOST_ON_SHEET, MOST_SKIPPED = 300, 40, 100
REASONS = ("unlike training data", "low expected Dice", "nothing outlined", "")  # to review, most serious first
SORTS = [
    Sort("most doubtful first", "place"),
    Sort("expected Dice, lowest first", "expected"),
    Sort("expected Dice, highest first", "expected", -1),
    Sort("tumor, largest first", "size", -1),
    Sort("tumor, smallest first", "size"),
]


def write_report(output: OutputFolder, reading: ReadingOptions) -> None:
    """Write the report and the contact sheet of a finished prediction."""
    rows = output.read_rows()
    done = [(input, row) for input, row in zip(output.inputs, rows, strict=True) if row.is_ok]
    # The most doubtful first.
    done.sort(key=lambda result: (REASONS.index(result[1].review), result[1].expected_dice or 0.0))
    places = range(min(len(done), MOST_TILES))
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        tiles = threads.map(lambda place: make_tile(place, *done[place], output.folder, reading), places)
        tiles = [tile for tile in tiles if tile]
    if done:
        sheet = contact_sheet(done[:MOST_ON_SHEET], output.folder)
        write_whole(output.folder / CONTACT_SHEET, encode_jpeg(sheet, quality=90))
    which = "All images" if len(tiles) == len(done) else f"The {len(tiles)} most doubtful of {len(done)} images"
    content = Report(
        title=f"Outlines of {len(rows)} file{'s' * (len(rows) != 1)}",
        lead=[
            "Expected Dice estimates, without knowing the truth, how well an outline fits. evaluate.py measures how "
            f"good the estimate is. {TABLE} lists all images and measurements."
        ],
        cards=headline_cards(rows),
        tables=skipped_table(rows),
        plots=[],
        tiles_title="What to look at",
        tiles_lead=f"{which}.",
        tiles=tiles,
        sorts=SORTS,
        outlines={"prediction": "prediction"},
        about=output.settings | {"machine": machine_description(), "versions": installed_versions()},
    )
    write_whole(output.folder / REPORT, render(content))


def headline_cards(rows: list[PredictionRow]) -> list[Card]:
    done = [row for row in rows if row.is_ok]
    with_tumor = sum(bool(row.tumor_pixels) for row in done)
    reasons = Counter(row.review for row in done if row.review)
    expected = [row.expected_dice for row in done if row.expected_dice is not None]
    cards = [
        Card("Outlined", f"{len(done)}", f"of {len(rows)} files; {len(rows) - len(done)} skipped"),
        Card("With tumor", f"{with_tumor}", f"{len(done) - with_tumor} without"),
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


def make_tile(place: int, input: Input, row: PredictionRow, folder: Path, reading: ReadingOptions) -> Tile | None:
    """An image with its outline, read again; None if it cannot be read any more."""
    path = Path(row.path)
    try:
        if input.is_volume or "://" in row.path:
            # The overlay has the outlines in it.
            overlay = read_picture(folder / overlay_name(input.name, input.is_volume))
            uri, width, height = embed_picture(overlay, side=1024)
            outline = ""
        else:
            uri, width, height = embed_picture(read_image(path, reading))
            mask = read_mask(folder / mask_name(input.name, is_volume=False), reading)
            outline = contour_path(mask.astype(np.float32), 0.5, width)
    except (ImageError, OSError):
        return None
    expected = "" if row.expected_dice is None else f" {row.expected_dice:.2f}"
    doubt = row.review or ("not judged" if row.expected_dice is None else "no reason for doubt")
    return Tile(
        label=f"{path.name}{expected}" + (f": {row.review}" if row.review else ""),
        image=uri,
        width=width,
        height=height,
        prediction=outline,
        groups=[doubt] if row.tumor_pixels else [doubt, "no tumor"],
        sort={"place": place, "expected": row.expected_dice, "size": row.tumor_percent or 0.0},
        about={name.replace("_", " "): str(value) for name, value in asdict(row).items() if value not in (None, "")},
    )


def read_picture(path: Path) -> np.ndarray:
    """One of our own pictures as BGR uint8 (height, width, 3)."""
    # cv2.imread cannot open every file name.
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


def contact_sheet(results: list[tuple[Input, PredictionRow]], folder: Path) -> np.ndarray:
    """The most doubtful outlines with their expected Dice and file name, BGR uint8 (height, width, 3)."""
    tiles, labels = [], []
    for input, row in results:
        tiles.append(read_picture(folder / overlay_name(input.name, input.is_volume)))
        name = Path(row.path).name.encode("ascii", "replace").decode()
        expected = "-" if row.expected_dice is None else f"{row.expected_dice:.2f}"
        labels.append(f"{expected} {name}"[:28])
    return montage(tiles, labels)
