"""Read an image file as grey pixels, and a mask file as booleans."""

import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from kornia_rs.io import decode_image_png_u8
from PIL import Image, ImageOps, UnidentifiedImageError

from unet.errors import ImageError
from unet.options import ReadingOptions

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")  # in Pillow's words
LONGEST_SIDE = 65_500  # of a JPEG, which overlays are
ORIENTATION_CHUNKS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # of a PNG that may contain an orientation
Image.MAX_IMAGE_PIXELS = None  # Pillow's limit only warns; check_image_header's is strict
# Pillow warns about damaged metadata even if the pixels are intact.
warnings.filterwarnings("ignore", module="PIL")


def read_image(path: Path, reading: ReadingOptions = ReadingOptions()) -> np.ndarray:
    """Pixels of an image file, grey uint8 (height, width), rotated to its EXIF orientation.

    Color becomes luminance, transparency is dropped, and 1-bit and 16-bit grey are scaled to a maximum of 255.
    ImageError if the file is not a readable image of one page, or its header declares too many pixels.
    """
    content = read_regular_file(path, 8 * reading.max_pixels)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            check_image_header(path, image, reading)
            if (pixels := decode_grey_png(content, image)) is not None:
                return pixels
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return to_grey(path, image)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"'{path}' is not a readable image: it is empty, damaged or not an image.") from error
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        raise ImageError(f"'{path}' is not a readable image: {error}.") from error


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """Content of a file; ImageError if it is not a regular file, is too large or cannot be read."""
    try:
        if regular_file_size(path) > max_bytes:
            raise ImageError(f"'{path}' has more than {max_bytes:,} bytes: scale it down or raise --max-pixels.")
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"Cannot read '{path}': {error.strerror}.") from error


def regular_file_size(path: Path) -> int:
    """Size of a file in bytes; ImageError if it is not a regular file. Opening a pipe would block forever."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"'{path}' is not a regular file: pass an image.")
    return status.st_size


def check_image_header(path: Path, image: Image.Image, reading: ReadingOptions) -> None:
    """ImageError if an image has too many pixels, a side that is too long, or several pages."""
    if image.width * image.height > reading.max_pixels:
        raise ImageError(
            f"'{path}' has {image.width} x {image.height} pixels, more than --max-pixels "
            f"{reading.max_pixels}: scale it down or raise the limit."
        )
    if max(image.size) > LONGEST_SIDE:
        raise ImageError(
            f"'{path}' has {image.width} x {image.height} pixels, with a side longer than {LONGEST_SIDE}: crop it."
        )
    # A phone's JPEG may contain a second picture (MPO). Viewers show the first.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise ImageError(f"'{path}' has {image.n_frames} pages: save each as a separate image.")


def decode_grey_png(content: bytes, image: Image.Image) -> np.ndarray | None:
    """uint8 (height, width) of an 8-bit grey PNG, three times as fast as Pillow; None for any other file."""
    if image.format != "PNG" or image.mode != "L":
        return None
    metadata = content[: content.find(b"IDAT")] + content[content.rfind(b"IDAT") :]
    if any(name in metadata for name in ORIENTATION_CHUNKS):
        return None
    try:
        return decode_image_png_u8(content, (image.height, image.width), "mono")[..., 0]
    except Exception:  # damaged or fewer bits: Pillow reads it or reports the problem
        return None


def to_grey(path: Path, image: Image.Image) -> np.ndarray:
    """uint8 (height, width) of a decoded image."""
    if image.mode.startswith("I;16"):
        pixels = np.asarray(image, np.uint16)
        return (pixels * (255.0 / max(1, int(pixels.max()))) + 0.5).astype(np.uint8)
    if image.mode in ("I", "F"):
        raise ImageError(f"'{path}' has 32-bit pixels: save it as 8-bit or 16-bit grey.")
    if image.mode not in ("1", "L", "LA", "RGB", "RGBA"):
        image = image.convert("RGB")
    return np.asarray(image if image.mode == "L" else image.convert("L"))


def read_mask(path: Path, reading: ReadingOptions = ReadingOptions()) -> np.ndarray:
    """A mask file, bool (height, width), True for tumor; ImageError unless it has only 0 and one other value."""
    pixels = read_image(path, reading)
    mask = pixels > 0
    # 25 times faster than np.unique, which only the message needs.
    if np.count_nonzero(mask) > np.count_nonzero(pixels == max(1, pixels.max())):
        raise ImageError(
            f"'{path}' has {len(np.unique(pixels))} grey values: a mask has only 0 and one other. Save it as PNG."
        )
    return mask
