"""Export a run's network for other runtimes, preprocessing inside, and prove that it does the same.

A grey 8-bit image (height, width) of any size goes in, its tumor probability of the same size comes out.

    python -m unet.prediction.export --format onnx             the network that comes with the project
    python -m unet.prediction.export runs/NAME --format openvino

onnx needs the packages onnx, tf2onnx and onnxruntime, openvino onnx, tf2onnx and openvino.
"""

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from tqdm import tqdm

from unet.command_line import import_tensorflow_quietly, run
from unet.errors import UserError
from unet.files import TEMPORARY, write_whole
from unet.options import ExportOptions

# Sizes of the simulated slices that are compared: larger and smaller than the network's, not square.
SIZES = ((256, 256), (512, 512), (300, 200), (97, 131), (512, 512), (181, 256))
LEAST_DICE = 0.999


def export(options: ExportOptions) -> None:
    """Write the exported network; UserError where a package is missing or results differ."""
    kind = FORMATS[options.format]
    missing = [name for name in kind.packages if not find_spec(name)]
    if missing:
        raise UserError(f"--format {options.format} needs: pip install {' '.join(missing)}")

    import_tensorflow_quietly()
    from unet.network.predictor import Predictor
    from unet.network.saved_run import SavedRun

    saved = SavedRun.open(options.run)
    output = options.output or Path(saved.folder.name + kind.suffix)
    for path in (output, *([output.with_suffix(".bin")] if options.format == "openvino" else [])):
        if path.exists():
            raise UserError(f"'{path}' is there already: choose another --output.")
    predictor = Predictor(saved, mirror=options.mirror, precision="float32")
    module = with_preprocessing(predictor)
    with tempfile.TemporaryDirectory() as folder:
        made = kind.convert(save(module, Path(folder)), Path(folder) / f"model{kind.suffix}")
        dice = compare(predictor, kind.open(made))
        if dice < LEAST_DICE:
            raise UserError(
                f"The exported network's masks have Dice {dice:.4f} with Keras', below {LEAST_DICE}: not kept."
            )
        keep(made, output)
    print(f"'{output}' agrees with Keras: Dice {dice:.4f} on simulated slices. It outlines tumor {predictor.rule}.")


def save(module, folder: Path) -> Path:
    """What with_preprocessing made, as a saved model in that folder: what every format is made from."""
    import tensorflow as tf

    path = folder / "saved_model"
    tf.saved_model.save(module, str(path), signatures=module.probability)
    return path


def keep(made: Path, output: Path) -> None:
    """Write what was made to its place."""
    if made.is_dir():
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=output.parent, prefix=TEMPORARY) as draft:
                os.replace(shutil.copytree(made, Path(draft) / output.name), output)
        except (OSError, shutil.Error) as error:
            raise UserError(f"Cannot write '{output}': {error}.") from error
        return
    weights = made.with_suffix(".bin")  # OpenVINO's
    if weights.exists():
        write_whole(output.with_suffix(".bin"), weights.read_bytes())
    write_whole(output, made.read_bytes())


def with_preprocessing(predictor):
    """A tf.Module whose `probability` does what Predictor does, in operations that convert everywhere."""
    import tensorflow as tf

    from unet.images.preprocessing import PERCENTILES

    size = float(predictor.size)

    def percentile(ordered: tf.Tensor, percent: float) -> tf.Tensor:
        """As numpy.percentile, linear between neighbours, of rising float32 (n,)."""
        place = percent / 100 * tf.cast(tf.shape(ordered)[0] - 1, tf.float32)
        below = tf.cast(tf.floor(place), tf.int32)
        above = tf.cast(tf.math.ceil(place), tf.int32)
        low, high = tf.gather(ordered, below), tf.gather(ordered, above)
        return low + (high - low) * (place - tf.floor(place))

    def averages(inner: tf.Tensor, start: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """(size, length) weights that put `length` pixels onto `inner` ones from `start` on: OpenCV's area,
        or linear where they are enlarged."""
        pixel = tf.range(size)[:, tf.newaxis] - start
        source = tf.range(length)[tf.newaxis]
        scale = length / inner
        covered = tf.minimum(source + 1, (pixel + 1) * scale) - tf.maximum(source, pixel * scale)
        area = tf.maximum(covered, 0.0) / scale
        inside = tf.cast((pixel >= 0) & (pixel < inner), tf.float32)
        return tf.where(scale > 1, area, linear(pixel, scale, length)) * inside

    def linear(pixel: tf.Tensor, scale: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        """(pixels, length) weights of bilinear interpolation, borders repeated."""
        place = tf.clip_by_value((pixel + 0.5) * scale - 0.5, 0.0, length - 1)
        return tf.maximum(0.0, 1 - tf.abs(place - tf.range(length)[tf.newaxis]))

    class Exported(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None), tf.uint8, name="image")])
        def probability(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
            grey = tf.cast(image, tf.float32)
            shape = tf.cast(tf.shape(image), tf.float32)
            height, width = shape[0], shape[1]
            ordered = tf.sort(tf.reshape(grey, [-1]))
            low, high = (percentile(ordered, percent) for percent in PERCENTILES)
            stretched = tf.round((grey - low) * 255 / tf.maximum(high - low, 1e-6))
            stretched = tf.clip_by_value(stretched, 0.0, 255.0) * tf.cast(high > low, tf.float32)
            scale = size / tf.maximum(height, width)
            inner_height = tf.maximum(1.0, tf.round(height * scale))
            inner_width = tf.maximum(1.0, tf.round(width * scale))
            top = tf.floor((size - inner_height) / 2)
            left = tf.floor((size - inner_width) / 2)
            rows = averages(inner_height, top, height)
            columns = averages(inner_width, left, width)
            square = tf.round(tf.matmul(tf.matmul(rows, stretched), columns, transpose_b=True))
            # Its shape is told: convolutions of unknown shapes are slow, or wrong, in some runtimes.
            network_input = tf.reshape(square / 255, (1, predictor.size, predictor.size, 1))
            result = predictor.untraced_network(network_input)[0, ..., 0]
            rows = linear(tf.range(height)[:, tf.newaxis], inner_height / height, inner_height)
            columns = linear(tf.range(width)[:, tf.newaxis], inner_width / width, inner_width)
            inner = result[
                tf.cast(top, tf.int32) : tf.cast(top + inner_height, tf.int32),
                tf.cast(left, tf.int32) : tf.cast(left + inner_width, tf.int32),
            ]
            native = tf.matmul(tf.matmul(rows, inner), columns, transpose_b=True)
            return {"probability": native}

    module = Exported()
    module.model = predictor.model  # its variables are saved with it
    return module


def compare(predictor, run_exported: Callable[[np.ndarray], np.ndarray]) -> float:
    """Smallest Dice between the masks of Keras and of the exported network on simulated slices."""
    from unet.data.phantoms import phantom_slice
    from unet.evaluation.metrics import score

    images = [
        phantom_slice(0, place, 1, 3, max(shape)).image[: shape[0], : shape[1]] for place, shape in enumerate(SIZES)
    ]
    dice = []
    for image in tqdm(images, "Comparing", disable=None):
        expected = predictor([image])[0]
        masks = (predictor.rule.mask(probability) for probability in (expected, run_exported(image)))
        dice.append(score(*masks)["dice"])
    return min(dice)


def to_saved_model(source: Path, path: Path) -> Path:
    return source


def to_litert(source: Path, path: Path) -> Path:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    loaded = tf.saved_model.load(str(source))  # its variables live as long as it does
    # Left to itself the converter keeps variables, which its runtime does not find.
    frozen = convert_variables_to_constants_v2(loaded.signatures["serving_default"])
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([frozen]).convert())
    return path


def to_onnx(source: Path, path: Path) -> Path:
    import onnx
    import tensorflow as tf
    import tf2onnx

    loaded = tf.saved_model.load(str(source))  # its variables live as long as it does
    function = loaded.signatures["serving_default"]
    specs = list(function.structured_input_signature[1].values())
    model, _ = tf2onnx.convert.from_function(tf.function(lambda image: function(image=image)), specs, opset=17)
    onnx.save(model, path)
    return path


def to_openvino(source: Path, path: Path) -> Path:
    import openvino

    # Reading the saved model itself takes it longer than anyone would wait.
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
        # That a package of its own will replace it one day.
        warnings.simplefilter("ignore")
        runner = tf.lite.Interpreter(str(path))
    (image_in,), (out,) = runner.get_input_details(), runner.get_output_details()

    def run_it(image: np.ndarray) -> np.ndarray:
        runner.resize_tensor_input(image_in["index"], image.shape)
        runner.allocate_tensors()
        runner.set_tensor(image_in["index"], image)
        runner.invoke()
        return runner.get_tensor(out["index"])

    return run_it


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
    """How a saved model becomes a file, how that file is run, and the packages that both need."""

    suffix: str
    convert: Callable[[Path, Path], Path]
    open: Callable[[Path], Callable[[np.ndarray], np.ndarray]]
    packages: tuple[str, ...] = ()


FORMATS = {
    "saved_model": Format("-saved-model", to_saved_model, run_saved_model),
    "litert": Format(".tflite", to_litert, run_litert),
    "onnx": Format(".onnx", to_onnx, run_onnx, ("onnx", "tf2onnx", "onnxruntime")),
    "openvino": Format(".xml", to_openvino, run_openvino, ("onnx", "tf2onnx", "openvino")),
}


if __name__ == "__main__":
    run(ExportOptions, __doc__, export, uses_tensorflow=False)
