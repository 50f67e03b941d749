"""Which slices an evaluation scores: a split of the run's own data, or other folders."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from unet.data.folder import data_folder, no_tumor_folders
from unet.data.pairs import Pair, find_all_pairs
from unet.data.patients import PUBLISHED_FIELD_OF_VIEW_MM, is_published, merge_facts, patient_facts
from unet.data.slices import load_slices
from unet.data.split import FINAL
from unet.errors import UserError
from unet.files import only_process_in, write_json
from unet.network.saved_run import SavedRun
from unet.options import EvaluationOptions, PairingOptions, ReadingOptions, TrainingOptions
from unet.tables import Facts

READING = ("channel", "plane", "volume", "labels", "mask_threshold", "mask_suffix")  # what results depend on
SUMMARIES = ("summary.json", "comparison.json")
# What evaluations and comparisons write after their summaries.
RESULTS = (
    "report.html", "per_slice.csv", "per_scan.csv", "gallery.png", "detection.png", "dice_distribution.png",
    "dice_by_type.png", "dice_by_size.png", "threshold_curve.png", "expected_dice.png", "calibration.png",
    "comparison.png", "changes.png",
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """Slices to score, and what is known about them."""

    split: str | None  # of the run; None for all slices in `folders`
    folders: tuple[Path, ...]
    title: str
    pairs: list[Pair]
    images: dict[str, Path]  # id and path of every image or scan in the folders, also in other splits
    facts: Facts
    spacing_mm: float | None  # side of a pixel, if given for all images
    field_of_view_mm: float | None  # side of the image, if known for all images
    reading: PairingOptions = PairingOptions()  # as given for `folders`

    @property
    def identity(self) -> dict[str, object]:
        """What distinguishes these slices from others in the results."""
        folders = ", ".join(map(str, self.folders)) or None
        reading = {name: getattr(self.reading, name) for name in READING}
        return {"slices": self.title, "data": folders, "spacing_mm": self.spacing_mm, **reading}

    def pixel_mm(self, pair: Pair, width: int) -> float | None:
        """Side of a pixel in the image of a pair, which is `width` pixels wide; None if unknown."""
        if pair.plane and not self.spacing_mm:
            volume, _ = pair.read_volume()
            return min(volume.pixel_mm(pair.plane)) if volume.spacing_known else None
        return self.field_of_view_mm / width if self.field_of_view_mm else self.spacing_mm


def select(run: SavedRun | None, options: EvaluationOptions) -> Selection:
    """The slices that the options name; UserError if they are not there."""
    others = options.data or options.no_tumor
    if not run and not others:
        raise UserError("--masks needs true masks to compare with: give --data FOLDER, or name a run first.")
    split = options.split or (None if others else "val")
    if not run or not split or (others and not run.slices.split[split]):
        return select_from_folders(run, options)
    return select_from_run(run, split, options)


def check_untrained(run: SavedRun, selection: Selection) -> None:
    """UserError if a run was trained on patients in the selection, which is a split of the run before it.
    Other data may use the same names for other patients: for these, known_patients prints a warning."""
    if not selection.split:
        return
    patients = {selection.facts[pair.id]["patient"] for pair in selection.pairs}
    shared = patients & run.slices.patients("train")
    if shared:
        raise UserError(
            f"'{run.folder}' was trained on {len(shared)} of these patients ('{min(shared)}'): use runs with the same "
            "split, or other slices with --split test (once, at the end) or --data."
        )


def select_from_run(run: SavedRun, split: str, options: EvaluationOptions) -> Selection:
    """A split of the run's data, which --data and --no-tumor find if they have moved."""
    if options.patients:
        raise UserError(
            f"--patients is only for another --data: the run already knows the patients of its {split} slices."
        )
    ids = run.slices.split[split]
    folder = data_folder(str(options.data)) if options.data else Path(run.config.data_folder)
    if not ids and run.config.options.data.fold == FINAL:
        raise UserError(
            f"'{run.folder}' has no validation slices, as it learned from all patients: see the scores of its five "
            f"folds in '{str(run.folder).removesuffix('final')}all-folds', or score other slices with --data, or the "
            "test slices with --split test (once, at the end)."
        )
    if not ids:
        raise UserError(f"The run has no {split} slices, as '{folder}' had none: name another folder with --data.")
    if not folder.is_dir():
        raise UserError(
            f"The run's data folder '{folder}' does not exist: say where it is with --data and --split {split}. "
            "The published data set can be downloaded with python -m unet.data.download."
        )
    no_tumor = no_tumor_folders(options.no_tumor) or tuple(map(Path, run.config.no_tumor_folders))
    gone = [other for other in no_tumor if not other.is_dir()]
    if gone:
        raise UserError(
            f"The run's folder of images without a tumor '{gone[0]}' does not exist: say where it is with --no-tumor "
            f"and --split {split}. The published ones can be downloaded with python -m unet.data.download --no-tumor."
        )
    own_folders = {id.partition("/")[0] for id in run.slices.facts}
    for other in options.no_tumor:
        if other.resolve().name not in own_folders:
            raise UserError(
                f"'{run.folder}' has no slices of '{other}': to score all images in it, leave out --split. With "
                "--split, --no-tumor says where the run's own images without a tumor are now."
            )
    reading = run.reading_with(options.reading)
    if replace(reading, max_pixels=0) != replace(run.config.options.data.reading, max_pixels=0):
        raise UserError(
            "The run's own slices are read as in its training: leave out --channel, --labels and the like, or name "
            "another folder with --data."
        )
    pairs = {pair.id: pair for pair in find_all_pairs(folder, no_tumor, reading)[0]}
    missing = [id for id in ids if id not in pairs]
    if missing:
        folders = " and ".join(f"'{path}'" for path in (folder, *no_tumor))
        raise UserError(
            f"{len(missing)} {split} slices are not in {folders} ('{missing[0]}', ...), or have no mask: restore them, "
            "or name the right folders with --data and --no-tumor."
        )
    own = [pairs[id] for id in ids]
    return make_selection(split, (), split, own, list(pairs.values()), run.slices.facts, options)


def select_from_folders(run: SavedRun | None, options: EvaluationOptions) -> Selection:
    """All slices in --data and --no-tumor, or those that their patients tables put in --split."""
    if options.patients and not options.data:
        raise UserError("--patients is only for --data: put a patients.csv into the folder of --no-tumor.")
    folder = data_folder(str(options.data)) if options.data else None
    no_tumor = no_tumor_folders(options.no_tumor)
    size = run.config.options.size if run else TrainingOptions.size
    # The run knows how images are read. How masks are named, and what they mean, may differ in another folder.
    reading = run.reading_with(options.reading, ReadingOptions) if run else options.reading
    slices = load_slices(folder, size, reading=reading, no_tumor=no_tumor)
    if slices.copies:
        print(f"Exact copies left out: {len(slices.copies)}.")
    known = [patient_facts(slices.of_folder(), folder, options.patients)] if folder else []
    known += [patient_facts(slices.of_folder(other), other) for other in no_tumor]
    facts = merge_facts([of_folder for of_folder, _ in known])
    folders = tuple(path.resolve() for path in (*filter(None, [folder]), *no_tumor))
    title = "+".join(path.name for path in folders)
    if not options.split:
        return make_selection(None, folders, title, slices.pairs, slices.pairs, facts, options)
    for path, (of_folder, origin) in zip(folders, known, strict=True):
        if not any(row.get("split") == options.split for row in of_folder.values()):
            raise UserError(f"No slice in '{path}' is in the split {options.split}, according to {origin}.")
    pairs = [pair for pair in slices.pairs if facts[pair.id]["split"] == options.split]
    return make_selection(None, folders, f"{title}-{options.split}", pairs, slices.pairs, facts, options)


def make_selection(
    split: str | None,
    folders: tuple[Path, ...],
    title: str,
    pairs: list[Pair],
    all_pairs: list[Pair],
    facts: Facts,
    options: EvaluationOptions,
) -> Selection:
    """A selection with the pixel size from the options, or that of the published set if these are its slices."""
    are_published = all(is_published(pair.id, facts[pair.id]) for pair in pairs if pair.mask_path)
    field_of_view_mm = PUBLISHED_FIELD_OF_VIEW_MM if are_published and not options.spacing_mm else None
    images = {pair.name: pair.image_path for pair in all_pairs}
    reading = PairingOptions() if split else options.reading
    return Selection(split, folders, title, pairs, images, facts, options.spacing_mm, field_of_view_mm, reading)


@contextlib.contextmanager
def results_in(output: Path, summary: str, identity: dict[str, object]) -> Iterator[None]:
    """A context in which the results for slices, and maybe masks, with this identity may be written to a folder.

    UserError if the folder is not writable, or contains other results or files, which must not be replaced.
    """
    with only_process_in(output):
        check_replaceable(output, summary, identity)
        yield


def check_replaceable(output: Path, summary: str, identity: dict[str, object]) -> None:
    """UserError if a folder's summary (a JSON file) is about other slices or masks, or if the folder has files with the
    names of results, but no such summary."""
    old = {}
    with contextlib.suppress(OSError, ValueError):  # missing or damaged
        old = json.loads((output / summary).read_text())
    found = [name for name in (*RESULTS, *SUMMARIES) if (output / name).exists()]
    if found and "slices" not in old:
        raise UserError(
            f"'{output}' contains '{found[0]}' but no valid {summary}, so it may not be ours to replace: choose "
            "another --output."
        )
    for name, value in identity.items():
        if old and old.get(name) != value:
            there, here = ("none" if each is None else each for each in (old.get(name), value))
            label = f"--{name.replace('_', '-')}" if name in READING else name.replace("_", " ")
            raise UserError(
                f"'{output}' contains other results ({label}: {there}, now {here}): choose another --output."
            )


def replace_summary(output: Path, summary: str, content: dict[str, object]) -> None:
    """Delete earlier results, and write a new summary: before all others, which without one could be anybody's. Call
    this when the new results are known, so that an error or Ctrl-C before keeps the earlier ones."""
    for name in RESULTS:
        (output / name).unlink(missing_ok=True)
    write_json(output / summary, content)
