"""Write what was measured into the README and docs/: no figure there is typed by hand.

Usage:

    python benchmarks/render.py

Reads unet/network/pretrained/ (written by ship.py) and benchmarks/results/ (written by the others). Sections
without results are left out.
"""

import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
PRETRAINED = ROOT / "unet" / "pretrained"
RESULTS = ROOT / "benchmarks" / "results"
PLOT = ROOT / "docs" / "accuracy.png"
GROWTH_PLOT = ROOT / "docs" / "growth.png"
MINUTES = (10, 20, 45)
# What growth.py varies.
UNITS = {"slices": "slices", "size": "pixels a side", "batch": "slices a step"}
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


def mean_and_interval(figure: dict) -> str:
    low, high = figure["interval"]
    return f"{figure['mean']:.3f} ({low:.3f} to {high:.3f})"


def score_table(scores: dict) -> str:
    """Scores of all slices and by tumor type as a table."""
    interval = "Dice (95 % interval over patients)"
    rows = [("tumor", "slices", "patients", interval, "IoU", "missed whole")]
    for name, group in scores.items():
        rows.append(
            (
                name,
                f"{group['slices']}",
                f"{group['patients']}",
                mean_and_interval(group["dice"]),
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
        "The network that comes with the project ([model card](unet/network/pretrained/README.md)) "
        "on the validation patients of the published split: "
        f"{everything['patients']} patients, {everything['slices']} slices reduced to 256 pixels a side. "
        "None was trained on, but they chose the epoch, the rule of outlining and, over "
        "[the trials](benchmarks/README.md), the recipe: expect a bit less on new patients; the test "
        "patients are measured at a release.\n\n"
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
        f"patients) and is off by {told['mean_absolute_error']:.2f} on average. {reviewed:.0%} of the "
        "slices are marked for review (about a fifth by construction), and of the "
        f"{told['missed_whole']} tumors that are missed whole {told['missed_to_review']}."
    )


def folds() -> str:
    """The five folds of the quick recipe and the leakage meter."""
    kept = read(RESULTS / "folds.json")
    if not kept:
        return ""
    everything = kept["scores"]["all"]
    leaky = kept["split_by_slice"]
    low, high = leaky["optimism_interval"]
    each = ", ".join(f"{dice:.3f}" for dice in kept["dice_of_each_fold"])
    return (
        f"`python train.py --quick` on five folds over the training and validation patients: Dice "
        f"{mean_and_interval(everything['dice'])} over all {everything['patients']} "
        f"patients, each scored by the fold that was not trained on them (though they chose its epoch and "
        f"rule of outlining); the folds one by one: {each}. *{where(kept['machine'], kept['versions'])}.*\n\n"
        f"**What a split by slice pretends.** The same recipe with a random fifth of the *slices* put "
        f"aside scores {leaky['dice']:.3f} on these {leaky['slices']}: {leaky['optimism']:.3f} ({low:.3f} "
        f"to {high:.3f}) more than the folds do on the same ones, as other slices of the same heads were "
        "trained on. That is why this project splits by patient."
    )


def accuracy() -> str:
    """The plot of validation Dice against minutes, and the Dice at three times as a table."""
    kept, curves = read(RESULTS / "accuracy.json"), accuracy_curves()
    if not curves:
        return ""
    rows = [("Dice after", *(f"{minutes} minutes" for minutes in MINUTES), "slices/s")]
    for name, points in sorted(curves.items(), key=lambda pair: -dice_at(pair[1], MINUTES[-1])):
        dice = [f"{dice_at(points, minutes):.3f}" for minutes in MINUTES]
        rows.append((name_of(name), *dice, f"{idle_speeds()[name]:.1f}"))
    ends = [points[-1][0] for name, points in curves.items() if not name.startswith("ours")]
    return (
        "![Validation Dice against minutes of training](docs/accuracy.png)\n\n"
        + markdown_table(*rows)
        + "\n\nEvery network trained from scratch on the same slices and two cores, the others with our "
        f"loss, AdamW at 1e-3 untuned and a schedule that ends after {min(ends):.0f} to {max(ends):.0f} "
        "minutes (from then on the last Dice stands), those in PyTorch with our geometric augmentation, "
        "brightness and gamma only; Dice of single slices at 256 pixels, threshold 0.5, of our "
        "averaged weights and the others' current ones. The patients are those that our recipe was tuned on. "
        "Minutes are slices seen over the speed of training on the idle machine, of "
        "the others without the time for data and augmentation "
        "([benchmarks/accuracy.py](benchmarks/accuracy.py)); between two checks a straight line is taken. "
        f"Ours waited for data in {kept['speeds']['ours']['waiting_for_data']:.1%} of the time. "
        f"{trained_elsewhere(kept)}*{where(kept['machine'], kept['versions'])}.*"
    )


def trained_elsewhere(kept: dict) -> str:
    """A sentence for each network of ours whose curve is of another machine than its speed."""
    told = {name: curve["trained"] for name, curve in kept["curves"].items() if "trained" in curve}
    return "".join(
        f"The Dice of {name} are of a training in {trained['precision']} on {trained['machine']}, at this "
        "machine's speed. "
        for name, trained in told.items()
        if trained["machine"] != kept["machine"]
    )


def idle_speeds() -> dict[str, float]:
    """Slices a second that each network trains: ours with its data, the others' alone."""
    ours = read(RESULTS / "accuracy.json").get("speeds", {})
    others = read(RESULTS / "speed.json").get("best", {})
    trained = ours | {name: best["training"] for name, best in others.items() if name != "ours"}
    return {name: told["slices_per_second"] for name, told in trained.items() if told}


def accuracy_curves() -> dict[str, list[tuple[float, float]]]:
    """(minutes, Dice) of each check of each network that was trained and timed."""
    speeds = idle_speeds()
    return {
        name: [(point["slices"] / speeds[name] / 60, point["val_dice"]) for point in curve["points"]]
        for name, curve in read(RESULTS / "accuracy.json").get("curves", {}).items()
        if name in speeds
    }


def dice_at(points: list[tuple[float, float]], minutes: float) -> float:
    """Dice then: on the line between two checks, the last one's after them, from 0 at the start."""
    return float(np.interp(minutes, *zip((0, 0), *points, strict=True)))


def name_of(curve: str) -> str:
    """How a curve is called."""
    return f"**{curve}**" if curve.startswith("ours") else NAMES[curve]


def draw_accuracy(curves: dict[str, list[tuple[float, float]]]) -> None:
    """docs/accuracy.png."""

    from unet.pictures import style

    figure, axes = style.plt.subplots(figsize=(7.5, 4), layout="constrained")
    others = iter(("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#666666", "#D55E00"))
    # Labels from the lowest up, each at least a line above the one before.
    heights, lowest = {}, 0.0
    for dice, name in sorted((points[-1][1], name) for name, points in curves.items()):
        if "quick" not in name:
            heights[name] = max(dice, lowest)
            lowest = heights[name] + 0.03
    for name, points in sorted(curves.items(), key=lambda pair: pair[0].startswith("ours")):
        minutes, dice = zip(*points, strict=True)
        ours = name.startswith("ours")
        color = style.PREDICTION if ours else next(others)
        axes.plot(minutes, dice, color=color, linewidth=2 if ours else 1.2)
        axes.annotate(
            name if ours else NAMES[name], (minutes[-1], heights.get(name, dice[-1])),
            # Below: the longer run goes on where the quick one ends.
            (4, -10 if "quick" in name else 0),
            textcoords="offset points", va="center", fontsize=8, color=color,
            fontweight="bold" if ours else "normal",
        )  # fmt: skip
    axes.set(
        title="Validation patients, against training time on two cores",
        xlabel="minutes of training", ylabel="mean Dice, validation patients", xlim=(0, None),
        ylim=(0, None),
    )  # fmt: skip
    style.save(figure, PLOT)


def speed() -> str:
    """Networks alone, at their best settings."""
    kept = read(RESULTS / "speed.json")
    if not kept:
        return ""
    rows = [
        ("network", "parameters", "training, slices/s", "memory, GiB", "inference, slices/s")
        + ("best setting of training",)
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
        f"{kept['share_of_network_alone']:.0%} of what the network alone does (the middle of "
        f"{', '.join(f'{share:.0%}' for share in sorted(kept['shares']))}). The first mask is there "
        f"{few['first_mask_seconds']:.1f} s after the start; memory peaks at "
        f"{few['peak_memory_gib']:.2f} GiB for {few['files']} files "
        f"and {many['peak_memory_gib']:.2f} GiB for {many['files']}.\n\n"
        f"*{where(kept['machine'], kept['versions'])}{how_much_faster(kept)}.*"
    )


def how_much_faster(kept: dict) -> str:
    """How the machine of prediction.json compares with that of speed.json, where one is clearly faster."""
    networks_alone = read(RESULTS / "speed.json")
    if not networks_alone:
        return ""
    # Mirror averaging takes the network twice.
    here = 2 * kept["network_alone_slices_per_second"]
    ratio = here / networks_alone["best"]["ours"]["inference"]["slices_per_second"]
    if 0.8 < ratio < 1.25:
        return ""
    return f"; on this one our network alone is {ratio:.1f} times as fast as in the table above"


def growth() -> str:
    """How time and memory grow with the slices, their size and the batch."""
    kept = read(RESULTS / "growth.json")
    if not kept:
        return ""
    rows = [
        ("varied", "training, slices/s", "memory, GiB", "waiting for data")
        + ("prediction, slices/s", "memory, GiB")
    ]
    for point in kept["points"]:
        varied = point["varied"]
        rows.append(
            (
                f"{point[varied]:,} {UNITS[varied]}",
                f"{point['training_slices_per_second']:.1f}",
                f"{point['training_peak_gib']:.2f}",
                f"{point['waiting_for_data']:.1%}",
                f"{point['prediction_slices_per_second']:.1f}",
                f"{point['prediction_peak_gib']:.2f}",
            )
        )
    usual = ", ".join(f"{value} {UNITS[name]}" for name, value in kept["usual"].items())
    return (
        "![Time and memory against slices, size and batch](../docs/growth.png)\n\n"
        f"The quick recipe on simulated slices, second epoch; one value varies at a time from {usual}.\n\n"
        f"{markdown_table(*rows)}\n\n*{where(kept['machine'], kept['versions'])}.*"
    )


def draw_growth(kept: dict) -> None:
    """docs/growth.png."""

    measures = (
        ("slices_per_second", "slices/s", (1, 3, 10, 30, 100, 300)),
        ("peak_gib", "peak memory, GiB", (0.5, 1, 2, 4, 8)),
    )
    from unet.pictures import style

    figure, grid = style.plt.subplots(2, len(UNITS), figsize=(9, 5), layout="constrained", sharey="row")
    for axes, unit in zip(grid[1], UNITS.values(), strict=True):
        axes.set_xlabel(unit)
    for row, (measure, label, ticks) in zip(grid, measures, strict=True):
        row[0].set_ylabel(label)
        for axes, varied in zip(row, UNITS, strict=True):
            points = [point for point in kept["points"] if point["varied"] == varied]
            values = [point[varied] for point in points]
            for work, color in (("training", style.TRAINING), ("prediction", style.PREDICTION)):
                axes.plot(
                    values, [point[f"{work}_{measure}"] for point in points], "o-", color=color, label=work
                )  # fmt: skip
            axes.set(xscale="log", yscale="log")
            axes.set_xticks(values, [f"{value:,}" for value in values])
            axes.set_yticks(ticks, [f"{value:g}" for value in ticks])
            axes.minorticks_off()
    grid[0, 0].legend()
    figure.suptitle("How cost grows", x=0.01, ha="left", fontweight="bold")
    style.save(figure, GROWTH_PLOT)


def scaling() -> str:
    """Training on several hosts."""
    kept = read(RESULTS / "scaling.json")
    if not kept:
        return ""
    hosts = list(next(iter(kept["projected"].values())))
    rows = [("network", *(f"{number} hosts" for number in hosts))]
    for gigabits, shares in kept["projected"].items():
        rows.append((f"{gigabits} Gbit/s", *(f"{shares[number]:.0%}" for number in hosts)))
    alone, apart, together = kept["slices_per_second"].values()
    return (
        "## What was measured, and what is projected\n\n"
        f"Measured: two processes with a core each train {together:.1f} slices/s together and {apart:.1f} "
        f"where each trains a network of its own: {kept['efficiency_of_two']:.0%} (quick recipe, "
        f"{kept['batch_of_each']} slices a step each, over the loopback; one alone trains {alone:.1f}). "
        f"They meet {kept['meetings_a_step']} times a step: in each normalisation, forward and backward, and "
        f"to add up gradients. A meeting takes {1000 * kept['latency_seconds']:.1f} ms and a second for each "
        f"{kept['loopback_bytes_per_second'] / 1e6:.0f} MB; the model below says "
        f"{kept['modelled_efficiency_of_two']:.0%}.\n\n"
        "Projected, not measured: speed of each host over that of one alone, if gradients "
        f"({kept['gradient_bytes'] / 1e6:.1f} MB) are summed in a ring with the same latency and nothing "
        f"overlaps, at {kept['step_seconds']:.2f} s a step. Faster hosts take shorter steps and scale "
        f"worse at the same network.\n\n{markdown_table(*rows)}\n\n"
        f"*{where(kept['machine'], kept['versions'])}.*"
    )


def many_slices() -> str:
    """Prediction in shards and on Ray."""
    kept = read(RESULTS / "cluster.json")
    if not kept:
        return ""
    rows = [("way", "slices/s", "start and end")]
    for name, way in kept["ways"].items():
        rows.append((name, f"{way['slices_per_second']:.1f}", f"{way['start_seconds']:.0f} s"))
    one, _, ray = kept["ways"].values()
    head = 1 / ray["busy_seconds_a_slice"]
    hours = 1e6 / one["slices_per_second"] / 3600
    return (
        "Measured on one machine with two cores, slices of 512 x 512 pixels, mirror averaging:\n\n"
        f"{markdown_table(*rows)}\n\n"
        f"With Ray one process writes all files: {1000 * ray['busy_seconds_a_slice']:.1f} ms of a core a "
        "slice.\n\n"
        f"Projected, not measured: shards share nothing, so a million slices take {hours:.1f} hours on one "
        f"such machine, {hours / 8:.1f} on 8 and {60 * hours / 64:.0f} minutes on 64, if the disk that they "
        f"read and write keeps up. One Ray command can write about {head:.0f} slices/s: more than "
        f"{head / ray['slices_per_second']:.0f} such machines, or a few GPUs, wait for it; then give each "
        "group of them a shard.\n\n"
        f"*{where(kept['machine'], kept['versions'])}.*"
    )


def trials() -> str:
    """What changes of the recipe gave in small proxies."""
    kept = read(RESULTS / "trials.json")
    if not kept:
        return ""
    told = list(kept["trials"].values())
    splits = list(told[0]["dice"])
    rows = [("change", "options", *(f"Dice, {split}" for split in splits), "gain (95 % interval)")]
    for name, trial in kept["trials"].items():
        low, high = trial["gain_interval"]
        options = f"`{trial['options']}`" if trial["options"] else ""
        gain = f"{trial['gain']:+.3f} ({low:+.3f} to {high:+.3f})" if trial["options"] else ""
        dice = [f"{trial['dice'][split]:.3f}" if split in trial["dice"] else "" for split in splits]
        rows.append((name, options, *dice, gain))
    return (
        f"Each is `train.py {kept['proxy']}` with one change, on the published split and, but for some that "
        "gained nothing there, on a fold; the gain is over all slices scored, its interval over patients, "
        "and over a default trained on the same machine, of which the first row is the last. "
        "All are of one training each: see what another seed alone does.\n\n"
        f"{markdown_table(*rows)}\n\n"
        f"*{where(kept['machine'], kept['versions'])}.*"
    )


def runtimes() -> str:
    """The network in other runtimes."""
    kept = read(RESULTS / "runtimes.json")
    if not kept:
        return ""
    rows = [("what", "slices/s", "least Dice with Keras")]
    for name, speed in kept["slices_per_second"].items():
        dice = kept["dice_with_keras"].get(name)
        rows.append((name, f"{speed:.1f}", f"{dice:.4f}" if dice else ""))
    return f"{markdown_table(*rows)}\n\n*{where(kept['machine'], kept['versions'])}.*"


def extras() -> str:
    """What optional packages cost."""
    kept = read(RESULTS / "extras.json")
    if not kept:
        return ""
    rows = [("package", "wheel", "import", "for")]
    for extra in kept["extras"]:
        rows.append(
            (
                f"{extra['package']} {extra['version']}",
                f"{extra['wheel_megabytes']:.1f} MB",
                f"{extra['import_seconds']:.2f} s",
                extra["why"],
            )
        )
    return f"{markdown_table(*rows)}\n\n*{where(kept['machine'], kept['versions'])}.*"


SECTIONS = {
    "README.md": {"results": (shipped, doubt, folds), "speed": (accuracy, speed, prediction)},
    "docs/scale.md": {"slices": (many_slices,), "scaling": (scaling,)},
    "benchmarks/README.md": {
        "trials": (trials,),
        "growth": (growth,),
        "runtimes": (runtimes,),
        "extras": (extras,),
    },
}


def render(page: str, sections: dict) -> str:
    """A page with each section between its markers rendered anew."""
    for name, parts in sections.items():
        start, end = f"<!-- {name}: rendered by benchmarks/render.py -->", f"<!-- end of {name} -->"
        before, rest = page.split(start)
        after = rest.split(end)[1]
        text = "\n\n".join(filter(None, (part() for part in parts)))
        page = f"{before}{start}\n{text}\n{end}{after}"
    return page


if __name__ == "__main__":
    for name, sections in SECTIONS.items():
        page = ROOT / name
        page.write_text(render(page.read_text(), sections))
    if curves := accuracy_curves():
        draw_accuracy(curves)
    if kept := read(RESULTS / "growth.json"):
        draw_growth(kept)
