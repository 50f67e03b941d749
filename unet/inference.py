"""Predictor: a saved run and images of any size -> tumor probability on each image's own grid.

predict.py, evaluate.py and whatever else runs a trained network go through it.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from unet.files import ImageError
from unet.preprocessing import to_native_size, to_network_input, to_training_image
from unet.saved_run import SavedRun


@dataclass(frozen=True)
class Prediction:
    """What the network says about one image; `error` instead where it could not be read."""

    source: object
    image: np.ndarray | None  # grey uint8 (height, width)
    probability: np.ndarray | None  # of tumor, float32 (height, width)
    seconds: float  # spent on this image, its share of the batch included
    error: ImageError | None = None


class Predictor:
    """A trained network with the preprocessing and the threshold it was trained with.

    With `mirror`, probabilities are means over the image and its mirror image.
    """

    def __init__(self, run: SavedRun, batch_size: int = 8, mirror: bool = True):
        self.size = run.config.options.size
        self.threshold = run.config.threshold
        self.batch_size = batch_size
        model = run.load_model()
        shape = tf.TensorSpec((None, self.size, self.size, 1), tf.float32)

        def network(images: tf.Tensor) -> tf.Tensor:
            probability = model(images, training=False)
            if mirror:
                mirrored = model(tf.reverse(images, [2]), training=False)
                probability = (probability + tf.reverse(mirrored, [2])) / 2
            return probability

        self._network = tf.function(network, input_signature=[shape])

    def __call__(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Grey uint8 images (height, width), sizes mixed -> float32 probabilities of the same sizes."""
        return [prediction.probability for prediction in self.stream(images, lambda image: image)]

    def mask(self, probability: np.ndarray) -> np.ndarray:
        """Boolean mask of a probability: True is tumor."""
        return probability >= self.threshold

    def stream(
        self,
        sources: Iterable,
        read: Callable[[object], np.ndarray],
        use: Callable[[Prediction], object] = lambda prediction: prediction,
    ) -> Iterator:
        """use(prediction) of every source, in order; memory stays flat however many there are.

        `read` and `use` run in threads beside the network. Where `read` raises ImageError the
        prediction carries it; any other error ends the stream.
        """

        def load(source: object) -> tuple:
            start = time.perf_counter()
            try:
                image = read(source)
                square = to_training_image(image, self.size)
            except ImageError as error:
                return source, None, error, time.perf_counter() - start
            return source, image, square, time.perf_counter() - start

        def finish(item: tuple) -> object:
            source, image, square, seconds = item
            if image is None:
                return use(Prediction(source, None, None, seconds, error=square))
            start = time.perf_counter()
            probability = to_native_size(square, *image.shape)
            seconds += time.perf_counter() - start
            return use(Prediction(source, image, probability, seconds))

        ahead = 3 * self.batch_size
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            loaded = in_order(threads, load, sources, ahead)
            yield from in_order(threads, finish, self._through_network(loaded), ahead)

    def _through_network(self, loaded: Iterator[tuple]) -> Iterator[tuple]:
        """Replace each readable image's network input by its probability, a batch at a time."""
        for batch in in_batches(loaded, self.batch_size):
            start = time.perf_counter()
            squares = [square for _, image, square, _ in batch if image is not None]
            probabilities = iter(())
            if squares:
                inputs = tf.constant(to_network_input(np.stack(squares)))
                probabilities = iter(self._network(inputs).numpy()[..., 0])
            seconds_each = (time.perf_counter() - start) / max(1, len(squares))
            for source, image, square, seconds in batch:
                if image is None:
                    yield source, image, square, seconds
                else:
                    yield source, image, next(probabilities), seconds + seconds_each


def in_order(
    threads: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int
) -> Iterator:
    """function(item) of every item, computed in threads at most `ahead` items early."""
    waiting = deque()
    for item in items:
        waiting.append(threads.submit(function, item))
        if len(waiting) > ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def in_batches(items: Iterable, size: int) -> Iterator[list]:
    """Lists of `size` items; the last may be shorter."""
    batch = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
