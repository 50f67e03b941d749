"""Accuracy and speed next to other networks."""

import numpy as np

from rendering.scores import TEST, is_tested
from rendering.text import DOCS, PRETRAINED, RESULTS, from_results, markdown_table, read, setup
from unet.pictures import style
from unet.pictures.style import in_our_style

MINUTES = (10, 20, 30, 45)
IMAGENET_PEER = "smp-lite0-imagenet"
NAMES = {
    "ours": "**this project**",
    "author": "the Kaggle author's U-Net",
    IMAGENET_PEER: "segmentation_models_pytorch, EfficientNet-lite0 with ImageNet weights",
    "smp-resnet18": "segmentation_models_pytorch, ResNet-18",
    "smp-resnet34": "segmentation_models_pytorch, ResNet-34",
    "monai-basicunet": "MONAI BasicUNet",
    "nnunet-plain": "nnU-Net's plain 2D U-Net, without its training pipeline",
}


def imagenet_peer() -> str:
    """How the network that a user would choose instead compares with ours, and its stated test score."""
    stated, curves = read(RESULTS / "stated.json"), accuracy_curves()
    if IMAGENET_PEER not in curves:
        return ""
    peer = stated["imagenet_peer"]
    ours = [points for name, points in curves.items() if name.startswith("ours")]
    ahead = [
        minutes
        for minutes in MINUTES
        if dice_at(curves[IMAGENET_PEER], minutes) > max(dice_at(points, minutes) for points in ours)
    ]
    when = "at none of these times" if not ahead else f"after {' and '.join(map(str, ahead))} minutes"
    validation, test = (read(path)["scores"]["all"]["dice"]["mean"] for path in (PRETRAINED / "scores.json", TEST))
    return (
        f"**A U-Net with an EfficientNet-lite0 encoder and ImageNet weights (segmentation_models_pytorch) is ahead of ours "
        f"{when}.** At its best ({peer['setting']}), it reaches "
        f"{peer['validation_dice']:.3f} on the validation patients after {peer['epochs']} epochs "
        f"({peer['validation_dice_after_2_epochs']:.3f} after two) and {peer['test_dice']:.3f} on the test patients; our "
        f"pretrained network reaches {validation:.3f} and {test:.3f}{'' if is_tested() else ' (test: previous release)'}. "
        "All other networks in the table are trained from scratch. "
        f"*The peer at its best: {stated['source'].rstrip('.').lower()}, {stated['date']}.*"
    )


def accuracy() -> str:
    """The plot of validation Dice against minutes, and the Dice at some times as a table."""
    kept, curves = read(RESULTS / "accuracy.json"), accuracy_curves()
    if not curves:
        return ""
    rows = [("Dice after", *(f"{minutes} minutes" for minutes in MINUTES), "slices/s")]
    for name, points in sorted(curves.items(), key=lambda pair: -dice_at(pair[1], MINUTES[-1])):
        dice = [f"{dice_at(points, minutes):.3f}" for minutes in MINUTES]
        rows.append((name_of(name), *dice, f"{idle_speeds()[name]:.1f}"))
    ends = [points[-1][0] for name, points in curves.items() if not name.startswith("ours")]
    return (
        "![Validation Dice against minutes of training](accuracy.png)\n\n"
        f"{markdown_table(*rows)}\n\n"
        "How to read it:\n\n"
        "- All networks see the same slices on the same two cores. The Dice is that of single slices at 256 pixels and "
        "threshold 0.5, of our averaged weights and the other networks' weights without averaging.\n"
        "- The others use our loss, AdamW at 1e-3 (not tuned), and a schedule that ends after "
        f"{min(ends):.0f} to {max(ends):.0f} minutes. Those in PyTorch use our geometric augmentation, brightness and gamma "
        "only.\n"
        "- Once a training has ended, later columns repeat its last Dice. That is so for ours, too.\n"
        "- Our recipe was tuned on these patients; theirs were not.\n"
        "- Minutes are slices seen divided by the training speed on the idle machine. The others' speed leaves out data "
        "loading and augmentation; ours includes both "
        f"({kept['speeds']['ours']['waiting_for_data']:.1%} of the time is spent waiting for data). Between two "
        "checkpoints, the Dice is interpolated.\n"
        f"{trained_elsewhere(kept)}\n*{setup(kept)}.*"
    )


def trained_elsewhere(kept: dict) -> str:
    """A line for each of our networks that was trained on another machine than it was timed on."""
    trainings = {name: curve["trained"] for name, curve in kept["curves"].items() if "trained" in curve}
    return "".join(
        f'- The Dice of "{name}" comes from a training in {training["precision"]} on {training["machine"]}; its minutes '
        "use this machine's speed.\n"
        for name, training in trainings.items()
        if training["machine"] != kept["machine"]
    )


def idle_speeds() -> dict[str, float]:
    """Training speed of each network in slices per second: ours with its data, the others without."""
    ours = read(RESULTS / "accuracy.json").get("speeds", {})
    others = read(RESULTS / "speed.json").get("best", {})
    trained = ours | {name: best["training"] for name, best in others.items() if name != "ours"}
    return {name: figures["slices_per_second"] for name, figures in trained.items() if figures}


def accuracy_curves() -> dict[str, list[tuple[float, float]]]:
    """(minutes, Dice) at each checkpoint of each network that was trained and timed."""
    speeds = idle_speeds()
    return {
        name: [(point["slices"] / speeds[name] / 60, point["val_dice"]) for point in curve["points"]]
        for name, curve in read(RESULTS / "accuracy.json").get("curves", {}).items()
        if name in speeds
    }


def dice_at(points: list[tuple[float, float]], minutes: float) -> float:
    """Dice after some minutes: interpolated, starting from 0, and constant after the last point."""
    return float(np.interp(minutes, *zip((0, 0), *points, strict=True)))


def name_of(curve: str) -> str:
    """Name of a curve in the table."""
    return f"**{curve}**" if curve.startswith("ours") else NAMES[curve]


def short_name(peer: str) -> str:
    """Name of a peer in the plot."""
    return (
        NAMES[peer].replace("segmentation_models_pytorch, ", "SMP, ").replace(" with ImageNet weights", " (ImageNet)")
    )


@in_our_style
def draw_accuracy() -> None:
    """docs/accuracy.png."""
    curves = accuracy_curves()
    if not curves:
        return
    figure, axes = style.canvas(figsize=(7.5, 4))
    others = iter(("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#666666", "#D55E00"))
    # Labels in a column on the right, from bottom to top, each at least one line above the one before.
    end = max(minutes for points in curves.values() for minutes, _ in points)
    heights, lowest = {}, 0.0
    for dice, name in sorted((points[-1][1], name) for name, points in curves.items()):
        heights[name] = max(dice, lowest)
        lowest = heights[name] + 0.036
    for name, points in sorted(curves.items(), key=lambda pair: pair[0].startswith("ours")):
        minutes, dice = zip(*points, strict=True)
        ours = name.startswith("ours")
        color = style.PREDICTION if ours else next(others)
        axes.plot(minutes, dice, color=color, linewidth=2 if ours else 1.2, linestyle=":" if "quick" in name else "-")
        axes.plot((minutes[-1], end), (dice[-1], heights[name]), color=color, linewidth=0.5, linestyle="--", alpha=0.6)
        axes.annotate(
            name if ours else short_name(name), (end, heights[name]), (4, 0),
            textcoords="offset points", va="center", fontsize=8, color=color,
            fontweight="bold" if ours else "normal",
        )  # fmt: skip
    axes.set(
        title="Dice against training time on two cores",
        xlabel="minutes of training", ylabel="mean Dice, validation patients", xlim=(0, end),
        ylim=(0, None),
    )  # fmt: skip
    style.save(figure, DOCS / "accuracy.png")


@from_results("speed.json")
def speed(kept: dict) -> str:
    """Speed of the networks alone, each at its best setting."""
    rows = [
        ("network", "parameters", "training, slices/s", "memory, GiB", "inference, slices/s")
        + ("best training setting",)
    ]
    for network, best in kept["best"].items():
        training, inference = best["training"], best["inference"]
        if not inference:
            continue
        rows.append(
            (
                NAMES[network],
                f"{inference['parameters'] / 1e6:.1f} M",
                f"{training['slices_per_second']:.1f}" if training else "out of memory",
                f"{training['peak_memory_gib']:.1f}" if training else "",
                f"{inference['slices_per_second']:.1f}",
                f"{training['precision']}, {training['mode']}" if training else "",
            )
        )
    precision, share = max(kept["ours_over_ceiling"].items(), key=lambda pair: pair[1]["flops_per_second"])
    return (
        f"Networks alone, {kept['size']} x {kept['size']} pixels, batch size {kept['batch']}, each at its fastest CPU "
        f"setting, in one run on one idle machine:\n\n" + markdown_table(*rows) + "\n\n"
        f"Ours trains at {share['flops_per_second'] / 1e9:.0f} GFLOP/s in {precision}: "
        f"{share['over_convolution']:.0%} of what one large convolution reaches here and "
        f"{share['over_product']:.0%} of a matrix product.\n\n"
        f"*{setup(kept)}.*"
    )
