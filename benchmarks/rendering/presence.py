"""Is there a tumor? What the pretrained network finds in slices and scans with and without one."""

import numpy as np

from rendering.text import from_results, markdown_table, setup

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
        interval = ""
        if "patients" in row:
            size += f" of {row['patients']} {row['unit']}"
            interval = " ({:.1%} to {:.1%})".format(*row["interval"])
        head, comma, plane = name.partition(",")
        rows.append((head_name(head) + comma + plane, size, f"{row['outlined']:.1%}{interval}"))
    return f"{markdown_table(*rows)}\n\n*{setup(kept)}, {kept['date']}.*"


@from_results("detection.json")
def limits(kept: dict) -> str:
    """What the pretrained network does on slices without a tumor."""
    rows = dict(kept["outlined"])
    found, free, healed = (rows.pop(name) for name in KINDS)
    intact = rows.pop(f"{KINDS[1]} or another lesion", None)
    without_lesion = (
        f" ({intact['outlined']:.1%} of the {intact['slices']} that show no other lesion either)" if intact else ""
    )
    planes: dict[str, list[float]] = {}
    for name, row in rows.items():
        planes.setdefault(head_name(name.partition(",")[0]), []).append(row["outlined"])
    heads = " and ".join(f"{min(each):.0%} to {max(each):.0%} in {head}" for head, each in planes.items())
    low, high = free["interval"]
    return (
        "**False alarms.** The pretrained network first decides whether there is a tumor, and outlines one only then. In "
        f"validation data, it outlines something in {found['outlined']:.1%} of the slices with tumor (the threshold was "
        f"chosen for that) and, by mistake, in {free['outlined']:.1%} ({low:.1%} to {high:.1%}) of {free['slices']} images "
        f"without one{without_lesion}, and in {healed['outlined']:.0%} of {healed['slices']} slices whose tumor was replaced "
        "by healthy tissue. In public scans of healthy heads, without contrast agent, it outlines something in many slices, "
        f"depending on the plane: {heads}. "
        f"*{setup(kept)}, {kept['date']}.*{limits_of_scans()}"
    )


@from_results("scans.json")
def limits_of_scans(kept: dict) -> str:
    """What the pretrained network does on whole scans."""
    three, *_, thick = kept["planes"]
    heads = [head_name(head) for head in kept["planes"][three]["healthy"]]
    outlined = {
        planes: ", ".join(f"{row['predicted_ml']:.1f}" for row in kept["planes"][planes]["healthy"].values())
        for planes in (three, thick)
    }
    return (
        " **Missed tumors in whole scans.** If the voxels of a scan are nearly cubes, a voxel is outlined only if at least "
        f"two of the three planes agree. That finds {kept['planes'][three]['means']['found']:.0%} of {len(kept['tumors'])} "
        f"simulated tumors, and outlines {outlined[three]} ml in heads without one ({', '.join(heads)}). Thick slices are "
        f"read in one plane only, which outlines {outlined[thick]} ml in the same heads. "
        f"[More](docs/benchmarks.md#whole-scans). *{setup(kept)}, {kept['date']}.*"
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
        f"Volumes of heads without a tumor, and {len(tumors)} copies of the first one, each with one simulated tumor of "
        f"{min(tumor['diameter_mm'] for tumor in kept['tumors']):.0f} to "
        f"{max(tumor['diameter_mm'] for tumor in kept['tumors']):.0f} mm:\n\n"
        f"{markdown_table(*rows)}\n\n"
        f"Found in three planes, with their Dice: {found or 'none'}. These tumors are spheres in a scan without contrast "
        "agent, made to look like one with it. So the table compares the planes; it does not show how many real tumors "
        f"are found.\n\n*{setup(kept)}, {kept['date']}.*"
    )


@from_results("viewer.json")
def viewer(kept: dict) -> str:
    """Size of the viewer's pages, and time until they show their scan."""
    pages = "; ".join(
        f"{' x '.join(map(str, page['shape']))} voxels: {page['megabytes']:.1f} MB, first image after "
        f"{np.median(page['seconds']):.0f} s"
        for page in kept["pages"]
    )
    return (
        f"A page of the viewer, drawn by the processor in headless Chromium: {pages}. Each folder also has one copy of "
        f"NiiVue, {kept['bundle_megabytes']:.1f} MB.\n\n*{setup(kept)}, {kept['date']}.*"
    )
