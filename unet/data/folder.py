"""The folder that --data names: downloaded or simulated first if necessary."""

from pathlib import Path

from unet.data.download import FOLDER, download
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
    if folder == FOLDER:
        download()
    if not folder.is_dir():
        raise UserError(
            f"The data folder '{folder}' does not exist: create it with images/ and masks/, name another one "
            "with --data, or try --data phantom."
        )
    return folder
