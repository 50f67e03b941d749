"""A folder of images and masks -> checked pixels in memory -> batches by tf.data.

The folder holds images/ and masks/ with equal names (Kaggle's layout); sizes may differ between pairs.
Files are images, or NIfTI volumes, of which every slice is a pair.
"""

from pathlib import Path

from unet.data.download import FOLDER, download
from unet.data.phantoms import write_phantoms
from unet.errors import UserError


def data_folder(data: str) -> Path:
    """The folder that --data names; the default is downloaded, 'phantom' made, where it is not there yet."""
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
            f"No data in '{folder}': put images/ and masks/ there (README, 'The real data'), "
            "name another folder with --data, or try --data phantom."
        )
    return folder
