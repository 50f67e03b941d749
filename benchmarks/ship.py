"""Make a run the network that comes with the project: unet/network/pretrained/, with its model card.

Usage:

    python benchmarks/ship.py runs/NAME FOLDER

FOLDER holds the data that the run was trained on. With unet/network/pretrained as the run, the network stays and
its quality, scores and card are made anew. Weights are kept in 16 bits; the card's scores are those
of the kept file, by predict.py's own way (mirror averaging). Nothing that shows a patient is copied.
"""

import json
import shutil
import statistics
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import keras
import numpy as np
import tyro
from render import score_table

sys.path.insert(0, str(Path(__file__).parent.parent))
from unet.data.pairs import find_pairs, read_slice  # noqa: E402
from unet.data.patients import is_published, published_facts  # noqa: E402
from unet.evaluation import metrics  # noqa: E402
from unet.evaluation.evaluate import evaluate  # noqa: E402
from unet.evaluation.fitting import fit_confidence_model  # noqa: E402
from unet.evaluation.scoring import score_pairs  # noqa: E402
from unet.files import write_json, write_whole  # noqa: E402
from unet.images.preprocessing import to_training_image  # noqa: E402
from unet.network.confidence import confidence  # noqa: E402
from unet.network.model import build_unet  # noqa: E402
from unet.network.outlining import rule_in_words  # noqa: E402
from unet.network.predictor import Prediction, Predictor  # noqa: E402
from unet.network.saved_run import PRETRAINED, SavedRun  # noqa: E402
from unet.options import MAX_PIXELS, QUICK, EvaluationOptions, TrainingOptions  # noqa: E402
from unet.tables import read_table  # noqa: E402

COPIED = ("history.csv", "timing.csv", "metrics.json", "curves.png")


@dataclass(frozen=True)
class ShipOptions:
    """What to ship."""

    run: tyro.conf.Positional[Path]
    """A finished run."""
    folder: tyro.conf.Positional[Path]
    """The data it was trained on."""


def ship(options: ShipOptions) -> None:
    """Write unet/network/pretrained anew."""
    if options.run.resolve() != PRETRAINED:
        keep_network(options)
    run = SavedRun.open(PRETRAINED)
    fit_its_quality(run, options.folder)
    with tempfile.TemporaryDirectory() as folder:
        evaluate(EvaluationOptions(split="val", data=options.folder, output=Path(folder)))
        summary = json.loads((Path(folder) / "summary.json").read_text())
    summary["run"] = "unet/network/pretrained"
    write_json(PRETRAINED / "scores.json", summary)
    write_whole(PRETRAINED / "README.md", card(run, summary))


def keep_network(options: ShipOptions) -> None:
    """Copy the run, its weights in 16 bits."""
    source = SavedRun.open(options.run)
    config = source.config
    own = all(is_published(id, facts) for id, facts in config.facts.items())
    if config.options.data.fold is not None or not own:
        raise SystemExit("Only a run on the published training patients is shipped.")
    missing = [name for name in COPIED if not (options.run / name).exists()]
    if missing:
        raise SystemExit(f"'{options.run}' has no {missing[0]}: finish it with train.py --resume first.")
    model = source.load_model()
    shutil.rmtree(PRETRAINED, ignore_errors=True)
    usual = TrainingOptions().data
    published = published_facts()
    shipped = SavedRun(
        PRETRAINED,
        replace(
            config,
            options=replace(config.options, data=usual, name=None),
            data_folder=usual.data,
            split_source=config.split_source.replace(str(options.folder), "data"),
            # With the tumors' sizes: evaluate.py knows the slices by them at any resolution.
            facts={id: published[id] for id in config.facts},
            fingerprints={},
        ),
    )
    shipped.create()
    save_in_16_bits(shipped, model)
    for name in COPIED:
        shutil.copy(options.run / name, PRETRAINED / name)


def fit_its_quality(run: SavedRun, folder: Path) -> None:
    """quality.json, as at the end of a training, by the kept weights and rule."""
    pairs = {pair.id: pair for pair in find_pairs(folder)[0]}
    predictor = Predictor(run)

    def score(prediction: Prediction, truth: np.ndarray) -> tuple[float, float]:
        mask = predictor.mask(prediction.probability)
        return confidence(prediction.probability, mask), metrics.score(truth, mask)["dice"]

    chosen = [pairs[id] for id in run.config.split["val"]]
    scores = score_pairs(predictor, chosen, score, "Fitting quality", MAX_PIXELS)
    training = np.stack(
        [
            to_training_image(read_slice(pairs[id], MAX_PIXELS), predictor.size)
            for id in run.config.split["train"]
        ]
    )
    run.save_quality(fit_confidence_model(*np.array(scores).T, training))


def save_in_16_bits(run: SavedRun, model: keras.Model) -> None:
    """Write the weights as float16: half the size; masks stay the same but for single pixels."""
    keras.config.set_dtype_policy("float16")
    small = build_unet(run.config.options.model, normalization=None)
    small.set_weights(model.get_weights())
    run.save_model(small)
    keras.config.set_dtype_policy("float32")


def command(options: TrainingOptions) -> str:
    """The command that trains with these options: what differs from the defaults is named."""

    def differences(now: dict, usual: dict, prefix: str) -> list[str]:
        found = []
        for name, value in now.items():
            if isinstance(value, dict):
                inner = "" if name == "data" else f"{name}."
                found += differences(value, usual[name], prefix + inner)
            elif value != usual[name] and name != "quick":
                found.append(f"--{prefix}{name} {value}".replace("_", "-"))
        return found

    usual = QUICK if options.quick else TrainingOptions()
    quick = ["--quick"] if options.quick else []
    return " ".join(["python train.py", *quick, *differences(asdict(options), asdict(usual), "")])


def minutes(run: SavedRun) -> float:
    """What all steps of a training took, without validation, had each epoch taken as long as the median."""
    seconds = [float(row["seconds"]) for row in read_table(run.folder / "timing.csv")]
    return len(seconds) * statistics.median(seconds) / 60


def card(run: SavedRun, summary: dict) -> str:
    """The model card: model-card.md, its gaps filled."""
    config = run.config
    metrics = json.loads((run.folder / "metrics.json").read_text())
    train = config.split["train"]
    return (
        (Path(__file__).parent / "model-card.md")
        .read_text()
        .format(
            command=command(config.options),
            train_slices=len(train),
            train_patients=len({config.facts[id]["patient"] for id in train}),
            epochs=metrics["epochs"],
            best_epoch=metrics["best_epoch"],
            minutes=minutes(run),
            precision=config.precision,
            machine=config.machine,
            versions=", ".join(f"{name} {number}" for name, number in config.versions.items()),
            rule=rule_in_words(config.threshold, config.peak),
            scores=score_table(summary["scores"]),
        )
    )


if __name__ == "__main__":
    ship(tyro.cli(ShipOptions, description=__doc__))
