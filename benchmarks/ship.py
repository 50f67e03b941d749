"""Make a run the pretrained network: unet/network/pretrained/, including its model card.

Usage:

    python benchmarks/ship.py runs/NAME FOLDER

FOLDER contains the data that the run was trained on. If the run is unet/network/pretrained, the network stays, and its
limits, confidence model, scores and card are written again. The weights are saved in 16 bits. The scores on the card
are those of the saved file, with mirror averaging as in predict.py. Nothing that shows a patient is copied. Images
without a tumor are not in its slices.csv, as their names differ from download to download; benchmarks/detection.py
measures them.
"""

import functools
import json
import shutil
import statistics
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np
import tyro
from rendering.presence import detection
from rendering.scores import score_table

from unet.command_line import UNGROUPED
from unet.data.pairs import Pair, find_pairs
from unet.data.patients import is_published, published_facts
from unet.evaluation import metrics
from unet.evaluation.evaluate import evaluate
from unet.evaluation.fitting import fit_confidence_model, presence_limits
from unet.evaluation.scoring import score_pairs
from unet.files import write_json, write_whole
from unet.images.preprocessing import to_training_image
from unet.machine import use_precision
from unet.network.confidence import soft_dice
from unet.network.model import build_unet
from unet.network.outliner import Prediction
from unet.network.predictor import Predictor
from unet.network.presence import PresenceRule
from unet.network.run_config import SliceTable
from unet.network.saved_run import PRETRAINED, SavedRun
from unet.options import QUICK, DataOptions, EvaluationOptions, TrainingOptions
from unet.prediction.export import how_to_outline
from unet.tables import read_table

COPIED = ("history.csv", "timing.csv", "metrics.json", "curves.png")


@dataclass(frozen=True)
class ShipOptions:
    """Which run to ship."""

    run: tyro.conf.Positional[Path]
    """Folder of a finished run."""
    folder: tyro.conf.Positional[Path]
    """Folder of the data it was trained on."""


def ship(options: ShipOptions) -> None:
    """Write unet/network/pretrained."""
    if options.run.resolve() != PRETRAINED:
        copy_run(options)
    run = SavedRun.open(PRETRAINED)
    choose_presence_limits(run, options.folder)
    fit_confidence(run, options.folder)
    with tempfile.TemporaryDirectory() as folder:
        evaluate(EvaluationOptions(split="val", data=options.folder, output=Path(folder)))
        summary = json.loads((Path(folder) / "summary.json").read_text())
    summary["run"] = "unet/network/pretrained"
    write_json(PRETRAINED / "scores.json", summary)
    write_whole(PRETRAINED / "README.md", card(run, summary))


def copy_run(options: ShipOptions) -> None:
    """Copy the run, with its weights in 16 bits."""
    source = SavedRun.open(options.run)
    config = source.config
    no_tumor = tuple(f"{Path(folder).name}/" for folder in config.no_tumor_folders)
    facts = {id: row for id, row in source.slices.facts.items() if not id.startswith(no_tumor)}
    if config.options.data.fold is not None or not all(is_published(id, facts[id]) for id in facts):
        raise SystemExit(f"'{options.run}' was not trained on the published data and split: choose a run that was.")
    missing = [name for name in COPIED if not (options.run / name).exists()]
    if missing:
        raise SystemExit(f"'{options.run}' has no {missing[0]}: finish it with train.py --resume first.")
    network = source.load_trainable_network()
    shutil.rmtree(PRETRAINED, ignore_errors=True)
    published = published_facts()
    data = DataOptions(no_tumor=tuple(Path("data") / name.strip("/") for name in no_tumor))
    shipped = SavedRun(
        PRETRAINED,
        replace(
            config,
            options=replace(config.options, data=data, name=None),
            data_folder=data.data,
            no_tumor_folders=[],
            slice_count=len(facts),
            split_source=config.split_source.replace(str(options.folder), "data"),
        ),
        SliceTable(
            {name: [id for id in ids if id in facts] for name, ids in source.slices.split.items()},
            # evaluate.py compares tumor sizes instead of fingerprints, which depend on the resolution.
            dict.fromkeys(facts, ""),
            {id: published[id] for id in facts},
        ),
    )
    shipped.create()
    save_in_16_bits(shipped, network)
    for name in COPIED:
        shutil.copy(options.run / name, PRETRAINED / name)


def pairs_of(run: SavedRun, folder: Path, split: str) -> list[Pair]:
    """The pairs in a folder that are in a split of the run."""
    pairs = {pair.id: pair for pair in find_pairs(folder)[0]}
    return [pairs[id] for id in run.slices.split[split]]


def choose_presence_limits(run: SavedRun, folder: Path) -> None:
    """Choose the limits of the presence rule again, for the saved weights."""
    rule = run.config.presence_rule
    if rule:
        predictor, validation = Predictor(run), pairs_of(run, folder, "val")
        evidence = score_pairs(predictor, validation, lambda prediction, _: prediction.evidence, "Choosing the limits")
        limits = presence_limits(np.array([rule.probability(value) for value in evidence]))
        run.update_config(presence_rule=PresenceRule(rule.slope, rule.intercept, *limits))


def fit_confidence(run: SavedRun, folder: Path) -> None:
    """Write confidence.json, as at the end of a training, for the saved weights and the saved outline rule."""
    predictor = Predictor(run, always_outline=run.config.presence_rule is not None)

    def score(prediction: Prediction, truth: np.ndarray) -> tuple[float, float]:
        mask = predictor.mask(prediction)
        return soft_dice(prediction.probability, mask), metrics.score(truth, mask)["dice"]

    validation, training = (pairs_of(run, folder, split) for split in ("val", "train"))
    scores = score_pairs(predictor, validation, score, "Fitting the confidence model")
    squares = np.stack([to_training_image(pair.read_image(), predictor.size) for pair in training])
    run.save_confidence_model(fit_confidence_model(*np.array(scores).T, squares))


def save_in_16_bits(run: SavedRun, network: keras.Model) -> None:
    """Write the convolutions in float16, for half the size. Except for single pixels, masks do not change."""
    use_precision("float16")
    # In float32: a variance in float16 could overflow, or become 0.
    normalization = functools.partial(keras.layers.BatchNormalization, dtype="float32")
    small = build_unet(run.config.options.model, normalization)
    small.set_weights(network.get_weights())
    run.save_network(small)
    use_precision("float32")


def command(options: TrainingOptions) -> str:
    """The command that trains with these options. It names the options that differ from the defaults."""

    def differences(values: dict, defaults: dict, prefix: str) -> list[str]:
        found = []
        for name, value in values.items():
            if isinstance(value, dict):
                group = "" if name in UNGROUPED else f"{name}."
                found += differences(value, defaults[name], prefix + group)
            elif value != defaults[name] and name != "quick":
                text = " ".join(map(str, value)) if isinstance(value, tuple) else value
                found.append(f"--{prefix}{name} ".replace("_", "-") + f"{text}")
        return found

    recipe = QUICK if options.quick else TrainingOptions()
    quick = ["--quick"] if options.quick else []
    return " ".join(["python train.py", *quick, *differences(asdict(options), asdict(recipe), "")])


def minutes(run: SavedRun) -> float:
    """Minutes of training without validation, as if every epoch took as long as the median."""
    seconds = [float(row["seconds"]) for row in read_table(run.folder / "timing.csv")]
    return len(seconds) * statistics.median(seconds) / 60


def card(run: SavedRun, summary: dict) -> str:
    """The model card: model-card.md with its fields filled in."""
    config = run.config
    metrics = json.loads((run.folder / "metrics.json").read_text())
    return (
        (Path(__file__).parent / "model-card.md")
        .read_text()
        .format(
            command=command(config.options),
            train_slices=len(run.slices.split["train"]),
            train_patients=len(run.slices.patients("train")),
            epochs=metrics["epochs"],
            best_epoch=metrics["best_epoch"],
            minutes=minutes(run),
            precision=config.precision,
            machine=config.machine,
            versions=", ".join(f"{name} {number}" for name, number in config.versions.items()),
            rule=how_to_outline(run),
            sources=config.split_source.replace("\n", "\n- "),
            detection=detection(),
            scores=score_table(summary["scores"]),
        )
    )


if __name__ == "__main__":
    ship(tyro.cli(ShipOptions, description=__doc__))
