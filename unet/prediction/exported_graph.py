"""What an export contains: preprocessing, network and tumor probability, with operations that all formats support."""

import tensorflow as tf

from unet.images.preprocessing import PERCENTILES
from unet.network.predictor import Predictor
from unet.network.presence import LEAST_EVIDENCE


def with_preprocessing(predictor: Predictor, batch: int | None = None) -> tf.Module:
    """A module whose `outputs` computes what the predictor does, for `batch` images at a time, or for any number."""
    rule, size = predictor.presence_rule, predictor.size

    @tf.function(input_signature=[tf.TensorSpec((batch, None, None), tf.uint8, name="image")])
    def outputs(image: tf.Tensor) -> dict[str, tf.Tensor]:
        height, width = (tf.cast(length, tf.float32) for length in tf.unstack(tf.shape(image)[1:]))
        longest = tf.maximum(height, width)
        rows, rows_there, rows_back = along_axis(height, longest, size)
        columns, columns_there, columns_back = along_axis(width, longest, size)
        square = tf.round(resize(stretch(tf.cast(image, tf.float32)), rows_there, columns_there))
        # A fixed shape: convolutions of unknown shapes are slow, or wrong, in some runtimes.
        answers = predictor.untraced_network(tf.reshape(square / 255, (batch or -1, size, size, 1)))
        outline = answers["outline"][..., 0][:, rows, columns]
        probability = resize(outline, rows_back, columns_back)
        if not rule:
            return {"probability": probability}
        evidence = tf.clip_by_value(answers["evidence"][:, 0], LEAST_EVIDENCE, 1 - LEAST_EVIDENCE)
        log_odds = tf.math.log(evidence / (1 - evidence))
        return {"probability": probability, "tumor_probability": tf.sigmoid(rule.slope * log_odds + rule.intercept)}

    module = tf.Module()
    module.model = predictor.model  # so that its variables are saved too
    module.outputs = outputs
    return module


def stretch(grey: tf.Tensor) -> tf.Tensor:
    """Grey values float32 (batch, height, width) from 0 to 255, as whole numbers, with the percentiles at the ends."""
    shape = tf.shape(grey)
    ascending = tf.sort(tf.reshape(grey, (-1, shape[1] * shape[2])))
    low, high = (percentile(ascending, percent) for percent in PERCENTILES)
    stretched = tf.round((grey - low) * 255 / tf.maximum(high - low, 1e-6))
    return tf.clip_by_value(stretched, 0.0, 255.0) * tf.cast(high > low, tf.float32)


def percentile(ascending: tf.Tensor, percent: float) -> tf.Tensor:
    """Like numpy.percentile, with linear interpolation, of sorted float32 (batch, n), as (batch, 1, 1)."""
    position = percent / 100 * tf.cast(tf.shape(ascending)[1] - 1, tf.float32)
    low = tf.gather(ascending, tf.cast(tf.floor(position), tf.int32), axis=1)
    high = tf.gather(ascending, tf.cast(tf.math.ceil(position), tf.int32), axis=1)
    return tf.reshape(low + (high - low) * (position - tf.floor(position)), (-1, 1, 1))


def along_axis(length: tf.Tensor, longest: tf.Tensor, size: int) -> tuple[slice, tf.Tensor, tf.Tensor]:
    """Where an axis of an image lies in the network's input of `size` pixels, and the weights that resize it there and
    back. The longest axis of the image fills the input."""
    whole, longest = tf.cast(length, tf.int32), tf.cast(longest, tf.int32)
    inner = tf.cast(tf.maximum(1, (2 * whole * size + longest) // (2 * longest)), tf.float32)
    start = tf.floor((size - inner) / 2)
    scale = length / inner
    pixel, source = tf.range(float(size))[:, tf.newaxis] - start, tf.range(length)[tf.newaxis]
    covered = tf.minimum(source + 1, (pixel + 1) * scale) - tf.maximum(source, pixel * scale)
    # Like OpenCV: by area to reduce, and bilinearly to enlarge.
    there = tf.where(scale > 1, tf.maximum(covered, 0.0) / scale, linear_weights(pixel, scale, length))
    there *= tf.cast((pixel >= 0) & (pixel < inner), tf.float32)
    back = linear_weights(tf.range(length)[:, tf.newaxis], inner / length, inner)
    return slice(tf.cast(start, tf.int32), tf.cast(start + inner, tf.int32)), there, back


def linear_weights(pixel: tf.Tensor, scale: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Weights (pixels, length) of bilinear interpolation that repeats the border."""
    position = tf.clip_by_value((pixel + 0.5) * scale - 0.5, 0.0, length - 1)
    return tf.maximum(0.0, 1 - tf.abs(position - tf.range(length)[tf.newaxis]))


def resize(image: tf.Tensor, row_weights: tf.Tensor, column_weights: tf.Tensor) -> tf.Tensor:
    """An image (batch, height, width) resized along both axes, each with its weights (new length, length)."""
    return tf.matmul(tf.matmul(row_weights, image), column_weights, transpose_b=True)
