"""Read an image file as grey pixels."""

import io
import os
import stat
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from kornia_rs.io import decode_image_png_u8
from PIL import Image, ImageOps, UnidentifiedImageError

from unet.errors import ImageError, UserError
from unet.images.preprocessing import to_8_bits
from unet.options import ReadingOptions

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".npy")
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP")  # in Pillow's words; arrays (.npy) are read with numpy
DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")  # Pillow's words for more than 8 bits
TIFF_BITS, TIFF_PHOTOMETRIC = 258, 262  # tags
LONGEST_SIDE = 65_500  # of a JPEG, which overlays are
ORIENTATION_CHUNKS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # of a PNG that may contain an orientation
Image.MAX_IMAGE_PIXELS = None  # Pillow's limit only warns; check_image_header's is strict
# Pillow warns about damaged metadata even if the pixels are intact.
warnings.filterwarnings("ignore", module="PIL")


def read_image(path: Path, reading: ReadingOptions = ReadingOptions()) -> np.ndarray:
    """Pixels of an image file, grey uint8 (height, width), rotated to its EXIF orientation.

    Color becomes luminance or one channel, transparency is dropped, 1-bit grey becomes 0 and 255, and grey values of
    more than 8 bits are scaled by percentiles, like volumes. ImageError if the file is not a readable image of one
    page, or its header declares too many pixels.
    """
    return decode(path, reading, lambda image: to_grey(path, image, reading.channel))


def decode(path: Path, reading: ReadingOptions, convert: Callable[[Image.Image], np.ndarray]) -> np.ndarray:
    """convert(image) for the image in a file, rotated to its EXIF orientation; ImageError as for read_image."""
    content = read_regular_file(path, 8 * reading.max_pixels)
    try:
        with open_array(path, content) or Image.open(io.BytesIO(content), formats=FORMATS) as image:
            check_image_header(path, image, reading)
            if (pixels := decode_grey_png(content, image)) is not None:
                return convert(Image.fromarray(pixels))
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            return convert(image)
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"'{path}' is not a readable image: it is empty, damaged or not an image.") from error
    except Exception as error:  # Pillow raises many kinds of errors for damaged files
        raise ImageError(f"'{path}' is not a readable image: {error}.") from error


def open_array(path: Path, content: bytes) -> Image.Image | None:
    """The image in the content of a .npy file; None for any other file. ImageError if it is not an image."""
    if not content.startswith(b"\x93NUMPY"):
        return None
    pixels = np.load(io.BytesIO(content), allow_pickle=False)
    if not pixels.size or pixels.dtype.kind not in "biuf":
        raise ImageError(f"'{path}' is an array of {pixels.dtype} {pixels.shape}, which is not an image: leave it out.")
    if pixels.ndim != 2 and not (pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] in (3, 4)):
        raise ImageError(
            f"'{path}' is a {pixels.dtype} array of shape {pixels.shape}: save each slice as an array (height, width)."
        )
    if pixels.dtype not in (bool, np.uint8):
        pixels = pixels.astype(np.float32)
    return Image.fromarray(pixels)


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
    if has_deep_channels(image):
        raise ImageError(
            f"'{path}' has several channels with 16 bits each, but only 8 bits of each can be read: save it in grey "
            "with 16 bits, or in color with 8 bits."
        )
    # A phone's JPEG may contain a second picture (MPO). Viewers show the first.
    if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
        raise ImageError(
            f"'{path}' has {image.n_frames} pages: save each as a separate image, for example with ImageMagick: magick "
            f"'{path}' '{path.with_suffix('')}-%03d.png'."
        )


def has_deep_channels(image: Image.Image) -> bool:
    """Whether an image, not decoded yet, has several channels of more than 8 bits, which Pillow would cut off."""
    if image.mode in DEEP_MODES:
        return False
    if image.format == "PNG":
        return any("16" in str(tile[3]) for tile in image.tile)
    return image.format == "TIFF" and max(image.tag_v2.get(TIFF_BITS, (8,))) > 8


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


def to_grey(path: Path, image: Image.Image, channel: str | None) -> np.ndarray:
    """uint8 (height, width) of a decoded image; of colors, a channel, or the luminance for "grey" or None."""
    if image.mode in DEEP_MODES:
        values = without_nan(path, np.array(image, np.float32))
        is_inverted = image.format == "TIFF" and image.tag_v2.get(TIFF_PHOTOMETRIC) == 0  # white is zero
        return to_8_bits(values.max() - values if is_inverted else values)
    if image.mode not in ("1", "L", "LA", "RGB", "RGBA"):
        image = image.convert("RGB")
    if channel in ("red", "green", "blue") and image.mode in ("RGB", "RGBA"):
        return np.asarray(image.getchannel(channel[0].upper()))
    return np.asarray(image if image.mode == "L" else image.convert("L"))


def without_nan(path: Path, values: np.ndarray) -> np.ndarray:
    """Grey values, changed in place: NaN counts as background. ImageError if any is infinite, or all are NaN."""
    is_nan = np.isnan(values)
    if is_nan.all() or np.isinf(values).any():
        raise ImageError(f"'{path}' has values that are infinite, or only NaN: replace them with numbers.")
    values[is_nan] = values[~is_nan].min()
    return values
