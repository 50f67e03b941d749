"""report.html: one page that needs neither other files nor a network; its frame is the file beside this."""

import base64
import html
import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from string import Template

import cv2
import numpy as np

from unet.images.encoding import encode_picture
from unet.images.preprocessing import stretch_contrast
from unet.pictures.overlays import contours

TEMPLATE = Path(__file__).with_suffix(".html")
# Side in pixels of pictures in the page: a thousand take about 15 MB.
SIDE = 256


@dataclass(frozen=True)
class Sort:
    """A way to sort tiles: by Tile.sort[key], rising (1) or falling (-1); None comes last."""

    label: str
    key: str
    direction: int = 1


@dataclass(frozen=True)
class Tile:
    """A slice with its outlines, as the page shows it."""

    label: str
    groups: list[str]  # it can be filtered by
    sort: dict[str, float | None]
    about: dict[str, str]
    image: str  # data URI
    width: int
    height: int
    prediction: str  # outlines as paths of SVG
    truth: str = ""
    other: str = ""  # of a second network


@dataclass(frozen=True)
class Report:
    """What a page says; all texts are plain."""

    title: str
    lead: list[str]
    cards: list[tuple[str, str, str]]  # name, value, note
    tables: list[tuple[str, list[list[str]]]]  # caption and rows, the first of headings
    plots: list[tuple[str, str]]  # what is shown, and SVG
    tiles_title: str
    tiles_lead: str
    tiles: list[Tile]
    sorts: list[Sort]
    outlines: dict[str, str]  # the Tile's paths that are shown, and what they are
    about: object = field(default_factory=dict)  # as JSON


def page(report: Report) -> str:
    """The report as HTML."""
    data = {
        "tiles": [asdict(tile) for tile in report.tiles],
        "sorts": [asdict(sort) for sort in report.sorts],
    }
    return Template(TEMPLATE.read_text()).substitute(
        title=html.escape(report.title),
        lead="\n".join(f'<p class="soft">{html.escape(text)}</p>' for text in report.lead),
        cards="\n".join(card(*texts) for texts in report.cards),
        tables="\n".join(table(*content) for content in report.tables),
        plots=plots(report.plots),
        tiles_title=html.escape(report.tiles_title),
        tiles_lead=html.escape(report.tiles_lead),
        key="\n".join(
            f'<span class="key {kind}">{html.escape(name)}</span>' for kind, name in report.outlines.items()
        ),
        about=html.escape(json.dumps(report.about, indent=1)),
        # No text of a file's name can end the script.
        data=json.dumps(data).replace("<", "\\u003c"),
    )


def card(name: str, value: str, note: str) -> str:
    """A headline number."""
    name, value, note = map(html.escape, (name, value, note))
    return f'<div class="card">{name}<b>{value}</b><small>{note}</small></div>'


def table(caption: str, rows: list[list[str]]) -> str:
    """A table; its first row has the headings."""

    def cells(row: list[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in row) + "</tr>"

    body = "\n".join(cells(row, "td") for row in rows[1:])
    return (
        f'<div class="wide"><table><caption>{html.escape(caption)}</caption>'
        f"<thead>{cells(rows[0], 'th')}</thead><tbody>{body}</tbody></table></div>"
    )


def plots(shown: list[tuple[str, str]]) -> str:
    """Plots as images: so the names inside of one SVG cannot meet those of another."""
    return "<h2>Plots</h2>\n<div class=plots>" + "\n".join(map(plot, shown)) + "</div>" if shown else ""


def plot(shown: tuple[str, str]) -> str:
    """One plot; what is twice as wide as it is high gets the whole width."""
    name, svg = shown
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg).groups()
    broad = " class=broad" if float(width) > 2 * float(height) else ""
    return f'<img{broad} alt="{html.escape(name)}" src="{uri("image/svg+xml", svg.encode())}">'


def picture(image: np.ndarray, side: int = SIDE) -> tuple[str, int, int]:
    """A uint8 image, grey (contrast is stretched) or BGR, at most `side` a side: data URI, width, height."""
    if image.ndim == 2:
        image = stretch_contrast(image)
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale < 1:
        width, height = max(1, round(width * scale)), max(1, round(height * scale))
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return uri("image/jpeg", encode_picture(image, quality=85)), width, height


def outline(probability: np.ndarray, threshold: float, width: int) -> str:
    """Contours of a probability (or a mask as float32) as a path of SVG, in a picture `width` wide."""
    scale = width / probability.shape[1]
    path = []
    for line in contours(probability, threshold):
        # A quarter of a pixel is not seen.
        simple = cv2.approxPolyDP(((line + 0.5) * scale).astype(np.float32), 0.25, True)[:, 0]
        path.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in simple) + "Z")
    return "".join(path)


def uri(kind: str, content: bytes) -> str:
    """Content inside of the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
