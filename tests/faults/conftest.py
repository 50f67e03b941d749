"""Records what happened after each fault, and provides processes and disks to inject faults into.

`python -m pytest tests/faults -m "" --write-table` writes the record into tests/README.md.
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
    parser.addoption("--write-table", action="store_true", help="write the table in tests/README.md")


@pytest.fixture
def survived(request):
    """survived(number, injected, happened) records a fault. It counts only if the test passes."""

    def record(number: int, injected: str, happened: str) -> None:
        # Temporary folders have random names, so only file names are kept.
        happened = re.sub(r"'/[^']*/([^/']+)'", r"'\1'", happened)
        # A property of the test: pytest-xdist sends these from its workers to the process that reports.
        request.node.user_properties.append(("fault", (number, injected, happened)))

    return record


def pytest_runtest_logreport(report):
    if report.when == "call" and report.passed:
        for name, value in report.user_properties:
            if name == "fault":
                number, injected, happened = value
                SURVIVED[number][injected, happened] += 1


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
    """Exit code, output and memory use of a process that has ended."""

    returncode: int
    stdout: str
    stderr: str
    peak_mib: float  # largest resident memory


# Without these two capabilities, file permissions apply to root as well.
OBEY_PERMISSIONS = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []


def run_measured(script: str, *arguments: object, cwd: Path) -> Finished:
    """Run a script as a user without root's rights, and measure its memory."""
    command = [*OBEY_PERMISSIONS, sys.executable, ROOT / f"{script}.py", *map(str, arguments)]
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, cwd=cwd, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), errors.seek(0)
        return Finished(process.returncode, out.read(), errors.read(), usage.ru_maxrss / 1024)


@pytest.fixture
def small_disk(tmp_path):
    """small_disk(size) mounts an empty disk of `size` bytes and returns its folder."""
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
