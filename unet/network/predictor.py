"""Predictor: a saved network and images of any size -> the tumor probability of each pixel of each image.

predict.py, evaluate.py and everything else that runs a trained network use it.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, islice

import numpy as np
import tensorflow as tf

from unet.errors import ImageError
from unet.images.preprocessing import to_native_size, to_network_input, to_training_image
from unet.network.saved_run import SavedRun

# While one batch waits for a core that another thread uses, the others continue.
BATCHES_IN_NETWORK = 3


@dataclass(frozen=True)
class Prediction:
    """What the network predicts for one image, or the error if it could not be read."""

    source: object
    image: np.ndarray | None = None  # grey uint8 (height, width)
    square: np.ndarray | None = None  # the network's input, uint8 (size, size)
    probability: np.ndarray | None = None  # of tumor, float32 (height, width), in [0, 1]
    error: ImageError | None = None


class Predictor:
    """A trained network with its preprocessing and outline rule.

    Args:
        run: The saved run.
        batch_size: Images per batch.
        mirror: Average the probabilities of each image and its mirror image.
        precision: Number format of the network. None takes the one of the training options, where "auto" is decided
            on this machine.

    Raises:
        UserError: If the run has no network yet, or a damaged one.

    Example:
        >>> predictor = Predictor(SavedRun.open())
        >>> image = np.zeros((300, 200), np.uint8)
        >>> probability = predictor([image])[0]
        >>> probability.shape, probability.dtype
        ((300, 200), dtype('float32'))
        >>> mask = predictor.rule.mask(probability)
        >>> mask.shape, mask.dtype
        ((300, 200), dtype('bool'))
    """

    def __init__(self, run: SavedRun, batch_size: int = 8, mirror: bool = True, precision: str | None = None):
        self.size = run.config.options.size
        self.rule = run.config.outline_rule
        self.confidence_model = run.confidence_model()
        self.batch_size = batch_size
        self.model = model = run.load_network(precision)

        def network(images: tf.Tensor) -> tf.Tensor:
            probability = model(images, training=False)
            if mirror:
                mirrored = model(tf.reverse(images, [2]), training=False)
                probability = (probability + tf.reverse(mirrored, [2])) / 2
            return probability

        self.untraced_network = network
        shape = tf.TensorSpec((None, self.size, self.size, 1), tf.float32)
        # Traced here: TensorFlow would warn about every later Predictor.
        self.network = tf.function(network, input_signature=[shape]).get_concrete_function()

    def __call__(
        self, images: list[np.ndarray], prepare: Callable[[np.ndarray, int], np.ndarray] = to_training_image
    ) -> list[np.ndarray]:
        """Tumor probabilities of images.

        Args:
            images: Grey uint8 (height, width) each; sizes may differ.
            prepare: Turns an image and the network's size into an input uint8 (size, size).

        Returns:
            The probability of each image, float32 (height, width), in [0, 1].
        """
        return [each.probability for each in self.stream(images, lambda image: image, prepare=prepare)]

    def visible_probability(self, probability: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """A probability whose contour at the threshold is the outline of its mask, which is computed if None."""
        mask = self.rule.mask(probability) if mask is None else mask
        return self.rule.hide_weak_regions(probability, mask)

    def stream(
        self,
        sources: Iterable,
        read: Callable[[object], np.ndarray],
        use: Callable[[Prediction], object] = lambda prediction: prediction,
        prepare: Callable[[np.ndarray, int], np.ndarray] = to_training_image,
    ) -> Iterator:
        """use(prediction) of each source, in order and in constant memory. `prepare` is as in __call__.

        `read` turns a source into a grey uint8 image (height, width). If it raises ImageError, the prediction carries
        the error; any other error ends the stream. read, prepare and use run in threads next to the network.
        """

        def load(source: object) -> Prediction:
            try:
                image = read(source)
                return Prediction(source, image, prepare(image, self.size))
            except ImageError as error:
                return Prediction(source, error=error)

        def finish(loaded_and_output: tuple[Prediction, np.ndarray | None]) -> object:
            loaded, output = loaded_and_output
            if loaded.error:
                return use(loaded)
            return use(replace(loaded, probability=to_native_size(output, *loaded.image.shape)))

        ahead = 3 * self.batch_size
        with ThreadPoolExecutor(os.cpu_count()) as threads, ThreadPoolExecutor(BATCHES_IN_NETWORK) as network:
            loaded = in_batches(in_order(threads, load, sources, ahead), self.batch_size)
            predicted = in_order(network, self._predict_batch, loaded, BATCHES_IN_NETWORK)
            yield from in_order(threads, finish, chain.from_iterable(predicted), ahead)

    def _predict_batch(self, batch: list[Prediction]) -> list[tuple[Prediction, np.ndarray | None]]:
        """Each loaded image with the network's output, float32 (size, size), or None if it could not be read."""
        inputs = [loaded.square for loaded in batch if not loaded.error]
        outputs = iter(self.network(tf.constant(to_network_input(np.stack(inputs)))).numpy() if inputs else ())
        return [(loaded, None if loaded.error else next(outputs)[..., 0]) for loaded in batch]


def in_order(threads: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int) -> Iterator:
    """function(item) for each item, in order, computed in threads up to `ahead` items early."""
    waiting = deque()
    for item in items:
        waiting.append(threads.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def in_batches(items: Iterable, size: int) -> Iterator[list]:
    """Lists of `size` items. The last one may be shorter."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch
