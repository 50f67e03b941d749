"""Imports go down only, so that each floor can be read without those above it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = [
    {"options", "stopping"},
    {"files"},
    {"metrics", "losses", "devices", "workers", "phantoms", "command_line"},
    {
        "model",
        "outlining",
        "tensorboard",
        "calibration",
        "preprocessing",
        "augmentation",
        "plots",
        "download",
    },
    {"learner", "volumes", "overlays", "quality"},
    {"data", "dicom"},
    {"split", "report", "inputs"},
    {"saved_run"},
    {"inference", "evaluation_report", "prediction_report"},
    {"training", "evaluation", "results"},
    {"comparison", "export", "cluster"},
    {"prediction"},
]
FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}


def imported_modules(path: Path) -> set[str]:
    """Names of the unet modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "unet":
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("unet."):
            found.add(node.module.split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("unet.")}
    return found


def test_every_module_has_a_floor():
    assert {path.stem for path in (ROOT / "unet").glob("*.py")} - {"__init__"} == set(FLOOR_OF)


@pytest.mark.parametrize("module", sorted(FLOOR_OF))
def test_imports_go_down(module):
    for other in imported_modules(ROOT / "unet" / f"{module}.py"):
        assert FLOOR_OF[other] < FLOOR_OF[module], f"{module} imports {other}"


@pytest.mark.parametrize("script", ["train", "evaluate", "predict"])
def test_scripts_are_thin_and_import_no_other_script(script):
    path = ROOT / f"{script}.py"
    assert len(path.read_text().splitlines()) <= 40
    names = {
        node.module
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
    }
    assert all(name.startswith("unet.") for name in names)
