"""The package installs with its data files and declared dependencies, from a clean copy of the repository."""

import configparser
import shutil
import subprocess
import sys
import zipfile

import pytest
from ready import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy without build leftovers."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".git", "*venv*", "runs", "build", "*.egg-info", "__pycache__", "data")
    source = folder / "source"
    shutil.copytree(ROOT, source, ignore=lambda path, names: [] if "unet" in path else ignored(path, names))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, source]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_has_every_file_of_the_package(wheel):
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "unet").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == expected


def test_the_wheel_declares_the_requirements_and_extras(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith("METADATA"))
        metadata = archive.read(name).decode()
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        package = line.partition("#")[0].partition(">")[0].strip()
        assert not package or f"Requires-Dist: {package}" in metadata
    for extra in ("dicom", "ray", "test"):
        assert f"Provides-Extra: {extra}" in metadata


@pytest.mark.parametrize("script", ["train", "evaluate", "predict", "export"])
def test_it_installs_a_command_for_each_script_whose_help_needs_no_tensorflow(script, wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    (path,) = (tmp_path / "site").glob("*.dist-info/entry_points.txt")
    command = configparser.ConfigParser()
    command.read_string(path.read_text())
    module, function = command["console_scripts"][f"unet-{script}"].split(":")
    # What pip writes into the command, with what it puts into sys.argv.
    code = (
        f"import sys; sys.path.insert(0, 'site'); sys.argv = ['bin/unet-{script}', '--help']\n"
        f"from {module} import {function}\n"
        f"try: {function}()\n"
        "finally: print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"usage: unet-{script}" in done.stdout and "--threads" in done.stdout and "--device" in done.stdout
    assert f"python {script}.py" not in done.stdout and done.stdout.splitlines()[-1] == "False"


def test_it_predicts_from_any_folder_without_the_repository(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, 'site')\n"
        "import numpy as np\n"
        "from unet.network.predictor import Predictor\n"
        "from unet.network.saved_run import SavedRun\n"
        "import unet; assert 'site' in unet.__file__\n"
        "print(Predictor(SavedRun.open())([np.zeros((20, 30), np.uint8)])[0].probability.shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "(20, 30)", done.stderr
