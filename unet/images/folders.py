"""Find files in a folder by their suffixes."""

import os
from collections import Counter
from collections.abc import Callable, Container, Iterable
from pathlib import Path

from unet.errors import UserError
from unet.images.dicom import is_dicom
from unet.images.nifti import VOLUME_SUFFIXES, is_volume
from unet.images.reading import IMAGE_SUFFIXES

SUFFIXES = IMAGE_SUFFIXES + VOLUME_SUFFIXES
PREDICTION = "prediction.json"  # in every folder that predict.py writes
MASK_ENDINGS = ("_seg", "-seg", "_mask", "-mask")  # of names
MASK_FOLDERS = ("masks", "labels", "annotations")
LABELS_OF = {"images": MASK_FOLDERS, "imagestr": ("labelstr",)}  # folders of masks beside a folder of images


def find_files(
    folder: Path, suffixes: tuple[str, ...] = IMAGE_SUFFIXES, also: Callable[[Path], bool] = lambda path: False
) -> list[Path]:
    """Files in a folder and its subfolders that have one of the suffixes, or for which `also` is true, sorted.
    Links to folders are followed, but no folder is read twice. UserError if a folder cannot be read."""

    def refuse(error: OSError) -> None:
        raise UserError(f"Cannot read the folder '{error.filename}': {error.strerror}.") from error

    found, seen, top = [], set(), os.path.realpath(folder)
    roots = [os.fspath(folder)]  # the folder, then links: a folder is found in its own place first
    while roots:
        for parent, folders, names in os.walk(roots.pop(0), onerror=refuse):
            real = os.path.realpath(parent)
            if real in seen or (real != top and top.startswith(os.path.join(real, ""))):
                folders.clear()  # read already, or it contains this folder
                continue
            seen.add(real)
            roots += sorted(path for name in folders if os.path.islink(path := os.path.join(parent, name)))
            found += [Path(parent) / name for name in names]
    found = [path for path in found if not path.name.startswith("._")]  # macOS keeps other things in these
    return sorted(path for path in found if path.name.lower().endswith(suffixes) or also(path))


def without_suffix(name: str) -> str:
    """A file name without its suffix, such as .png or .nii.gz."""
    root, suffix = os.path.splitext(name)
    return os.path.splitext(root)[0] if suffix.lower() == ".gz" else root


def is_image_or_scan(path: Path) -> bool:
    """Whether a file is an image or a scan, by its suffix, or by its first bytes if DICOM files may lack one."""
    return path.name.lower().endswith(SUFFIXES) or is_dicom(path)


def is_unknown(path: Path) -> bool:
    """Whether a file is neither an image nor a scan, nor hidden, nor the patients table."""
    is_expected = path.name.startswith(".") or path.name == "patients.csv"
    return not (is_expected or is_image_or_scan(path))


def counts_by_suffix(paths: list[Path]) -> str:
    """How many files have each suffix, in words."""
    counts = Counter(path.name.removeprefix(without_suffix(path.name)).lower() for path in paths)
    return ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in counts.most_common()) or "no files"


def is_named_mask(path: Path, names: Container[str] = ()) -> bool:
    """Whether a file is a mask by its name. A NIfTI or DICOM file is one if its name ends like one, as in BraTS; an
    image, if that of its image is also among these names: paths without suffix."""
    name = without_suffix(path.as_posix())
    ending = next((ending for ending in MASK_ENDINGS if name.lower().endswith(ending)), None)
    return bool(ending) and (is_volume(path) or is_dicom(path) or name[: -len(ending)] in names)


def folders_of_masks(files: Iterable[Path], top: Path) -> set[Path]:
    """The folders below `top` that contain some of these files and, by their names, the masks of images beside them."""
    parents = {file.parent for file in files}
    found = set()
    for folder in {one for parent in parents for one in (parent, *parent.parents) if top in one.parents}:
        images = next((name for name, masks in LABELS_OF.items() if folder.name.lower() in masks), None)
        if images and any(child.name.lower() == images for child in folder.parent.iterdir()):
            found.add(folder)
    return found
