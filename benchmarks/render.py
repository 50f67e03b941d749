"""Keep the scores of a run, and write them into the README: no figure there is typed by hand.

Usage:

    python benchmarks/render.py runs/NAME      after evaluate.py: keep its scores, then render
    python benchmarks/render.py                render what is kept
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
KEPT = ROOT / "benchmarks" / "results" / "validation.json"
START, END = "<!-- results: rendered by benchmarks/render.py -->", "<!-- end of results -->"


def keep(run: Path) -> None:
    """Collect what the README says of a run: scores, machine and versions."""
    config = json.loads((run / "config.json").read_text())
    summary = json.loads((run / "evaluation-val" / "summary.json").read_text())
    kept = {
        "scores": summary["scores"],
        "epochs": config["options"]["epochs"],
        "precision": config["precision"],
        "machine": config["machine"],
        "versions": config["versions"],
        "options": config["options"],
    }
    del kept["options"]["data"]["data"]  # a path of one machine
    KEPT.parent.mkdir(exist_ok=True)
    KEPT.write_text(json.dumps(kept, indent=1) + "\n")


def score_table(scores: dict) -> str:
    """Scores of all slices and by tumor type as a table."""
    lines = [
        "| tumor | slices | patients | Dice (95 % interval over patients) | IoU | missed whole |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, group in scores.items():
        low, high = group["dice"]["interval"]
        lines.append(
            f"| {name} | {group['slices']} | {group['patients']} | "
            f"{group['dice']['mean']:.3f} ({low:.3f} to {high:.3f}) | {group['iou']['mean']:.3f} | "
            f"{group['tumors_missed_whole']:.1%} |"
        )
    return "\n".join(lines)


def table(kept: dict) -> str:
    """The README's paragraph and table."""
    everything = kept["scores"]["all"]
    versions = ", ".join(f"{name} {number}" for name, number in kept["versions"].items())
    about = (
        f"`python train.py` ({kept['epochs']} epochs, {kept['precision']}; {kept['machine']}; {versions}) "
        f"on the {everything['patients']} validation patients of the published split "
        f"({everything['slices']} slices, reduced to {kept['options']['size']} pixels a side): none of "
        "them was trained on, though they chose the epoch."
    )
    return f"{about}\n\n{score_table(kept['scores'])}"


def render(readme: str) -> str:
    """The README with its results replaced by what is kept."""
    before, rest = readme.split(START)
    after = rest.split(END)[1]
    return f"{before}{START}\n{table(json.loads(KEPT.read_text()))}\n{END}{after}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        keep(Path(sys.argv[1]))
    readme = ROOT / "README.md"
    readme.write_text(render(readme.read_text()))
