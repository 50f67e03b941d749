"""The published data set from Kaggle, checked and unpacked: data/brain-tumor-segmentation/.

    python -m unet.data.download             what train.py does where the data are not there
    python -m unet.data.download --keep-zip  keeps the archive beside them

The real kaggle client downloads, in a process of its own: it can be stopped when a server stalls, and what
it prints stays off the terminal. A download that was cut off goes on where it stopped.
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
# Of the archive; None until the first release has recorded it: then every download is held against it.
SHA256: str | None = None
MAX_BYTES = 4 * 2**30
SECONDS_WITHOUT_A_BYTE = 90
ATTEMPTS = 2
OTHER_WAYS = (
    f"Place the unpacked set of https://www.kaggle.com/datasets/{DATASET} there, set a token of "
    "https://www.kaggle.com/settings/api as KAGGLE_API_TOKEN, or try --data phantom."
)


def download(folder: Path = FOLDER, pairs: int = PAIRS, sha256: str | None = SHA256, keep_zip: bool = False) -> None:
    """Fetch, check and unpack the data set into `folder`, whole or not at all; nothing if it is there.

    Raises UserError, naming the mend, where the server, the archive or the disk do not allow it.
    """
    if folder.exists():
        return
    partial = folder.parent / f".{folder.name}.download"
    with only_process_in(partial):
        for attempt in range(ATTEMPTS):
            archive = fetch(partial, folder)
            digest = hash_of(archive)
            if sha256 in (None, digest):
                break
            # Once more: it may have been damaged on its way.
            archive.unlink()
            if attempt + 1 == ATTEMPTS:
                raise UserError(
                    f"The archive that Kaggle sent has the hash {digest[:16]}..., not {sha256[:16]}...: "
                    "the set has changed, or was damaged on its way. Try again later."
                )
        unpack(archive, folder, pairs)
        write_json(folder / "download.json", {"dataset": DATASET, "sha256": digest, "pairs": pairs})
        if keep_zip:
            os.replace(archive, folder.with_suffix(".zip"))
    shutil.rmtree(partial)


def fetch(partial: Path, folder: Path) -> Path:
    """The archive, downloaded into `partial`; UserError where Kaggle's client fails or gets nothing."""
    archive = partial / f"{FOLDER.name}.zip"
    command = [sys.executable, "-m", "kaggle", "datasets", "download", DATASET, "-q", "-p", partial]
    with (
        tempfile.TemporaryFile() as said,
        tqdm(desc="Downloading", unit="B", unit_scale=True, disable=None) as bar,
    ):
        client = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
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
                        f"Kaggle has sent nothing for {SECONDS_WITHOUT_A_BYTE} s: try again, it goes on "
                        f"where it stopped. {OTHER_WAYS}"
                    )
        finally:
            client.kill()
            client.wait()
        said.seek(0)
        answer = said.read().decode(errors="replace")
    if client.returncode or not archive.exists():
        raise UserError(f"Cannot download into '{folder}': {reason_of(answer)} {OTHER_WAYS}")
    return archive


def reason_of(answer: str) -> str:
    """What Kaggle's client said, in a sentence of ours: its own words might hold a secret."""
    for code, reason in {
        "401 Client Error": "Kaggle refuses the token (401).",
        "403 Client Error": "Kaggle wants a token, or refuses this one (403).",
        "404 Client Error": "Kaggle does not find the set (404).",
        "No space left": "the disk is full.",
        "No module named kaggle": "the package kaggle is missing (pip install -r requirements.txt).",
    }.items():
        if code in answer:
            return reason
    return "Kaggle cannot be reached, or has cut the connection."


def hash_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unpack(archive: Path, folder: Path, pairs: int) -> None:
    """Unpack images/ and masks/ of an archive into a new folder, whole or not at all; UserError if unsafe."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as temporary:
        inside = Path(temporary) / "set"
        try:
            with zipfile.ZipFile(archive) as content:
                members = content.infolist()
                check_members(archive, members)
                for member in tqdm(members, "Unpacking", unit="file", disable=None):
                    content.extract(member, inside)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            archive.unlink()
            raise UserError(f"The archive is damaged ({error}): try again.") from error
        except OSError as error:
            raise UserError(f"Cannot unpack into '{folder}': {error.strerror}.") from error
        os.rename(find_set(inside, pairs), folder)


def check_members(archive: Path, members: list[zipfile.ZipInfo]) -> None:
    """UserError for an archive that would write elsewhere, or too much."""
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        is_link = stat.S_ISLNK(member.external_attr >> 16)
        if parts.is_absolute() or ".." in parts.parts or is_link or ":" in member.filename:
            raise UserError(f"'{archive}' holds '{member.filename}', which points elsewhere: refused.")
    total = sum(member.file_size for member in members)
    if total > MAX_BYTES:
        raise UserError(f"'{archive}' would unpack to {total / 2**30:.0f} GiB: refused.")


def find_set(unpacked: Path, pairs: int) -> Path:
    """The folder of an unpacked archive with images/ and masks/; UserError if it is not the whole set."""
    for images in sorted(unpacked.rglob("images")):
        root = images.parent
        ids = {path.stem for path in find_files(images)}
        if len(ids) == pairs and ids == {path.stem for path in find_files(root / "masks")}:
            return root
    raise UserError(
        f"The archive does not hold {pairs} images and as many masks of equal names: the set on Kaggle has changed."
    )


if __name__ == "__main__":
    run(DownloadOptions, __doc__, lambda options: download(keep_zip=options.keep_zip), uses_tensorflow=False)
