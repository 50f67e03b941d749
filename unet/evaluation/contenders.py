"""What an evaluation scores: a run, an ensemble of runs, or masks that any program made."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unet.data.layouts import MASKS, expected_suffixes, find_sources
from unet.data.pairs import Pair
from unet.errors import UserError, raise_problems
from unet.evaluation.selection import Selection
from unet.images.folders import PREDICTION, without_suffix
from unet.machine import thread_count
from unet.network.ensemble import open_runs
from unet.network.outliner import Outliner, Prediction
from unet.network.outlining import OutlineRule
from unet.network.predictor import Predictor, in_order
from unet.network.saved_run import PRETRAINED, SavedRun
from unet.options import EvaluationOptions


class GivenMasks(Outliner):
    """Masks in a folder instead of a network: the probabilities of pairs are 0 and 1, and there is no evidence.

    A mask is named after the id of its image, or like predict.py names it after the file. Prints how many masks have
    other names. UserError for pairs without a mask file, or with several.
    """

    def __init__(self, folder: Path, pairs: list[Pair], known: dict[str, Path] | None = None):
        """known: id and path of all images in the folders of these pairs, so that no mask of another one is taken."""
        super().__init__(OutlineRule())
        images = {pair.name: pair.image_path for pair in pairs}
        self.paths: dict[str, Path] = {}
        problems, others, names = [], [], names_of((known or {}) | images)
        self.reading = {}  # what differs from how the true masks are read
        if any((parent / PREDICTION).exists() for parent in (folder, folder.parent)):
            self.reading = {"labels": None, "mask_threshold": None}  # predict.py's masks are 0 and one other value
        endings = "_seg", "_mask"  # of names of predict.py's masks of scans; the first is DICOM-SEG
        # An image of that very name comes first.
        names = {f"{given}{ending}": name for given, name in names.items() for ending in endings} | names
        sources = find_sources(folder, names)
        all_given = set(sources.values())
        for path, given in sources.items():
            name = names.get(given)
            if not name:
                others.append(path)
            elif given.endswith("_seg") and f"{given.removesuffix('_seg')}_mask" in all_given:
                continue  # the same mask
            elif name in images and self.paths.setdefault(name, path) != path:
                problems.append(f"'{path}' and '{self.paths[name]}' are both named after '{name}': remove one.")
        for name in sorted(images.keys() - self.paths.keys()):
            expected = [f"'{folder / name}{suffix}'" for suffix in expected_suffixes(MASKS, images[name])]
            problems.append(f"No mask for '{images[name]}': expected {' or '.join(expected)}.")
        raise_problems(problems)
        if others:
            print(f"Ignored {len(others)} masks in '{folder}' that are not named after these images ('{others[0]}').")

    def with_mask(self, pair: Pair) -> Pair:
        """The pair with the mask in this folder instead of the true one."""
        return replace(pair, mask_path=self.paths[pair.name], reading=replace(pair.reading, **self.reading))

    def stream(self, pairs: Iterable[Pair], read: Callable, use: Callable, preparation_of: object) -> Iterator:
        """As in Predictor, except that an ImageError ends the stream."""

        def outline(pair: Pair) -> object:
            image = read(pair)
            mask = self.with_mask(pair).read_mask(image)
            return use(Prediction(pair, image, probability=mask.astype(np.float32)))

        with ThreadPoolExecutor(thread_count()) as threads:
            yield from in_order(threads, outline, pairs, ahead=24)


def names_of(images: dict[str, Path]) -> dict[str, str]:
    """The names that masks may have, and the id of the image that each belongs to: the ids, and ends of paths without
    suffixes, of the image or of a file of its DICOM series, that belong to one image only."""
    ends: dict[str, set[str]] = {}
    for id, path in images.items():
        for file in (path, *(path.iterdir() if path.is_dir() else ())):
            parts = (file if file.is_dir() else Path(without_suffix(file.as_posix()))).parts
            for length in range(1, len(parts) + 1):
                ends.setdefault("/".join(parts[-length:]), set()).add(id)
    return {end: next(iter(ids)) for end, ids in ends.items() if len(ids) == 1} | {id: id for id in images}


@dataclass(frozen=True)
class Contender:
    """One thing to score: a run or ensemble, or without a run the masks in a folder."""

    folder: Path
    run: SavedRun | None

    @property
    def runs(self) -> list[SavedRun]:
        return self.run.runs if self.run else []

    @property
    def name(self) -> str:
        folder = self.folder.resolve()
        return folder.parent.name if folder.name == MASKS else folder.name

    @property
    def home(self) -> Path:
        """Where its results go by default."""
        if not self.run:
            return Path("runs", f"masks-{self.name}")
        if self.folder.is_relative_to(PRETRAINED):
            return Path("runs/pretrained", self.folder.relative_to(PRETRAINED))
        return self.folder

    def settings(self, options: EvaluationOptions) -> dict[str, object]:
        """How it outlines, for the results."""
        if not self.run:
            return {"masks": self.source}
        presence = self.run.config.presence_rule
        return {
            "run": self.source if len(self.runs) > 1 else str(self.folder),
            "network": self.run.network_fingerprint(),
            "threshold": self.run.config.outline_rule.threshold,
            "peak": self.run.config.outline_rule.peak,
            "presence_threshold": presence.threshold if presence else None,
            "mirror": options.mirror,
            "always_outline": options.always_outline,
        }

    @property
    def source(self) -> str:
        """The folders of its runs or masks."""
        return ", ".join(str(folder.resolve()) for folder in [run.folder for run in self.runs] or [self.folder])

    def identity(self, options: EvaluationOptions) -> dict[str, object]:
        """What must be the same for results to be replaced: what its default folder and a longer training do not
        change. In another folder, that is also which run it is."""
        names = {"masks", "mirror", "always_outline"} | ({"run"} if options.output or len(self.runs) > 1 else set())
        settings = self.settings(options)
        return {name: settings.get(name) for name in sorted(names)}

    def predictor(self, selection: Selection, options: EvaluationOptions) -> Predictor | GivenMasks:
        """What outlines the slices of a selection."""
        if not self.run:
            return GivenMasks(self.folder, selection.pairs, selection.images)
        return Predictor(self.run, mirror=options.mirror, always_outline=options.always_outline)


def find_contenders(options: EvaluationOptions, count: int) -> list[Contender]:
    """What the options name, runs first, or the pretrained run. UserError if they are not `count`."""
    runs = [SavedRun.open(folder) for folder in options.runs]
    runs += [open_runs(options.ensemble)] if options.ensemble else []
    for run in runs:
        run.warn_if_unfinished()
    # Of what predict.py wrote, the masks are in masks/.
    masks = [folder / MASKS if (folder / PREDICTION).exists() else folder for folder in options.masks]
    found = [Contender(run.folder, run) for run in runs] + [Contender(folder, None) for folder in masks]
    found = found or [Contender(PRETRAINED, SavedRun.open())]
    if len(found) != count:
        raise UserError(f"Name one run to score or two to compare, not {len(found)}; --ensemble scores several as one.")
    return found
