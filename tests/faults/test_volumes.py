"""Faults 22 to 27: NIfTI files that are damaged, hostile or of another kind.

All are in one folder with one good volume, which predict.py processes once.
"""

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass

import nibabel
import numpy as np
import pytest

from faults.conftest import run_measured
from unet.tables import read_table

VOXELS = np.random.default_rng(0).integers(0, 1000, (48, 40, 5)).astype(np.int16)
AFFINE = np.diag([0.5, 0.5, 5.0, 1.0])


def nifti(voxels: np.ndarray = VOXELS, affine: np.ndarray = AFFINE) -> bytes:
    return nibabel.Nifti1Image(voxels, affine).to_bytes()


def with_header(change: Callable[[nibabel.Nifti1Header], None]) -> bytes:
    """A good file with a changed header."""
    header = nibabel.Nifti1Header(nifti()[:348])
    change(header)
    return header.binaryblock + nifti()[348:]


def with_shape(*lengths: int) -> bytes:
    def change(header):
        header["dim"][: 1 + len(lengths)] = len(lengths), *lengths

    return with_header(change)


def with_affine_of(value: float) -> bytes:
    def change(header):
        for row in ("srow_x", "srow_y", "srow_z"):
            header[row] = value
        header["sform_code"], header["qform_code"] = 1, 0

    return with_header(change)


def set_far_offset(header):
    header["vox_offset"] = 1e12


def gzip_bomb() -> bytes:
    """8 GB of zeros in 8 MB, after a header that claims a part of them."""
    zeros = gzip.compress(bytes(2**26), 9)
    return gzip.compress(with_shape(30000, 300, 5)) + zeros * 128


def with_voxel(value: float) -> bytes:
    voxels = VOXELS.astype(np.float32)
    voxels[3, 3, 3] = value
    return nifti(voxels)


RGB = np.zeros((48, 40, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])


@dataclass(frozen=True)
class Case:
    """A file to inject."""

    number: int  # of the fault
    injected: str  # what it is, in words
    name: str
    content: bytes
    skipped: str  # pattern of the reason why it is skipped


CASES = [
    Case(22, "header of 32767^3", "claim.nii", with_shape(*[32767] * 3), "more than --max-pixels"),
    Case(22, "header with a negative length", "negative.nii", with_shape(48, -40, 5), "has the shape"),
    Case(22, "header with voxels at byte 10^12", "far.nii", with_header(set_far_offset), "voxels start at byte"),
    Case(23, "8 GB of zeros in 8 MB, header claims 90 MB", "bomb.nii.gz", gzip_bomb(), "has more than"),
    Case(24, "half a .nii.gz", "half.nii.gz", gzip.compress(nifti())[:5000], "not a readable|cut off"),
    Case(24, "half a .nii", "half.nii", nifti()[:5000], "is cut off"),
    Case(24, "a compressed file of text", "text.nii.gz", gzip.compress(b"text"), "not a readable NIfTI"),
    Case(24, "empty .nii", "empty.nii", b"", "not a readable NIfTI"),
    Case(25, "affine of NaN", "nan.nii", with_affine_of(np.nan), "invalid affine or spacing"),
    Case(25, "affine of zeros", "zero.nii", with_affine_of(0), "affine that flattens"),
    Case(26, "an infinite voxel", "voxel.nii", with_voxel(np.inf), "values that are infinite"),
    Case(26, "only NaN", "only.nii", nifti(np.full((8, 8, 4), np.nan, np.float32)), "or only NaN"),
    Case(27, "five dimensions", "five.nii", nifti(np.zeros((8, 8, 4, 3, 2), np.int16)), "three dimensions"),
    Case(27, "the first of four volumes is cut off", "four.nii", with_shape(48, 40, 5, 4)[:9000], "is cut off"),
    Case(27, "RGB voxels", "rgb.nii", nifti(RGB), "only grey values"),
    Case(27, "complex voxels", "complex.nii", nifti(VOXELS.astype(np.complex64)), "only grey values"),
]


# Volumes that are unusual, but readable.
GOOD = {
    "good.nii": nifti(),
    "one NaN.nii": with_voxel(np.nan),
    "three volumes.nii": nifti(np.stack([VOXELS] * 3, axis=-1)),
    "not compressed.nii.gz": nifti(),
    "compressed.nii": gzip.compress(nifti()),
}


@pytest.fixture(scope="module")
def predicted(trained, tmp_path_factory):
    """Rows by file name, the process that wrote them, and its output folder."""
    folder = tmp_path_factory.mktemp("volumes")
    (folder / "in").mkdir()
    for case in CASES:
        (folder / "in" / case.name).write_bytes(case.content)
    for name, content in GOOD.items():
        (folder / "in" / name).write_bytes(content)
    done = run_measured("predict", "in", "--run", trained, "--output", "out", cwd=folder)
    assert "Traceback" not in done.stderr
    rows = read_table(folder / "out" / "predictions.csv")
    return {row["path"].rpartition("/")[2]: row for row in rows}, done, folder / "out"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.injected}")
def test_volume(case, predicted, survived):
    rows, _, output = predicted
    row = rows[case.name]
    mask = output / "masks" / f"{case.name.split('.')[0]}_mask.nii.gz"
    assert re.search(case.skipped, row["status"]) and not mask.exists()
    survived(case.number, case.injected, "skipped: " + re.sub("'.*/", "'", row["status"]))


def test_hostile_volumes_give_one_row_each_exit_code_3_and_take_little_memory(predicted, survived):
    rows, done, output = predicted
    assert done.returncode == 3 and len(rows) == len(CASES) + len(GOOD)
    assert all(rows[name]["status"] == "ok" for name in GOOD)
    assert "three volumes.nii' has 3 volumes, and only the first is used" in done.stderr
    assert done.peak_mib < 4000
    survived(23, "all volumes of this table in one folder", f"peak of {done.peak_mib:.0f} MiB")
