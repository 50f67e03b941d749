"""The README and the docs show measured figures, and their links lead to files."""

import re
import sys

import pytest
from ready import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from render import SECTIONS, render

README = (ROOT / "README.md").read_text()
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "data/README.md",
    "tests/README.md",
    "benchmarks/README.md",
    "benchmarks/tried.md",
    "unet/network/pretrained/README.md",
    *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]


@pytest.mark.parametrize("page", SECTIONS)
def test_figures_are_the_measured_ones(page):
    text = (ROOT / page).read_text()
    assert render(text, SECTIONS[page]) == text


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page):
    links = re.findall(r"\]\((?!http)([^)#]+)", (ROOT / page).read_text())
    assert all(((ROOT / page).parent / link).exists() for link in links), links


def test_the_readme_is_short_and_in_order():
    assert len(README.splitlines()) < 130
    headings = re.findall(r"^## (.+)$", README, re.MULTILINE)
    assert headings == ["Outline tumors now", "Train", "Results", "Limits", "Learn more"]


def test_the_guide_for_contributors_names_every_room():
    guide = (ROOT / "CONTRIBUTING.md").read_text()
    for room in (ROOT / "unet").glob("*/__init__.py"):
        assert f"{room.parent.name}/" in guide
