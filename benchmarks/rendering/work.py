"""Time and memory of this project alone: predictions, growth, several machines, runtimes and packages; and trials."""

from rendering.text import DOCS, RESULTS, from_results, markdown_table, read, setup
from unet.pictures import style
from unet.pictures.style import in_our_style

# What growth.py varies.
UNITS = {"slices": "slices", "size": "pixels a side", "batch": "slices per step"}


@from_results("prediction.json")
def prediction(kept: dict) -> str:
    """predict.py end to end."""
    few, many = kept["few"], kept["many"]
    shares = ", ".join(f"{share:.0%}" for share in sorted(kept["shares"]))
    return (
        f"`predict.py` end to end, from 512 x 512 PNGs to masks, overlays and table, with mirror averaging: "
        f"{kept['slices_per_second']:.0f} slices/s. That is {kept['times_the_author_loop']:.0f} times as fast as "
        f"the test script that the Kaggle author published ({kept['author_loop_slices_per_second']:.1f} slices/s) and "
        f"{kept['share_of_network_alone']:.0%} of the speed of the network alone, which also sees each slice twice (median of {shares}). The first mask is "
        f"written {few['first_mask_seconds']:.1f} s after the start. Peak memory is {few['peak_memory_gib']:.2f} GiB for "
        f"{few['files']} files and {many['peak_memory_gib']:.2f} GiB for {many['files']}.\n\n"
        f"*{setup(kept)}{how_much_faster(kept)}.*"
    )


def how_much_faster(kept: dict) -> str:
    """How the machine of prediction.json compares with that of speed.json, if one is clearly faster."""
    networks_alone = read(RESULTS / "speed.json")
    if not networks_alone:
        return ""
    # Mirror averaging runs the network twice.
    here = 2 * kept["network_alone_slices_per_second"]
    ratio = here / networks_alone["best"]["ours"]["inference"]["slices_per_second"]
    if 0.8 < ratio < 1.25:
        return ""
    return f"; on this machine, our network alone is {ratio:.1f} times as fast as in the table above"


@from_results("growth.json")
def growth(kept: dict) -> str:
    """Time and memory against the number of slices, their size and the batch size."""
    rows = [
        ("varied", "training, slices/s", "memory, GiB", "waiting for data") + ("prediction, slices/s", "memory, GiB")
    ]
    for point in kept["points"]:
        varied = point["varied"]
        rows.append(
            (
                f"{point[varied]:,} {UNITS[varied] if point[varied] > 1 else UNITS[varied].replace('slices', 'slice')}",
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
        f"The quick recipe on simulated slices, second epoch. One value varies at a time; the others are {usual}.\n\n"
        f"{markdown_table(*rows)}\n\n*{setup(kept)}.*"
    )


@from_results("growth.json")
@in_our_style
def draw_growth(kept: dict) -> None:
    """docs/growth.png."""

    measures = (
        ("slices_per_second", "slices/s", (1, 3, 10, 30, 100, 300)),
        ("peak_gib", "peak memory, GiB", (0.5, 1, 2, 4, 8)),
    )
    figure, grid = style.canvas(2, len(UNITS), figsize=(9, 5), sharey="row")
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
    figure.suptitle("Time and memory", x=0.01, ha="left", fontweight="bold")
    style.save(figure, DOCS / "growth.png")


@from_results("scaling.json")
def scaling(kept: dict) -> str:
    """Training on several hosts."""
    hosts = list(next(iter(kept["projected"].values())))
    rows = [("network", *(f"{number} hosts" for number in hosts))]
    for gigabits, shares in kept["projected"].items():
        rows.append((f"{gigabits} Gbit/s", *(f"{shares[number]:.0%}" for number in hosts)))
    alone, apart, together = kept["slices_per_second"].values()
    return (
        "## Measured and projected speed\n\n"
        f"A second process with one core makes the training of a network {together / alone:.2f} times as fast. "
        f"Measured: two processes with one core each train one network at {together:.1f} slices/s, and two separate "
        f"networks at {apart:.1f} slices/s: an efficiency of {kept['efficiency_of_two']:.0%} (quick recipe, "
        f"{kept['batch_of_each']} slices per step each, over the loopback interface; one process alone: {alone:.1f} "
        f"slices/s). They synchronize {kept['synchronizations_per_step']} times per step: in each batch normalization, forward and "
        f"backward, and to sum gradients. A synchronization takes {1000 * kept['latency_seconds']:.1f} ms, plus one second "
        f"per {kept['loopback_bytes_per_second'] / 1e6:.0f} MB. The model below predicts "
        f"{kept['modelled_efficiency_of_two']:.0%}.\n\n"
        "Projected, not measured: the speed of each host relative to one host alone, if gradients "
        f"({kept['gradient_bytes'] / 1e6:.1f} MB) are summed in a ring with the same latency, nothing overlaps, and a step "
        f"takes {kept['step_seconds']:.2f} s. Faster hosts have shorter steps and scale worse on the same network.\n\n"
        f"{markdown_table(*rows)}\n\n*{setup(kept)}.*"
    )


@from_results("cluster.json")
def many_slices(kept: dict) -> str:
    """Prediction in shards and on Ray."""
    rows = [("method", "slices/s", "startup and shutdown")]
    for name, method in kept["ways"].items():
        rows.append((name, f"{method['slices_per_second']:.1f}", f"{method['start_seconds']:.0f} s"))
    one, _, ray = kept["ways"].values()
    writing = 1 / ray["cpu_seconds_per_slice"]
    hours = 1e6 / one["slices_per_second"] / 3600
    return (
        "Measured on one machine with two cores, on slices of 512 x 512 pixels with mirror averaging:\n\n"
        f"{markdown_table(*rows)}\n\n"
        f"With Ray, one process writes all files, which takes {1000 * ray['cpu_seconds_per_slice']:.1f} ms of one core per "
        "slice.\n\n"
        f"Projected, not measured: shards are independent, so a million slices take {hours:.1f} hours on one such machine, "
        f"{hours / 8:.1f} hours on 8 and {60 * hours / 64:.0f} minutes on 64, if the disk keeps up. One Ray command can "
        f"write about {writing:.0f} slices/s, which is the limit for more than {writing / ray['slices_per_second']:.0f} such "
        f"machines or a few GPUs; beyond that, give each group of machines a shard.\n\n"
        f"*{setup(kept)}.*"
    )


@from_results("runtimes.json")
def runtimes(kept: dict) -> str:
    """Speed of the network in other runtimes."""
    rows = [("runtime", "slices/s", "lowest Dice with Keras")]
    for name, speed in kept["slices_per_second"].items():
        dice = kept["dice_with_keras"].get(name)
        rows.append((name, f"{speed:.1f}", f"{dice:.4f}" if dice else ""))
    return f"{markdown_table(*rows)}\n\n*{setup(kept)}.*"


@from_results("extras.json")
def extras(kept: dict) -> str:
    """Size and import time of optional packages."""
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
    return f"{markdown_table(*rows)}\n\n*{setup(kept)}.*"


@from_results("trials.json")
def trials(kept: dict) -> str:
    """Gains of changes to the recipe, in small proxies."""
    from trials import TRIALS

    machines = " and ".join(dict.fromkeys(trial["machine"] for trial in kept["trials"].values()))
    splits = list(next(iter(kept["trials"].values()))["dice"])
    rows = [("change", "options", *(f"Dice, {split}" for split in splits), "gain (95% interval)")]
    for name, trial in kept["trials"].items():
        low, high = trial["gain_interval"]
        options = f"`{trial['options']}`" if trial["options"] else ""
        gain = f"{trial['gain']:+.3f} ({low:+.3f} to {high:+.3f})" if trial["options"] else ""
        dice = [f"{trial['dice'][split]:.3f}" if split in trial["dice"] else "" for split in splits]
        removed = "" if name in TRIALS else " (option removed since)"
        rows.append((f"{name}{removed}", options, *dice, gain))
    return (
        f"Each trial is `train.py {kept['proxy']}` with one change. It starts on the published split, and goes on to the next "
        "fold as long as its mean gain so far is positive (older trials: at most one fold). The gain is over all scored slices, relative to the default recipe trained on the same "
        "machine, with an interval over patients. The first row is the latest of these trainings. Each trial is a single "
        f"training, so compare its gain with that of another seed.\n\n{markdown_table(*rows)}\n\n*{setup(kept | {'machine': machines})}.*"
    )
