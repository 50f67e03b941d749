"""The one reader of image files and the one writer of results: whole or not at all."""

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
# No JPEG has a longer side, and overlays are JPEGs.
LONGEST_SIDE = 65_500
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
# Chunks of a PNG that may say how the image is turned.
MAY_TURN = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
# Its own limit only warns; ours holds.
Image.MAX_IMAGE_PIXELS = None
# Of damaged metadata beside pixels that are whole.
warnings.filterwarnings("ignore", module="PIL")


def read_image(path: Path, reading: ReadingOptions = ReadingOptions()) -> np.ndarray:
    """Pixels of an image file as grey uint8 (height, width), turned as its EXIF orientation says.

    Colours, palettes and CMYK become luminance, transparency is dropped, 1-bit becomes 0 and 255. 16-bit
    grey is scaled so that its brightest pixel is 255. Raises ImageError, naming the file, where there is
    no readable image of one page, or one of more pixels than `reading` allows (known from its header).
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
    except Exception as error:  # Pillow's readers raise many kinds for damaged files
        raise ImageError(f"'{path}' is not a readable image: {error}.") from error


def read_regular_file(path: Path, max_bytes: int) -> bytes:
    """Content of a file; ImageError for what is no regular file, too large or not readable."""
    try:
        if regular_file_size(path) > max_bytes:
            raise ImageError(f"'{path}' has more than {max_bytes:,} bytes: too large for an image.")
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"Cannot read '{path}': {error.strerror}.") from error


def regular_file_size(path: Path) -> int:
    """Bytes of a file; ImageError for what is no regular file: opening a pipe would wait for ever."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise ImageError(f"'{path}' is not a regular file: pass an image.")
    return status.st_size


def check_image_header(path: Path, image: Image.Image, reading: ReadingOptions) -> None:
    """ImageError for what must not be decoded: too many pixels or a side too long, or several pages."""
    if image.width * image.height > reading.max_pixels:
        raise ImageError(
            f"'{path}' has {image.width} x {image.height} pixels, more than --max-pixels "
            f"{reading.max_pixels}: scale it down or raise the limit."
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


def read_mask(path: Path, reading: ReadingOptions = ReadingOptions()) -> np.ndarray:
    """A mask file as booleans (height, width): True is tumor.

    The file holds 0 and one other value (0/1 or 0/255); anything else raises ImageError.
    """
    pixels = read_image(path, reading)
    mask = pixels > 0
    # 25 times faster than unique, of which the message alone has need.
    if np.count_nonzero(mask) > np.count_nonzero(pixels == max(1, pixels.max())):
        raise ImageError(
            f"'{path}' holds {len(np.unique(pixels))} grey values: a mask is 0 and one other, saved as PNG."
        )
    return mask
