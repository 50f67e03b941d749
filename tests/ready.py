"""Runs the scripts in processes that have the large libraries imported already, which saves seconds per run."""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SECONDS = 300
READY = multiprocessing.get_context("forkserver")
READY.set_forkserver_preload(["tensorflow", "keras", "matplotlib.pyplot", "nibabel", "tyro"])


def run_script(script: str, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """Run a script as a user does, in a process of its own, in the folder `cwd`."""
    command = [str(ROOT / f"{script}.py"), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        paths = Path(folder, "output"), Path(folder, "errors")
        process = READY.Process(target=become, args=(command, cwd, dict(os.environ), paths))
        process.start()
        process.join(SECONDS)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(command, SECONDS)
        output, errors = (path.read_text() for path in paths)
    return subprocess.CompletedProcess(command, process.exitcode, output, errors)


def become(command: list[str], cwd: Path, environment: dict[str, str], paths: tuple[Path, Path]):
    """Do what `python SCRIPT ...` does, in the new process, with output and errors written to files."""
    for number, path in enumerate(paths, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.argv = command
    sys.path.insert(0, str(ROOT))
    runpy.run_path(command[0], run_name="__main__")
