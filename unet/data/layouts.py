"""Layouts of data folders: where the image and the mask of each id are, and its patient and split if folders say so."""

import difflib
import os
import re
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from unet.errors import UserError
from unet.files import is_utf8
from unet.images.dicom import is_dicom
from unet.images.folders import MASK_FOLDERS, SUFFIXES, counts_by_suffix, find_files, is_unknown, without_suffix
from unet.images.nifti import is_volume
from unet.options import LayoutName, PairingOptions

IMAGES, MASKS = "images", "masks"
KINDS = {IMAGES: MASKS, MASKS: IMAGES}  # and the other one
FOLDERS_OF_SPLIT = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
SPLIT_OF_FOLDER = {name: split for split, names in FOLDERS_OF_SPLIT.items() for name in names}
LOSSLESS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".npy")
TIME_POINT = re.compile(r"(BraTS-\w+-\d+)-\d+", re.IGNORECASE)  # of a patient in BraTS since 2023


@dataclass(frozen=True)
class Part:
    """A folder of images and one of masks, maybe the same, and how their files are named after the id.

    Names are without suffixes, such as "{id}_mask". {case} is the last part of the id.
    """

    images: Path
    masks: Path
    image_name: str = "{id}"
    mask_name: str = "{id}"
    prefix: str = ""  # of ids
    split: str = ""

    def location(self, kind: str) -> tuple[Path, str]:
        """Folder and names of the images or masks."""
        return (self.images, self.image_name) if kind == IMAGES else (self.masks, self.mask_name)

    def path_of(self, kind: str, id: str) -> str:
        """Path of the image or mask of an id, without suffix."""
        folder, name = self.location(kind)
        return (folder / name.format(id=id.removeprefix(self.prefix), case=os.path.basename(id))).as_posix()

    def sources(self) -> dict[str, dict[Path, str]]:
        """The images and the masks, each with its id; "" if a file is not named like one."""
        found: dict[str, dict[Path, str]] = {}
        for kind in KINDS:
            folder, name = self.location(kind)
            pattern, images = as_pattern(name), set(found.get(IMAGES, {}).values())
            matches = {path: pattern.fullmatch(stem) for path, stem in find_sources(folder, images).items()}
            found[kind] = {path: match["id"] if match else "" for path, match in matches.items()}
        if self.images == self.masks:  # contains other files as well
            found[MASKS] = {path: id for path, id in found[MASKS].items() if id}
            found[IMAGES] = {path: id for path, id in found[IMAGES].items() if id and path not in found[MASKS]}
        return found


@dataclass
class Layout:
    """The files of a data folder, by id and kind (IMAGES or MASKS)."""

    name: str
    folder: Path
    parts: list[Part]
    files: dict[str, dict[str, Path]] = field(default_factory=dict)
    part_of: dict[str, Part] = field(default_factory=dict)  # by id
    problems: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, name: str, folder: Path, parts: list[Part]) -> "Layout":
        """The layout of this name, with all files of these parts of a data folder."""
        layout = cls(name, folder, parts)
        for part in parts:
            for kind, sources in part.sources().items():
                # Names that differ only in case belong together, unless one is the same.
                same = {id.casefold(): id for id in layout.files}
                for path, id in sources.items():
                    full = part.prefix + id
                    full = full if full in layout.files else same.get(full.casefold(), full)
                    if not id:
                        problem = misnamed(path, part.location(kind)[1].format(id="NAME"))
                    else:
                        problem = name_problem(path, full) or (place_problem(path) if kind == IMAGES else "")
                    if not problem and layout.files.setdefault(full, {}).setdefault(kind, path) != path:
                        other = layout.files[full][kind]
                        problem = f"'{path}' and '{other}' have the same name: rename one of them."
                    if problem:
                        layout.problems.append(problem)
                    layout.part_of.setdefault(full, part)
        return layout

    @property
    def complete(self) -> list[str]:
        """Ids with an image and a mask, in numeric order: 9 before 10."""
        ids = (id for id, found in self.files.items() if len(found) == 2)
        return sorted(ids, key=lambda id: (int(id) if id.isdecimal() else -1, id))

    def splits(self) -> dict[str, str]:
        """Split of each complete id: that of the folder that contains it; "" if folders are not splits."""
        if self.name.startswith("split/"):
            return {id: self.part_of[id].split for id in self.complete}
        splits = self.top_folder_splits()
        is_known = len(set(splits.values())) > 1 and all(splits.values())
        return splits if is_known else dict.fromkeys(splits, "")

    def top_folder_splits(self) -> dict[str, str]:
        """Split that the first folder of each complete id is named after, or ""."""
        return {id: SPLIT_OF_FOLDER.get(id.partition("/")[0].lower(), "") for id in self.complete}

    def without_split(self) -> list[str]:
        """A message about the first image outside of train/, val/ and test/, if others are in at least two of these."""
        splits = {} if self.name.startswith("split/") else self.top_folder_splits()
        kinds = [split for split in FOLDERS_OF_SPLIT if split in splits.values()]
        if len(kinds) < 2 or all(splits.values()):
            return []
        first = next(id for id, split in splits.items() if not split)
        others = " and ".join(f"{split}/" for split in kinds)
        return [
            f"'{self.files[first][IMAGES]}' is in no split, but other images are in {others}: move it into one of them."
        ]

    def patients(self) -> dict[str, str]:
        """Patient of each complete id: the case, or the first folder that differs; "" if unknown."""
        if self.name == "cases":
            names = {id: os.path.basename(id) for id in self.complete}
            return {id: found[1] if (found := TIME_POINT.fullmatch(name)) else name for id, name in names.items()}
        below_split = {id: id.partition("/")[2] if split else id for id, split in self.splits().items()}
        parents = {id: path.split("/")[:-1] for id, path in below_split.items()}
        shared = len(os.path.commonprefix(list(parents.values())))
        folders = {id: "/".join(names[: shared + 1]) for id, names in parents.items()}
        is_known = self.name == "beside" and all(folders.values()) and len(set(folders.values())) > 1
        return folders if is_known else dict.fromkeys(folders, "")

    def describe(self) -> str:
        """The layout in one line."""
        counts = Counter(self.part_of[id] for id in self.complete)
        texts = []
        for part in self.parts:
            images, masks = (
                (root.relative_to(self.folder) / (name if root == self.folder else "")).as_posix()
                for root, name in map(part.location, KINDS)
            )
            texts.append(f"{images} with {masks}: {counts[part]} pairs".format(id="NAME", case="NAME"))
        folders = set(filter(None, self.patients().values()))
        return ", ".join(texts) + (f" of {len(folders)} patients, by their folders" if folders else "")

    def unpaired(self) -> list[str]:
        """One message per file without a partner. The first ten, which are shown, name the nearest candidate."""
        alone = {kind: [id for id, found in self.files.items() if [*found] == [kind]] for kind in KINDS}
        problems = []
        for id, found in self.files.items():
            if len(found) == 1:
                [(kind, path)] = found.items()
                missing = KINDS[kind]
                expected = self.part_of[id].path_of(missing, id).removeprefix(f"{self.folder.as_posix()}/")
                names = " or ".join(f"'{expected}{suffix}'" for suffix in expected_suffixes(missing, path))
                hint = self.nearest(id, missing, alone[missing]) if len(problems) < 10 else "."
                problems.append(f"No {missing[:-1]} for '{path}': expected {names}{hint}")
        return problems

    def nearest(self, id: str, missing: str, others: list[str]) -> str:
        """The end of a sentence: the file that may be the missing partner of an id, and the option that pairs them."""
        for other in others:
            image, mask = (id, other) if missing == MASKS else (other, id)
            if re.fullmatch(re.escape(image) + "[^0-9A-Za-z/].*", mask, re.IGNORECASE):
                return f"; found '{self.files[other][missing]}': use --mask-suffix={mask[len(image) :]}?"
        # Other numbers are other images: their masks must not be mixed up.
        alike = [other for other in others if re.findall(r"\d+", other) == re.findall(r"\d+", id)]
        close = difflib.get_close_matches(id, alike, n=1, cutoff=0.75)
        return f"; found '{self.files[close[0]][missing]}': rename it?" if close else "."


def find_layout(folder: Path, options: PairingOptions) -> Layout:
    """The layout that fits a data folder, or that --layout names; UserError if none does, or several do."""
    if set(options.mask_suffix or "") & set("{}/"):
        raise UserError(f"--mask-suffix {options.mask_suffix} is invalid: give a suffix such as _mask.")
    layouts = find_layouts(folder, options)
    # Folders without a pair have a layout only if nothing else has. Images alone are not "beside" masks.
    fitting = [layout for layout in layouts if layout.complete] or [one for one in layouts if one.name != "beside"]
    if not fitting:
        expected = f"is not in the layout {options.layout}" if options.layout else "has no images/ with masks/"
        raise UserError(
            f"'{folder}' {expected}: it contains {counts_by_suffix(find_files(folder, ('',)))}. docs/your-data.md "
            "describes the layouts of a data folder; --mask-suffix=_seg finds NAME_seg beside NAME."
        )
    if len(fitting) > 1:
        texts = " or ".join(f"--layout {layout.name} ({layout.describe()})" for layout in fitting)
        raise UserError(f"'{folder}' fits several layouts: choose {texts}.")
    if fitting[0].name != MASKS:
        print(f"{fitting[0].describe()}.")
    for path, reason in left_out(folder, fitting[0]):
        print(f"Left out '{path}': {reason}.")
    roots = dict.fromkeys(root for part in fitting[0].parts for root in (part.images, part.masks))
    ignored = [path for root in roots for path in find_files(root, ("",)) if is_unknown(path)]
    if ignored:
        print(f"Ignored files of other types in '{folder}': {counts_by_suffix(ignored)}.")
    return fitting[0]


def find_layouts(folder: Path, options: PairingOptions) -> list[Layout]:
    """All layouts that a folder may have, or the one that --layout names, with and without files in them."""
    names = [options.layout] if options.layout else get_args(LayoutName)
    parts = {name: find_parts(name, folder, options.mask_suffix) for name in names}
    return [Layout.read(name, folder, found) for name, found in parts.items() if found]


def find_parts(name: str, folder: Path, mask_suffix: str | None) -> list[Part]:
    """The parts of a data folder if it has the layout of this name."""
    if name == "beside":
        return [Part(folder, folder, "{id}", "{id}" + (mask_suffix or "_mask"))]
    if name == "cases":
        ends = [("{id}/{case}" + mark + end, "{id}/{case}" + mark + "seg") for mark in "_-" for end in ("t1ce", "t1c")]
        stems = set(find_sources(folder).values())
        fits = [all(any(map(as_pattern(name).fullmatch, stems)) for name in names) for names in ends]
        return [Part(folder, folder, *names) for names, is_fit in zip(ends, fits, strict=True) if is_fit]
    mask_name = "{id}" + (mask_suffix or "")
    inside = subfolders(folder)
    if name == "nnunet":
        found = [inside.get("imagestr"), inside.get("labelstr")]
        return [Part(*found, "{id}_0000", mask_name)] if all(found) else []
    if name in MASK_FOLDERS:
        return [Part(inside[IMAGES], inside[name], "{id}", mask_name)] if {IMAGES, name} <= inside.keys() else []
    parts = []
    for split_folder, split in SPLIT_OF_FOLDER.items():
        found = subfolders(inside[split_folder]) if split_folder in inside else {}
        if {IMAGES, masks := name.removeprefix("split/")} <= found.keys():
            prefix = f"{inside[split_folder].name}/"
            parts.append(Part(found[IMAGES], found[masks], "{id}", mask_name, prefix, split))
    return parts


def left_out(folder: Path, layout: Layout) -> list[tuple[Path, str]]:
    """Folders of images that are not part of a layout, and why: test images often have no masks."""
    inside = subfolders(folder)
    if layout.name == "nnunet":
        return [(path, "nnU-Net's test images") for name, path in inside.items() if name == "imagests"]
    if not layout.name.startswith("split/"):
        return []
    used = {part.images.parent for part in layout.parts}
    splits = [path for name, path in inside.items() if name in SPLIT_OF_FOLDER and path not in used]
    reason = "it has no masks in a folder like those of the other splits"
    return [(path, reason) for path in splits if IMAGES in subfolders(path)]


def subfolders(folder: Path) -> dict[str, Path]:
    """The folders in a folder, by their names in lower case."""
    return {path.name.lower(): path for path in sorted(folder.glob("*")) if path.is_dir()}


def as_pattern(name: str) -> re.Pattern:
    """Pattern of the file names, without suffix, that `name` describes."""
    case = r"(?P<id>(?:.*/)?(?P<case>[^/]+))/(?P=case)"
    pattern = re.escape(name).replace(r"\{id\}/\{case\}", case).replace(r"\{id\}", "(?P<id>.+)")
    return re.compile(pattern, re.IGNORECASE | re.DOTALL)


def find_sources(folder: Path, images: Container[str] = ()) -> dict[Path, str]:
    """Images or masks below a folder, and the id of each, sorted. DICOM files are represented by their folder, except
    masks that are named after one of these images."""
    sources = {}
    for path in find_files(folder, SUFFIXES, also=is_dicom):
        id = without_suffix(path.relative_to(folder).as_posix())
        if is_dicom(path) and path.parent != folder and id not in images:
            path, id = path.parent, path.parent.relative_to(folder).as_posix()
        sources[path] = id
    return sources


def plain_id(name: str) -> str:
    """An id without the suffix of an image or volume."""
    return without_suffix(name) if name.lower().endswith(SUFFIXES) else name


def is_scan(path: Path) -> bool:
    """Whether the path of an image or mask is that of a scan: a NIfTI volume, a DICOM file or a folder of them."""
    return path.is_dir() or is_volume(path) or is_dicom(path)


def misnamed(path: Path, expected: str) -> str:
    """What is wrong with a file that is not named as the layout expects."""
    if re.search(r"_\d{4}$", without_suffix(path.name)):
        return f"'{path}' is an additional channel, but only one is supported: keep {expected}, and move the others."
    return f"'{path}' is not named {expected}: move it to another folder, or rename it."


def name_problem(path: Path, id: str) -> str:
    """What is wrong with the name of a file that has this id; "" if nothing is."""
    return "" if is_utf8(id) else f"The file name {os.fsencode(path)!r} is not UTF-8: rename it."


def place_problem(path: Path) -> str:
    """What is wrong with the location of an image; "" if nothing is."""
    if path.is_dir() or not is_dicom(path):
        return ""
    return f"'{path}' is not in the folder of a DICOM series: move each series to a folder of its own."


def expected_suffixes(missing: str, found: Path) -> tuple[str, ...]:
    """Suffixes that the missing image or mask (IMAGES or MASKS) of what was found may have; "/" is a folder."""
    if is_volume(found):
        return (".nii.gz",) if missing == MASKS else (".nii.gz", "/")
    if is_scan(found):
        return (".nii.gz", ".dcm") if missing == MASKS else ("/",)
    return (found.suffix if found.suffix.lower() in LOSSLESS else ".png",)
