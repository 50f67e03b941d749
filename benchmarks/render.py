"""Write what was measured into the README and docs/: no figure there is typed by hand.

Usage:

    python benchmarks/render.py

Reads unet/pretrained/ (ship.py) and benchmarks/results/ (folds.py, accuracy.py, speed.py, prediction.py);
what was not measured yet is left out.
"""

import json
from pathlib import Path

ROOT = Path(__file__).parent.parent
PRETRAINED = ROOT / "unet" / "pretrained"
RESULTS = ROOT / "benchmarks" / "results"
PLOT = ROOT / "docs" / "accuracy.png"
NAMES = {
    "ours": "**this project**",
    "author": "data set author's",
    "smp-resnet18": "segmentation_models_pytorch, ResNet-18",
    "smp-resnet34": "segmentation_models_pytorch, ResNet-34",
    "monai-basicunet": "MONAI BasicUNet",
    "nnunet-plain": "nnU-Net plain 2D",
}


def read(path: Path) -> dict:
    """A JSON file; {} where it is not there yet."""
    return json.loads(path.read_text()) if path.exists() else {}


def where(machine: str, versions: dict[str, str]) -> str:
    """Machine and versions, for the end of a sentence."""
    return f"{machine}; {', '.join(f'{name} {number}' for name, number in versions.items())}"


def markdown_table(*rows: tuple[str, ...]) -> str:
    """A table; the first row has the headings."""
    headings, *rest = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([headings, "|" + " --- |" * len(rows[0]), *rest])


def score_table(scores: dict) -> str:
    """Scores of all slices and by tumor type as a table."""
    interval = "Dice (95 % interval over patients)"
    rows = [("tumor", "slices", "patients", interval, "IoU", "missed whole")]
    for name, group in scores.items():
        mean, (low, high) = group["dice"]["mean"], group["dice"]["interval"]
        rows.append(
            (
                name,
                f"{group['slices']}",
                f"{group['patients']}",
                f"{mean:.3f} ({low:.3f} to {high:.3f})",
                f"{group['iou']['mean']:.3f}",
                f"{group['tumors_missed_whole']:.1%}",
            )
        )
    return markdown_table(*rows)


def shipped() -> str:
    """Scores of the network in the box."""
    scores, config = read(PRETRAINED / "scores.json"), read(PRETRAINED / "config.json")
    everything = scores["scores"]["all"]
    return (
        "The network that comes with the project "
        "([model card](unet/pretrained/README.md)) on the validation patients of the published split: "
        f"{everything['patients']} patients, {everything['slices']} slices reduced to 256 pixels a side. "
        "None was trained on, though they chose the epoch; the test patients are measured at a release.\n\n"
        f"{score_table(scores['scores'])}\n\n"
        f"*Trained on {where(config['machine'], config['versions'])}. Scored on "
        f"{where(scores['machine'], scores['versions'])}.*"
    )


def doubt() -> str:
    """How well the network in the box knows where it is wrong."""
    told = read(PRETRAINED / "scores.json")["expected_dice"]
    reviewed = sum(told["to_review"].values())
    return (
        f"**It says where it may be wrong.** The Dice that `predict.py` expects without the truth has a "
        f"rank correlation of {told['spearman']:.2f} with the true one (by curves fitted on other "
        f"patients) and is off by {told['mean_absolute_error']:.2f} on average; "
        f"{told['missed_in_worst_fifth']:.0%} of the tumors that are missed whole are in its worst "
        f"fifth. {reviewed:.0%} of the slices are marked for review."
    )


def folds() -> str:
    """The five folds of the quick recipe and the leakage meter."""
    kept = read(RESULTS / "folds.json")
    if not kept:
        return ""
    everything = kept["scores"]["all"]
    low, high = everything["dice"]["interval"]
    leaky = kept["split_by_slice"]["all"]["dice"]["mean"]
    each = ", ".join(f"{dice:.3f}" for dice in kept["dice_of_each_fold"])
    return (
        f"`python train.py --quick` on five folds over the training and validation patients: Dice "
        f"{everything['dice']['mean']:.3f} ({low:.3f} to {high:.3f}) over all {everything['patients']} "
        f"patients, each scored by the fold that was not trained on them (though they chose its epoch and "
        f"threshold); the folds one by one: {each}. *{where(kept['machine'], kept['versions'])}.*\n\n"
        f"**What a split by slice pretends.** The same recipe with a random fifth of the *slices* put "
        f"aside scores {leaky:.3f}: {kept['optimism_of_a_split_by_slice']:.3f} too much, as other slices "
        "of the same heads were trained on. That is why this project splits by patient."
    )


def accuracy() -> str:
    """The plot of validation Dice against minutes."""
    kept = read(RESULTS / "accuracy.json")
    if not kept:
        return ""
    draw_accuracy(kept["curves"])
    return (
        "![Validation Dice against minutes of training](docs/accuracy.png)\n\n"
        "*Every network trained from scratch on the same slices and two CPU cores, each with a schedule "
        "made for its time ([benchmarks/accuracy.py](benchmarks/accuracy.py)).*"
    )


def draw_accuracy(curves: dict) -> None:
    """docs/accuracy.png."""
    import sys

    sys.path.insert(0, str(ROOT))
    from unet import plots

    figure, axes = plots.plt.subplots(figsize=(7.5, 4), layout="constrained")
    others = iter(("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#666666", "#D55E00"))
    for name, curve in sorted(curves.items(), key=lambda pair: pair[0].startswith("ours")):
        if not curve["points"]:
            continue
        minutes = [point["minutes"] for point in curve["points"]]
        dice = [point["val_dice"] for point in curve["points"]]
        ours = name.startswith("ours")
        color = plots.PREDICTION if ours else next(others)
        axes.plot(minutes, dice, color=color, linewidth=2 if ours else 1.2)
        axes.annotate(
            name, (minutes[-1], dice[-1]), (4, 0), textcoords="offset points",
            va="center", fontsize=8, color=color, fontweight="bold" if ours else "normal",
        )  # fmt: skip
    axes.set(
        title="Unseen patients, against training time on two cores",
        xlabel="minutes of training", ylabel="mean Dice, validation patients", xlim=(0, None),
    )  # fmt: skip
    plots.save(figure, PLOT)


def speed() -> str:
    """Networks alone, at their best settings."""
    kept = read(RESULTS / "speed.json")
    if not kept:
        return ""
    rows = [("network", "parameters", "training, slices/s", "inference, slices/s", "best setting")]
    for network, best in kept["best"].items():
        training, inference = best["training"], best["inference"]
        if not inference:
            continue
        rows.append(
            (
                NAMES[network],
                f"{inference['parameters'] / 1e6:.1f} M",
                f"{training['slices_per_second']:.1f}" if training else "out of memory",
                f"{inference['slices_per_second']:.1f}",
                f"{inference['precision']}, {inference['mode']}",
            )
        )
    precision, share = max(
        kept["ours_over_ceiling"].items(), key=lambda pair: pair[1]["flops_per_second"]
    )
    return (
        f"Networks alone, {kept['size']} x {kept['size']} pixels, batch {kept['batch']}, each in its fastest "
        f"CPU setting, one run on one idle machine:\n\n" + markdown_table(*rows) + "\n\n"
        f"Ours trains at {share['flops_per_second'] / 1e9:.0f} GFLOP/s in {precision}: "
        f"{share['over_convolution']:.0%} of what one large convolution reaches here and "
        f"{share['over_product']:.0%} of a matrix product.\n\n"
        f"*{where(kept['machine'], kept['versions'])}.*"
    )


def prediction() -> str:
    """predict.py end to end."""
    kept = read(RESULTS / "prediction.json")
    if not kept:
        return ""
    few, many = kept["few"], kept["many"]
    return (
        f"`predict.py` end to end (512 x 512 PNGs in; masks, overlays and table out; mirror averaging): "
        f"{kept['slices_per_second']:.0f} slices/s, {kept['times_the_author_loop']:.0f} times the data set "
        f"author's test loop ({kept['author_loop_slices_per_second']:.1f}) and "
        f"{kept['share_of_network_alone']:.0%} of what the network alone does. The first mask is there "
        f"{few['first_mask_seconds']:.1f} s after the start; memory peaks at "
        f"{few['peak_memory_gib']:.2f} GiB for {few['files']} files "
        f"and {many['peak_memory_gib']:.2f} GiB for {many['files']}.\n\n"
        f"*{where(kept['machine'], kept['versions'])}.*"
    )


SECTIONS = {"results": (shipped, doubt, folds), "speed": (accuracy, speed, prediction)}


def render(readme: str) -> str:
    """The README with each section between its markers rendered anew."""
    for name, parts in SECTIONS.items():
        start, end = f"<!-- {name}: rendered by benchmarks/render.py -->", f"<!-- end of {name} -->"
        before, rest = readme.split(start)
        after = rest.split(end)[1]
        text = "\n\n".join(filter(None, (part() for part in parts)))
        readme = f"{before}{start}\n{text}\n{end}{after}"
    return readme


if __name__ == "__main__":
    readme = ROOT / "README.md"
    readme.write_text(render(readme.read_text()))
