"""The one reader of image files and the one writer of results: whole or not at all."""

import contextlib
import csv
import errno
import io
import json
import os
import secrets
import shutil
import stat
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
from filelock import FileLock, Timeout
from kornia_rs.io import decode_image_png_u8
from PIL import Image, ImageOps, UnidentifiedImageError

from unet.options import MAX_PIXELS

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
# How the names of files begin that are not whole yet.
WRITING = ".writing-"
# No JPEG has a longer side, and overlays are JPEGs.
LONGEST_SIDE = 65_500
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
# Chunks of a PNG that may say how the image is turned.
MAY_TURN = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
# Its own limit only warns; ours holds.
Image.MAX_IMAGE_PIXELS = None
# Of damaged metadata beside pixels that are whole.
warnings.filterwarnings("ignore", module="PIL")


class UserError(Exception):
    """A fault that the user can mend; its text is one line that names the file or option and the mend."""


class ImageError(UserError):
    """An image file that cannot be used; its text says why."""


def read_image(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Pixels of an image file as grey uint8 (height, width), turned as its EXIF orientation says.

    Colours, palettes and CMYK become luminance, transparency is dropped, 1-bit becomes 0 and 255. 16-bit
    grey is scaled so that its brightest pixel is 255. Raises ImageError, naming the file, where there is
    no readable image of one page, or one of more pixels than `max_pixels` (known from its header).
    """
    content = read_regular_file(path, 8 * max_pixels)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            check_header(path, image, max_pixels)
            if (pixels := decode_grey_png(content, image)) is not None:
                return pixels
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return to_grey(path, image)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(
            f"'{path}' is not a readable image: it is empty, damaged or not an image."
        ) from error
    except Exception as error:  # Pillow's readers raise many kinds for damaged files
        raise ImageError(f"'{path}' is not a readable image: {error}.") from error


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """Content of a file; ImageError for what is no regular file, too large or not readable."""
    try:
        if regular_file_size(path) > max_bytes:
            raise ImageError(f"'{path}' has more than {max_bytes:,} bytes: too many for an image.")
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"Cannot read '{path}': {error.strerror}.") from error


def regular_file_size(path: Path) -> int:
    """Bytes of a file; ImageError for what is no regular file: opening a pipe would wait for ever."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"'{path}' is not a regular file: pass an image.")
    return status.st_size


def check_header(path: Path, image: Image.Image, max_pixels: int) -> None:
    """ImageError for what must not be decoded: too many pixels or a side too long, or several pages."""
    if image.width * image.height > max_pixels:
        raise ImageError(
            f"'{path}' has {image.width} x {image.height} pixels, more than --max-pixels "
            f"{max_pixels}: scale it down or raise the limit."
        )
    if max(image.size) > LONGEST_SIDE:
        raise ImageError(
            f"'{path}' has {image.width} x {image.height} pixels, a side of more than {LONGEST_SIDE}: cut it."
        )
    # A phone's JPEG may hold a second picture (MPO): what viewers show is the first.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise ImageError(f"'{path}' has {image.n_frames} pages: save each as an image of its own.")


def decode_grey_png(content: bytes, image: Image.Image) -> np.ndarray | None:
    """uint8 (height, width) of an 8-bit grey PNG, three times as fast as Pillow; None of any other file."""
    if image.format != "PNG" or image.mode != "L":
        return None
    beside = content[: content.find(b"IDAT")] + content[content.rfind(b"IDAT") :]
    if any(name in beside for name in MAY_TURN):
        return None
    try:
        return decode_image_png_u8(content, (image.height, image.width), "mono")[..., 0]
    except Exception:  # damaged, or of fewer bits: Pillow says what is wrong, if anything is
        return None


def to_grey(path: Path, image: Image.Image) -> np.ndarray:
    """uint8 (height, width) of a decoded image."""
    if image.mode.startswith("I;16"):
        pixels = np.asarray(image, np.uint16)
        return (pixels * (255.0 / max(1, int(pixels.max()))) + 0.5).astype(np.uint8)
    if image.mode in ("I", "F"):
        raise ImageError(f"'{path}' holds 32-bit pixels: save it as 8-bit or 16-bit grey.")
    if image.mode not in ("1", "L", "LA", "RGB", "RGBA"):
        image = image.convert("RGB")
    return np.asarray(image if image.mode == "L" else image.convert("L"))


def read_mask(path: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """A mask file as booleans (height, width): True is tumor.

    The file holds 0 and one other value (0/1 or 0/255); anything else raises ImageError.
    """
    pixels = read_image(path, max_pixels)
    mask = pixels > 0
    # 25 times faster than unique, of which the message alone has need.
    if np.count_nonzero(mask) > np.count_nonzero(pixels == max(1, pixels.max())):
        raise ImageError(
            f"'{path}' holds {len(np.unique(pixels))} grey values: a mask is 0 and one other, saved as PNG."
        )
    return mask


def image_files_below(
    folder: Path,
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES,
    also: Callable[[Path], bool] = lambda path: False,
) -> list[Path]:
    """Files with those suffixes, and those `also` holds for, in a folder and all below it, sorted.

    Links to folders are not followed. Raises UserError for a folder that may not be read.
    """

    def refuse(error: OSError) -> None:
        raise UserError(f"Cannot read the folder '{error.filename}': {error.strerror}.") from error

    return sorted(
        Path(parent) / name
        for parent, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if name.lower().endswith(suffixes) or also(Path(parent) / name)
    )


def without_suffix(name: str) -> str:
    """A file's name without .png, .nii.gz ..."""
    root, suffix = os.path.splitext(name)
    return os.path.splitext(root)[0] if suffix.lower() == ".gz" else root


def encode_mask(mask: np.ndarray) -> bytes:
    """A boolean mask (height, width) as PNG of 0 and 255."""
    # Level 1 and no filter: four times as fast as the default, and masks are small however packed.
    fast = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE)
    _, content = cv2.imencode(".png", mask.view(np.uint8) * 255, fast)
    return content.tobytes()


def encode_picture(pixels: np.ndarray, quality: int = 95) -> bytes:
    """Grey or BGR pixels uint8 (height, width[, 3]) as JPEG, to look at: ten times as fast as PNG."""
    full_colour = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444  # or thin coloured lines would blur
    options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, full_colour)
    _, content = cv2.imencode(".jpg", pixels, options)
    return content.tobytes()


def encode_png(pixels: np.ndarray) -> bytes:
    """BGR pixels uint8 (height, width, 3) as PNG."""
    return cv2.imencode(".png", pixels)[1].tobytes()


def write_whole(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Write a file so that its final name never holds half of it; durable: not even after a power cut.

    Raises UserError, naming the file, where the disk is full or may not be written to.
    """
    if isinstance(content, str):
        content = to_bytes(content)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(WRITING + secrets.token_hex(8))
        file = open(temporary, "xb")
        try:
            with file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise UserError(
            f"Cannot write '{path}': {error.strerror}. What was there stays."
        ) from error


def append_whole(path: Path, content: str) -> None:
    """Add to the end of a file, all of it or nothing; UserError, naming the file, where that fails."""
    try:
        with open(path, "ab", buffering=0) as file:
            end = file.seek(0, os.SEEK_END)
            try:
                if file.write(to_bytes(content)) < len(to_bytes(content)):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except BaseException:
                file.truncate(end)
                raise
    except OSError as error:
        raise UserError(
            f"Cannot add to '{path}': {error.strerror}. What was there stays."
        ) from error


def to_bytes(text: str) -> bytes:
    """UTF-8; names of files that are not come out as the bytes that they are."""
    return text.encode(errors="surrogateescape")


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, json.dumps(content, indent=1) + "\n")


def table_text(columns: Iterable[str], rows: list[dict], header: bool = True) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    # Python 3.11 does not quote names with this one, at which a line would end.
    returns = any("\r" in str(value) for row in rows for value in row.values())
    quoting = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
    writer = csv.DictWriter(text, columns, lineterminator="\n", quoting=quoting)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_table(path: Path, rows: list[dict]) -> None:
    """Write rows with equal keys as CSV with a header, whole or not at all."""
    write_whole(path, table_text(rows[0], rows))


def read_table(path: Path, errors: str = "strict") -> list[dict[str, str]]:
    """Rows of a CSV with a header; `errors` is what str.decode takes."""
    # Spreadsheets begin a file with a mark of UTF-8; sig drops it.
    with open(path, newline="", encoding="utf-8-sig", errors=errors) as file:
        return list(csv.DictReader(file))


@contextlib.contextmanager
def only_process_in(folder: Path) -> Iterator[None]:
    """A context in which no other process works in this folder; UserError where one does already.

    The system frees the lock when a process ends, however it ends; what a killed one left half-written is
    removed. Makes the folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock").acquire(timeout=0)
    except Timeout as error:
        raise UserError(
            f"Another process works in '{folder}': wait for it, stop it, or choose another folder."
        ) from error
    except OSError as error:
        raise UserError(f"Cannot write to '{folder}': {error.strerror}.") from error
    with lock:
        for path in list(folder.rglob(f"{WRITING}*")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        yield
