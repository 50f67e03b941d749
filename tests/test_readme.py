"""The README says what was measured and names only files that are there."""

import re
import sys

import pytest
from ready import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from render import SECTIONS, render

README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("page", SECTIONS)
def test_figures_are_those_that_were_kept(page):
    text = (ROOT / page).read_text()
    assert render(text, SECTIONS[page]) == text


PAGES = ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!http)([^)]+)\)", (ROOT / page).read_text())
    assert links and all(((ROOT / page).parent / link).exists() for link in links)


def test_every_module_stands_in_the_tree():
    tree = README.split("## The code")[1].split("```")[1]
    for path in [*ROOT.glob("*.py"), *(ROOT / "unet").glob("*.py")]:
        assert path.name in tree or path.stem == "__init__"
