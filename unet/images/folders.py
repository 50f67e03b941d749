"""Find files in a folder by their suffixes."""

import os
from collections.abc import Callable
from pathlib import Path

from unet.errors import UserError
from unet.images.reading import IMAGE_SUFFIXES


def find_files(
    folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES, also: Callable[[Path], bool] = lambda path: False
) -> list[Path]:
    """Files in a folder and its subfolders that have one of the suffixes, or for which `also` is true, sorted.
    Links to folders are not followed. UserError if a folder cannot be read."""

    def refuse(error: OSError) -> None:
        raise UserError(f"Cannot read the folder '{error.filename}': {error.strerror}.") from error

    return sorted(
        Path(parent) / name
        for parent, _, names in os.walk(folder, onerror=refuse)
        for name in names
        if name.lower().endswith(suffixes) or also(Path(parent) / name)
    )


def without_suffix(name: str) -> str:
    """A file name without its suffix, such as .png or .nii.gz."""
    root, suffix = os.path.splitext(name)
    return os.path.splitext(root)[0] if suffix.lower() == ".gz" else root
