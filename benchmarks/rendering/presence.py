"""Is there a tumor? What the pretrained network finds in slices and scans with and without one."""

import numpy as np

from rendering.text import from_results, listed, markdown_table, setup

KINDS = ("validation slices with tumor", "images without a tumor", "healed slices")  # in detection.json
# Of volumes whose file names say little.
HEADS = {
    "ch2.nii.gz": "Colin27",
    "ch2bet.nii.gz": "Colin27 without skull",
    "mni152.nii.gz": "MNI152",
    "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz": "MNI152",
}


def head_name(file: str) -> str:
    """What to call a volume of a head."""
    return HEADS.get(file, file)


@from_results("detection.json")
def detection(kept: dict) -> str:
    """How often the pretrained network outlines something in slices with and without a tumor."""
    rows = [("slices", "number", "outlined (95% interval)")]
    for name, row in kept["outlined"].items():
        size = f"{row['slices']}"
        if "patients" in row:
            size += f" of {row['patients']} {row['unit']}"
        head, comma, plane = name.partition(",")
        rows.append((head_name(head) + comma + plane, size, outlined(row)))
    return f"{markdown_table(*rows)}\n\n*{setup(kept)}, {kept['date']}.*"


def outlined(row: dict) -> str:
    """Fraction of the slices in which something is outlined, with its interval if there is one."""
    interval = " ({:.1%} to {:.1%})".format(*row["interval"]) if "interval" in row else ""
    return f"{row['outlined']:.1%}{interval}"


@from_results("detection.json")
def limits(kept: dict) -> str:
    """What the pretrained network does on slices without a tumor."""
    rows = dict(kept["outlined"])
    found, free, healed = (rows.pop(name) for name in KINDS)
    intact = rows.pop(f"{KINDS[1]} or another lesion", None)
    without_lesion = (
        f"; {intact['outlined']:.1%} of the {intact['slices']} in which we saw no other lesion" if intact else ""
    )
    heads = dict.fromkeys(head_name(name.partition(",")[0]) for name in rows)
    planes = [row["outlined"] for row in rows.values()]
    table = markdown_table(
        ("slices", "number", "outlined (95% interval)"),
        ("with a tumor; the threshold was chosen on these", f"{found['slices']}", outlined(found)),
        ("without a tumor", f"{free['slices']}", outlined(free) + without_lesion),
        ("with a tumor that was replaced by healthy tissue", f"{healed['slices']}", outlined(healed)),
        (
            f"of healthy heads, without contrast agent ({' and '.join(heads)})",
            f"{sum(row['slices'] for row in rows.values())}",
            f"{min(planes):.0%} to {max(planes):.0%}, depending on scan and plane",
        ),
    )
    return (
        "**False alarms.** The pretrained network first decides whether there is a tumor, and outlines one only then. The "
        f"table shows how often it outlines something. None of these slices was used for training.\n\n{table}\n\n"
        f"*{setup(kept)}, {kept['date']}.*"
    )


@from_results("scans.json")
def limits_of_scans(kept: dict) -> str:
    """What the pretrained network does on whole scans."""
    three, *_, thick = kept["planes"]
    outlined_ml = {
        planes: sorted(row["predicted_ml"] for row in kept["planes"][planes]["healthy"].values())
        for planes in (three, thick)
    }
    heads = listed(head_name(file) for file in kept["planes"][three]["healthy"])
    in_three, in_one = (f"{each[0]:.1f} to {each[-1]:.1f} ml" for each in outlined_ml.values())
    return (
        "**Whole scans.** If the slices of a scan are thin, a voxel is outlined only if at least two of the three planes "
        f"agree. That outlines {in_three} in {len(outlined_ml[three])} scans of healthy heads ({heads}), but finds only "
        f"{kept['planes'][three]['means']['found']:.0%} of {len(kept['tumors'])} simulated tumors. Thick slices are read in "
        f"one plane, which outlines {in_one} in the same scans. [More](docs/benchmarks.md#whole-scans). "
        f"*{setup(kept)}, {kept['date']}.*"
    )


@from_results("scans.json")
def scans(kept: dict) -> str:
    """Whole scans: time, healthy heads, and implanted tumors, in three planes and in one."""
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
        f"Scans of healthy heads, and {len(tumors)} copies of {head_name(heads[0])}. In each copy, the grey levels are changed to "
        f"look contrast-enhanced, so false alarms differ from those in {head_name(heads[0])} itself, and one simulated tumor "
        f"is added, with a diameter of {min(tumor['diameter_mm'] for tumor in kept['tumors']):.0f} to "
        f"{max(tumor['diameter_mm'] for tumor in kept['tumors']):.0f} mm:\n\n"
        f"{markdown_table(*rows)}\n\n"
        f"Found in three planes, with their Dice: {found or 'none'}. These tumors are simple shapes. So the table compares "
        f"planes, and does not show how many real tumors are found.\n\n*{setup(kept)}, {kept['date']}.*"
    )


@from_results("viewer.json")
def viewer(kept: dict) -> str:
    """Size of the viewer's pages, and time until they show their scan."""
    pages = "; ".join(
        f"{' x '.join(map(str, page['shape']))} voxels take {page['megabytes']:.1f} MB, and the first image appears after "
        f"{np.median(page['seconds']):.0f} s"
        for page in kept["pages"]
    )
    return (
        f"Pages of the viewer, rendered on the CPU in headless Chromium: {pages}. Each folder also has one copy of "
        f"NiiVue, {kept['bundle_megabytes']:.1f} MB.\n\n*{setup(kept)}, {kept['date']}.*"
    )
