"""The look of all plots: colors, images with contours, and how a figure is saved."""

import io
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from unet.files import write_whole

STYLE = {
    "figure.dpi": 120,
    "figure.constrained_layout.use": True,
    "font.size": 9,
    "axes.grid": True,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.25,
    "legend.framealpha": 0.85,
    "legend.edgecolor": "none",
    "text.parse_math": False,  # file names may contain dollar signs
}
# Decorates what draws, so that the plots of a notebook keep their own style.
in_our_style = matplotlib.rc_context(STYLE)
# Okabe and Ito's palette: people with any kind of color blindness can distinguish its colors.
TRUTH, PREDICTION, TRAINING, NEUTRAL = "#009E73", "#E69F00", "#0072B2", "#666666"
TRUTH_AND_PREDICTION = {TRUTH: "truth", PREDICTION: "prediction"}


def canvas(*grid: int, figsize: tuple[float, float], **options: object) -> tuple[Figure, object]:
    """Like pyplot.subplots, but no notebook or window shows the figure."""
    figure = Figure(figsize)
    return figure, figure.subplots(*grid, **options)


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all."""
    content = io.BytesIO()
    figure.savefig(content, format="png", bbox_inches="tight", facecolor="white")
    write_whole(path, content.getvalue())


def save_with_svg(figure: Figure, path: Path) -> str:
    """Like save; also returns the figure as SVG, for a page."""
    content = io.StringIO()
    figure.savefig(content, format="svg", bbox_inches="tight", facecolor="white")
    save(figure, path)
    return content.getvalue()


def show_image(axes: Axes, image: np.ndarray, title: str = "") -> None:
    """Show an image (height, width) without axes."""
    axes.imshow(image, cmap="gray", vmin=0, interpolation="bilinear")
    axes.set_axis_off()
    axes.set_title(title, fontsize=8, fontweight="normal", loc="center")


def draw_contour(axes: Axes, mask: np.ndarray, color: str, level: float = 0.5) -> None:
    """Draw the border of a mask, or of a probability at `level`, if there is one."""
    values = mask.astype(np.float32)
    if values.min() < level <= values.max():
        axes.contour(values, levels=[level], colors=[color], linewidths=1.2)
    elif values.min() >= level:  # everywhere: its border is that of the image
        bottom, right = (side - 1 for side in values.shape)
        axes.plot([0, right, right, 0, 0], [0, 0, bottom, bottom, 0], color=color, linewidth=1.2)


def add_legend(figure: Figure, colors: dict[str, str] = TRUTH_AND_PREDICTION) -> None:
    """Add a legend for contours, named by color."""
    lines = [Line2D([], [], color=color) for color in colors]
    figure.legend(lines, list(colors.values()), loc="outside lower center", ncols=len(lines))


def draw_tiles(
    tiles: dict[str, list[tuple]], outlines: dict[str, str], levels: tuple[float, ...], height: float, path: Path
) -> None:
    """Named rows of tiles (image, mask or probability of each outline, caption), `height` inches each.

    `outlines` are their names by color, and `levels` the probabilities at which they are drawn.
    """
    rows, columns = len(tiles), max(len(row) for row in tiles.values())
    figure, grid = canvas(rows, columns, figsize=(2.7 * columns, height * rows), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (name, group) in zip(grid, tiles.items(), strict=True):
        for axes, (image, *masks, caption) in zip(row, group, strict=False):
            show_image(axes, image, f"{name}: {caption}")
            for mask, color, level in zip(masks, outlines, levels, strict=True):
                draw_contour(axes, mask, color, level)
    add_legend(figure, outlines)
    save(figure, path)
