"""The folders that --data and --no-tumor name: downloaded or simulated first if necessary."""

import os
from pathlib import Path

from unet.data.download import NO_TUMOR, PUBLISHED, download
from unet.data.phantoms import write_phantoms
from unet.errors import UserError


def data_folder(data: str) -> Path:
    """The data folder that --data names; UserError if it does not exist, or cannot be downloaded or written."""
    if data == "phantom":
        folder = Path("data/phantom")
        try:
            if not folder.exists():
                write_phantoms(folder)
        except OSError as error:
            raise UserError(f"Cannot write '{folder}': {error.strerror}.") from error
        return folder
    folder = Path(data)
    if folder == PUBLISHED.folder:
        download()
    check_folder(folder, "create it with images/ and masks/, name another one with --data, or try --data phantom")
    return folder


def no_tumor_folders(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """The folders that --no-tumor names; UserError if one does not exist, or cannot be downloaded."""
    for folder in folders:
        if folder == NO_TUMOR.folder:
            download(NO_TUMOR)
        check_folder(
            folder,
            "name a folder of images without a tumor with --no-tumor; python -m unet.data.download --no-tumor "
            f"downloads one into '{NO_TUMOR.folder}'",
        )
    names = [folder.resolve().name for folder in folders]
    if repeated := [folder for folder, name in zip(folders, names, strict=True) if names.count(name) > 1]:
        paths = "' and '".join(map(str, repeated[:2]))
        raise UserError(f"'{paths}' have the same name, which starts the ids of their images: rename one of them.")
    return folders


def check_folder(folder: Path, remedy: str) -> None:
    """UserError with a remedy if there is no such folder, or it is inside one that may not be entered."""
    # Unlike those of pathlib, these functions raise no error if permission is denied.
    if not os.path.isdir(folder):
        state = "is not a folder" if os.path.exists(folder) else "does not exist or is not accessible"
        raise UserError(f"The folder '{folder}' {state}: {remedy}.")
