"""report.html and contact_sheet.jpg of a prediction: what a person should look at, worst first."""

import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from unet.errors import ImageError
from unet.files import write_whole
from unet.images.encoding import encode_picture
from unet.images.reading import read_image, read_mask
from unet.machine import installed_versions, machine_description
from unet.pictures import page
from unet.pictures.overlays import montage
from unet.pictures.page import Report, Sort, Tile

MOST_TILES, MOST_ON_SHEET, MOST_SKIPPED = 300, 40, 100
# Reasons to look at an outline, the gravest first.
REASONS = ("unlike training data", "low expected Dice", "nothing outlined", "")
SORTS = [
    Sort("most doubtful first", "place"),
    Sort("expected Dice, lowest first", "expected"),
    Sort("expected Dice, highest first", "expected", -1),
    Sort("tumor, largest first", "size", -1),
    Sort("tumor, smallest first", "size"),
]


def write(outputs: list[tuple[Path, Path | None, dict]], settings: dict[str, object], folder: Path) -> None:
    """Write both. `outputs`: of each input the picture of its outline, its mask (or none) and its row."""
    done = [output for output in outputs if output[2]["status"] == "ok"]
    worst = sorted(done, key=lambda output: doubt(output[2]))[:MOST_TILES]
    max_pixels = settings["max_pixels"]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        made = threads.map(lambda place: tile_of(place, worst[place], max_pixels), range(len(worst)))
        tiles = [tile for tile in made if tile]
    if worst:
        sheet = contact_sheet(worst[:MOST_ON_SHEET])
        write_whole(folder / "contact_sheet.jpg", encode_picture(sheet, quality=90))
    rows = [row for _, _, row in outputs]
    shown = (
        "All images" if len(tiles) == len(done) else f"The {len(tiles)} most doubtful of {len(done)} images"
    )
    content = Report(
        title=f"Outlines of {len(rows)} files",
        lead=[
            "Expected Dice is a guess, made without the truth, of how well an outline fits: see what "
            "evaluate.py says of how good it is. All images and measurements are in predictions.csv."
        ],
        cards=cards(rows),
        tables=skipped(rows),
        plots=[],
        tiles_title="What to look at",
        tiles_lead=f"{shown}. Press one to enlarge it; the arrow keys go on from there.",
        tiles=tiles,
        sorts=SORTS,
        outlines={"prediction": "network"},
        about=settings | {"machine": machine_description(), "versions": installed_versions()},
    )
    write_whole(folder / "report.html", page.page(content))


def doubt(row: dict) -> tuple[int, float]:
    """Sorts rows so that what most needs a look comes first."""
    return REASONS.index(row["review"]), float(row["expected_dice"] or 0)


def has_tumor(row: dict) -> bool:
    """Whether a row, just made or read again, tells of an outline."""
    return row["tumor_pixels"] not in ("", "0", 0)


def cards(rows: list[dict]) -> list[tuple[str, str, str]]:
    """The headline numbers."""
    done = [row for row in rows if row["status"] == "ok"]
    found = sum(map(has_tumor, done))
    reasons = Counter(row["review"] for row in done if row["review"])
    expected = [float(row["expected_dice"]) for row in done if row["expected_dice"] != ""]
    told = [
        ("Outlined", f"{len(done)}", f"of {len(rows)} files; {len(rows) - len(done)} skipped"),
        ("With tumor", f"{found}", f"{len(done) - found} without"),
        (
            "To review",
            f"{reasons.total()}",
            ", ".join(f"{n} {name}" for name, n in reasons.items()),
        ),
    ]
    if expected:
        told.append(("Expected Dice", f"{median(expected):.2f}", "median of images with an outline"))
    return told


def skipped(rows: list[dict]) -> list[tuple[str, list[list[str]]]]:
    """A table of the files that could not be read."""
    reasons = [[row["status"]] for row in rows if row["status"] != "ok"]
    if not reasons:
        return []
    more = f", the first {MOST_SKIPPED}" if len(reasons) > MOST_SKIPPED else ""
    return [(f"Skipped{more}", [["file and reason"], *reasons[:MOST_SKIPPED]])]


def tile_of(place: int, output: tuple[Path, Path | None, dict], max_pixels: int) -> Tile | None:
    """One image with its outline, read again; None where it cannot be any more."""
    picture, mask_path, row = output
    path = Path(row["path"])
    try:
        if mask_path and "://" not in row["path"]:
            uri, width, height = page.picture(read_image(path, max_pixels))
            mask = read_mask(mask_path, max_pixels)
            line = page.outline(mask.astype(np.float32), 0.5, width)
        else:  # a volume, or far away: the picture has the outlines
            uri, width, height = page.picture(read_picture(picture), side=1024)
            line = ""
    except (ImageError, OSError):
        return None
    expected = row["expected_dice"]
    told = f" {float(expected):.2f}" if expected != "" else ""
    found = has_tumor(row)
    return Tile(
        label=f"{path.name}{told}" + (f": {row['review']}" if row["review"] else ""),
        groups=[
            row["review"] or ("not judged" if expected == "" else "no reason to doubt"),
            *(["no tumor"] if not found else []),
        ],
        sort={
            "place": place,
            "expected": float(expected) if expected != "" else None,
            "size": float(row["tumor_percent"] or 0),
        },
        about={name.replace("_", " "): str(value) for name, value in row.items() if value != ""},
        image=uri,
        width=width,
        height=height,
        prediction=line,
    )


def read_picture(path: Path) -> np.ndarray:
    """One of our own pictures, BGR."""
    # Not imread: it cannot open every name.
    return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)


def contact_sheet(worst: list[tuple[Path, Path | None, dict]]) -> np.ndarray:
    """The outlines that most need a look, with expected Dice and name."""
    tiles, labels = [], []
    for picture, _, row in worst:
        tiles.append(read_picture(picture))
        name = Path(row["path"]).name.encode("ascii", "replace").decode()
        labels.append(f"{row['expected_dice'] or '-':.4} {name}"[:28])
    return montage(tiles, labels)
