"""What all rendered sections share: where results are, and how figures read."""

import functools
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from running import ROOT

from unet.pictures.table import Table

PRETRAINED = ROOT / "unet" / "network" / "pretrained"
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"


def read(path: Path) -> dict:
    """Content of a JSON file; {} if it does not exist."""
    return json.loads(path.read_text()) if path.exists() else {}


def from_results(file: str) -> Callable:
    """A decorator for a function that renders or draws the content of this file in benchmarks/results/: without the
    file, it returns "" instead."""

    def decorate(render: Callable[[dict], str | None]) -> Callable[[], str | None]:
        @functools.wraps(render)
        def render_if_there() -> str | None:
            kept = read(RESULTS / file)
            return render(kept) if kept else ""

        return render_if_there

    return decorate


def setup(kept: dict) -> str:
    """Machine and versions, in words."""
    return f"{kept['machine'].replace('(R)', '')}; {', '.join(f'{name} {number}' for name, number in kept['versions'].items())}"


def markdown_table(*rows: tuple[str, ...]) -> str:
    """A table. The first row has the headings."""
    return Table("", [list(row) for row in rows]).as_markdown()


def listed(items: Iterable[str]) -> str:
    """Several items as a list in a sentence."""
    *others, last = items
    return f"{', '.join(others)} and {last}"


def mean_and_interval(figure: dict) -> str:
    """A mean with its interval."""
    low, high = figure["interval"]
    return f"{figure['mean']:.3f} ({low:.3f} to {high:.3f})"
