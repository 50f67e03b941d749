"""Download the published data set from Kaggle, check it, and unpack it into data/brain-tumor-segmentation/.

    python -m unet.data.download             what train.py does if the data set is missing
    python -m unet.data.download --keep-zip  also keeps the archive, next to that folder

An interrupted download continues where it stopped.
"""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from unet.command_line import run
from unet.errors import UserError
from unet.files import only_process_in, write_json
from unet.images.folders import find_files
from unet.options import DownloadOptions

DATASET = "nikhilroxtomar/brain-tumor-segmentation"
FOLDER = Path("data") / DATASET.partition("/")[2]
PAIRS = 3064
SHA256: str | None = None  # of the archive; None, until the first release records it, accepts any
MAX_BYTES = 4 * 2**30
SECONDS_WITHOUT_A_BYTE = 90
ATTEMPTS = 2
TOKEN = "create a token at https://www.kaggle.com/settings/api and set it as KAGGLE_API_TOKEN,"
OTHER_WAYS = f"download https://www.kaggle.com/datasets/{DATASET} yourself and unpack it there, or use --data phantom."


def download(folder: Path = FOLDER, pairs: int = PAIRS, sha256: str | None = SHA256, keep_zip: bool = False) -> None:
    """Download, check and unpack the data set, all of it or nothing. Does nothing if the folder exists.
    UserError if the download fails, the archive is not as expected, or the disk is full or not writable."""
    if folder.exists():
        return
    partial = folder.parent / f".{folder.name}.download"
    with only_process_in(partial):
        for _ in range(ATTEMPTS):
            archive = fetch(partial, folder)
            with open(archive, "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            if sha256 in (None, digest):
                break
            archive.unlink()
        else:
            raise UserError(
                f"The archive from Kaggle has the hash {digest[:16]}..., not {sha256[:16]}...: it was damaged on the "
                "way, or the data set has changed. Try again later."
            )
        unpack(archive, folder, pairs)
        write_json(folder / "download.json", {"dataset": DATASET, "sha256": digest, "pairs": pairs})
        if keep_zip:
            os.replace(archive, folder.with_suffix(".zip"))
    shutil.rmtree(partial)


def fetch(partial: Path, folder: Path) -> Path:
    """Download the archive into `partial` and return its path; UserError if the client fails or receives nothing."""
    archive = partial / f"{FOLDER.name}.zip"
    # A process of its own can be stopped if the server stalls, and its output stays off the terminal.
    command = [sys.executable, "-m", "kaggle", "datasets", "download", DATASET, "-q", "-p", partial]
    with tempfile.TemporaryFile() as output, tqdm(desc="Downloading", unit="B", unit_scale=True, disable=None) as bar:
        client = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            last_byte = time.monotonic()
            while client.poll() is None:
                time.sleep(0.1)
                size = archive.stat().st_size if archive.exists() else 0
                if size != bar.n:
                    last_byte = time.monotonic()
                    bar.update(size - bar.n)
                if time.monotonic() > last_byte + SECONDS_WITHOUT_A_BYTE:
                    raise UserError(
                        f"Cannot download into '{folder}': Kaggle has sent nothing for {SECONDS_WITHOUT_A_BYTE} s. "
                        f"Try again to continue where it stopped, {OTHER_WAYS}"
                    )
        finally:
            client.kill()
            client.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if client.returncode or not archive.exists():
        raise UserError(f"Cannot download into '{folder}': {reason_of(text)} {OTHER_WAYS}")
    return archive


def reason_of(output: str) -> str:
    """Why the client failed and a remedy, in our own words: its output might contain the token."""
    reasons = {
        "401 Client Error": f"Kaggle rejects the token (401): {TOKEN}",
        "403 Client Error": f"Kaggle requires a token, or rejects this one (403): {TOKEN}",
        "404 Client Error": "Kaggle cannot find the data set (404):",
        "No space left": "the disk is full: free some space,",
        "No module named kaggle": "the kaggle package is missing: pip install -r requirements.txt,",
        "": "Kaggle cannot be reached, or it closed the connection: check the network and try again,",
    }
    return next(reason for text, reason in reasons.items() if text in output)


def unpack(archive: Path, folder: Path, pairs: int) -> None:
    """Unpack images/ and masks/ into a new folder, all or nothing; UserError if the archive is unsafe or damaged."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as temporary:
        inside = Path(temporary) / "set"
        try:
            with zipfile.ZipFile(archive) as content:
                members = content.infolist()
                check_members(archive, members)
                for member in tqdm(members, "Unpacking", unit="file", disable=None):
                    content.extract(member, inside)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            archive.unlink()
            raise UserError(f"The downloaded archive is damaged ({error}) and has been deleted: try again.") from error
        except OSError as error:
            raise UserError(f"Cannot unpack into '{folder}': {error.strerror}.") from error
        os.rename(find_set(inside, pairs), folder)


def check_members(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """UserError if an archive would write outside its folder, or more than MAX_BYTES."""
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        if parts.is_absolute() or ".." in parts.parts or is_link or ":" in member.filename:
            raise UserError(
                f"'{archive}' contains '{member.filename}', which points outside the archive: delete it and try again."
            )
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES:
        raise UserError(
            f"'{archive}' would unpack to {total / 2**30:.0f} GiB, more than the {MAX_BYTES / 2**30:.0f} GiB allowed: "
            "delete it and try again."
        )


def find_set(unpacked: Path, pairs: int) -> Path:
    """The folder with images/ and masks/ in an unpacked archive; UserError if it is not the whole data set."""
    for images in sorted(unpacked.rglob("images")):
        root = images.parent
        ids = {path.stem for path in find_files(images)}
        if len(ids) == pairs and ids == {path.stem for path in find_files(root / "masks")}:
            return root
    raise UserError(
        f"The archive does not contain {pairs} images and {pairs} masks of the same names: the data set on Kaggle has "
        "changed. Unpack it yourself and name its folder with --data."
    )


if __name__ == "__main__":
    run(DownloadOptions, __doc__, lambda options: download(keep_zip=options.keep_zip), uses_tensorflow=False)
