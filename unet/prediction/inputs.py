"""The inputs of predict.py: images, volumes and DICOM series, on this machine or in an object store."""

import contextlib
import glob
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from unet.errors import ImageError, UserError, one_line
from unet.images.dicom import DICOM_SUFFIXES, is_dicom, series_of
from unet.images.folders import (
    SUFFIXES,
    counts_by_suffix,
    find_files,
    folders_of_masks,
    is_image_or_scan,
    is_named_mask,
    is_unknown,
    without_suffix,
)
from unet.images.nifti import is_volume
from unet.prediction.names import SETTINGS, TABLE

MOST_SKIPPED = 10  # masks that are named on the terminal


@dataclass(frozen=True)
class Input:
    """A file, or the files of a DICOM series, and the name of its results."""

    path: str  # absolute path or URI; the first file of a series
    name: str  # relative path without suffix
    series: tuple[Path, ...] = ()  # DICOM files in order

    @property
    def is_volume(self) -> bool:
        return bool(self.series) or is_volume(Path(without_query(self.path)))

    @contextlib.contextmanager
    def local_file(self) -> Iterator[Path]:
        """The file on this machine; a temporary copy of a URI. ImageErrors name the path or URI."""
        if "://" not in self.path:
            yield Path(self.path)
            return
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / unquote(without_query(self.path)).rpartition("/")[2]
            try:
                store, path = open_store(self.path)
                with store.open_input_stream(path) as source, open(copy, "wb") as file:
                    while part := source.read(2**24):
                        file.write(part)
            except (OSError, UserError) as error:
                raise ImageError(f"Cannot read '{self.path}': {error}.") from error
            try:
                yield copy
            except ImageError as error:
                raise ImageError(str(error).replace(str(copy), self.path)) from error


def find_inputs(arguments: tuple[str, ...], output: Path) -> list[Input]:
    """All images, then all volumes, that the arguments name; UserError if there are none at one, or it is unreadable.

    Each file appears once. Files in the output folder of this or an earlier prediction are left out. The name of an
    input is its path relative to the deepest folder that all arguments share. It has no suffix, unless files differ
    only in their suffix, or another file has that name (a.png.png next to a.png). A DICOM series that is alone in its
    folder has the name of the folder.
    """
    if not arguments:
        raise UserError("No images given: name files, folders or quoted globs before the options.")
    remote = ["://" in argument for argument in arguments]
    if any(remote) and not all(remote):
        raise UserError("Cannot mix paths on this machine and URIs: use a separate command for each.")
    if any(remote):
        paths, root = find_remote(arguments)
        series = {}
        names = {path: unquote(without_query(path).removeprefix(root)) for path in paths}
    else:
        paths, root = find_local(arguments, output)
        dicom = [Path(path) for path in paths if is_dicom(Path(path))]
        series = {str(files[0]): files for files in series_of(dicom)}
        others = {str(path) for files in series.values() for path in files[1:]}
        names = {path: os.path.relpath(path, root) for path in paths if path not in others}
    stems = {path: without_suffix(name) for path, name in names.items()}
    folders = Counter(os.path.dirname(path) for path in series)
    for path, files in series.items():
        if len(files) > 1 and folders[os.path.dirname(path)] == 1:
            names[path] = stems[path] = os.path.dirname(names[path]) or os.path.basename(root) or stems[path]
    count = Counter(stems.values())
    taken = set(names.values())
    inputs = [
        Input(path, stem if count[stem] == 1 and stem not in taken else names[path], tuple(series.get(path, ())))
        for path, stem in stems.items()
    ]
    return sorted(inputs, key=lambda input: input.is_volume)


def find_local(arguments: tuple[str, ...], output: Path) -> tuple[list[str], str]:
    """Absolute paths of the files at files, folders and globs, and the deepest folder that all arguments share."""
    paths, roots = {}, []  # paths is a set that keeps its order
    for argument in arguments:
        found = []
        for path in [argument] if os.path.lexists(argument) else sorted(glob.glob(argument, recursive=True)):
            found += find_files(Path(path), ("",)) if os.path.isdir(path) else [Path(path)]
        folders = [argument] if os.path.isdir(argument) else [path.parent for path in found]
        roots += map(os.path.abspath, folders)
        found = without_masks(without_unknown(without_results(found, argument, output), argument), argument)
        paths |= dict.fromkeys(os.path.abspath(path) for path in found)
    try:
        return list(paths), os.path.commonpath(roots)
    except ValueError as error:
        raise UserError("The images are on several drives: use a separate command for each drive.") from error


def without_results(files: list[Path], argument: str, output: Path) -> list[Path]:
    """The files, except those in the output folder, which may be of an interrupted prediction, and in output folders of
    earlier predictions; prints which folders were skipped. UserError if nothing else is there.
    Nothing else is skipped if the argument is a file, or is such a folder or inside one: then the user wants those."""
    inside_output = os.path.join(os.path.abspath(output), "")
    others = [file for file in files if not os.path.abspath(file).startswith(inside_output)]
    if files and not others:
        raise UserError(f"All images lie in --output '{output}': choose another --output.")
    files = others
    if files == [Path(argument)]:
        return files
    folders = {file.parent for file in files}
    above = {parent for folder in folders for parent in (folder, *folder.parents)}
    above -= {Path(argument), *Path(argument).parents}
    # Only the output folder of a prediction has both files.
    results = {folder for folder in above if all((folder / name).exists() for name in (TABLE, SETTINGS))}
    for folder in sorted(results):
        print(f"Skipping what an earlier prediction wrote to '{folder}'.")
    inside = {folder for folder in folders if results.intersection((folder, *folder.parents))}
    return [file for file in files if file.parent not in inside]


def without_unknown(files: list[Path], argument: str) -> list[Path]:
    """The files that are images or scans by their names; prints how many others there are. UserError if none is."""
    if files == [Path(argument)]:
        return files
    images = [file for file in files if is_image_or_scan(file)]
    if not images:
        found = f", only {counts_by_suffix(files)}" if files else ""
        raise UserError(f"No images found at '{argument}'{found}: give a file, a folder or a quoted glob.")
    if unknown := sorted(filter(is_unknown, set(files).difference(images))):
        print(f"Ignored files of other types in '{argument}': {counts_by_suffix(unknown)}.")
    return images


def without_masks(files: list[Path], argument: str) -> list[Path]:
    """The files without those that are masks by their names, or by those of their folders; prints which were skipped.
    Nothing is skipped if the argument is a file, or the folder of masks itself."""
    if files == [Path(argument)]:
        return files
    folders = folders_of_masks(files, Path(argument))
    for folder in sorted(folders):
        print(f"Skipping '{folder}': by its name, it contains masks. To outline them, name the folder itself.")
    files = [file for file in files if not folders.intersection(file.parents)]
    names = {without_suffix(file.as_posix()) for file in files}
    masks = [file for file in files if is_named_mask(file, names)]
    for mask in masks[:MOST_SKIPPED]:
        print(f"Skipping '{mask}': by its name, it is a mask. To outline it, name the file itself.")
    if len(masks) > MOST_SKIPPED:
        print(f"... and {len(masks) - MOST_SKIPPED} more masks.")
    if len(masks) == len(files):
        raise UserError(f"By their names, all files in '{argument}' are masks: name the files to outline them.")
    return [file for file in files if file not in set(masks)]


def find_remote(arguments: tuple[str, ...]) -> tuple[list[str], str]:
    """URIs of the files at and below URIs, and the prefix that all share, up to a slash."""
    uris, folders = {}, []
    for argument in arguments:
        store, path = open_store(argument)
        from pyarrow.fs import FileSelector, FileType

        address = without_query(argument).rstrip("/")
        query = argument[len(without_query(argument)) :]
        path = path.rstrip("/")
        # The address ends with the path, but some characters in it may be percent-encoded.
        before = next((address[:end] for end in range(len(address) + 1) if unquote(address[end:]) == path), None)
        if before is None:
            raise UserError(f"Cannot read '{argument}': percent-encode its special characters (%23 for #).")
        try:
            info = store.get_file_info(path)
            is_folder = info.type == FileType.Directory
            found = store.get_file_info(FileSelector(path, recursive=True)) if is_folder else [info]
        except OSError as error:
            raise UserError(f"Cannot read '{argument}': {error}.") from error
        files = [file.path for file in found if file.type == FileType.File]
        dicom = [file for file in files if file.lower().endswith(DICOM_SUFFIXES)]
        if dicom:
            raise UserError(
                f"'{argument}' contains DICOM ('{dicom[0]}'), which is only read from local files: copy it here."
            )
        if any(".." in file.split("/") for file in files):
            raise UserError(f"'{argument}' contains names with '..', which point outside of it: rename them.")
        images = [file for file in files if file == path or file.lower().endswith(SUFFIXES)]
        if not images:
            raise UserError(f"No images found at '{argument}': give the URI of a file or a folder.")
        folders.append(before + quote(path if is_folder else path.rpartition("/")[0]))
        uris |= dict.fromkeys(sorted(before + quote(file) + query for file in images))
    root = os.path.commonprefix([folder.removesuffix("/") + "/" for folder in folders])
    return list(uris), root[: root.rindex("/") + 1]


def open_store(uri: str):
    """pyarrow's file system of a URI (s3://, gs://, hdfs://, file://), and the path in it."""
    try:
        from pyarrow.fs import FileSystem
    except ImportError as error:
        raise UserError(f"'{uri}' needs pyarrow: pip install \".[ray]\".") from error
    try:
        return FileSystem.from_uri(uri)
    except (OSError, ValueError) as error:
        raise UserError(f"Cannot open '{uri}': {one_line(error)}.") from error


def without_query(uri: str) -> str:
    """A URI without its options; a path is returned unchanged."""
    return uri.partition("?")[0] if "://" in uri else uri
