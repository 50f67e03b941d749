"""The one reader of image files and the one writer of results: whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

from unet.errors import UserError
from unet.images.reading import IMAGE_SUFFIXES


def find_files(
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
