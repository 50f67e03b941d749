"""Plots of an evaluation and of a comparison. Rows are those of per_slice.csv."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import LogLocator, NullFormatter

from unet.pictures.style import NEUTRAL, PREDICTION, TRAINING, save_with_svg

Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]
TYPE_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442")


def by_tumor(rows: list[dict]) -> dict[str, tuple[list[dict], str]]:
    """Rows and a color for each tumor type, in alphabetical order. Rows without a known type are named "tumor"."""
    groups: dict[str, list[dict]] = {}
    for row in rows:
        groups.setdefault(row.get("tumor") or "tumor", []).append(row)
    return {name: (groups[name], TYPE_COLORS[place % len(TYPE_COLORS)]) for place, name in enumerate(sorted(groups))}


def draw_dice_histogram(rows: list[dict], path: Path) -> str:
    """Histogram of Dice over slices, stacked by tumor type, with mean and median."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
    groups = by_tumor(rows)
    values = [[row["dice"] for row in group] for group, _ in groups.values()]
    style = {"color": [color for _, color in groups.values()], "edgecolor": "white", "linewidth": 0.5}
    axes.hist(values, bins=np.linspace(0, 1, 21), stacked=True, label=list(groups), **style)
    dice = [row["dice"] for row in rows]
    for value, line, name in ((np.mean(dice), "-", "mean"), (np.median(dice), ":", "median")):
        axes.axvline(value, color="black", linestyle=line, linewidth=1, label=f"{name} {value:.3f}")
    axes.set(title=f"Dice of {len(rows)} slices", xlabel="Dice", ylabel="slices", xlim=(0, 1))
    axes.legend(loc="upper left")
    return save_with_svg(figure, path)


def draw_dice_by_type(rows: list[dict], scores: dict[str, dict], path: Path) -> str:
    """One column per tumor type: each slice as a dot, and the mean with its interval over patients."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
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
    axes.set(title="Dice by tumor type (mean, 95% interval over patients)", ylabel="Dice")
    axes.set(xlim=(-0.5, len(groups) - 0.3), ylim=(-0.02, 1.02))
    axes.grid(axis="x", visible=False)
    return save_with_svg(figure, path)


def draw_dice_by_size(rows: list[dict], path: Path) -> str:
    """Dice over tumor size, one dot per slice. Slices without tumor are left out."""
    figure, axes = plt.subplots(figsize=(7, 3.6))
    for name, (group, color) in by_tumor(rows).items():
        points = [(row["tumor_percent"], row["dice"]) for row in group if row["truth_pixels"]]
        axes.plot(*np.reshape(points, (-1, 2)).T, ".", color=color, alpha=0.6, label=name)
    axes.set(title="Dice by tumor size", xlabel="tumor, % of the image (log scale)", ylabel="Dice")
    axes.set(xscale="log", ylim=(-0.02, 1.02))
    for axis_format in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis_format(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    figure.legend(loc="outside right upper")
    return save_with_svg(figure, path)


def draw_expected_dice(rows: list[dict], summary: dict, path: Path) -> str:
    """True Dice over the Dice expected without the truth, one dot per outlined slice."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
    axes.plot((0, 1), (0, 1), color=NEUTRAL, linewidth=0.8)
    for name, (group, color) in by_tumor(rows).items():
        points = [(row["expected_dice"], row["dice"]) for row in group if row["expected_dice"] != ""]
        axes.plot(*np.reshape(points, (-1, 2)).T, ".", color=color, alpha=0.5, label=name)
    correlation = summary["spearman"]
    label = "" if correlation is None else f" (rank correlation {correlation:.2f})"
    axes.set(title=f"Expected and true Dice{label}", xlabel="expected Dice", ylabel="true Dice")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    figure.legend(loc="outside right upper")
    return save_with_svg(figure, path)


def draw_dice_by_threshold(dice_by_threshold: dict[str, float], chosen: float, path: Path) -> str:
    """Mean Dice over the probability at which a pixel counts as tumor."""
    figure, axes = plt.subplots(figsize=(6, 3.6))
    thresholds = [float(text) for text in dice_by_threshold]
    axes.plot(thresholds, list(dice_by_threshold.values()), "o-", color=TRAINING, markersize=3)
    axes.axvline(chosen, color=NEUTRAL, linestyle=":", label=f"used: {chosen:g}")
    axes.set(title="Mean Dice by threshold", xlabel="probability threshold", ylabel="Dice", xlim=(0, 1))
    axes.legend()
    return save_with_svg(figure, path)


def draw_calibration(
    reliability: Arrays, errors: dict[str, float], precision_recall: Arrays, chosen: float, path: Path
) -> str:
    """Reliability diagram with the pixels in its bins, and precision over recall with the chosen threshold marked."""
    mean, fraction, pixels = reliability
    thresholds, precision, recall = precision_recall
    layout = [["diagram", "curve"], ["counts", "curve"]]
    figure, panels = plt.subplot_mosaic(layout, figsize=(9.5, 4.6), height_ratios=(3.2, 1))
    diagram, counts, curve = panels["diagram"], panels["counts"], panels["curve"]
    diagram.plot((0, 1), (0, 1), color=NEUTRAL, linewidth=0.8, label="perfect")
    diagram.plot(mean, fraction, "o-", color=TRAINING, markersize=3, label="network")
    lines = ["expected calibration error", *(f"{name}: {error:.3f}" for name, error in errors.items())]
    diagram.text(0.98, 0.04, "\n".join(lines), ha="right", fontsize=8)
    diagram.set(title="Reliability of the probability", ylabel="fraction that is tumor", xlim=(0, 1))
    diagram.legend(loc="upper left")
    width = 1 / len(pixels)
    centers = (np.arange(len(pixels)) + 0.5) * width
    counts.bar(centers, np.maximum(pixels, 0.5), 0.9 * width, color=NEUTRAL)
    counts.set(yscale="log", xlabel="probability", ylabel="pixels", xlim=(0, 1))
    counts.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    counts.yaxis.set_minor_formatter(NullFormatter())
    place = np.searchsorted(thresholds, chosen - 1e-9)
    curve.plot(recall[1:], precision[1:], color=TRAINING)
    curve.plot(recall[place], precision[place], "o", color=PREDICTION, label=f"threshold {chosen:.2g}")
    curve.set(title="Precision and recall over all pixels", xlim=(0, 1.01), ylim=(0, 1.01))
    curve.set(xlabel="recall", ylabel="precision")
    curve.legend(loc="lower left")
    return save_with_svg(figure, path)


def draw_comparison(rows: list[dict], groups: dict[str, dict], names: tuple[str, str], path: Path) -> str:
    """Dice of run B over Dice of run A, one dot per slice, and the mean differences with intervals."""
    figure, (slices, means) = plt.subplots(1, 2, figsize=(10, 4.2), width_ratios=(1, 1.2))
    for name, (group, color) in by_tumor(rows).items():
        points = [(row["dice_a"], row["dice_b"]) for row in group]
        slices.plot(*np.transpose(points), ".", color=color, alpha=0.6, label=name)
    slices.plot((0, 1), (0, 1), color=NEUTRAL, linewidth=0.8)
    slices.set(title="Dice of each slice", xlabel=names[0], ylabel=names[1], aspect="equal")
    slices.legend(loc="upper left", bbox_to_anchor=(0, 0.98))
    for place, group in enumerate(groups.values()):
        mean = group["difference"]
        low, high = group["interval"] or (mean, mean)
        means.errorbar(mean, -place, xerr=[[mean - low], [high - mean]], fmt="o", color="black", capsize=4)
        means.text(mean, -place + 0.14, f"{mean:+.3f}", ha="center", va="bottom")
    means.axvline(0, color=NEUTRAL, linewidth=0.8)
    labels = [f"{name}\n{group['slices']} slices" for name, group in groups.items()]
    means.set_yticks([-place for place in range(len(groups))], labels)
    means.set(title="Mean difference (95% interval over patients)", ylim=(0.6 - len(groups), 0.6))
    means.set_xlabel(f"Dice of {names[1]} minus Dice of {names[0]}")
    means.grid(axis="y", visible=False)
    return save_with_svg(figure, path)
