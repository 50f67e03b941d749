"""Which slices an evaluation scores: a split of the run's own data, or another folder."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unet.data.folder import data_folder
from unet.data.pairs import Pair, find_pairs
from unet.data.patients import PUBLISHED_FIELD_OF_VIEW_MM, is_published, patient_facts
from unet.data.slices import load_slices
from unet.errors import UserError
from unet.files import only_process_in
from unet.network.saved_run import SavedRun
from unet.options import DataOptions, EvaluationOptions
from unet.tables import Facts


@dataclass(frozen=True)
class Selection:
    """Slices to score, and what is known about them."""

    split: str | None  # of the run; None for slices in `folder`
    folder: Path | None
    title: str
    pairs: list[Pair]
    facts: Facts
    spacing_mm: float | None  # side of a pixel, if given for all images
    field_of_view_mm: float | None  # side of the image, if known for all images

    @property
    def identity(self) -> dict[str, object]:
        """What distinguishes these slices from others in the results."""
        return {"slices": self.title, "data": self.folder and str(self.folder)}

    def pixel_mm(self, width: int) -> float | None:
        """Side of a pixel in an image `width` pixels wide; None if unknown."""
        return self.field_of_view_mm / width if self.field_of_view_mm else self.spacing_mm


def select(run: SavedRun, options: EvaluationOptions) -> Selection:
    """The slices that the options name; UserError if they are not there."""
    split = options.split or (None if options.data else "val")
    if not split or (options.data and not run.slices.split[split]):
        return select_from_folder(run, options)
    if options.patients:
        raise UserError(
            f"--patients is only for another --data: the run already knows the patients of its {split} slices."
        )
    ids = run.slices.split[split]
    folder = data_folder(str(options.data)) if options.data else Path(run.config.data_folder)
    if not ids:
        raise UserError(f"The run has no {split} slices, as '{folder}' had none: name another folder with --data.")
    if not folder.is_dir():
        raise UserError(
            f"The run's data folder '{folder}' does not exist: say where it is with --data and --split {split}. "
            "The published data set can be downloaded with python -m unet.data.download."
        )
    pairs = {pair.id: pair for pair in find_pairs(folder, options.reading)[0]}
    missing = [id for id in ids if id not in pairs]
    if missing:
        raise UserError(
            f"{len(missing)} {split} slices have no image and mask in '{folder}' ('{missing[0]}', ...): restore them, "
            "or name the right folder with --data."
        )
    return make_selection(split, None, split, [pairs[id] for id in ids], run.slices.facts, options)


def select_from_folder(run: SavedRun, options: EvaluationOptions) -> Selection:
    """All slices in --data, or those that its patients table puts in --split."""
    folder = data_folder(str(options.data))
    slices = load_slices(folder, run.config.options.size, reading=options.reading)
    facts, origin = patient_facts(slices, folder, DataOptions(patients=options.patients))
    folder = folder.resolve()
    if not options.split:
        return make_selection(None, folder, folder.name, slices.pairs, facts, options)
    pairs = [pair for pair in slices.pairs if facts[pair.id].get("split") == options.split]
    if not pairs:
        raise UserError(f"No slice in '{folder}' is in the split {options.split}, according to {origin}.")
    return make_selection(None, folder, f"{folder.name}-{options.split}", pairs, facts, options)


def make_selection(
    split: str | None, folder: Path | None, title: str, pairs: list[Pair], facts: Facts, options: EvaluationOptions
) -> Selection:
    """A selection with the pixel size from the options, or that of the published set if these are its slices."""
    are_published = all(is_published(pair.id, facts[pair.id]) for pair in pairs)
    field_of_view_mm = PUBLISHED_FIELD_OF_VIEW_MM if are_published and not options.spacing_mm else None
    return Selection(split, folder, title, pairs, facts, options.spacing_mm, field_of_view_mm)


@contextlib.contextmanager
def results_in(output: Path, summary: str, selection: Selection) -> Iterator[None]:
    """A context in which the results for a selection may be written to a folder.

    UserError if the folder is not writable, or its summary (a JSON file) is about other slices.
    """
    with only_process_in(output):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # missing or damaged
            old = json.loads((output / summary).read_text())
            for name, value in selection.identity.items():
                if old.get(name, value) != value:
                    raise UserError(
                        f"'{output}' contains results for other {name} ({old[name]}): choose another --output."
                    )
        yield
