"""The one reader of image files and the one writer of results: whole or not at all."""

import csv
import io
import json
import os
import stat
import tempfile
from pathlib import Path

import cv2
import numpy as np

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

# OpenCV reports damaged files on stderr; here they become errors that name the file.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


class UserError(Exception):
    """A fault that the user can mend; its text is one line that names the file or option and the mend."""


class ImageError(UserError):
    """An image file that cannot be used; its text says why."""


def read_image(path: Path) -> np.ndarray:
    """Pixels of an image file as grey uint8 (height, width).

    Colours become luminance. 16-bit images are scaled so that their brightest pixel is 255.
    Raises ImageError, naming the file, where there is no readable image.
    """
    try:
        # Opening a pipe would wait for a writer for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ImageError(f"'{path}' is not a regular file: pass an image.")
        content = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"Cannot read '{path}': {error.strerror}.") from error
    pixels = None
    if content:
        try:
            pixels = cv2.imdecode(
                np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
            )
        except cv2.error as error:
            raise ImageError(f"'{path}' cannot be decoded: {error.err}.") from error
    if pixels is None:
        raise ImageError(f"'{path}' is not a readable image: it is empty, damaged or not an image.")
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype != np.uint16:
        raise ImageError(f"'{path}' holds {pixels.dtype} pixels: save it as 8-bit or 16-bit grey.")
    return (pixels * (255.0 / max(1, int(pixels.max()))) + 0.5).astype(np.uint8)


def read_mask(path: Path) -> np.ndarray:
    """A mask file as booleans (height, width): True is tumor.

    The file holds 0 and one other value (0/1 or 0/255); anything else raises ImageError.
    """
    pixels = read_image(path)
    # bincount is 20 times faster than unique on 8-bit pixels.
    values = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256))
    if len(values[values > 0]) > 1:
        raise ImageError(
            f"'{path}' holds {len(values)} grey values: a mask is 0 and one other, saved as PNG."
        )
    return pixels > 0


def image_files_below(folder: Path) -> list[Path]:
    """Image files in a folder and the folders below it, sorted; links to folders are not followed."""
    return sorted(
        Path(parent) / name
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(IMAGE_SUFFIXES)
    )


def encode_png(pixels: np.ndarray) -> bytes:
    """PNG bytes of uint8 pixels (height, width) or BGR (height, width, 3)."""
    # Level 1 writes twice as fast as the default for files a tenth larger.
    _, content = cv2.imencode(".png", pixels, (cv2.IMWRITE_PNG_COMPRESSION, 1))
    return content.tobytes()


def write_whole(path: Path, content: bytes | str, durable: bool = True) -> None:
    """Write a file so that its final name never holds half of it; durable: not even after a power cut."""
    if isinstance(content, str):
        content = content.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
            # mkstemp makes files that only their owner can read.
            os.fchmod(file.fileno(), 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def write_json(path: Path, content: object) -> None:
    """Write JSON, whole or not at all."""
    write_whole(path, json.dumps(content, indent=1) + "\n")


def write_table(path: Path, rows: list[dict]) -> None:
    """Write rows with equal keys as CSV with a header, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_whole(path, text.getvalue())
