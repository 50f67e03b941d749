"""Keeps what happened to each fault.

`python -m pytest tests/faults -m "" --write-table` writes it into tests/README.md.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import pytest
from ready import ROOT

README = ROOT / "tests" / "README.md"
FAULTS = 50
SURVIVED: defaultdict[int, Counter] = defaultdict(Counter)


def pytest_addoption(parser):
    parser.addoption("--write-table", action="store_true", help="write tests/README.md's table")


@pytest.fixture
def survived(request):
    """survived(number, injected, happened): a test's last words, said only where it passes."""

    def record(number: int, injected: str, happened: str) -> None:
        # Of files in temporary folders only the names.
        happened = re.sub(r"'/[^']*/([^/']+)'", r"'\1'", happened)
        # A property of the test, as these reach the process that reports from those that run tests.
        request.node.user_properties.append(("fault", (number, injected, happened)))

    return record


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed:
        for name, value in report.user_properties:
            if name == "fault":
                number, *told = value
                SURVIVED[number][tuple(told)] += 1


def pytest_sessionfinish(session):
    if not session.config.getoption("--write-table") or hasattr(session.config, "workerinput"):
        return
    lines = ["| # | injected | what happened | |", "| --- | --- | --- | --- |"]
    for number in range(1, FAULTS + 1):
        kinds = SURVIVED[number]
        for (injected, happened), count in kinds.items():
            times = f" ({count} times)" if count > 1 else ""
            lines.append(f"| {number} | {injected}{times} | {happened} | pass |")
        if not kinds:
            lines.append(f"| {number} | | not tested | |")
    table = "\n".join(lines)
    text = README.read_text()
    text = re.sub(
        r"(<!-- faults:.*?-->\n).*?(<!-- end of faults -->)",
        lambda match: f"{match[1]}{table}\n{match[2]}",
        text,
        flags=re.DOTALL,
    )
    README.write_text(text)


@dataclass(frozen=True)
class Finished:
    """How a process ended."""

    returncode: int
    stdout: str
    stderr: str
    peak_mib: float  # of resident memory


# root may read and write everything but for these two capabilities.
BOUND = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def run_measured(script: str, *arguments: object, cwd: Path) -> Finished:
    """Run a script as a user does whom file permissions bind, and measure its memory."""
    command = [*BOUND, sys.executable, ROOT / f"{script}.py", *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=cwd, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), errors.seek(0)
        return Finished(process.returncode, out.read(), errors.read(), usage.ru_maxrss / 1024)


@pytest.fixture
def small_disk(tmp_path):
    """small_disk(bytes) mounts a new disk of that size and returns its folder."""
    disk = tmp_path / "disk"

    def mount(size: int) -> Path:
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk]
        if os.geteuid() != 0 or subprocess.run(command).returncode:
            pytest.skip("mounting a small disk needs root")
        return disk

    yield mount
    if os.path.ismount(disk):
        subprocess.run(["umount", disk], check=True)
