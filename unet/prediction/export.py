"""Export a run's network, including its preprocessing, to another runtime, and check that it agrees with Keras.

The exported network maps grey 8-bit images (batch, height, width) of any size to two outputs:

    probability          of tumor for each pixel, if the image contains one; float32 (batch, height, width)
    tumor_probability    that the image contains a tumor; float32 (batch,). Missing if the run has no threshold for it,
                         because it was trained without images that show no tumor.

LiteRT takes one image at a time. The command prints the threshold of each output. ONNX files have them as metadata.

    python -m unet.prediction.export --format onnx             the pretrained network
    python -m unet.prediction.export runs/NAME --format openvino

onnx needs the packages onnx, tf2onnx and onnxruntime; openvino needs onnx, tf2onnx and openvino.
"""

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from unet.command_line import import_tensorflow_quietly, run, validated
from unet.errors import UserError
from unet.files import TEMPORARY, write_whole
from unet.options import ExportOptions

SIZES = ((256, 256), (512, 512), (300, 200), (97, 131), (512, 512), (181, 256))  # of the simulated heads
LEAST_DICE = 0.999
MOST_DIFFERENCE, LEAST_SAME = 0.01, 0.999  # of probabilities: a thousandth of the pixels may differ more


def export(options: ExportOptions) -> None:
    """Export a network, after checking that it agrees with Keras.

    Args:
        options: Which run, to which format, and where to write it.

    Raises:
        UserError: If a package is missing, the output exists or cannot be written, or the results differ.

    Example:
        >>> export(ExportOptions(format="saved_model", output=Path("exported")))  # doctest: +ELLIPSIS
        'exported' agrees with Keras on simulated slices: Dice ... where the probability is ...
    """
    format = FORMATS[validated(options).format]
    missing = [name for name in format.packages if not find_spec(name)]
    if missing:
        raise UserError(f"--format {options.format} needs: pip install {' '.join(missing)}")

    import_tensorflow_quietly()
    from unet.machine import configure_machine
    from unet.network.predictor import Predictor
    from unet.network.saved_run import SavedRun
    from unet.prediction.exported_graph import with_preprocessing

    options = configure_machine(options)
    saved = SavedRun.open(options.run)
    saved.warn_if_unfinished()
    output = options.output or Path(saved.folder.name + format.suffix)
    for path in (output, *([output.with_suffix(".bin")] if options.format == "openvino" else [])):
        if path.exists():
            raise UserError(f"'{path}' already exists: choose another --output.")
    predictor = Predictor(saved, mirror=options.mirror, precision="float32")
    module = with_preprocessing(predictor, format.batch)
    with tempfile.TemporaryDirectory() as folder:
        exported = format.convert(save(module, Path(folder)), Path(folder) / f"model{format.suffix}")
        if options.format == "onnx":
            add_metadata(exported, saved)
        agreement = compare(predictor, format.open(exported), simulate_batches(format.batch))
        if not agreement.is_close:
            raise UserError(
                f"The exported network differs from Keras ({agreement}), so it was not kept: choose another --format."
            )
        keep(exported, output)
    print(f"'{output}' agrees with Keras on simulated slices: {agreement}. {how_to_outline(saved)}")


def how_to_outline(run) -> str:
    """How predict.py makes a mask of the two answers of a run's network, in words."""
    rule, presence = run.config.outline_rule, run.config.presence_rule
    if not presence:
        return f"Tumor is {rule}."
    enough = f"If tumor_probability is {presence.threshold:.4g} or more"
    return f"{enough}, tumor is {rule}. If that leaves nothing, it is {rule.faint}."


def save(module, folder: Path) -> Path:
    """Write a module of exported_graph.py to a folder, as the saved model that all formats are made from."""
    import tensorflow as tf

    path = folder / "saved_model"
    tf.saved_model.save(module, str(path), signatures=module.outputs)
    return path


def keep(exported: Path, output: Path) -> None:
    """Copy the exported file or folder to the output, completely or not at all."""
    if exported.is_dir():
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=output.parent, prefix=TEMPORARY) as draft:
                os.replace(shutil.copytree(exported, Path(draft) / output.name), output)
        except (OSError, shutil.Error) as error:
            raise UserError(f"Cannot write '{output}': {error}.") from error
        return
    weights = exported.with_suffix(".bin")  # of OpenVINO
    if weights.exists():
        write_whole(output.with_suffix(".bin"), weights.read_bytes())
    write_whole(output, exported.read_bytes())


def add_metadata(path: Path, run) -> None:
    """Write the size, the rules and the identity of a run's network into an ONNX file, as text."""
    import onnx

    rule, presence = run.config.outline_rule, run.config.presence_rule
    facts = {"format_version": run.config.format_version, "network": run.network_fingerprint()}
    facts |= {"size": run.config.options.size, **asdict(rule), "rule": how_to_outline(run)}
    facts |= {"presence_threshold": presence.threshold} if presence else {}
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {name: str(value) for name, value in facts.items()})
    onnx.save(model, path)


@dataclass(frozen=True)
class Agreement:
    """How well the masks and probabilities of an exported network agree with those of Keras."""

    dice: float  # lowest Dice of the two masks of an image
    same_pixels: float  # smallest fraction of the pixels of an image with the same probability
    difference: float | None  # largest difference of the two tumor probabilities of an image; None if there are none

    @property
    def is_close(self) -> bool:
        is_same_tumor = self.difference is None or self.difference <= MOST_DIFFERENCE
        return self.dice >= LEAST_DICE and self.same_pixels >= LEAST_SAME and is_same_tumor

    def __str__(self) -> str:
        text = f"Dice {self.dice:.4f}, same probability at {self.same_pixels:.2%} of pixels"
        return text if self.difference is None else f"{text}, tumor probability within {self.difference:.4f}"


def compare(predictor, run_exported: Callable, batches: list[np.ndarray]) -> Agreement:
    """How well Keras and the export agree.

    Takes what maps grey uint8 images (batch, height, width) to outputs by name, and such images.
    """
    from unet.evaluation.metrics import score

    dice, same, differences = [], [], []
    for batch in tqdm(batches, "Comparing", disable=None):
        outputs = run_exported(batch)
        for index, expected in enumerate(predictor(list(batch))):
            result = outputs["probability"][index]
            exported = replace(expected, probability=result)
            # By the rule alone, and as predict.py outlines.
            for mask in (lambda prediction: predictor.rule.mask(prediction.probability), predictor.mask):
                dice.append(score(mask(expected), mask(exported))["dice"])
            same.append(np.mean(np.abs(result - expected.probability) <= MOST_DIFFERENCE))
            if predictor.presence_rule:
                probability = predictor.tumor_probability(expected.evidence)
                differences.append(abs(outputs["tumor_probability"][index].item() - probability))
    return Agreement(min(dice), float(min(same)), max(differences, default=None))


def simulate_batches(batch: int | None) -> list[np.ndarray]:
    """Simulated heads, uint8 (batch, height, width), of several sizes. If batches may have any size, one has three."""
    batches = [simulate_head(seed, *size)[np.newaxis] for seed, size in enumerate(SIZES)]
    return batches if batch else [*batches, np.stack([simulate_head(seed, *SIZES[-1]) for seed in range(3)])]


def simulate_head(seed: int, height: int, width: int) -> np.ndarray:
    """A simulated slice with a bright round tumor, grey uint8 (height, width)."""
    random = np.random.default_rng(seed)
    side = min(height, width)
    center = np.array((width, height)) / 2
    tumor_center = center + side * random.uniform(-0.15, 0.15, 2)
    texture = cv2.resize(random.normal(0, 10, (40, 40)), (width, height), interpolation=cv2.INTER_CUBIC)
    image = np.zeros((height, width))
    for middle, axes, level in (
        (center, (0.39, 0.47), 150),  # scalp
        (center, (0.36, 0.44), 12),  # skull
        (center, (0.33, 0.41), 80 + texture),  # brain
        (center, (0.04, 0.12), 25),  # ventricle
        (tumor_center, (0.08, 0.08), 190 + texture),
    ):
        shape = np.zeros((height, width), np.uint8)
        axes = np.intp(side * np.array(axes)).tolist()
        cv2.ellipse(shape, np.intp(middle).tolist(), axes, 0, 0, 360, color=1, thickness=cv2.FILLED)
        image = np.where(shape, level, image)
    image = cv2.GaussianBlur(image, (0, 0), side / 250) + random.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def to_litert(source: Path, path: Path) -> Path:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    loaded = tf.saved_model.load(str(source))  # a variable of its own: its weights are freed with it
    function = loaded.signatures["serving_default"]
    # The converter would keep variables, which the runtime cannot find.
    frozen = convert_variables_to_constants_v2(function)
    names = sorted(function.structured_outputs)  # as TensorFlow orders them
    specs = function.structured_input_signature[1].values()
    named = tf.function(lambda image: dict(zip(names, frozen(image), strict=True)), list(specs))
    concrete = named.get_concrete_function()
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([concrete], tf.Module()).convert())
    return path


def to_onnx(source: Path, path: Path) -> Path:
    import onnx
    import tensorflow as tf
    import tf2onnx

    loaded = tf.saved_model.load(str(source))  # a variable of its own: its weights are freed with it
    function = loaded.signatures["serving_default"]
    specs = list(function.structured_input_signature[1].values())
    model, _ = tf2onnx.convert.from_function(tf.function(lambda image: function(image=image)), specs, opset=17)
    onnx.save(model, path)
    return path


def to_openvino(source: Path, path: Path) -> Path:
    import openvino

    # Through ONNX: OpenVINO takes far too long to read a saved model.
    model = openvino.convert_model(to_onnx(source, path.with_suffix(".onnx")))
    openvino.save_model(model, path, compress_to_fp16=False)
    return path


def run_saved_model(path: Path) -> Callable:
    import tensorflow as tf

    function = tf.saved_model.load(str(path)).signatures["serving_default"]
    return lambda image: {name: output.numpy() for name, output in function(image=tf.constant(image)).items()}


def run_litert(path: Path) -> Callable:
    import tensorflow as tf

    with warnings.catch_warnings(action="ignore"):  # it warns that another package will replace it
        runner = tf.lite.Interpreter(str(path)).get_signature_runner()
    return lambda image: runner(image=image)


def run_onnx(path: Path) -> Callable:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda image: dict(zip(names, session.run(names, {"image": image}), strict=True))


def run_openvino(path: Path) -> Callable:
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda image: {output.any_name: value for output, value in model(image).items()}


@dataclass(frozen=True)
class Format:
    """How to convert a saved model to a format and run the result, and the packages that both need."""

    suffix: str
    convert: Callable[[Path, Path], Path]  # convert(saved model, path) writes to the path, or returns another one
    open: Callable[[Path], Callable[[np.ndarray], dict[str, np.ndarray]]]  # open(path) maps images to outputs
    packages: tuple[str, ...] = ()
    batch: int | None = None  # images at a time; None for any number


FORMATS = {
    "saved_model": Format("-saved-model", lambda source, path: source, run_saved_model),
    # Its convolutions are only fast if all sizes are known.
    "litert": Format(".tflite", to_litert, run_litert, batch=1),
    "onnx": Format(".onnx", to_onnx, run_onnx, ("onnx", "tf2onnx", "onnxruntime")),
    "openvino": Format(".xml", to_openvino, run_openvino, ("onnx", "tf2onnx", "openvino")),
}


def main() -> None:
    run(ExportOptions, __doc__, export, uses_tensorflow=False)


if __name__ == "__main__":
    main()
