"""Imports only go down: a room uses rooms on lower levels, never one on its own level or above."""

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ready import ROOT

# Rooms by level. Rooms on one level do not import each other. "" is unet/ itself.
LEVELS = [{""}, {"images"}, {"data", "network", "pictures"}, {"evaluation"}, {"training", "prediction"}]
LEVEL_OF = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}


@functools.cache
def imported_names(path: Path) -> set[str]:
    """Dotted names of everything a file imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def room_of(name: str) -> str | None:
    """The room of a dotted name; None if it is not in unet."""
    parts = name.split(".")
    if parts[0] != "unet":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in LEVEL_OF else ""


def test_every_folder_is_a_room_that_says_what_it_holds():
    folders = {path.parent for path in (ROOT / "unet").glob("*/*.py")}
    assert {folder.name for folder in folders} == set(LEVEL_OF) - {""}
    for folder in folders:
        tree = ast.parse((folder / "__init__.py").read_text())
        assert ast.get_docstring(tree) and len(tree.body) == 1


@pytest.mark.parametrize("room", sorted(LEVEL_OF))
def test_imports_go_down(room):
    for path in (ROOT / "unet" / room).glob("*.py"):
        for name in imported_names(path):
            other = room_of(name)
            if other not in (None, room):
                assert LEVEL_OF[other] < LEVEL_OF[room], f"{path.relative_to(ROOT)} imports {name}"


@pytest.mark.parametrize("script", ["train", "evaluate", "predict"])
def test_scripts_are_thin_and_import_no_other_script(script):
    path = ROOT / f"{script}.py"
    assert len(path.read_text().splitlines()) <= 40
    assert {name.split(".")[0] for name in imported_names(path)} <= {"unet", "sys"}


def test_modules_are_short():
    for path in (ROOT / "unet").rglob("*.py"):
        assert len(path.read_text().splitlines()) < 350, path


def modules_used_by(name: str) -> set[str]:
    """The unet modules that a module imports, directly or through others."""
    paths = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "unet").rglob("*.py")}
    found, waiting = set(), {name}
    while waiting:
        module = waiting.pop()
        if module in found or module not in paths:
            continue
        found.add(module)
        for imported in imported_names(paths[module]):
            waiting |= {imported, imported.rpartition(".")[0]}
    return found


def test_there_are_no_circular_imports():
    for path in (ROOT / "unet").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for imported in imported_names(path):
            for other in (imported, imported.rpartition(".")[0]):
                assert name == other or name not in modules_used_by(other), f"{name} imports {other}"


@pytest.mark.parametrize("path", sorted((ROOT / "unet" / "prediction").glob("*.py")), ids=lambda path: path.stem)
def test_prediction_never_imports_the_data_room(path):
    used = modules_used_by(f"unet.prediction.{path.stem}")
    assert not [name for name in used if name.startswith(("unet.data.", "unet.training."))]


def test_prediction_never_loads_the_data_room(phantoms, tmp_path):
    code = (
        "import sys; sys.argv = ['predict.py', *sys.argv[1:]]\n"
        "from pathlib import Path\n"
        "from unet.options import PredictionOptions\n"
        "from unet.prediction.predict import predict\n"
        "predict(PredictionOptions((sys.argv[1],), Path('out')))\n"
        "print(sorted(name for name in sys.modules if name.startswith(('unet.data', 'unet.training'))))"
    )
    image = next((phantoms / "images").iterdir())
    command = [sys.executable, "-c", code, str(image)]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
    )
    assert done.returncode == 0 and done.stdout.splitlines()[-1] == "[]", done.stderr + done.stdout
