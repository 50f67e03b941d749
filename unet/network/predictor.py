"""Predictor: a saved run and images of any size -> tumor probability on each image's own grid.

predict.py, evaluate.py and whatever else runs a trained network go through it.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain

import numpy as np
import tensorflow as tf

from unet.errors import ImageError
from unet.images.preprocessing import to_native_size, to_network_input, to_training_image
from unet.network.outlining import to_mask, without_weak_regions
from unet.network.saved_run import SavedRun

# Batches in the network: while one waits for a core that another thread has, the others go on.
AT_ONCE = 3


@dataclass(frozen=True)
class Prediction:
    """What the network says about one image; `error` instead where it could not be read."""

    source: object
    image: np.ndarray | None  # grey uint8 (height, width)
    probability: np.ndarray | None  # of tumor, float32 (height, width)
    square: np.ndarray | None  # what the network took, uint8 (size, size)
    error: ImageError | None = None


@dataclass
class Item:
    """One image on its way through the network."""

    source: object
    image: np.ndarray | None = None
    square: np.ndarray | None = None  # what the network takes, uint8 (size, size)
    probability: np.ndarray | None = None  # float32 (size, size)
    error: ImageError | None = None


class Predictor:
    """A trained network with its preprocessing, threshold and peak.

    With `mirror`, probabilities are means over the image and its mirror image. `precision` is the network's
    number format; None takes what the training asked for, where "auto" is decided on this machine.
    """

    def __init__(
        self,
        run: SavedRun,
        batch_size: int = 8,
        mirror: bool = True,
        precision: str | None = None,
    ):
        self.size = run.config.options.size
        self.threshold, self.peak = run.config.threshold, run.config.peak
        self.quality = run.quality()
        self.batch_size = batch_size
        self.model = model = run.load_model(precision)
        shape = tf.TensorSpec((None, self.size, self.size, 1), tf.float32)

        def network(images: tf.Tensor) -> tf.Tensor:
            probability = model(images, training=False)
            if mirror:
                mirrored = model(tf.reverse(images, [2]), training=False)
                probability = (probability + tf.reverse(mirrored, [2])) / 2
            return probability

        self.network_of = network
        self.network = tf.function(network, input_signature=[shape])

    def __call__(
        self,
        images: list[np.ndarray],
        prepare: Callable[[np.ndarray, int], np.ndarray] = to_training_image,
    ) -> list[np.ndarray]:
        """Grey uint8 images (height, width), sizes mixed -> float32 probabilities of the same sizes."""
        predictions = self.stream(images, lambda image: image, prepare=prepare)
        return [prediction.probability for prediction in predictions]

    def mask(self, probability: np.ndarray) -> np.ndarray:
        """Boolean mask of a probability: True is tumor."""
        return to_mask(probability, self.threshold, self.peak)

    def drawn(self, probability: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
        """The probability with nothing at or above the threshold but its mask, which may be at hand."""
        mask = self.mask(probability) if mask is None else mask
        return without_weak_regions(probability, mask, self.threshold)

    def stream(
        self,
        sources: Iterable,
        read: Callable[[object], np.ndarray],
        use: Callable[[Prediction], object] = lambda prediction: prediction,
        prepare: Callable[[np.ndarray, int], np.ndarray] = to_training_image,
    ) -> Iterator:
        """use(prediction) of every source, in order; memory stays flat however many there are.

        `read` gives grey uint8 (height, width), `prepare` scales it to what the network takes. They and
        `use` run in threads beside the network. Where `read` raises ImageError the
        prediction carries it; any other error ends the stream.
        """

        def load(source: object) -> Item:
            item = Item(source)
            try:
                item.image = read(source)
                item.square = prepare(item.image, self.size)
            except ImageError as error:
                item.error = error
            return item

        def finish(item: Item) -> object:
            if item.error:
                return use(Prediction(item.source, None, None, None, item.error))
            probability = to_native_size(item.probability, *item.image.shape)
            return use(Prediction(item.source, item.image, probability, item.square))

        ahead = 3 * self.batch_size
        with ThreadPoolExecutor(os.cpu_count()) as threads, ThreadPoolExecutor(AT_ONCE) as network:
            loaded = in_batches(in_order(threads, load, sources, ahead), self.batch_size)
            predicted = in_order(network, self._through_network, loaded, AT_ONCE)
            yield from in_order(threads, finish, chain.from_iterable(predicted), ahead)

    def _through_network(self, batch: list[Item]) -> list[Item]:
        """Give each readable image of a batch its probability."""
        readable = [item for item in batch if not item.error]
        if readable:
            inputs = to_network_input(np.stack([item.square for item in readable]))
            probabilities = self.network(tf.constant(inputs)).numpy()[..., 0]
            for item, probability in zip(readable, probabilities, strict=True):
                item.probability = probability
        return batch


def in_order(threads: ThreadPoolExecutor, function: Callable, items: Iterable, ahead: int) -> Iterator:
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
