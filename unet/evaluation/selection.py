"""Score a run on slices with known masks: a table a slice, a summary with intervals, plots."""

from dataclasses import dataclass
from pathlib import Path

from unet.data.folder import data_folder
from unet.data.pairs import Pair, find_pairs
from unet.data.patients import PUBLISHED_FIELD_OF_VIEW_MM, is_published, patient_facts
from unet.data.slices import load_slices
from unet.errors import UserError
from unet.network.saved_run import SavedRun
from unet.options import DataOptions, EvaluationOptions


@dataclass(frozen=True)
class Selection:
    """Slices to score, with what is known of each id."""

    split: str | None  # of the run; None for what lies in `folder`
    folder: Path | None
    title: str
    pairs: list[Pair]
    facts: dict[str, dict[str, str]]
    max_pixels: int
    spacing_mm: float | None  # side of a pixel, where it is the same for all and known
    field_of_view_mm: float | None  # side of the whole image, where that is the same for all

    @property
    def identity(self) -> dict[str, object]:
        """What tells these slices from others in results."""
        return {"slices": self.title, "data": self.folder and str(self.folder)}

    def pixel_mm(self, width: int) -> float | None:
        """Side of a pixel of an image that is `width` wide; None where it is not known."""
        return self.field_of_view_mm / width if self.field_of_view_mm else self.spacing_mm


def select(run: SavedRun, options: EvaluationOptions) -> Selection:
    """What the options name; UserError where slices of the run's split are not there."""
    split = options.split or (None if options.data else "val")
    if not split or (options.data and not run.config.split[split]):
        return select_from_folder(run, options)
    if options.patients:
        raise UserError(
            f"The run knows the patients of its {split} slices: leave out --patients, it is for other --data."
        )
    ids = run.config.split[split]
    folder = data_folder(str(options.data)) if options.data else Path(run.config.data_folder)
    if not ids:
        raise UserError(
            f"The run knows no {split} slices: '{folder}' had none. Name a folder that has with --data."
        )
    if not folder.is_dir():
        raise UserError(f"The run's data folder '{folder}' is not there: name it with --data.")
    pairs = {pair.id: pair for pair in find_pairs(folder, options.max_pixels)[0]}
    missing = [id for id in ids if id not in pairs]
    if missing:
        raise UserError(
            f"{len(missing)} {split} slices have no image and mask in '{folder}' ('{missing[0]}', "
            "...): restore them or name the right folder with --data."
        )
    return selection_of(split, None, split, [pairs[id] for id in ids], run.config.facts, options)


def select_from_folder(run: SavedRun, options: EvaluationOptions) -> Selection:
    """All slices of --data, or those that its patients table puts in --split."""
    folder = data_folder(str(options.data))
    slices = load_slices(folder, run.config.options.size, max_pixels=options.max_pixels)
    facts, origin = patient_facts(slices, folder, DataOptions(patients=options.patients))
    folder = folder.resolve()
    if not options.split:
        return selection_of(None, folder, folder.name, slices.pairs, facts, options)
    pairs = [pair for pair in slices.pairs if facts[pair.id].get("split") == options.split]
    if not pairs:
        raise UserError(f"No slice in '{folder}' is {options.split} according to {origin}.")
    return selection_of(None, folder, f"{folder.name}-{options.split}", pairs, facts, options)


def selection_of(
    split: str | None,
    folder: Path | None,
    title: str,
    pairs: list[Pair],
    facts: dict[str, dict[str, str]],
    options: EvaluationOptions,
) -> Selection:
    """With the spacing that the options name, or that of the published set where these are its slices."""
    published = all(is_published(pair.id, facts[pair.id]) for pair in pairs)
    view = PUBLISHED_FIELD_OF_VIEW_MM if published and not options.spacing_mm else None
    return Selection(split, folder, title, pairs, facts, options.max_pixels, options.spacing_mm, view)
