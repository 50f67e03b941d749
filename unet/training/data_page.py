"""data.html: some of the slices with their true outlines, to look at before the training."""

from pathlib import Path

import numpy as np

from unet.data.patients import unit_of
from unet.data.slices import Slices
from unet.files import write_whole
from unet.network.saved_run import SavedRun
from unet.pictures.page import Card, Report, Sort, Tile, contour_path, embed_picture, render
from unet.training.samples import evenly_spaced

MOST_WITH_TUMOR, MOST_WITHOUT = 80, 20
INVERTED = 50  # percent of the image: if the median tumor is larger, its mask is probably inverted


def write_data_page(run: SavedRun, slices: Slices) -> Path:
    """Write data.html into the run folder, and return its path."""
    percent = slices.tumor_percent[slices.has_tumor]
    largest = int(np.argmax(slices.tumor_percent))
    shown = {
        *evenly_spaced(np.flatnonzero(slices.has_tumor), MOST_WITH_TUMOR).tolist(),
        *evenly_spaced(np.flatnonzero(~slices.has_tumor), MOST_WITHOUT).tolist(),
        largest,
    }
    used_for = {id: name for name, ids in run.slices.split.items() for id in ids}
    tiles = [make_tile(slices, index, used_for, run.slices.facts) for index in sorted(shown)]
    patients = {row["patient"] for row in run.slices.facts.values()}
    unit = unit_of(patients)
    counts = ", ".join(f"{name} {len(ids)}" for name, ids in run.slices.split.items())
    report = Report(
        title=f"Data of {run.folder.name}",
        lead=[run.config.split_source],
        cards=[
            Card("Slices", str(len(slices.ids)), counts),
            Card("With tumor", str(len(percent)), f"{len(percent) / len(slices.ids):.0%} of all"),
            Card(unit.capitalize(), str(len(patients)), "each in one split"),
            Card("Median tumor", percent_text(np.median(percent)), "of the image"),
            Card("Largest tumor", percent_text(percent.max()), "of the image"),
            Card("Exact copies", str(len(slices.copies)), "left out" if slices.copies else "none"),
        ],
        tables=[],
        plots=[],
        tiles_title="Slices and their masks",
        tiles_lead=f"{len(tiles)} of {len(slices.ids)} slices. Do the outlines fit the tumors?",
        tiles=tiles,
        sorts=[Sort("number", "order"), Sort("largest first", "size", -1), Sort("smallest first", "size")],
        outlines={"truth": "mask"},
        about={"data": run.config.data_folder, "no tumor": run.config.no_tumor_folders},
    )
    path = run.folder / "data.html"
    write_whole(path, render(report))
    return path


def percent_text(percent: float) -> str:
    """Such as "0.25%", "1.7%" or "34%"."""
    return f"{percent:.2g}%" if percent < 10 else f"{percent:.0f}%"


def make_tile(slices: Slices, index: int, used_for: dict[str, str], facts: dict[str, dict[str, str]]) -> Tile:
    """A slice with the outline of its mask."""
    id, percent = slices.ids[index], float(slices.tumor_percent[index])
    uri, width, height = embed_picture(slices.images[index])
    size = percent_text(percent) if percent else "no tumor"
    groups = {used_for[id], facts[id].get("tumor", "") if percent else "no tumor"} - {""}
    return Tile(
        label=f"{id} {size}",
        image=uri,
        width=width,
        height=height,
        prediction="",
        truth=contour_path(slices.masks[index].astype(np.float32), 0.5, width),
        groups=sorted(groups),
        sort={"order": index, "size": percent or None},
        about={"id": id, "used for": used_for[id], "tumor in the image": size, **facts[id]},
    )
