"""The look of all plots: colors, images with contours, and how a figure is saved."""

import io
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from unet.files import write_whole

matplotlib.use("Agg")
plt.rcParams.update(
    {
        "figure.dpi": 120,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "legend.frameon": False,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "text.parse_math": False,  # file names may contain dollar signs
    }
)
# Okabe and Ito's palette: people with any kind of color blindness can distinguish its colors.
TRUTH, PREDICTION, TRAINING, NEUTRAL = "#009E73", "#E69F00", "#0072B2", "#666666"


def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all, and close it."""
    content = io.BytesIO()
    figure.savefig(content, format="png", bbox_inches="tight", facecolor="white")
    plt.close(figure)
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


def add_contour_legend(figure: Figure) -> None:
    """Add a legend for the contours of truth and prediction."""
    lines = [plt.Line2D([], [], color=color) for color in (TRUTH, PREDICTION)]
    figure.legend(lines, ("truth", "prediction"), loc="outside lower center", ncols=2)
