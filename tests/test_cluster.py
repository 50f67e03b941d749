"""--ray: a Ray cluster gives the same outlines, even if a worker is killed; and images in object stores."""

import contextlib
import signal
import subprocess
import sys
import time

import nibabel
import numpy as np
import psutil
import pytest
from conftest import write_image
from ready import ROOT, run_script

from unet.errors import UserError
from unet.images.reading import read_image
from unet.prediction.cluster import chunks_of
from unet.prediction.inputs import Input, find_inputs
from unet.tables import read_table

pytest.importorskip("ray")


@pytest.fixture
def many(phantoms, tmp_path):
    """A folder of 400 images, one damaged."""
    images = [read_image(path) for path in sorted((phantoms / "images").iterdir())]
    for number in range(399):
        write_image(tmp_path / "in" / f"{number:03d}.png", images[number % len(images)])
    (tmp_path / "in" / "damaged.png").write_bytes(b"not an image")
    return tmp_path


def masks_of(folder):
    return {path.name: read_image(path) for path in (folder / "masks").glob("*.png")}


def check_same(folder, other):
    """The same masks, except for two pixels: an actor with one core adds numbers in another order."""
    one, two = masks_of(folder), masks_of(other)
    assert one.keys() == two.keys() and len(one) == 399
    assert all(np.count_nonzero(one[name] != two[name]) <= 2 for name in one)
    rows, same = (read_table(each / "predictions.csv") for each in (folder, other))
    assert [row["path"] for row in rows] == [row["path"] for row in same]
    assert [row["status"] for row in rows] == [row["status"] for row in same]


@pytest.mark.slow
def test_if_a_worker_is_killed_every_image_is_still_outlined_once(trained, many):
    here = run_script("predict", "in", "--run", trained, "--output", "here", cwd=many)
    assert here.returncode == 3, here.stderr
    command = [sys.executable, ROOT / "predict.py", "in", "--run", trained, "--output", "there", "--ray", "local"]
    process = subprocess.Popen(command, cwd=many, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    killed = False
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline and not killed:
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                # Ray's name of a process in which one of our actors is working.
                if "MapBatches(Actor)).submit" in " ".join(child.cmdline()):
                    child.send_signal(signal.SIGKILL)
                    killed = True
                    break
        time.sleep(0.05)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 3, errors[-2000:]
    assert killed, "the prediction ended before one of its workers was killed"
    check_same(many / "here", many / "there")


@pytest.mark.slow
def test_warnings_of_the_workers_are_printed(trained, tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (20, 20, 4, 2)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 5, 1])), tmp_path / "four.nii.gz")
    done = run_script("predict", "four.nii.gz", "--run", trained, "--output", "out", "--ray", "local", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == [
        f"Warning: '{tmp_path}/four.nii.gz' has 2 volumes, and only the first is used. Choose one with --volume N."
    ]


def test_every_actor_gets_whole_batches_or_one_volume():
    inputs = [Input(f"{number}.png", str(number)) for number in range(100)]
    inputs += [Input(f"{number}.nii", str(number)) for number in range(3)]
    for actors, longest in ((1, 56), (2, 32), (4, 16), (50, 8)):
        chunks = list(chunks_of(inputs, 8, actors))
        assert sum(chunks, []) == inputs
        assert [len(chunk) for chunk in chunks[-3:]] == [1, 1, 1]
        assert {len(chunk) for chunk in chunks[:-4]} == {longest}
    assert list(chunks_of(inputs[100:], 8, 2)) == [[input] for input in inputs[100:]]


def test_files_in_a_store_are_found_by_uri(phantoms, tmp_path):
    inputs = find_inputs((f"file://{phantoms}/images",), tmp_path)
    names = sorted(path.stem for path in (phantoms / "images").iterdir())
    assert sorted(input.name for input in inputs) == names
    assert inputs[0].path == f"file://{phantoms}/images/{inputs[0].name}.png"
    with inputs[0].local_file() as copy:
        np.testing.assert_array_equal(read_image(copy), read_image(phantoms / "images" / f"{inputs[0].name}.png"))


def test_files_in_a_store_can_have_any_name(phantoms, tmp_path):
    source = read_image(next((phantoms / "images").iterdir()))
    folder = tmp_path / "my dir"
    names = ["t u.png", "e%20f.png", "c#d.png", "g?h.png", "plain.png", "ü.png"]
    for grey, name in enumerate(names):
        write_image(folder / name, np.clip(source, grey, 255))
    for uri in (f"file://{tmp_path}/my%20dir", f"file://{tmp_path}/my%20dir/"):
        inputs = find_inputs((uri,), tmp_path)
        assert sorted(input.name + ".png" for input in inputs) == sorted(names)
        for input in inputs:
            with input.local_file() as copy:
                np.testing.assert_array_equal(read_image(copy), read_image(folder / f"{input.name}.png"))
    with pytest.raises(UserError, match="percent-encode its special characters"):
        find_inputs((f"file://{tmp_path}/my%20dir/c#d.png",), tmp_path)
    (one,) = find_inputs((f"file://{tmp_path}/my%20dir/t%20u.png",), tmp_path)
    assert one.name == "t u"


def test_dicom_in_a_store_is_not_skipped_silently(tmp_path):
    write_image(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "scan.dcm").write_bytes(b"")
    with pytest.raises(UserError, match="contains DICOM .*scan.dcm.*copy it here"):
        find_inputs((f"file://{tmp_path}",), tmp_path / "out")


def test_prediction_for_images_in_a_store(trained, phantoms, tmp_path):
    arguments = ["--run", trained, "--output", "out"]
    done = run_script("predict", f"file://{phantoms}/images", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (phantoms / "images").iterdir())
    assert sorted(path.name for path in (tmp_path / "out" / "masks").iterdir()) == names
    assert (tmp_path / "out" / "report.html").exists()


def test_a_missing_cluster_is_reported_in_one_line(trained, phantoms, tmp_path):
    arguments = ["--run", trained, "--output", "out", "--ray", "127.0.0.1:1"]
    done = run_script("predict", phantoms / "images", *arguments, cwd=tmp_path)
    assert done.returncode == 2 and "No Ray cluster at --ray 127.0.0.1:1" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out" / "masks").exists()
