"""Download a data set from Kaggle, check it, and unpack it into data/.

    python -m unet.data.download             the published data set, as train.py does if it is missing
    python -m unet.data.download --no-tumor  images without a tumor, into data/no-tumor/
    python -m unet.data.download --keep-zip  also keeps the archive, next to the folder

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
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from unet.command_line import run
from unet.errors import UserError
from unet.files import only_process_in, write_json
from unet.images.folders import find_files
from unet.options import DownloadOptions


@dataclass(frozen=True)
class KaggleSet:
    """A data set on Kaggle, and which of its files are unpacked."""

    slug: str
    folder: Path  # where it is unpacked
    images: int
    has_masks: bool  # in masks/, next to images/; otherwise, only images in folders named notumor are unpacked
    sha256: str | None = None  # of the archive; None, until the first release records it, accepts any

    def target(self, member: str) -> str | None:
        """Path at which a file of the archive is unpacked; None if it is not."""
        if self.has_masks:
            return member
        path = PurePosixPath(member)
        # The other folders contain copies of slices of the published set, even of its test patients.
        if not any(path.match(f"{part}/notumor/*.jpg") for part in ("Training", "Testing")):
            return None
        return f"images/{path.parts[-3].lower()}-{path.name}"


PUBLISHED = KaggleSet("nikhilroxtomar/brain-tumor-segmentation", Path("data/brain-tumor-segmentation"), 3064, True)
NO_TUMOR = KaggleSet("masoudnickparvar/brain-tumor-mri-dataset", Path("data/no-tumor"), 2000, False)
MAX_BYTES = 4 * 2**30
SECONDS_WITHOUT_A_BYTE = 90
ATTEMPTS = 2
TOKEN = "create a token at https://www.kaggle.com/settings/api and set it as KAGGLE_API_TOKEN,"


def download(dataset: KaggleSet = PUBLISHED, keep_zip: bool = False) -> None:
    """Download, check and unpack a data set, all of it or nothing. Does nothing if its folder exists.
    UserError if the download fails, the archive is not as expected, or the disk is full or not writable."""
    folder, sha256 = dataset.folder, dataset.sha256
    if folder.exists():
        return
    partial = folder.parent / f".{folder.name}.download"
    with only_process_in(partial):
        for _ in range(ATTEMPTS):
            archive = fetch(partial, dataset)
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
        unpack(archive, dataset)
        write_json(folder / "download.json", {"dataset": dataset.slug, "sha256": digest, "images": dataset.images})
        if keep_zip:
            os.replace(archive, folder.with_suffix(".zip"))
    shutil.rmtree(partial)


def other_ways(dataset: KaggleSet) -> str:
    """What a user can do instead of downloading."""
    page = f"https://www.kaggle.com/datasets/{dataset.slug}"
    if dataset.has_masks:
        return f"download {page} yourself and unpack it there, or use --data phantom."
    return f"download {page} yourself and put the images of its notumor folders there, or leave out --no-tumor."


def fetch(partial: Path, dataset: KaggleSet) -> Path:
    """Download the archive into `partial` and return its path; UserError if the client fails or receives nothing."""
    folder = dataset.folder
    archive = partial / f"{dataset.slug.partition('/')[2]}.zip"
    # A process of its own can be stopped if the server stalls, and its output stays off the terminal.
    command = [sys.executable, "-m", "kaggle", "datasets", "download", dataset.slug, "-q", "-p", partial]
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
                        f"Try again to continue where it stopped, {other_ways(dataset)}"
                    )
        finally:
            client.kill()
            client.wait()
        output.seek(0)
        text = output.read().decode(errors="replace")
    if client.returncode or not archive.exists():
        raise UserError(f"Cannot download into '{folder}': {reason_of(text)} {other_ways(dataset)}")
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


def unpack(archive: Path, dataset: KaggleSet) -> None:
    """Unpack a data set into its folder, all or nothing; UserError if the archive is unsafe or damaged."""
    folder = dataset.folder
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpacking-") as temporary:
        inside = Path(temporary) / "set"
        try:
            with zipfile.ZipFile(archive) as content:
                members = content.infolist()
                check_members(archive, members)
                for member in tqdm(members, "Unpacking", unit="file", disable=None):
                    if target := dataset.target(member.filename):
                        member.filename = target
                        content.extract(member, inside)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            archive.unlink()
            raise UserError(f"The downloaded archive is damaged ({error}) and has been deleted: try again.") from error
        except OSError as error:
            raise UserError(f"Cannot unpack into '{folder}': {error.strerror}.") from error
        if dataset.has_masks:
            inside = find_pairs_in(inside, dataset.images)
        else:
            check_images_in(inside, dataset.images)
        os.rename(inside, folder)


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


def check_images_in(unpacked: Path, count: int) -> None:
    """UserError if the number of images without a tumor is not as expected."""
    found = len(find_files(unpacked)) if unpacked.exists() else 0
    if found != count:
        raise UserError(
            f"The archive contains {found} images in folders named notumor, not {count}: the data set on Kaggle has "
            "changed. Unpack only these folders yourself and name them with --no-tumor."
        )


def find_pairs_in(unpacked: Path, pairs: int) -> Path:
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
    run(
        DownloadOptions,
        __doc__,
        lambda options: download(NO_TUMOR if options.no_tumor else PUBLISHED, options.keep_zip),
        uses_tensorflow=False,
    )
