"""The README says what was measured and names only files that are there."""

import re
import sys

from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from render import render

README = (ROOT / "README.md").read_text()


def test_figures_are_those_that_were_kept():
    assert render(README) == README


def test_links_lead_to_files():
    links = re.findall(r"\]\((?!http)([^)]+)\)", README)
    assert links and all((ROOT / link).exists() for link in links)


def test_every_module_stands_in_the_tree():
    tree = README.split("## The code")[1].split("```")[1]
    for path in [*ROOT.glob("*.py"), *(ROOT / "unet").glob("*.py")]:
        assert path.name in tree or path.stem == "__init__"
