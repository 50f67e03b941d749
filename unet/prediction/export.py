"""Export a run's network, including its preprocessing, to another runtime, and check that it agrees with Keras.

The exported network maps a grey 8-bit image (height, width) of any size to its tumor probability of the same size.

    python -m unet.prediction.export --format onnx             the network that comes with the project
    python -m unet.prediction.export runs/NAME --format openvino

onnx needs the packages onnx, tf2onnx and onnxruntime; openvino needs onnx, tf2onnx and openvino.
"""

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from unet.command_line import import_tensorflow_quietly, run
from unet.errors import UserError
from unet.files import TEMPORARY, write_whole
from unet.options import ExportOptions

# Sizes of the simulated heads: smaller and larger than the network's input, and not square.
SIZES = ((256, 256), (512, 512), (300, 200), (97, 131), (512, 512), (181, 256))
LEAST_DICE = 0.999
# Probabilities may differ by this much, except at a thousandth of the pixels.
MOST_DIFFERENCE, LEAST_SAME = 0.01, 0.999


def export(options: ExportOptions) -> None:
    """Export a network, after checking that it agrees with Keras.

    Args:
        options: Which run, to which format, and where to write it.

    Raises:
        UserError: If a package is missing, the output exists or cannot be written, or the results differ.

    Example:
        >>> export(ExportOptions(format="saved_model", output=Path("exported")))  # doctest: +ELLIPSIS
        'exported' agrees with Keras: Dice ... on simulated slices. It outlines tumor where the probability is ...
    """
    format = FORMATS[options.format]
    missing = [name for name in format.packages if not find_spec(name)]
    if missing:
        raise UserError(f"--format {options.format} needs: pip install {' '.join(missing)}")

    import_tensorflow_quietly()
    from unet.network.predictor import Predictor
    from unet.network.saved_run import SavedRun

    saved = SavedRun.open(options.run)
    output = options.output or Path(saved.folder.name + format.suffix)
    for path in (output, *([output.with_suffix(".bin")] if options.format == "openvino" else [])):
        if path.exists():
            raise UserError(f"'{path}' already exists: choose another --output.")
    predictor = Predictor(saved, mirror=options.mirror, precision="float32")
    module = with_preprocessing(predictor)
    with tempfile.TemporaryDirectory() as folder:
        exported = format.convert(save(module, Path(folder)), Path(folder) / f"model{format.suffix}")
        dice = compare(predictor, format.open(exported))
        keep(exported, output)
    print(f"'{output}' agrees with Keras: Dice {dice:.4f} on simulated slices. It outlines tumor {predictor.rule}.")


def save(module, folder: Path) -> Path:
    """Write the module of with_preprocessing to a folder, as the saved model that all formats are made from."""
    import tensorflow as tf

    path = folder / "saved_model"
    tf.saved_model.save(module, str(path), signatures=module.probability)
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


def with_preprocessing(predictor):
    """A tf.Module whose `probability` computes what Predictor does, with operations that all formats support."""
    import tensorflow as tf

    from unet.images.preprocessing import PERCENTILES

    size = float(predictor.size)

    def percentile(ascending: tf.Tensor, percent: float) -> tf.Tensor:
        """Like numpy.percentile, with linear interpolation, of sorted float32 (n,)."""
        position = percent / 100 * tf.cast(tf.shape(ascending)[0] - 1, tf.float32)
        below = tf.cast(tf.floor(position), tf.int32)
        above = tf.cast(tf.math.ceil(position), tf.int32)
        low, high = tf.gather(ascending, below), tf.gather(ascending, above)
        return low + (high - low) * (position - tf.floor(position))

    def resize_weights(inner: tf.Tensor, start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """Weights (size, length) that scale `length` pixels to `inner` pixels, from `start` on, as OpenCV does:
        by area to reduce, and bilinearly to enlarge."""
        pixel = tf.range(size)[:, tf.newaxis] - start
        source = tf.range(length)[tf.newaxis]
        scale = length / inner
        covered = tf.minimum(source + 1, (pixel + 1) * scale) - tf.maximum(source, pixel * scale)
        area = tf.maximum(covered, 0.0) / scale
        inside = tf.cast((pixel >= 0) & (pixel < inner), tf.float32)
        return tf.where(scale > 1, area, linear_weights(pixel, scale, length)) * inside

    def linear_weights(pixel: tf.Tensor, scale: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """Weights (pixels, length) of bilinear interpolation that repeats the border."""
        position = tf.clip_by_value((pixel + 0.5) * scale - 0.5, 0.0, length - 1)
        return tf.maximum(0.0, 1 - tf.abs(position - tf.range(length)[tf.newaxis]))

    class Exported(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None), tf.uint8, name="image")])
        def probability(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            grey = tf.cast(image, tf.float32)
            shape = tf.cast(tf.shape(image), tf.float32)
            height, width = shape[0], shape[1]
            ascending = tf.sort(tf.reshape(grey, [-1]))
            low, high = (percentile(ascending, percent) for percent in PERCENTILES)
            stretched = tf.round((grey - low) * 255 / tf.maximum(high - low, 1e-6))
            stretched = tf.clip_by_value(stretched, 0.0, 255.0) * tf.cast(high > low, tf.float32)
            scale = size / tf.maximum(height, width)
            inner_height = tf.maximum(1.0, tf.round(height * scale))
            inner_width = tf.maximum(1.0, tf.round(width * scale))
            top = tf.floor((size - inner_height) / 2)
            left = tf.floor((size - inner_width) / 2)
            rows = resize_weights(inner_height, top, height)
            columns = resize_weights(inner_width, left, width)
            square = tf.round(tf.matmul(tf.matmul(rows, stretched), columns, transpose_b=True))
            # A fixed shape: convolutions of unknown shapes are slow, or wrong, in some runtimes.
            network_input = tf.reshape(square / 255, (1, predictor.size, predictor.size, 1))
            result = predictor.untraced_network(network_input)[0, ..., 0]
            rows = linear_weights(tf.range(height)[:, tf.newaxis], inner_height / height, inner_height)
            columns = linear_weights(tf.range(width)[:, tf.newaxis], inner_width / width, inner_width)
            inner = result[
                tf.cast(top, tf.int32) : tf.cast(top + inner_height, tf.int32),
                tf.cast(left, tf.int32) : tf.cast(left + inner_width, tf.int32),
            ]
            native = tf.matmul(tf.matmul(rows, inner), columns, transpose_b=True)
            return {"probability": native}

    module = Exported()
    module.model = predictor.model  # so that its variables are saved too
    return module


def compare(
    predictor, run_exported: Callable[[np.ndarray], np.ndarray], images: list[np.ndarray] | None = None
) -> float:
    """Smallest Dice between masks of Keras and of the exported network; UserError if masks or probabilities differ.

    run_exported maps an image, grey uint8 (height, width), to its probability, float32 of the same shape. Two empty
    masks have a Dice of 1. Without `images`, simulated heads are compared.
    """
    from unet.evaluation.metrics import score

    images = images or [simulate_head(seed, *size) for seed, size in enumerate(SIZES)]
    dice, same = [], []
    for image in tqdm(images, "Comparing", disable=None):
        expected, result = predictor([image])[0], run_exported(image)
        dice.append(score(predictor.rule.mask(expected), predictor.rule.mask(result))["dice"])
        same.append(np.mean(np.abs(result - expected) <= MOST_DIFFERENCE))
    if min(dice) < LEAST_DICE or min(same) < LEAST_SAME:
        raise UserError(
            f"The exported network differs from Keras (Dice {min(dice):.4f}, same probability at {min(same):.2%} of "
            "pixels), so it was not kept: choose another --format."
        )
    return min(dice)


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
        axes = np.intp(side * np.array(axes))
        cv2.ellipse(shape, np.intp(middle).tolist(), axes.tolist(), 0, 0, 360, color=1, thickness=cv2.FILLED)
        image = np.where(shape, level, image)
    image = cv2.GaussianBlur(image, (0, 0), side / 250) + random.normal(0, 3, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8)


def to_saved_model(source: Path, path: Path) -> Path:
    return source


def to_litert(source: Path, path: Path) -> Path:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    loaded = tf.saved_model.load(str(source))  # a variable of its own: its weights are freed with it
    # The converter would keep variables, which the runtime cannot find.
    frozen = convert_variables_to_constants_v2(loaded.signatures["serving_default"])
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())
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
    return lambda image: function(image=tf.constant(image))["probability"].numpy()


def run_litert(path: Path) -> Callable:
    import tensorflow as tf

    with warnings.catch_warnings():
        # It warns that another package will replace it.
        warnings.simplefilter("ignore")
        runner = tf.lite.Interpreter(str(path))
    (image_in,), (out,) = runner.get_input_details(), runner.get_output_details()

    def run_image(image: np.ndarray) -> np.ndarray:
        runner.resize_tensor_input(image_in["index"], image.shape)
        runner.allocate_tensors()
        runner.set_tensor(image_in["index"], image)
        runner.invoke()
        return runner.get_tensor(out["index"])

    return run_image


def run_onnx(path: Path) -> Callable:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {session.get_inputs()[0].name: image})[0]


def run_openvino(path: Path) -> Callable:
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda image: model(image)[0]


@dataclass(frozen=True)
class Format:
    """How to convert a saved model to a format and run the result, and the packages that both need."""

    suffix: str
    convert: Callable[[Path, Path], Path]  # convert(saved model, path) writes to the path, or returns another one
    open: Callable[[Path], Callable[[np.ndarray], np.ndarray]]  # open(path) maps an image to its probability
    packages: tuple[str, ...] = ()


FORMATS = {
    "saved_model": Format("-saved-model", to_saved_model, run_saved_model),
    "litert": Format(".tflite", to_litert, run_litert),
    "onnx": Format(".onnx", to_onnx, run_onnx, ("onnx", "tf2onnx", "onnxruntime")),
    "openvino": Format(".xml", to_openvino, run_openvino, ("onnx", "tf2onnx", "openvino")),
}


if __name__ == "__main__":
    run(ExportOptions, __doc__, export, uses_tensorflow=False)
