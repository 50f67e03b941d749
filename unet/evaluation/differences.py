"""What the rows of two contenders A and B say: the differences B - A, as numbers, in sentences and as tables."""

import numpy as np

from unet.evaluation.detection import by_kind, count_slices, patients_in_words, percent_interval
from unet.evaluation.intervals import interval_over_patients, interval_text
from unet.evaluation.scans import WHAT_IS_SCORED
from unet.evaluation.summary import all_and_by_tumor, unit_of_groups
from unet.pictures.table import Table

# Dice scores that differ by less count as equal.
EQUAL = 0.005
# With fewer patients, all of them may be better by chance (sign test: 2 x 0.5^6 < 0.05 < 2 x 0.5^5).
FEWEST_PATIENTS = 6


def pair_rows(row_a: dict, row_b: dict) -> dict[str, object]:
    """A row of per_slice.csv."""
    about = {name: row_a[name] for name in ("id", "patient", "tumor", "truth_pixels") if name in row_a}
    about |= {"predicted_pixels_a": row_a["predicted_pixels"], "predicted_pixels_b": row_b["predicted_pixels"]}
    a, b = row_a["dice"], row_b["dice"]  # "" without tumor
    return about | {"dice_a": a, "dice_b": b, "difference": b - a if row_a["truth_pixels"] else ""}


def summarize(rows: list[dict], scan_rows: list[dict]) -> dict[str, object]:
    """What comparison.json says about rows of per_slice.csv and per_scan.csv."""
    with_tumor, without_tumor = by_kind(rows)
    groups = {name: summarize_differences(group) for name, group in all_and_by_tumor(with_tumor).items() if group}
    found = {"groups": groups, "false_alarms": summarize_false_alarms(without_tumor)}
    return found | ({"whole_scans": summarize_scan_differences(scan_rows)} if scan_rows else {})


def summarize_differences(rows: list[dict]) -> dict[str, object]:
    """Mean difference B - A with its 95% interval over patients, and on how many slices each run is better."""
    difference = np.array([row["difference"] for row in rows])
    patients = np.array([row["patient"] for row in rows])
    return count_slices(rows) | {
        "dice_a": float(np.mean([row["dice_a"] for row in rows])),
        "dice_b": float(np.mean([row["dice_b"] for row in rows])),
        "difference": float(difference.mean()),
        "interval": interval_over_patients(difference, patients),
        "a_better": int((difference < -EQUAL).sum()),
        "b_better": int((difference > EQUAL).sum()),
    }


def pair_scan_rows(row_a: dict, row_b: dict) -> dict[str, object]:
    """A row of per_scan.csv."""
    about = {name: row_a[name] for name in ("id", "patient", "true_ml", "true_regions")}
    for name in ("dice", "found_regions", "false_regions"):
        about |= {f"{name}_a": row_a[name], f"{name}_b": row_b[name]}
    return about | {"difference": row_b["dice"] - row_a["dice"] if row_a["true_regions"] else ""}


def summarize_scan_differences(rows: list[dict]) -> dict[str, object]:
    """The part of comparison.json about whole scans: the difference in Dice over those with tumor, and for each run how
    many of their regions it finds, and how many false alarms it raises per scan."""
    with_tumor = [row for row in rows if row["true_regions"]]
    return {
        "scans": len(rows),
        "dice": summarize_differences(with_tumor) if with_tumor else None,
        "regions": sum(row["true_regions"] for row in rows),
        "found_regions": [sum(row[f"found_regions_{run}"] for row in rows) for run in "ab"],
        "false_regions_per_scan": [float(np.mean([row[f"false_regions_{run}"] for row in rows])) for run in "ab"],
    }


def summarize_false_alarms(rows: list[dict]) -> dict[str, object] | None:
    """Fraction of these slices without tumor that each run outlines, and the difference B - A with its interval."""
    if not rows:
        return None
    a, b = (np.array([row[f"predicted_pixels_{run}"] > 0 for row in rows], float) for run in "ab")
    return count_slices(rows) | {
        "a": float(a.mean()),
        "b": float(b.mean()),
        "difference": float((b - a).mean()),
        "interval": interval_over_patients(b - a, np.array([row["patient"] for row in rows])),
    }


def answer(found: dict, names: tuple[str, str], basis: str) -> list[str]:
    """Which of two is better, in sentences: on whole scans, on slices with tumor, and on slices without."""
    scans, answers = found.get("whole_scans"), []
    if scans:
        answers += [f"Whole scans: {describe_scans(scans, *names, basis)}", WHAT_IS_SCORED]
    if found["groups"]:
        answers.append(("Slices: " if scans else "") + answer_in_words(found["groups"]["all"], *names, basis))
    if found["false_alarms"]:
        answers.append(describe_false_alarms(found["false_alarms"], *names))
    return answers


def describe_scans(scans: dict, a: str, b: str, basis: str) -> str:
    """The scores of whole scans in sentences."""
    (found_a, found_b), (false_a, false_b) = scans["found_regions"], scans["false_regions_per_scan"]
    found = f" Of {scans['regions']} regions, {a} finds {found_a} and {b} {found_b}." if scans["regions"] else ""
    answer = answer_in_words(scans["dice"], a, b, basis) + found if scans["dice"] else "None has a tumor."
    return f"{answer} False alarms per scan: {false_a:.2f} with {a}, {false_b:.2f} with {b}."


def describe_false_alarms(false_alarms: dict, a: str, b: str) -> str:
    """The false alarms of both runs in a sentence."""
    return (
        f"False alarms in {false_alarms['slices']} slices without tumor ({patients_in_words(false_alarms)}): "
        f"{false_alarms['a']:.1%} with {a}, {false_alarms['b']:.1%} with {b}; difference and 95% interval: "
        f"{false_alarms['difference']:+.1%} {percent_interval(false_alarms['interval'], sign='+')}."
    )


def answer_in_words(group: dict, a: str, b: str, basis: str) -> str:
    """The answer in a sentence. `basis` says what the interval is computed over, and for what."""
    patients = group["patients"]
    if patients < FEWEST_PATIENTS:
        return f"Too few patients to tell: {patients}, but at least {FEWEST_PATIENTS} are needed. Compare on more."
    low, high = group["interval"]
    if low == high == 0:
        return f"No difference: {a} and {b} have the same Dice, {group['dice_a']:.3f}, on all {patients} patients."
    direction = "higher" if group["difference"] > 0 else "lower"
    difference = (
        f"the mean Dice of {b} is {abs(group['difference']):.3f} {direction} than that of {a} (95% interval of the "
        f"difference over {patients} {basis}: "
        f"{interval_text(group['interval'], sign='+')})"
    )
    if low <= 0 <= high:
        return f"No clear difference: {difference}, and the interval includes 0."
    better, worse = (b, a) if low > 0 else (a, b)
    return f"{better} is better than {worse}: {difference}."


def difference_tables(found: dict) -> list[Table]:
    """The differences over whole scans, if there are any, and over slices."""
    scans = found.get("whole_scans", {}).get("dice")
    tables = [difference_table({"all": scans}, "scans")] if scans else []
    return tables + ([difference_table(found["groups"])] if found["groups"] else [])


def difference_table(groups: dict[str, dict], kind: str = "slices") -> Table:
    """The summary of the differences over slices or scans as a table."""
    headings = "Dice of A", "Dice of B", "difference (95% interval)", "A better", "B better"
    rows = [["tumor", kind, unit_of_groups(groups), *headings]]
    for name, group in groups.items():
        sizes = f"{group['slices']}", f"{group['patients']}"
        dice = f"{group['dice_a']:.3f}", f"{group['dice_b']:.3f}"
        interval = f"({interval_text(group['interval'], sign='+')})" if group["interval"] else "–"
        difference = f"{group['difference']:+.3f} {interval}"
        rows.append([name, *sizes, *dice, difference, f"{group['a_better']}", f"{group['b_better']}"])
    return Table(f"Mean Dice over {kind}", rows)
