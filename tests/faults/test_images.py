"""Faults 1 to 19: files that prediction meets in a folder it has never looked into.

All stand in one folder, beside one good image; predict.py goes through it once.
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
    """A grey PNG with that header, whatever its pixels are."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def bomb() -> bytes:
    """20000 x 20000 zeros in 400 KB."""
    squeeze = zlib.compressobj(9)
    rows = b"".join(squeeze.compress(bytes(20001 * 1000)) for _ in range(20))
    return png_that_declares(20000, 20000, rows + squeeze.flush())


def with_flipped_bit() -> bytes:
    content = bytearray(encoded())
    content[content.index(b"IDAT") + 500] ^= 1
    return bytes(content)


def saved(image: Image.Image, **options: object) -> Callable[[Path], None]:
    return lambda path: image.save(path, **options)


def listen(path: Path) -> None:
    socket.socket(socket.AF_UNIX).bind(os.path.relpath(path))  # absolute paths are too long for one


def turned() -> Callable[[Path], None]:
    exif = Image.Exif()
    exif[274] = 6  # orientation: viewers turn it by 90 degrees clockwise
    return saved(Image.fromarray(SQUARE), exif=exif)


@dataclass(frozen=True)
class Case:
    """A file of fault `number`; `make` its content, or what writes it."""

    number: int
    injected: str
    name: str
    make: bytes | Callable[[Path], object]
    skipped: str = ""  # a pattern of the reason; without it the image is outlined
    shape: tuple[int, int] = (48, 64)  # of its mask


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
    Case(8, "32-bit float TIFF", "float.tif", saved(Image.fromarray(np.float32(GREY))), "32-bit pixels"),
    Case(9, "palette PNG", "palette.png", saved(L.convert("P"))),
    Case(9, "RGBA PNG", "rgba.png", saved(L.convert("RGBA"))),
    Case(9, "CMYK JPEG", "cmyk.jpg", saved(L.convert("CMYK"))),
    Case(9, "1-bit PNG", "bit.png", saved(L.convert("1"))),
    Case(9, "TIFF of two pages", "pages.tif", saved(L, save_all=True, append_images=[L]), "has 2 pages"),
    Case(10, "EXIF orientation 6", "turned.jpg", turned(), shape=(64, 48)),
    Case(11, "1 x 1", "dot.png", encoded(".png", GREY[:1, :1]), shape=(1, 1)),
    Case(11, "1 x 5000", "line.png", encoded(".png", np.resize(GREY, (5000, 1))), shape=(5000, 1)),
    Case(11, "odd sizes, not square", "odd.png", encoded(".png", GREY[:37, :51]), shape=(37, 51)),
    Case(12, "constant image", "constant.png", encoded(".png", np.full_like(GREY, 77))),
    Case(12, "black image", "black.png", encoded(".png", np.zeros_like(GREY))),
    Case(13, "suffix .PNG", "upper.PNG", encoded()),
    Case(13, "suffix .Jpeg", "mixed.Jpeg", encoded(".jpg")),
    Case(14, "spaces and unicode in a name", "mit Ümläuten und 脑 .png", encoded()),
    Case(14, "newline in a name", "two\nlines.png", encoded()),
    Case(14, "comma and quotes in a name", 'a,"b",\'c\'.png', encoded()),
    Case(15, "name that is not UTF-8", os.fsdecode(b"\xff\xfe.png"), encoded()),
    Case(16, "250-byte name", "n" * 246 + ".png", encoded()),
    Case(17, "FIFO", "fifo.png", os.mkfifo, NOT_A_FILE),
    Case(17, "socket", "socket.png", listen, NOT_A_FILE),
    Case(17, "link to a device", "device.png", lambda path: path.symlink_to("/dev/zero"), NOT_A_FILE),
    Case(18, "broken link", "broken.png", lambda path: path.symlink_to("nowhere.png"), "Cannot read"),
    Case(18, "link to itself", "self.png", lambda path: path.symlink_to(path), "Cannot read"),
    Case(18, "folder that links to its parent", "loop/up", lambda path: path.symlink_to(".."), shape=()),
    Case(19, "a/x.png", "a/x.png", encoded()),
    Case(19, "b/x.png", "b/x.png", encoded()),
    Case(19, "a/x.jpg", "a/x.jpg", encoded(".jpg")),
]  # fmt: skip


def mask_name(case: Case) -> str:
    """Images that differ only in their suffix keep it."""
    alike = [other for other in CASES if os.path.splitext(other.name)[0] == os.path.splitext(case.name)[0]]
    return f"{case.name if len(alike) > 1 else os.path.splitext(case.name)[0]}.png"


@pytest.fixture(scope="module")
def predicted(trained, tmp_path_factory):
    """Rows by path, the process, its folders, and the peak memory of one that met the good image alone."""
    folder = tmp_path_factory.mktemp("hostile")
    good = folder / "good" / "good.png"
    write_image(good, GREY)
    alone = run_measured("predict", folder / "good", "--run", trained, "--output", "alone", cwd=folder)
    assert alone.returncode == 0, alone.stderr
    hostile = folder / "in"
    (hostile).mkdir()
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


def test_hostile_files_end_with_a_row_each_code_3_and_no_more_memory(predicted, survived):
    rows, done, _, output, alone = predicted
    assert done.returncode == 3
    assert len(rows) == len([case for case in CASES if case.shape]) + 1
    outlined = sum(row["status"] == "ok" for row in rows.values())
    assert f"{outlined} of {len(rows)} images outlined" in done.stdout
    masks = [path for path in (output / "masks").rglob("*") if path.is_file()]
    assert len(masks) == outlined and not list(output.rglob(".writing-*"))
    more = done.peak_mib - alone.peak_mib
    assert more < 100
    for number in (6, 7):
        survived(
            number,
            "both, and all images of this table, in one folder",
            f"{more:+.0f} MiB of memory",
        )


def test_8_16_bit_is_scaled_to_its_brightest_pixel(tmp_path):
    deep = GREY.astype(np.uint16) * 16
    write_image(tmp_path / "a.png", deep)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rint(deep * (255 / deep.max())))


def test_10_the_mask_of_a_turned_image_lies_as_viewers_show_it(predicted):
    _, _, hostile, _, _ = predicted
    shown = read_image(hostile / "turned.jpg")
    assert np.abs(shown.astype(int) - np.rot90(SQUARE, -1)).mean() < 3


def test_12_constant_images_give_finite_numbers(predicted):
    rows, _, hostile, _, _ = predicted
    for name in ("constant.png", "black.png"):
        row = rows[str(hostile / name)]
        assert np.isfinite([float(row[key] or 0) for key in ("tumor_percent", "mean_probability")]).all()


def test_21_unreadable_file(trained, tmp_path, survived):
    for name in ("good.png", "secret.png"):
        write_image(tmp_path / "in" / name, GREY)
    (tmp_path / "in" / "secret.png").chmod(0)
    done = run_measured("predict", "in", "--run", trained, "--output", "out", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert "1 of 2 images outlined" in done.stdout and "Permission denied" in done.stdout
    survived(21, "file without read permission", "skipped: Permission denied")
