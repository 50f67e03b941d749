"""Render measured figures into the README and the docs, so that none of them is typed by hand.

Usage:

    python benchmarks/render.py

Reads unet/network/pretrained/ (written by ship.py) and benchmarks/results/ (written by the other benchmarks). Sections
without results are left out.
"""

from rendering.peers import accuracy, draw_accuracy, imagenet_peer, speed
from rendering.presence import limits, limits_of_scans, scans, viewer
from rendering.scores import (
    draw_finetuning,
    expected_dice,
    failures,
    finetuning,
    finetuning_in_short,
    folds,
    folds_in_short,
    learning_curve,
    results,
)
from rendering.work import draw_growth, extras, growth, many_slices, prediction, runtimes, scaling, trials
from running import ROOT

SECTIONS = {
    "README.md": {
        "results": (results, expected_dice, folds_in_short, finetuning_in_short),
        "limits": (limits, limits_of_scans),
    },
    "docs/benchmarks.md": {
        "accuracy": (imagenet_peer, accuracy),
        "speed": (speed,),
        "prediction": (prediction,),
        "scans": (scans, viewer),
        "folds": (folds,),
        "learning curve": (learning_curve,),
        "finetuning": (finetuning,),
    },
    "docs/scaling.md": {"slices": (many_slices,), "scaling": (scaling,)},
    "benchmarks/tried.md": {"trials": (trials,), "failures": (failures,)},
    "benchmarks/README.md": {"growth": (growth,), "runtimes": (runtimes,), "extras": (extras,)},
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
    draw_accuracy()
    draw_finetuning()
    draw_growth()
