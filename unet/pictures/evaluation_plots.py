"""Plots of an evaluation and of a comparison. Rows are those of per_slice.csv."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from unet.pictures.style import NEUTRAL, PREDICTION, TRAINING, TRUTH, canvas, save_with_svg

# In inches: on a page, the second takes the width of two of the first.
ONE_PANEL, TWO_PANELS = (6, 3.6), (12, 4.2)
PANELS = [["left", "diagram"], ["left", "counts"]]
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
TYPE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442")


def by_tumor(rows: list[dict]) -> dict[str, tuple[list[dict], str]]:
    """Rows and a color for each tumor type, in alphabetical order. Rows without a known type are named "tumor"."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row.get("tumor") or "tumor", []).append(row)
    return {name: (groups[name], TYPE_COLORS[index % len(TYPE_COLORS)]) for index, name in enumerate(sorted(groups))}


def draw_dice_histogram(rows: list[dict], path: Path) -> str:
    """Histogram of Dice over slices, stacked by tumor type, with mean and median."""
    figure, axes = canvas(figsize=ONE_PANEL)
    groups = by_tumor(rows)
    values = [[row["dice"] for row in group] for group, _ in groups.values()]
    style = {"color": [color for _, color in groups.values()], "edgecolor": "white", "linewidth": 0.5}
    axes.hist(values, bins=np.linspace(0, 1, 21), stacked=True, label=list(groups), **style)
    dice = [row["dice"] for row in rows]
    for value, line, name in ((np.mean(dice), "-", "mean"), (np.median(dice), ":", "median")):
        axes.axvline(value, color="black", linestyle=line, linewidth=1, label=f"{name} {value:.3f}")
    axes.set(title=f"Dice of {len(rows)} slices with tumor", xlabel="Dice", ylabel="slices", xlim=(0, 1))
    axes.legend(loc="upper left")
    return save_with_svg(figure, path)


def draw_dice_by_type(rows: list[dict], scores: dict[str, dict], path: Path) -> str:
    """One column per tumor type: each slice as a dot, and the mean with its interval over patients."""
    figure, axes = canvas(figsize=ONE_PANEL)
    jitter = np.random.default_rng(0)
    groups = by_tumor(rows)
    for position, (name, (group, color)) in enumerate(groups.items()):
        x = position + jitter.uniform(-0.28, 0.12, len(group))
        axes.plot(x, [row["dice"] for row in group], ".", color=color, alpha=0.35, markersize=4)
        if name not in scores and len(groups) > 1:
            continue  # the scores have no mean for slices of unknown type
        score = scores.get(name, scores["all"])["dice"]
        mean = score["mean"]
        low, high = score["interval"] or (mean, mean)
        axes.errorbar(position + 0.26, mean, [[mean - low], [high - mean]], fmt="o", color="black", capsize=4)
        axes.text(position + 0.33, mean, f"{mean:.3f}", va="center")
    axes.set_xticks(range(len(groups)), [f"{name}\n{len(group)} slices" for name, (group, _) in groups.items()])
    axes.set(title=f"Dice by tumor type (mean, 95% interval over {scores['all']['unit']})", ylabel="Dice")
    axes.set(xlim=(-0.5, len(groups) - 0.3), ylim=(-0.02, 1.02))
    axes.grid(axis="x", visible=False)
    return save_with_svg(figure, path)


def draw_dice_by_size(rows: list[dict], path: Path) -> str:
    """Dice over tumor size, one dot per slice."""
    figure, axes = canvas(figsize=ONE_PANEL)
    for name, (group, color) in by_tumor(rows).items():
        points = [(row["tumor_percent"], row["dice"]) for row in group]
        axes.plot(*np.reshape(points, (-1, 2)).T, ".", color=color, alpha=0.6, label=name)
    axes.set(title="Dice by tumor size", xlabel="tumor, % of the image (log scale)", ylabel="Dice")
    axes.set(xscale="log", ylim=(-0.02, 1.02))
    for axis_format in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis_format(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    axes.legend(loc="best")
    return save_with_svg(figure, path)


def draw_expected_dice(rows: list[dict], summary: dict, path: Path) -> str:
    """True Dice over the Dice expected without the truth, one dot per outlined slice."""
    figure, axes = canvas(figsize=ONE_PANEL)
    axes.plot((0, 1), (0, 1), color=NEUTRAL, linewidth=0.8)
    for name, (group, color) in by_tumor(rows).items():
        points = [(row["expected_dice"], row["dice"]) for row in group if row["expected_dice"] != ""]
        axes.plot(*np.reshape(points, (-1, 2)).T, ".", color=color, alpha=0.5, label=name)
    correlation = summary["spearman"]
    label = "" if correlation is None else f" (rank correlation {correlation:.2f})"
    axes.set(title=f"Expected and true Dice{label}", xlabel="expected Dice", ylabel="true Dice")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="upper left")
    return save_with_svg(figure, path)


def draw_dice_by_threshold(dice_by_threshold: dict[str, float], chosen: float, path: Path) -> str:
    """Mean Dice over the probability at which a pixel counts as tumor."""
    figure, axes = canvas(figsize=ONE_PANEL)
    thresholds = [float(text) for text in dice_by_threshold]
    axes.plot(thresholds, list(dice_by_threshold.values()), "o-", color=TRAINING, markersize=3)
    axes.axvline(chosen, color=NEUTRAL, linestyle=":", label=f"used: {chosen:g}")
    axes.set(title="Mean Dice by threshold", ylabel="Dice", xlim=(0, 1))
    axes.set(xlabel="probability threshold (nothing below it is outlined, even if a tumor is found)")
    axes.legend()
    return save_with_svg(figure, path)


def draw_calibration(
    reliability: Arrays, errors: dict[str, float | None], precision_recall: Arrays, chosen: float, path: Path
) -> str:
    """Precision over recall with the chosen threshold marked, and reliability diagram with the pixels in its bins."""
    mean, fraction, pixels = reliability
    thresholds, precision, recall = precision_recall
    figure = Figure(TWO_PANELS)
    panels = figure.subplot_mosaic(PANELS, height_ratios=(3.2, 1))
    curve, diagram, counts = panels["left"], panels["diagram"], panels["counts"]
    index = np.searchsorted(thresholds, chosen - 1e-9)
    curve.plot(recall[1:], precision[1:], color=TRAINING)
    curve.plot(recall[index], precision[index], "o", color=PREDICTION, label=f"threshold {chosen:.2g}")
    curve.set(title="Precision and recall over all pixels", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    curve.set(xlabel="recall", ylabel="precision")
    curve.legend(loc="lower left")
    plot_reliability(diagram, mean, fraction)
    known = {name: error for name, error in errors.items() if error is not None}
    lines = ["expected calibration error", *(f"{name}: {error:.3f}" for name, error in known.items())]
    diagram.text(0.98, 0.04, "\n".join(lines), ha="right", fontsize=8)
    diagram.set(title="Reliability of the probability of each pixel", ylabel="fraction that is tumor")
    width = 1 / len(pixels)
    centers = (np.arange(len(pixels)) + 0.5) * width
    counts.bar(centers, np.maximum(pixels, 0.5), 0.9 * width, color=NEUTRAL)
    counts.set(yscale="log", xlabel="probability", ylabel="pixels", xlim=(0, 1))
    plain_numbers(counts.yaxis)
    return save_with_svg(figure, path)


def plot_reliability(axes: Axes, mean: np.ndarray, fraction: np.ndarray) -> None:
    """Fraction with tumor over the mean probability of each bin."""
    axes.plot((0, 1), (0, 1), color=NEUTRAL, linewidth=0.8, label="perfect")
    axes.plot(mean, fraction, "o-", color=TRAINING, markersize=3, label="network")
    axes.set(xlim=(0, 1), ylim=(-0.02, 1.02))
    axes.legend(loc="upper left")


def plain_numbers(axis: Axis) -> None:
    """Label a logarithmic axis with numbers such as 1000, not with powers."""
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def draw_detection(
    roc: tuple[np.ndarray, np.ndarray],
    chosen: tuple[float, float] | None,
    threshold: float | None,
    reliability: Arrays,
    path: Path,
) -> str:
    """ROC curve of the tumor probability with the point of the chosen threshold, if one decides, and reliability
    diagram with the slices in its bins."""
    figure = Figure(TWO_PANELS)
    panels = figure.subplot_mosaic(PANELS, height_ratios=(3.2, 1))
    curve, diagram, counts = panels["left"], panels["diagram"], panels["counts"]
    curve.plot((0, 1), (0, 1), color=NEUTRAL, linewidth=0.8, label="chance")
    curve.plot(*roc, color=TRAINING, label="network")
    if chosen:
        label = f"from {threshold:.2g} on, a tumor is outlined:\n{chosen[1]:.1%} found, {chosen[0]:.1%} false alarms"
        curve.plot(*chosen, "o", color=PREDICTION, label=label)
    curve.set(title="Is there a tumor? ROC curve over slices", xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    curve.set(xlabel="false alarms, fraction of slices without tumor", ylabel="found, fraction of slices with tumor")
    curve.legend(loc="lower right")
    mean, fraction, slices = reliability
    plot_reliability(diagram, mean, fraction)
    diagram.set(title="Reliability of the tumor probability", ylabel="fraction with tumor")
    note = "slices with and without tumor\nweighted equally: as if half of all had one"
    diagram.text(0.98, 0.04, note, ha="right", fontsize=8)
    width = 1 / slices.shape[1]
    for index, (name, color) in enumerate((("without tumor", NEUTRAL), ("with tumor", TRUTH))):
        left = (np.arange(slices.shape[1]) + 0.1 + 0.4 * index) * width
        counts.bar(left, slices[index], 0.4 * width, align="edge", color=color, label=name)
    counts.set(xlabel="tumor probability", ylabel="slices", xlim=(0, 1))
    counts.set(yscale="log", ylim=(0.7, 20 * slices.max()))  # with room for the legend
    counts.legend(loc="upper center", ncols=2)
    plain_numbers(counts.yaxis)
    return save_with_svg(figure, path)


def draw_comparison(rows: list[dict], groups: dict[str, dict], names: tuple[str, str], path: Path) -> str:
    """Dice of run B over Dice of run A, one dot per slice, and the mean differences with intervals."""
    figure, (slices, means) = canvas(1, 2, figsize=TWO_PANELS, width_ratios=(1, 1.2))
    for name, (group, color) in by_tumor(rows).items():
        points = [(row["dice_a"], row["dice_b"]) for row in group]
        slices.plot(*np.transpose(points), ".", color=color, alpha=0.6, label=name)
    slices.plot((0, 1), (0, 1), color=NEUTRAL, linewidth=0.8)
    slices.set(title="Dice of each slice", xlabel=names[0], ylabel=names[1], aspect="equal")
    slices.legend(loc="upper left", bbox_to_anchor=(1, 1))
    for index, group in enumerate(groups.values()):
        mean = group["difference"]
        low, high = group["interval"] or (mean, mean)
        means.errorbar(mean, -index, xerr=[[mean - low], [high - mean]], fmt="o", color="black", capsize=4)
        means.text(mean, -index + 0.14, f"{mean:+.3f}", ha="center", va="bottom")
    means.axvline(0, color=NEUTRAL, linewidth=0.8)
    labels = [f"{name}\n{group['slices']} slices" for name, group in groups.items()]
    means.set_yticks([-index for index in range(len(groups))], labels)
    means.set(title=f"Mean difference (95% interval over {groups['all']['unit']})", ylim=(0.6 - len(groups), 0.6))
    means.set_xlabel(f"Dice of {names[1]} minus Dice of {names[0]}")
    means.grid(axis="y", visible=False)
    return save_with_svg(figure, path)
