"""ruff finds no problem in the code and would not reformat it, with the settings of pyproject.toml."""

import subprocess
import sys

import pytest
from ready import ROOT


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]])
def test_ruff_reports_nothing(command):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *command, "--no-cache", "."], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout
