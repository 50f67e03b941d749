"""report.html: one page that needs no other files and no network. Its template is page.html."""

import base64
import html
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from string import Template

import cv2
import numpy as np

from unet.images.encoding import encode_jpeg
from unet.images.preprocessing import stretch_contrast
from unet.pictures.overlays import contours
from unet.pictures.table import Table

# Side of pictures in the page, in pixels: a thousand of them take about 15 MB.
SIDE = 256


@dataclass(frozen=True)
class Card:
    """A headline number."""

    title: str
    value: str
    note: str

    def as_html(self) -> str:
        title, value, note = map(html.escape, (self.title, self.value, self.note))
        return f'<div class="card">{title}<b>{value}</b><small>{note}</small></div>'


@dataclass(frozen=True)
class Sort:
    """A way to sort tiles: by Tile.sort[key], ascending (1) or descending (-1); None comes last."""

    label: str
    key: str
    direction: int = 1


@dataclass(frozen=True)
class Tile:
    """A slice with its outlines, as shown on the page."""

    label: str
    image: str  # data URI
    width: int
    height: int
    prediction: str  # outlines as SVG paths
    truth: str = ""
    other: str = ""  # of a second network
    groups: list[str] = field(default_factory=list)  # to filter by
    viewer: str = ""  # URL of a page with a viewer
    sort: dict[str, float | None] = field(default_factory=dict)
    about: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """Content of a page, as plain text."""

    title: str
    lead: list[str]
    cards: list[Card]
    tables: list[Table]
    plots: list[tuple[str, str]]  # what each one shows, and its SVG
    tiles_title: str
    tiles_lead: str
    tiles: list[Tile]
    sorts: list[Sort]
    outlines: dict[str, str]  # which paths of the tiles to show, and what they are
    about: object = field(default_factory=dict)  # shown as JSON


def render(report: Report) -> str:
    """The page as HTML."""
    data = {"tiles": [asdict(tile) for tile in report.tiles], "sorts": [asdict(sort) for sort in report.sorts]}
    plots = "\n".join(plot_html(*plot) for plot in report.plots)
    return Template(Path(__file__).with_suffix(".html").read_text()).substitute(
        title=html.escape(report.title),
        lead="\n".join(f'<p class="soft">{html.escape(text)}</p>' for text in report.lead),
        cards="\n".join(card.as_html() for card in report.cards),
        tables="\n".join(table.as_html() for table in report.tables),
        plots=f"<h2>Plots</h2>\n<div class=plots>{plots}</div>" if plots else "",
        tiles_title=html.escape(report.tiles_title),
        tiles_lead=html.escape(f"{report.tiles_lead} Click one to enlarge it; use the arrow keys to move on."),
        key="\n".join(f'<span class="key {kind}">{html.escape(name)}</span>' for kind, name in report.outlines.items()),
        about=html.escape(json.dumps(report.about, indent=1)),
        # Escaped, so that no text, such as a file name, can end the script.
        data=json.dumps(data).replace("<", "\\u003c"),
    )


def plot_html(name: str, svg: str) -> str:
    """A plot as an image, which keeps the ids inside its SVG apart from those of others. Wide ones get a full row."""
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups()
    broad = " class=broad" if float(width) > 2 * float(height) else ""
    return f'<img{broad} alt="{html.escape(name)}" src="{data_uri("image/svg+xml", svg.encode())}">'


def outlined_tile(label: str, image: np.ndarray, truth: np.ndarray, probability: np.ndarray, threshold: float) -> Tile:
    """A grey uint8 image with the outlines of its true mask and of a probability, all (height, width)."""
    uri, width, height = embed_picture(image)
    prediction = contour_path(probability, threshold, width)
    return Tile(label, uri, width, height, prediction, contour_path(truth.astype(np.float32), 0.5, width))


def embed_picture(image: np.ndarray, side: int = SIDE) -> tuple[str, int, int]:
    """Data URI, width and height of a uint8 image: grey, with stretched contrast, or BGR; at most `side` a side."""
    if image.ndim == 2:
        image = stretch_contrast(image)
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return data_uri("image/jpeg", encode_jpeg(image, quality=85)), width, height


def contour_path(probability: np.ndarray, threshold: float, width: int) -> str:
    """Contours of a probability float32 (height, width) as an SVG path, in a picture `width` pixels wide."""
    scale = width / probability.shape[1]
    path = []
    for line in contours(probability, threshold):
        # An error of a quarter of a pixel is invisible.
        simple = cv2.approxPolyDP(((line + 0.5) * scale).astype(np.float32), 0.25, True)[:, 0]
        path.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in simple) + "Z")
    return "".join(path)


def data_uri(kind: str, content: bytes) -> str:
    """Content as a URI, to embed in the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
