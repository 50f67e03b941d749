"""Reading images and masks, and writing files completely or not at all."""

import io
import os
import stat
import struct
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest
from conftest import write_image
from PIL import Image
from ready import ROOT

from unet.errors import ImageError
from unet.files import only_process_in, write_whole
from unet.images.folders import find_files
from unet.images.masks import read_mask
from unet.images.reading import decode_grey_png, read_image
from unet.options import ReadingOptions
from unet.tables import read_table, write_table

GREY = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
ROTATED = Image.Exif()
ROTATED[274] = 6  # orientation: rotate by 90 degrees clockwise


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_grey_pixels_are_unchanged(tmp_path, suffix):
    path = tmp_path / f"name with späce{suffix}"
    write_image(path, GREY)
    np.testing.assert_array_equal(read_image(path), GREY)


def test_color_becomes_luminance(tmp_path):
    write_image(tmp_path / "a.png", np.full((2, 2, 3), (255, 0, 0), np.uint8))  # blue
    assert read_image(tmp_path / "a.png").tolist() == [[29, 29], [29, 29]]  # 0.114 * 255


def saved(tmp_path, image: Image.Image, suffix: str, **options) -> np.ndarray:
    image.save(tmp_path / f"a{suffix}", **options)
    return read_image(tmp_path / f"a{suffix}")


def test_all_pixel_formats_become_grey(tmp_path):
    grey = Image.fromarray(GREY)
    np.testing.assert_array_equal(saved(tmp_path, grey.convert("P"), ".png"), GREY)
    np.testing.assert_array_equal(saved(tmp_path, grey.convert("RGBA"), ".png"), GREY)
    np.testing.assert_array_equal(saved(tmp_path, grey.convert("LA"), ".png"), GREY)
    np.testing.assert_array_equal(saved(tmp_path, grey.convert("CMYK"), ".tif"), GREY)
    bits = saved(tmp_path, Image.fromarray(GREY > 100), ".png")
    np.testing.assert_array_equal(bits, np.where(GREY > 100, 255, 0))


def test_exif_orientation_is_applied(tmp_path):
    rotated = saved(tmp_path, Image.fromarray(GREY), ".png", exif=ROTATED)
    np.testing.assert_array_equal(rotated, np.rot90(GREY, -1))


def png(shape: tuple[int, int], *chunks: tuple[bytes, bytes], interlaced: bool = False) -> bytes:
    """An 8-bit grey PNG of this shape (height, width) with these chunks and their checksums."""
    header = struct.pack(">IIBBBBB", *shape[::-1], 8, 0, 0, 0, interlaced)
    chunks = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def adam7(pixels: np.ndarray) -> bytes:
    """Pixel data of an interlaced PNG: seven small images without a filter."""
    # First row, row step, first column and column step of each small image.
    passes = ((0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2))
    parts = [pixels[top::down, left::right] for top, down, left, right in (*passes, (1, 2, 0, 1))]
    return unfiltered(*(part for part in parts if part.size))


def unfiltered(*parts: np.ndarray) -> bytes:
    """Pixel data of a PNG: the rows of all parts, each after a 0 for no filter."""
    return zlib.compress(b"".join(b"\0" + row.tobytes() for part in parts for row in part))


def test_the_fast_decoder_agrees_with_pillow():
    pixels = np.random.default_rng(0).integers(0, 256, (50, 37), np.uint8)
    filters = [getattr(cv2, f"IMWRITE_PNG_FILTER_{name}") for name in ("NONE", "SUB", "UP", "AVG", "PAETH")]
    files = [cv2.imencode(".png", pixels, (cv2.IMWRITE_PNG_FILTER, filter))[1].tobytes() for filter in filters]
    files.append(png(pixels.shape, (b"IDAT", adam7(pixels)), interlaced=True))
    files.append(png(pixels.shape, (b"tRNS", b"\0\x14"), (b"IDAT", unfiltered(pixels))))
    for content in files:
        with Image.open(io.BytesIO(content)) as image:
            fast = decode_grey_png(content, image)
            np.testing.assert_array_equal(fast, pixels)
            np.testing.assert_array_equal(fast, np.asarray(image))


def test_pillow_reads_what_the_fast_decoder_refuses(tmp_path):
    data = unfiltered(GREY)
    orientation = (b"eXIf", ROTATED.tobytes().removeprefix(b"Exif\0\0"))
    valid = png(GREY.shape, (b"IDAT", data))
    start = valid.index(b"IDAT") + 4 + len(data)
    wrong_checksum = valid[:start] + b"oops" + valid[start + 4 :]
    for content, expected in (
        (png(GREY.shape, orientation, (b"IDAT", data)), np.rot90(GREY, -1)),
        (png(GREY.shape, (b"IDAT", data), orientation), np.rot90(GREY, -1)),
        (wrong_checksum, GREY),
    ):
        with Image.open(io.BytesIO(content)) as image:
            assert decode_grey_png(content, image) is None
        (tmp_path / "a.png").write_bytes(content)
        np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_an_image_with_too_many_pixels_is_refused(tmp_path):
    write_image(tmp_path / "a.png", GREY)
    with pytest.raises(ImageError, match="4 x 3 pixels, more than --max-pixels 11"):
        read_image(tmp_path / "a.png", ReadingOptions(max_pixels=11))


def test_an_image_with_a_side_too_long_for_its_overlay_is_refused(tmp_path):
    write_image(tmp_path / "long.png", np.zeros((2, 65_501), np.uint8))
    with pytest.raises(ImageError, match="65501 x 2 pixels, with a side longer than 65500"):
        read_image(tmp_path / "long.png")


@pytest.mark.parametrize("array", [np.zeros((0, 5)), np.zeros((4, 4), complex), np.zeros((4, 4), "datetime64[s]")])
def test_arrays_that_are_no_images_are_refused(array, tmp_path):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(ImageError, match="which is not an image: leave it out"):
        read_image(tmp_path / "x.npy")


def test_several_pages_are_refused(tmp_path):
    pages = {"save_all": True, "append_images": [Image.fromarray(GREY)]}
    with pytest.raises(
        ImageError, match=r"has 2 pages: save each as a separate image, .* magick '.*.tif' '.*-%03d.png'"
    ):
        saved(tmp_path, Image.fromarray(GREY), ".tif", **pages)


def test_a_truncated_jpeg_is_refused(tmp_path):
    content = cv2.imencode(".jpg", np.tile(GREY, (20, 20)))[1].tobytes()
    (tmp_path / "a.jpg").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(ImageError, match="not a readable image: image file is truncated"):
        read_image(tmp_path / "a.jpg")


def test_16_bit_pixels_are_scaled_to_the_brightest_one(tmp_path):
    write_image(tmp_path / "a.png", np.array([[0, 1000], [2000, 4000]], np.uint16))
    assert read_image(tmp_path / "a.png").tolist() == [[0, 64], [128, 255]]


@pytest.mark.parametrize(("suffix", "channels"), [(".png", 3), (".png", 4), (".tif", 3)])
def test_several_channels_of_16_bits_are_refused(suffix, channels, tmp_path):
    write_image(tmp_path / f"a{suffix}", np.full((2, 3, channels), 1000, np.uint16))
    for read in (read_image, read_mask):
        with pytest.raises(
            ImageError, match="several channels with 16 bits each, but only 8 bits of each can be read: save it in grey"
        ):
            read(tmp_path / f"a{suffix}")


def test_a_deep_tiff_in_which_white_is_zero_is_inverted(tmp_path):
    pixels = np.array([[0, 1000], [2000, 4000]], np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.tif", tiffinfo={262: 0})
    assert read_image(tmp_path / "a.tif").tolist() == [[255, 191], [127, 0]]


@pytest.mark.parametrize("content", [b"", b"<html>", cv2.imencode(".png", GREY)[1].tobytes()[:20]])
def test_a_file_that_is_not_an_image_is_named(tmp_path, content):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"broken\.png' is not a readable image"):
        read_image(tmp_path / "broken.png")


def test_a_missing_file_and_a_pipe_are_refused_without_waiting(tmp_path):
    with pytest.raises(ImageError, match="no.png': No such file"):
        read_image(tmp_path / "no.png")
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match="not a regular file"):
        read_image(tmp_path / "pipe.png")


@pytest.mark.parametrize("tumor", [1, 255])
def test_a_mask_of_0_and_one_other_value_is_read(tmp_path, tumor):
    write_image(tmp_path / "mask.png", np.array([[0, tumor]], np.uint8))
    assert read_mask(tmp_path / "mask.png").tolist() == [[False, True]]


def test_a_mask_of_three_values_is_refused(tmp_path):
    write_image(tmp_path / "mask.png", np.array([[0, 100, 255]], np.uint8))
    with pytest.raises(ImageError, match="has the values 100 and 255 besides 0: .*--labels 100"):
        read_mask(tmp_path / "mask.png")


def test_images_are_found_in_subfolders_and_sorted(tmp_path):
    for name in ("b.PNG", "a/x.jpeg", "a/notes.txt"):
        write_whole(tmp_path / name, b"")
    assert find_files(tmp_path) == [tmp_path / "a/x.jpeg", tmp_path / "b.PNG"]


def test_written_files_have_the_permissions_of_the_umask(tmp_path):
    for umask, mode in ((0o022, 0o644), (0o077, 0o600)):
        code = "from pathlib import Path; from unet.files import write_whole; write_whole(Path('x'), b'')"
        command = [sys.executable, "-c", code]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=tmp_path, env=environment, umask=umask, check=True)
        assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == mode


def test_a_table_keeps_any_file_name(tmp_path):
    rows = [{"path": name, "n": 1} for name in ("a", "b,c", "d\ne", "f\rg", 'h"i', "ü")]
    write_table(tmp_path / "t.csv", rows)
    assert [row["path"] for row in read_table(tmp_path / "t.csv")] == [row["path"] for row in rows]


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path):
    write_whole(tmp_path / "a.txt", "old")
    with pytest.raises(TypeError):
        write_whole(tmp_path / "a.txt", 7)
    assert os.listdir(tmp_path) == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_unfinished_files_are_removed_except_where_another_process_may_be_writing(tmp_path):
    unfinished = [tmp_path / name / ".writing-1" for name in ("", "plots", "evaluation")]
    for path in unfinished:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
    (tmp_path / "plots/.writing-2").mkdir()
    (tmp_path / "evaluation/.lock").touch()
    with only_process_in(tmp_path):
        assert [path.exists() for path in unfinished] == [False, False, True]
        assert os.listdir(tmp_path / "plots") == []
