"""Scores of the pretrained network, five folds, and fine-tuning."""

import math

import numpy as np

from rendering.text import (
    DOCS,
    PRETRAINED,
    RESULTS,
    from_results,
    listed,
    markdown_table,
    mean_and_interval,
    read,
    setup,
)
from unet.evaluation.summary import by_value
from unet.evaluation.summary import score_table as summary_table
from unet.network.saved_run import SavedRun
from unet.pictures import style
from unet.pictures.style import in_our_style

TEST = RESULTS / "test.json"
MORE_RECIPES = {"default": "the default", "taught": "`--quick --teacher`"}  # of folds.py
FAILED = 0.1  # Dice of an outline that is somewhere else
WORTHWHILE = 0.005  # Dice: smaller gains are not worth a change
ARMS = {"scratch": "from scratch", "scratch-long": "from scratch, longer", "init": "`--init`"}  # of finetune.py


def score_table(scores: dict) -> str:
    """Scores of all slices and by tumor type, for the model card."""
    return summary_table("tumor", scores, ("dice", "iou"), has_intervals=("dice",)).as_markdown()


def results() -> str:
    """Scores of the pretrained network on the validation and test patients."""
    config, validation, test = (read(path) for path in (PRETRAINED / "config.json", PRETRAINED / "scores.json", TEST))
    which = "test" if is_tested() else "test, previous release"
    rows = [("tumor", "validation: patients, slices", "Dice (95% interval)", "missed completely")]
    rows[0] += (f"{which}: patients, slices", "Dice (95% interval)", "missed completely")
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
        "Dice of the pretrained network, on patients it was not trained on. Dice is twice the overlap of two outlines, "
        "divided by the sum of their areas: 1 is a perfect match, and 0 misses the tumor completely. Scores are means over "
        "slices; intervals are over patients. The validation patients (slices of 256 x 256 pixels) were also used to "
        "choose the epoch, the thresholds and the recipe. The test patients (slices at their original size) were "
        f"measured once, {tested_network()}.\n\n"
        f"{markdown_table(*rows)}\n\n"
        f"*Trained on {setup(config)}. Scored on "
        f"{setup(validation)}.*"
    )


def is_tested() -> bool:
    """Whether the test patients were measured with the pretrained network now."""
    return read(TEST)["network"] == SavedRun.open().network_fingerprint()


def tested_network() -> str:
    """Which network the test patients were measured with, in words."""
    return (
        "for this release"
        if is_tested()
        else "with the network of the previous release; the current network has not been tested"
    )


def expected_dice() -> str:
    """How well the pretrained network estimates its own Dice."""
    sentences = []
    for name, path in (("validation", PRETRAINED / "scores.json"), ("test", TEST)):
        figures = read(path)["expected_dice"]
        of_which = " (previous release)" if path == TEST and not is_tested() else ""
        reviewed = sum(figures["to_review"].values())
        sentences.append(
            f"On the {name} patients{of_which}, the estimate has a rank correlation of {figures['spearman']:.2f} with the "
            f"true Dice and a mean absolute error of {figures['mean_absolute_error']:.2f}; {reviewed:.0%} of the slices are "
            f"marked for review, including {figures['missed_and_marked_for_review']} of the "
            f"{figures['missed_completely']} completely missed tumors."
        )
    return f"**Doubtful outlines are marked.** `predict.py` estimates the Dice of each outline. {' '.join(sentences)}"


@from_results("folds.json")
def folds_in_short(kept: dict) -> str:
    """The quick recipe on five folds, and what a split by slice would have claimed."""
    by_slice = kept["split_by_slice"]
    return (
        f"**Five folds** over the {kept['scores']['all']['patients']} training and validation patients: each patient is "
        "scored by the network that was not trained on that patient. `train.py --quick --no-tumor data/no-tumor` scores a "
        f"Dice of {mean_and_interval(kept['scores']['all']['dice'])}. [More](docs/benchmarks.md#five-folds). A split "
        f"by slice overstates this: with a random fifth of the *slices* held out, the Dice is {by_slice['dice']:.3f}, and the "
        f"five folds reach {by_slice['dice'] - by_slice['optimism']['mean']:.3f} on the same slices (every slice outlined in "
        f"both). The difference, {mean_and_interval(by_slice['optimism'])}, comes from other slices of the same heads in "
        f"the training data. *{setup(kept)}.*"
    )


@from_results("folds.json")
def folds(kept: dict) -> str:
    """Our recipes on five folds, by tumor type, and what they outline in images without a tumor."""
    recipes = {"`--quick`": kept}
    for name, title in MORE_RECIPES.items():
        if name in kept:
            done = kept[name]["dice_of_each_fold"]
            is_partial = len(done) < len(kept["dice_of_each_fold"])
            recipes[f"{title} (only fold {' and '.join(done)} so far)" if is_partial else title] = kept[name]
    rows = [("recipe", *kept["scores"], "all, every slice outlined")]
    by_fold = [("recipe", *(f"fold {fold}" for fold in kept["dice_of_each_fold"]), "gain over `--quick`")]
    for title, figures in recipes.items():
        scores = (mean_and_interval(group["dice"]) for group in figures["scores"].values())
        rows.append((title, *scores, mean_and_interval(figures["scores_always_outlined"]["all"]["dice"])))
        dice = figures["dice_of_each_fold"]
        each = (f"{dice[fold]:.3f}" if fold in dice else "" for fold in kept["dice_of_each_fold"])
        by_fold.append((title, *each, mean_and_interval(figures["gain"]) if "gain" in figures else ""))
    machines = dict.fromkeys(setup(figures) for figures in recipes.values())
    return (
        f"Dice of `train.py --no-tumor data/no-tumor` over the {kept['scores']['all']['patients']} training and validation "
        "patients. Each patient is scored by the network that was not trained on that patient. The epoch and the thresholds "
        "of that network were chosen on the same fold, so the scores are slightly optimistic.\n\n"
        f"{markdown_table(*rows)}\n\nBy fold, all slices with tumor. Gains are on the same slices, every one outlined "
        f"(`--always-outline`):\n\n{markdown_table(*by_fold)}\n\n"
        f"{' '.join(detection_on_folds(title, figures) for title, figures in recipes.items())}\n\n*{'; '.join(machines)}.*"
    )


def detection_on_folds(title: str, figures: dict) -> str:
    """What the networks of a recipe outline in slices with and without a tumor."""
    alarms = " and ".join(
        "{:.0%} ({:.0%} to {:.0%})".format(row["outlined"]["mean"], *row["outlined"]["interval"])
        + f" of {row['images']} images {which}"
        for which, row in figures["false_alarms"].items()
    )
    return (
        f"The networks of {title} outline {figures['tumors_outlined']:.1%} of the slices with tumor and, by mistake, "
        f"{alarms}."
    )


@from_results("folds.json")
def learning_curve(kept: dict) -> str:
    """What the quick recipe gives with fewer patients, and what that promises for more."""
    if "fewer" not in kept:
        return ""
    fewer = sorted(kept["fewer"].values(), key=lambda one: one["patients"])
    most, everyone = fewer[-1], kept["scores"]["all"]["patients"]
    rows = [("patients", "Dice", f"difference from {most['of']} patients (95% interval)")]
    rows += [(f"{one['patients']}", f"{one['dice']:.3f}", mean_and_interval(one["gain"])) for one in fewer]
    rows.append((f"{most['of']}", f"{most['dice'] - most['gain']['mean']:.3f}", ""))
    doubling = -most["gain"]["mean"] / math.log2(most["of"] / most["patients"])
    more = doubling * math.log2(everyone / most["of"])
    verdict = (
        "enough to train the pretrained network on all of them"
        if more >= WORTHWHILE
        else f"less than {WORTHWHILE}, so the pretrained network keeps its validation patients"
    )
    return (
        f"`train.py --quick --fold 0` with only some of its {most['of']} training patients, but the same number of steps. The "
        f"scores are for the {everyone - most['of']} validation patients of that fold, with every slice outlined:\n\n{markdown_table(*rows)}\n\n"
        f"The last doubling of the patients brings {doubling:.3f}. At that rate, all {everyone} patients outside of the "
        f"test set would bring {more:.3f} more than {most['of']}: {verdict}. Your own data may be different, and "
        f"`train.py --fold final` trains one network on all patients. *{setup(kept)}.*"
    )


def failures() -> str:
    """Which patients and slices cost the most Dice in the five folds of the quick recipe, every slice outlined."""
    from folds import ALWAYS, FOLDS, name_of, read_kept

    rows = [row for row in read_kept(*(name_of("quick", fold) for fold in FOLDS)) if row["truth_pixels"]]
    losses = {patient: sum(1 - row[ALWAYS] for row in own) for patient, own in by_value(rows, "patient").items()}
    worst = sorted(losses, key=losses.get, reverse=True)
    half = 1 + int(np.searchsorted(np.cumsum([losses[patient] for patient in worst]), sum(losses.values()) / 2))
    glioma = {row["patient"] for row in rows if row["tumor"] == "glioma"} & set(worst[:half])
    others = [row[ALWAYS] for row in rows if row[ALWAYS] >= FAILED]
    return (
        f"In the five folds of the quick recipe, {half} of the {len(losses)} patients account for half of the missing Dice "
        f"(1 - Dice, summed over slices); {len(glioma)} of them have a glioma. {1 - len(others) / len(rows):.0%} of all slices have a Dice below {FAILED}; "
        f"the mean of the others is {np.mean(others):.3f}."
    )


@from_results("finetune.json")
def finetuning(kept: dict) -> str:
    """What --init gives with few patients."""
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
        f"*{setup(kept)}, {kept['date']}.*"
    )


@from_results("finetune.json")
def finetuning_in_short(kept: dict) -> str:
    """The plot of what --init gives, and its figures in a sentence."""
    dice = {(point["patients"], point["arm"]): point["dice"]["mean"] for point in kept["points"]}
    counts = dict.fromkeys(point["patients"] for point in kept["points"])
    tuned, scratch = (listed(f"{dice[count, arm]:.2f}" for count in counts) for arm in ("init", "scratch-long"))
    return (
        "**Few patients of your own?** Start from a network that was trained on others. With "
        f"{listed(map(str, counts))} training patients, fine-tuning with `train.py --init` reaches a Dice of {tuned} on new "
        f"patients. Training from scratch, with many times as many steps, reaches {scratch}. The initial network was trained on "
        f"{kept['base']['patients']} other patients of the same data set; expect less on other data. "
        "[More](docs/benchmarks.md#fine-tuning). "
        f"*{setup(kept)}.* "
        "![Dice against the number of patients, from scratch and with --init](docs/finetune.png)"
    )


@from_results("finetune.json")
@in_our_style
def draw_finetuning(kept: dict) -> None:
    """docs/finetune.png."""
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
    style.save(figure, DOCS / "finetune.png")
