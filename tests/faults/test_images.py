"""Faults 1 to 19 and 21: image files that are damaged, hostile or unusual.

All are in one folder with one good image, which predict.py processes once.
"""

import csv
import os
import re
import socket
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import write_image
from PIL import Image

from faults.conftest import run_measured
from unet.images.reading import read_image

GREY = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
SQUARE = np.full((48, 64), 20, np.uint8)
SQUARE[10:30, 20:50] = 200
UNREADABLE = "is not a readable image"
TOO_LARGE = "more than --max-pixels"
NOT_A_FILE = "not a regular file"


def encoded(suffix: str = ".png", pixels: np.ndarray = GREY) -> bytes:
    return cv2.imencode(suffix, pixels)[1].tobytes()


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def png_that_declares(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A grey PNG whose header declares this size, with any compressed pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def bomb() -> bytes:
    """A PNG of 20000 x 20000 zeros in 400 KB."""
    compressor = zlib.compressobj(9)
    rows = b"".join(compressor.compress(bytes(20001 * 1000)) for _ in range(20))
    return png_that_declares(20000, 20000, rows + compressor.flush())


def with_flipped_bit() -> bytes:
    content = bytearray(encoded())
    content[content.index(b"IDAT") + 500] ^= 1
    return bytes(content)


def save(image: Image.Image, **options: object) -> Callable[[Path], None]:
    """A function that writes an image with Pillow."""
    return lambda path: image.save(path, **options)


def listen(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))  # sockets must have short paths


def rotated() -> Callable[[Path], None]:
    exif = Image.Exif()
    exif[274] = 6  # orientation: viewers rotate it by 90 degrees clockwise
    return save(Image.fromarray(SQUARE), exif=exif)


@dataclass(frozen=True)
class Case:
    """A file to inject."""

    number: int  # of the fault
    injected: str  # what it is, in words
    name: str
    make: bytes | Callable[[Path], object]  # its content, or a function that writes it
    skipped: str = ""  # pattern of the reason why it is skipped; "" if it is outlined
    shape: tuple[int, int] = (48, 64)  # of its mask; () if it is not even listed


L = Image.fromarray(GREY)
CUT_JPEG = encoded(".jpg")[: len(encoded(".jpg")) * 2 // 3]
CASES = [
    Case(1, "zero-byte image", "empty.png", b"", UNREADABLE),
    Case(2, "PNG cut in half", "half.png", encoded()[: len(encoded()) // 2], UNREADABLE),
    Case(3, "JPEG cut at two thirds", "cut.jpg", CUT_JPEG, UNREADABLE),
    Case(4, "one bit of the pixels flipped", "flip.png", with_flipped_bit(), UNREADABLE),
    Case(5, "HTML named .png", "page.png", b"<!doctype html><html></html>", UNREADABLE),
    Case(6, "header that declares 32767 x 32767", "claim.png", png_that_declares(32767, 32767), TOO_LARGE),
    Case(7, "20000 x 20000 zeros in 400 KB", "bomb.png", bomb(), TOO_LARGE),
    Case(8, "16-bit PNG", "deep.png", encoded(".png", GREY.astype(np.uint16) * 16)),
    Case(8, "16-bit TIFF", "deep.tif", encoded(".tif", GREY.astype(np.uint16) * 16)),
    Case(8, "32-bit float TIFF", "float.tif", save(Image.fromarray(np.float32(GREY)))),
    Case(9, "palette PNG", "palette.png", save(L.convert("P"))),
    Case(9, "RGBA PNG", "rgba.png", save(L.convert("RGBA"))),
    Case(9, "CMYK JPEG", "cmyk.jpg", save(L.convert("CMYK"))),
    Case(9, "1-bit PNG", "bit.png", save(L.convert("1"))),
    Case(9, "TIFF of two pages", "pages.tif", save(L, save_all=True, append_images=[L]), "has 2 pages"),
    Case(10, "EXIF orientation 6", "rotated.jpg", rotated(), shape=(64, 48)),
    Case(11, "1 x 1", "dot.png", encoded(".png", GREY[:1, :1]), shape=(1, 1)),
    Case(11, "1 x 5000", "line.png", encoded(".png", np.resize(GREY, (5000, 1))), shape=(5000, 1)),
    Case(11, "odd sizes, not square", "odd.png", encoded(".png", GREY[:37, :51]), shape=(37, 51)),
    Case(12, "constant image", "constant.png", encoded(".png", np.full_like(GREY, 77))),
    Case(12, "black image", "black.png", encoded(".png", np.zeros_like(GREY))),
    Case(13, "suffix .PNG", "upper.PNG", encoded()),
    Case(13, "suffix .Jpeg", "mixed.Jpeg", encoded(".jpg")),
    Case(14, "spaces and unicode in a name", "mit Ümläuten und 脑 .png", encoded()),
    Case(14, "newline in a name", "two\nlines.png", encoded()),
    Case(14, "comma and quotes in a name", "a,\"b\",'c'.png", encoded()),
    Case(15, "name that is not UTF-8", os.fsdecode(b"\xff\xfe.png"), encoded()),
    Case(16, "250-byte name", "n" * 246 + ".png", encoded()),
    Case(17, "FIFO", "fifo.png", os.mkfifo, NOT_A_FILE),
    Case(17, "socket", "socket.png", listen, NOT_A_FILE),
    Case(17, "link to a device", "device.png", lambda path: path.symlink_to("/dev/zero"), NOT_A_FILE),
    Case(18, "broken link", "broken.png", lambda path: path.symlink_to("nowhere.png"), "Cannot read"),
    Case(18, "link to itself", "self.png", lambda path: path.symlink_to(path), "Cannot read"),
    Case(18, "folder that links to its parent", "loop/up", lambda path: path.symlink_to(".."), shape=()),
    Case(19, "equal names: a/x.png", "a/x.png", encoded()),
    Case(19, "equal names: b/x.png", "b/x.png", encoded()),
    Case(19, "equal names: a/x.jpg", "a/x.jpg", encoded(".jpg")),
]


def mask_name(case: Case) -> str:
    """Name of the mask. Images whose names differ only in the suffix keep the suffix."""
    alike = [other for other in CASES if os.path.splitext(other.name)[0] == os.path.splitext(case.name)[0]]
    return f"{case.name if len(alike) > 1 else os.path.splitext(case.name)[0]}.png"


@pytest.fixture(scope="module")
def predicted(trained, tmp_path_factory):
    """Rows by path, the process, its input and output folder, and a process that saw the good image only."""
    folder = tmp_path_factory.mktemp("hostile")
    good = folder / "good" / "good.png"
    write_image(good, GREY)
    alone = run_measured("predict", folder / "good", "--run", trained, "--output", "alone", cwd=folder)
    assert alone.returncode == 0, alone.stderr
    hostile = folder / "in"
    hostile.mkdir()
    os.chdir(hostile)
    for case in CASES:
        path = hostile / case.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(case.make) if isinstance(case.make, bytes) else case.make(path)
    write_image(hostile / "good.png", GREY)
    done = run_measured("predict", hostile, "--run", trained, "--output", folder / "out", cwd=folder)
    assert "Traceback" not in done.stderr
    with open(folder / "out" / "predictions.csv", newline="", errors="surrogateescape") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    return rows, done, hostile, folder / "out", alone


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.number} {case.injected}")
def test_image(case, predicted, survived):
    rows, _, hostile, output, _ = predicted
    if not case.shape:
        assert not [path for path in rows if path.startswith(str(hostile / case.name))]
        survived(case.number, case.injected, "not followed")
        return
    row = rows[str(hostile / case.name)]
    mask = output / "masks" / mask_name(case)
    if case.skipped:
        assert re.search(case.skipped, row["status"]) and not mask.exists()
        reason = row["status"].replace(str(hostile / case.name), case.name)
        survived(case.number, case.injected, f"skipped: {reason}")
        return
    assert row["status"] == "ok"
    assert (int(row["height"]), int(row["width"])) == case.shape
    pixels = cv2.imdecode(np.fromfile(mask, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels.shape == case.shape and set(np.unique(pixels)) <= {0, 255}
    survived(case.number, case.injected, f"outlined: mask of {case.shape[1]} x {case.shape[0]}")


def test_hostile_files_give_one_row_each_exit_code_3_and_take_no_more_memory(predicted, survived):
    rows, done, _, output, alone = predicted
    assert done.returncode == 3
    assert len(rows) == len([case for case in CASES if case.shape]) + 1
    outlined = sum(row["status"] == "ok" for row in rows.values())
    assert f"{outlined} of {len(rows)} images read" in done.stdout
    masks = [path for path in (output / "masks").rglob("*") if path.is_file()]
    assert len(masks) == outlined and not list(output.rglob(".writing-*"))
    more = done.peak_mib - alone.peak_mib
    assert more < 100
    for number in (6, 7):
        survived(number, "all images of this table in one folder", f"{more:+.0f} MiB of memory")


def test_8_16_bit_images_are_scaled_by_percentiles(tmp_path):
    deep = GREY.astype(np.uint16) * 16
    write_image(tmp_path / "a.png", deep)
    low, high = np.percentile(deep, (0.5, 99.5))
    expected = np.rint(np.clip((deep - low) * (255 / (high - low)), 0, 255))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_10_exif_orientation_is_applied_as_in_viewers(predicted):
    _, _, hostile, _, _ = predicted
    shown = read_image(hostile / "rotated.jpg")
    assert np.abs(shown.astype(int) - np.rot90(SQUARE, -1)).mean() < 3


def test_12_constant_images_have_finite_measurements(predicted):
    rows, _, hostile, _, _ = predicted
    for name in ("constant.png", "black.png"):
        row = rows[str(hostile / name)]
        assert np.isfinite([float(row[key] or 0) for key in ("tumor_percent", "mean_probability")]).all()


def test_21_file_without_read_permission(trained, tmp_path, survived):
    for name in ("good.png", "secret.png"):
        write_image(tmp_path / "in" / name, GREY)
    (tmp_path / "in" / "secret.png").chmod(0)
    done = run_measured("predict", "in", "--run", trained, "--output", "out", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "1 of 2 images read" in done.stdout and "Permission denied" in done.stdout
    survived(21, "file without read permission", "skipped: Permission denied")
