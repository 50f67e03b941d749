"""Render measured figures into the README and the docs, so that none of them is typed by hand.

Usage:

    python benchmarks/render.py

Reads unet/network/pretrained/ (written by ship.py) and benchmarks/results/ (written by the other benchmarks). Sections
without results are left out.
"""

import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
from unet.network.saved_run import SavedRun  # noqa: E402
from unet.pictures.style import in_our_style  # noqa: E402
from unet.pictures.table import Table  # noqa: E402

PRETRAINED = ROOT / "unet" / "network" / "pretrained"
RESULTS = ROOT / "benchmarks" / "results"
TEST = RESULTS / "test.json"
PLOT = ROOT / "docs" / "accuracy.png"
FINETUNE_PLOT = ROOT / "docs" / "finetune.png"
ARMS = {"scratch": "from scratch", "scratch-long": "from scratch, longer", "init": "`--init`"}  # of finetune.py
GROWTH_PLOT = ROOT / "docs" / "growth.png"
MINUTES = (10, 20, 30)
MORE_RECIPES = (("default", ""), ("taught", " --quick --teacher"))  # of folds.py
KINDS = ("validation slices with tumor", "images without a tumor", "healed slices")  # in detection.json
# Of volumes whose file names say little.
HEADS = {
    "ch2.nii.gz": "Colin27",
    "ch2bet.nii.gz": "Colin27 without skull",
    "mni152.nii.gz": "MNI152",
    "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz": "MNI152",
}
IMAGENET_PEER = "smp-lite0-imagenet"
# What growth.py varies.
UNITS = {"slices": "slices", "size": "pixels a side", "batch": "slices per step"}
NAMES = {
    "ours": "**this project**",
    "author": "data set author's",
    IMAGENET_PEER: "segmentation_models_pytorch, EfficientNet-lite0 with ImageNet weights",
    "smp-resnet18": "segmentation_models_pytorch, ResNet-18",
    "smp-resnet34": "segmentation_models_pytorch, ResNet-34",
    "monai-basicunet": "MONAI BasicUNet",
    "nnunet-plain": "nnU-Net plain 2D",
}


def read(path: Path) -> dict:
    """Content of a JSON file; {} if it does not exist."""
    return json.loads(path.read_text()) if path.exists() else {}


def setup(machine: str, versions: dict[str, str]) -> str:
    """Machine and versions, in words."""
    return f"{machine}; {', '.join(f'{name} {number}' for name, number in versions.items())}"


def head_name(file: str) -> str:
    """What to call a volume of a head."""
    return HEADS.get(file, file)


def markdown_table(*rows: tuple[str, ...]) -> str:
    """A table. The first row has the headings."""
    return Table("", [list(row) for row in rows]).as_markdown()


def mean_and_interval(figure: dict) -> str:
    """A mean with its interval."""
    low, high = figure["interval"]
    return f"{figure['mean']:.3f} ({low:.3f} to {high:.3f})"


def score_table(scores: dict) -> str:
    """Scores of all slices and by tumor type, for the model card."""
    from unet.evaluation.summary import score_table as summary_table

    return summary_table("tumor", scores, ("dice", "iou"), has_intervals=("dice",)).as_markdown()


def results() -> str:
    """Scores of the shipped network on the validation and test patients."""
    config, validation, test = (read(path) for path in (PRETRAINED / "config.json", PRETRAINED / "scores.json", TEST))
    rows = [("tumor", "validation: patients, slices", "Dice (95% interval)", "missed completely")]
    rows[0] += ("test: patients, slices", "Dice (95% interval)", "missed completely")
    for name in validation["scores"]:
        row = [name]
        for group in (validation["scores"][name], test["scores"][name]):
            row += [
                f"{group['patients']}, {group['slices']}",
                mean_and_interval(group["dice"]),
                f"{group['missed_completely']:.1%}",
            ]
        rows.append(tuple(row))
    return (
        "Dice of the network that comes with the project, on patients it was not trained on. Scores are means over "
        "slices; intervals are over patients. The validation patients (slices of 256 x 256 pixels) were also used to "
        "choose the epoch, the thresholds and the recipe. The test patients (slices at their original size) were "
        f"measured once, {tested_network()}.\n\n"
        f"{markdown_table(*rows)}\n\n"
        f"*Trained on {setup(config['machine'], config['versions'])}. Scored on "
        f"{setup(validation['machine'], validation['versions'])}.*"
    )


def is_tested() -> bool:
    """Whether the test patients were measured with the network that comes with the project now."""
    return read(TEST)["network"] == SavedRun.open().network_fingerprint()


def tested_network() -> str:
    """Which network the test patients were measured with, in words."""
    return "for this release" if is_tested() else "with the network of the last release; this one was not tested yet"


def expected_dice() -> str:
    """How well the shipped network knows where it is wrong."""
    sentences = []
    for name, path in (("validation", PRETRAINED / "scores.json"), ("test", TEST)):
        figures = read(path)["expected_dice"]
        of_which = " (network of the last release)" if path == TEST and not is_tested() else ""
        reviewed = sum(figures["to_review"].values())
        sentences.append(
            f"on the {name} patients{of_which}, it has a rank correlation of {figures['spearman']:.2f} with the true Dice and a "
            f"mean error of {figures['mean_absolute_error']:.2f}; {reviewed:.0%} of the slices are marked for review, "
            f"among them {figures['missed_and_marked_for_review']} of the {figures['missed_completely']} tumors that "
            "are missed completely"
        )
    return (
        f"**It says where it may be wrong.** `predict.py` estimates the Dice of each outline: {'; '.join(sentences)}."
    )


def folds() -> str:
    """Our recipes on five folds, and what a split by slice would have claimed."""
    kept = read(RESULTS / "folds.json")
    if not kept:
        return ""
    everything, by_slice = kept["scores"]["all"], kept["split_by_slice"]
    recipes = {"train.py --quick": kept} | {
        f"train.py{more}": kept[name] for name, more in MORE_RECIPES if name in kept
    }
    return (
        f"**Five folds** over the {everything['patients']} training and validation patients. Each patient is scored by "
        "the network that did not train on it, although its epoch and outline rule were chosen on that fold. "
        f"{' '.join(recipe_on_folds(name, figures) for name, figures in recipes.items())}\n\n"
        f"**Why the split is by patient.** With a random fifth of the *slices* held out instead, `train.py --quick` scores "
        f"{by_slice['dice']:.3f}. That is {mean_and_interval(by_slice['optimism'])} more than the five folds score on the "
        "same slices, because other slices of the same heads were in the training data."
    )


def recipe_on_folds(name: str, kept: dict) -> str:
    """Scores of a recipe on five folds."""
    each = ", ".join(f"{dice:.3f}" for dice in kept["dice_of_each_fold"])
    text = f"`{name}`: Dice {mean_and_interval(kept['scores']['all']['dice'])}; by fold: {each}."
    if "false_alarms" in kept:  # the folds were trained with images without a tumor
        always = mean_and_interval(kept["scores_always_outlined"]["all"]["dice"])
        alarms = " and ".join(
            "{:.0%} ({:.0%} to {:.0%})".format(row["outlined"]["mean"], *row["outlined"]["interval"])
            + f" of {row['images']} {which}"
            for which, row in kept["false_alarms"].items()
        )
        text += (
            f" With `--always-outline`: {always}. It outlines {kept['tumors_outlined']:.1%} of the slices with tumor. Of "
            f"images without a tumor, it outlines {alarms}."
        )
    if "gain" in kept:
        text += f" Gain over `--quick`, every slice outlined: {mean_and_interval(kept['gain'])}."
    return f"{text} *{setup(kept['machine'], kept['versions'])}.*"


def finetuning() -> str:
    """What --init gives with few patients."""
    kept = read(RESULTS / "finetune.json")
    if not kept:
        return ""
    rows = [("patients", *ARMS.values(), "gain of --init over the longer training")]
    for count in dict.fromkeys(point["patients"] for point in kept["points"]):
        points = {point["arm"]: point for point in kept["points"] if point["patients"] == count}
        gain = mean_and_interval(points["init"]["gain_over_scratch-long"])
        rows.append((str(count), *(mean_and_interval(points[arm]["dice"]) for arm in ARMS), gain))
    first = kept["points"][0]
    return (
        f"{markdown_table(*rows)}\n\n"
        f"Dice with 95% intervals over the same {first['scored_patients']} patients ({first['scored_slices']} slices), "
        f"all with `{kept['recipe']}`, one training each. `--init` starts from a network trained on "
        f"{kept['base']['patients']} other patients of the same data set, and takes a third of the epochs; the longer "
        "training from scratch takes as many steps as that network did.\n\n"
        f"*{setup(kept['machine'], kept['versions'])}, {kept['date']}.*"
    )


def finetuning_in_short() -> str:
    """The plot of what --init gives, and its figures in a sentence."""
    kept = read(RESULTS / "finetune.json")
    if not kept:
        return ""
    dice = {(point["patients"], point["arm"]): point["dice"]["mean"] for point in kept["points"]}
    counts = dict.fromkeys(point["patients"] for point in kept["points"])
    tuned, scratch = (", ".join(f"{dice[count, arm]:.2f}" for count in counts) for arm in ("init", "scratch-long"))
    return (
        "**Few patients of your own?** Start from a network that knows other tumors, with `train.py --init`. With "
        f"{', '.join(map(str, counts))} patients, the Dice on new ones is {tuned}. From scratch, it is {scratch}, after many "
        "more steps. [More](docs/benchmarks.md#fine-tuning). "
        f"*{setup(kept['machine'], kept['versions'])}.* "
        "![Dice against the number of patients, from scratch and with --init](docs/finetune.png)"
    )


@in_our_style
def draw_finetuning(kept: dict) -> None:
    """docs/finetune.png."""
    from unet.pictures import style

    figure, axes = style.canvas(figsize=(7.5, 4))
    colors = {"init": style.PREDICTION, "scratch-long": style.TRAINING, "scratch": style.NEUTRAL}
    counts = sorted({point["patients"] for point in kept["points"]})
    for place, (arm, color) in enumerate(colors.items()):
        points = [point for point in kept["points"] if point["arm"] == arm]
        # Side by side, so that the intervals do not hide each other.
        at = [point["patients"] * 1.02 ** (place - 1) for point in points]
        dice = np.array([point["dice"]["mean"] for point in points])
        ends = np.array([point["dice"]["interval"] for point in points]).T
        axes.errorbar(at, dice, abs(ends - dice), fmt="o-", color=color, capsize=3, label=ARMS[arm].strip("`"))
    axes.set(
        title="Fine-tuning needs fewer patients", xlabel="patients to learn from", ylabel="mean Dice, other patients",
        xscale="log", ylim=(0, 1),
    )  # fmt: skip
    axes.minorticks_off()
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.legend(loc="lower right")
    style.save(figure, FINETUNE_PLOT)


def detection() -> str:
    """How often the shipped network outlines something in slices with and without a tumor."""
    kept = read(RESULTS / "detection.json")
    if not kept:
        return ""
    rows = [("slices", "number", "outlined (95% interval)")]
    for name, row in kept["outlined"].items():
        size = f"{row['slices']}"
        interval = ""
        if "patients" in row:
            size += f" of {row['patients']} {row['unit']}"
            interval = " ({:.1%} to {:.1%})".format(*row["interval"])
        head, comma, plane = name.partition(",")
        rows.append((head_name(head) + comma + plane, size, f"{row['outlined']:.1%}{interval}"))
    return f"{markdown_table(*rows)}\n\n*{setup(kept['machine'], kept['versions'])}, {kept['date']}.*"


def limits() -> str:
    """What the shipped network does on slices without a tumor."""
    kept = read(RESULTS / "detection.json")
    if kept:
        rows = dict(kept["outlined"])
        found, free, healed = (rows.pop(name) for name in KINDS)
        intact = rows.pop(f"{KINDS[1]} or another lesion", None)
        without_lesion = (
            f"; {intact['outlined']:.1%} of the {intact['slices']} without another lesion" if intact else ""
        )
        planes: dict[str, list[float]] = {}
        for name, row in rows.items():
            planes.setdefault(head_name(name.partition(",")[0]), []).append(row["outlined"])
        heads = " and ".join(f"{min(each):.0%} to {max(each):.0%} in {head}" for head, each in planes.items())
        low, high = free["interval"]
        return (
            "**It raises false alarms.** The network first decides whether there is a tumor, and outlines one only "
            f"then. On validation patients and groups, it outlines {found['outlined']:.1%} of the slices with tumor, "
            f"{free['outlined']:.1%} ({low:.1%} to {high:.1%}) of {free['slices']} images without one{without_lesion}, and "
            f"{healed['outlined']:.0%} of {healed['slices']} slices whose tumor was replaced by healthy tissue. In whole "
            f"healthy heads, it outlines something in a part of the slices, depending on the plane: {heads}. "
            f"*{setup(kept['machine'], kept['versions'])}, {kept['date']}.*{limits_of_scans()}"
        )
    stated = read(RESULTS / "stated.json")
    figures = stated["without_tumor"]
    return (
        "The network that comes with the project has never seen a slice without a tumor, so it finds one almost "
        f"everywhere: it outlines something in {figures['images_outlined'] / figures['images']:.0%} of images without "
        f"a tumor ({figures['images_outlined']} of {figures['images']}), although {figures['marked_for_review']:.0%} of "
        f"them are marked for review. It also outlines {figures['contrast_enhanced_slices_outlined']} of "
        f"{figures['contrast_enhanced_slices']} tumor-free slices of a contrast-enhanced T1 volume, and "
        f"{figures['healthy_head_slices_outlined']} of {figures['healthy_head_slices']} slices of a T1 volume of a "
        f"healthy head. Networks trained with `--no-tumor` can tell. *{stated['source'].rstrip('.')}, {stated['date']}.*"
    )


def limits_of_scans() -> str:
    """What the shipped network does on whole scans."""
    kept = read(RESULTS / "scans.json")
    if not kept:
        return ""
    three, *_, thick = kept["planes"]
    heads = [head_name(head) for head in kept["planes"][three]["healthy"]]
    outlined = {
        planes: ", ".join(f"{row['predicted_ml']:.1f}" for row in kept["planes"][planes]["healthy"].values())
        for planes in (three, thick)
    }
    return (
        " **It misses tumors in whole scans.** In a scan with small voxels, it outlines what its three planes agree on: "
        f"{kept['planes'][three]['means']['found']:.0%} of {len(kept['tumors'])} simulated tumors, and {outlined[three]} ml "
        f"in heads without one ({', '.join(heads)}). In thick slices it sees one plane, and outlines {outlined[thick]} ml "
        f"in the same heads. [More](docs/benchmarks.md#whole-scans). *{setup(kept['machine'], kept['versions'])}, "
        f"{kept['date']}.*"
    )


def scans() -> str:
    """Whole scans: time, healthy heads, and implanted tumors, in three planes and in one."""
    kept = read(RESULTS / "scans.json")
    if not kept:
        return ""
    timing, heads = kept["timing"], list(kept["planes"]["three planes"]["healthy"])
    shape = " x ".join(map(str, timing["shape"]))
    rows = [
        (
            "planes",
            *(f"outlined in {head_name(head)}" for head in heads),
            "tumors found",
            "Dice",
            "false alarms per scan",
        )
    ]
    for planes, figures in kept["planes"].items():
        outlined = (f"{row['predicted_ml']:.1f} ml" for row in figures["healthy"].values())
        means = figures["means"]
        columns = f"{means['found']:.0%}", f"{means['dice']:.2f}", f"{means['false_regions']:.2f}"
        rows.append((planes, *outlined, *columns))
    tumors = [f"{tumor['kind']} {tumor['diameter_mm']:.0f} mm" for tumor in kept["tumors"]]
    three = zip(tumors, kept["planes"]["three planes"]["implanted"], strict=True)
    found = ", ".join(f"{name} ({row['dice']:.2f})" for name, row in three if row["found_regions"])
    return (
        f"`predict.py` takes {np.median(timing['seconds']):.0f} s and {timing['peak_memory_gib']:.1f} GiB for a scan of "
        f"{shape} voxels in three planes, from start to end.\n\n"
        f"Volumes of heads without a tumor, and {len(tumors)} copies of the first one, each with one simulated tumor of "
        f"{min(tumor['diameter_mm'] for tumor in kept['tumors']):.0f} to "
        f"{max(tumor['diameter_mm'] for tumor in kept['tumors']):.0f} mm:\n\n"
        f"{markdown_table(*rows)}\n\n"
        f"Found in three planes, with their Dice: {found or 'none'}. These tumors are spheres in a scan without contrast "
        "agent, made to look like one with it. So the table compares the planes; it does not show how many real tumors "
        f"are found.\n\n*{setup(kept['machine'], kept['versions'])}, {kept['date']}.*"
    )


def viewer() -> str:
    """Size of the viewer's pages, and time until they show their scan."""
    kept = read(RESULTS / "viewer.json")
    if not kept:
        return ""
    pages = "; ".join(
        f"{' x '.join(map(str, page['shape']))} voxels: {page['megabytes']:.1f} MB, first image after "
        f"{np.median(page['seconds']):.0f} s"
        for page in kept["pages"]
    )
    return (
        f"A page of the viewer, drawn by the processor in headless Chromium: {pages}. Each folder also has one copy of "
        f"NiiVue, {kept['bundle_megabytes']:.1f} MB.\n\n*{setup(kept['machine'], kept['versions'])}, {kept['date']}.*"
    )


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
        f"**{NAMES[IMAGENET_PEER]}, is ahead of ours {when}.** All other networks are trained from scratch. At its best "
        f"({peer['setting']}), it reaches {peer['validation_dice']:.3f} on the validation patients after "
        f"{peer['epochs']} epochs ({peer['validation_dice_after_2_epochs']:.3f} after two) and {peer['test_dice']:.3f} on "
        f"the test patients; the network that comes with this project reaches {validation:.3f} and {test:.3f}"
        f"{'' if is_tested() else ' (test: network of the last release)'}. "
        f"*The peer at its best: {stated['source'].rstrip('.').lower()}, {stated['date']}.*"
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
        "![Validation Dice against minutes of training](accuracy.png)\n\n"
        f"{markdown_table(*rows)}\n\n"
        "How to read it:\n\n"
        "- All networks see the same slices on the same two cores. The Dice is that of single slices at 256 pixels and "
        "threshold 0.5, of our averaged weights and the other networks' current weights.\n"
        "- The others use our loss, AdamW at 1e-3 (not tuned), and a schedule that ends after "
        f"{min(ends):.0f} to {max(ends):.0f} minutes; later times repeat their last Dice. Those in PyTorch use our "
        "geometric augmentation, brightness and gamma only.\n"
        "- Our recipe was tuned on these patients; theirs were not.\n"
        "- Minutes are slices seen divided by the training speed on the idle machine. The others' speed leaves out data "
        "loading and augmentation; ours includes both "
        f"({kept['speeds']['ours']['waiting_for_data']:.1%} of the time is spent waiting for data). Between two "
        "checkpoints, the Dice is interpolated.\n"
        f"{trained_elsewhere(kept)}\n*{setup(kept['machine'], kept['versions'])}.*"
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
def draw_accuracy(curves: dict[str, list[tuple[float, float]]]) -> None:
    """docs/accuracy.png."""
    from unet.pictures import style

    figure, axes = style.canvas(figsize=(7.5, 4))
    others = iter(("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#666666", "#D55E00"))
    # Labels from bottom to top, each at least one line above the one before.
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
            name if ours else short_name(name), (minutes[-1], heights.get(name, dice[-1])),
            # Below, because the longer run continues where the quick one ends.
            (4, -10 if "quick" in name else 0),
            textcoords="offset points", va="center", fontsize=8, color=color,
            fontweight="bold" if ours else "normal",
        )  # fmt: skip
    axes.set(
        title="Dice against training time on two cores",
        xlabel="minutes of training", ylabel="mean Dice, validation patients", xlim=(0, None),
        ylim=(0, None),
    )  # fmt: skip
    style.save(figure, PLOT)


def speed() -> str:
    """Speed of the networks alone, each at its best setting."""
    kept = read(RESULTS / "speed.json")
    if not kept:
        return ""
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
        f"*{setup(kept['machine'], kept['versions'])}.*"
    )


def prediction() -> str:
    """predict.py end to end."""
    kept = read(RESULTS / "prediction.json")
    if not kept:
        return ""
    few, many = kept["few"], kept["many"]
    shares = ", ".join(f"{share:.0%}" for share in sorted(kept["shares"]))
    return (
        f"`predict.py` end to end, from 512 x 512 PNGs to masks, overlays and table, with mirror averaging: "
        f"{kept['slices_per_second']:.0f} slices/s. That is {kept['times_the_author_loop']:.0f} times as fast as the data "
        f"set author's test loop ({kept['author_loop_slices_per_second']:.1f} slices/s) and "
        f"{kept['share_of_network_alone']:.0%} of the speed of the network alone (median of {shares}). The first mask is "
        f"written {few['first_mask_seconds']:.1f} s after the start. Peak memory is {few['peak_memory_gib']:.2f} GiB for "
        f"{few['files']} files and {many['peak_memory_gib']:.2f} GiB for {many['files']}.\n\n"
        f"*{setup(kept['machine'], kept['versions'])}{how_much_faster(kept)}.*"
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


def growth() -> str:
    """Time and memory against the number of slices, their size and the batch size."""
    kept = read(RESULTS / "growth.json")
    if not kept:
        return ""
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
        f"{markdown_table(*rows)}\n\n*{setup(kept['machine'], kept['versions'])}.*"
    )


@in_our_style
def draw_growth(kept: dict) -> None:
    """docs/growth.png."""

    measures = (
        ("slices_per_second", "slices/s", (1, 3, 10, 30, 100, 300)),
        ("peak_gib", "peak memory, GiB", (0.5, 1, 2, 4, 8)),
    )
    from unet.pictures import style

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
        "## Measured and projected speed\n\n"
        f"Measured: two processes with one core each train one network at {together:.1f} slices/s, and two separate "
        f"networks at {apart:.1f} slices/s: an efficiency of {kept['efficiency_of_two']:.0%} (quick recipe, "
        f"{kept['batch_of_each']} slices per step each, over the loopback interface; one process alone: {alone:.1f} "
        f"slices/s). They synchronize {kept['meetings_a_step']} times per step: in each batch normalization, forward and "
        f"backward, and to sum gradients. A synchronization takes {1000 * kept['latency_seconds']:.1f} ms, plus one second "
        f"per {kept['loopback_bytes_per_second'] / 1e6:.0f} MB. The model below predicts "
        f"{kept['modelled_efficiency_of_two']:.0%}.\n\n"
        "Projected, not measured: the speed of each host relative to one host alone, if gradients "
        f"({kept['gradient_bytes'] / 1e6:.1f} MB) are summed in a ring with the same latency, nothing overlaps, and a step "
        f"takes {kept['step_seconds']:.2f} s. Faster hosts have shorter steps and scale worse on the same network.\n\n"
        f"{markdown_table(*rows)}\n\n*{setup(kept['machine'], kept['versions'])}.*"
    )


def many_slices() -> str:
    """Prediction in shards and on Ray."""
    kept = read(RESULTS / "cluster.json")
    if not kept:
        return ""
    rows = [("method", "slices/s", "start and end")]
    for name, method in kept["ways"].items():
        rows.append((name, f"{method['slices_per_second']:.1f}", f"{method['start_seconds']:.0f} s"))
    one, _, ray = kept["ways"].values()
    writing = 1 / ray["busy_seconds_a_slice"]
    hours = 1e6 / one["slices_per_second"] / 3600
    return (
        "Measured on one machine with two cores, on slices of 512 x 512 pixels with mirror averaging:\n\n"
        f"{markdown_table(*rows)}\n\n"
        f"With Ray, one process writes all files, which takes {1000 * ray['busy_seconds_a_slice']:.1f} ms of one core per "
        "slice.\n\n"
        f"Projected, not measured: shards are independent, so a million slices take {hours:.1f} hours on one such machine, "
        f"{hours / 8:.1f} hours on 8 and {60 * hours / 64:.0f} minutes on 64, if the disk keeps up. One Ray command can "
        f"write about {writing:.0f} slices/s, which is the limit for more than {writing / ray['slices_per_second']:.0f} such "
        f"machines or a few GPUs; beyond that, give each group of machines a shard.\n\n"
        f"*{setup(kept['machine'], kept['versions'])}.*"
    )


def trials() -> str:
    """Gains of changes to the recipe, in small proxies."""
    kept = read(RESULTS / "trials.json")
    if not kept:
        return ""
    from trials import TRIALS

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
        f"Each trial is `train.py {kept['proxy']}` with one change, on the published split and, unless it gained nothing "
        "there, on one fold. The gain is over all scored slices, relative to a default trained on the same machine (the "
        "first row is the last of these), with an interval over patients. Each trial is a single training: compare with "
        f"what another seed alone changes.\n\n{markdown_table(*rows)}\n\n*{setup(kept['machine'], kept['versions'])}.*"
    )


def runtimes() -> str:
    """Speed of the network in other runtimes."""
    kept = read(RESULTS / "runtimes.json")
    if not kept:
        return ""
    rows = [("runtime", "slices/s", "lowest Dice with Keras")]
    for name, speed in kept["slices_per_second"].items():
        dice = kept["dice_with_keras"].get(name)
        rows.append((name, f"{speed:.1f}", f"{dice:.4f}" if dice else ""))
    return f"{markdown_table(*rows)}\n\n*{setup(kept['machine'], kept['versions'])}.*"


def extras() -> str:
    """Size and import time of optional packages."""
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
    return f"{markdown_table(*rows)}\n\n*{setup(kept['machine'], kept['versions'])}.*"


SECTIONS = {
    "README.md": {"results": (results, expected_dice, folds, finetuning_in_short), "limits": (limits,)},
    "docs/benchmarks.md": {
        "accuracy": (imagenet_peer, accuracy),
        "speed": (speed,),
        "prediction": (prediction,),
        "scans": (scans, viewer),
        "finetuning": (finetuning,),
    },
    "docs/scaling.md": {"slices": (many_slices,), "scaling": (scaling,)},
    "benchmarks/README.md": {"trials": (trials,), "growth": (growth,), "runtimes": (runtimes,), "extras": (extras,)},
}


def render(page: str, sections: dict) -> str:
    """The page with each section between its markers rendered again."""
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
    if kept := read(RESULTS / "finetune.json"):
        draw_finetuning(kept)
    if kept := read(RESULTS / "growth.json"):
        draw_growth(kept)
