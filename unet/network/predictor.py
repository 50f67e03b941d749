"""Predictor: a saved network and images of any size -> whether each has a tumor, and where.

predict.py, evaluate.py and everything else that runs a trained network use it.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, islice

import numpy as np
import tensorflow as tf

from unet.errors import ImageError
from unet.images.preprocessing import to_native_size, to_network_input, to_training_image
from unet.machine import thread_count
from unet.network.outliner import Outliner, Prediction
from unet.network.saved_run import SavedRun

# While one batch waits for a core that another thread uses, the others continue.
BATCHES_IN_NETWORK = 3
Preparation = Callable[[np.ndarray, int], np.ndarray]  # an image and the network's size -> an input uint8 (size, size)


class Predictor(Outliner):
    """A trained network with its preprocessing and rules.

    Args:
        run: The saved run, or an Ensemble.
        batch_size: Images per batch.
        mirror: Average the answers for each image and its mirror image.
        precision: Number format of the network. None takes the one of the training options, where "auto" is decided
            on this machine.
        always_outline: Outline every image, whether or not a tumor is found.

    Raises:
        UserError: If the run has no network yet, or a damaged one.

    Example:
        >>> predictor = Predictor(SavedRun.open())
        >>> image = np.zeros((300, 200), np.uint8)
        >>> (prediction,) = predictor([image])
        >>> prediction.probability.shape, prediction.probability.dtype
        ((300, 200), dtype('float32'))
        >>> mask = predictor.mask(prediction)
        >>> mask.shape, mask.dtype
        ((300, 200), dtype('bool'))
    """

    def __init__(
        self,
        run: SavedRun,
        batch_size: int = 8,
        mirror: bool = True,
        precision: str | None = None,
        always_outline: bool = False,
    ):
        config = run.config
        super().__init__(config.outline_rule, config.presence_rule, run.confidence_model(), always_outline)
        self.size = config.options.size
        self.batch_size = batch_size
        self.model = model = run.load_network(precision)

        def network(images: tf.Tensor) -> dict[str, tf.Tensor]:
            if not mirror:
                return model(images, training=False)
            # Both in one call, since every call is traced, which delays the first answer.
            answers = model(tf.concat([images, tf.reverse(images, [2])], 0), training=False)
            outline, mirrored = tf.split(answers["outline"], 2)
            return {
                "outline": (outline + tf.reverse(mirrored, [2])) / 2,
                "evidence": tf.add_n(tf.split(answers["evidence"], 2)) / 2,
            }

        self.untraced_network = network
        shape = tf.TensorSpec((None, self.size, self.size, 1), tf.float32)
        # Traced here: TensorFlow would warn about every later Predictor.
        self.network = tf.function(network, [shape], autograph=False).get_concrete_function()

    def __call__(self, images: list[np.ndarray], prepare: Preparation = to_training_image) -> list[Prediction]:
        """What the network predicts for images.

        Args:
            images: Grey uint8 (height, width) each; sizes may differ.
            prepare: Turns an image and the network's size into an input uint8 (size, size).

        Returns:
            One prediction per image; its source is the image.
        """
        return list(self.stream(images, lambda image: image, preparation_of=lambda image: prepare))

    def stream(
        self,
        sources: Iterable,
        read: Callable[[object], np.ndarray],
        use: Callable[[Prediction], object] = lambda prediction: prediction,
        preparation_of: Callable[[object], Preparation] = lambda source: to_training_image,
    ) -> Iterator:
        """use(prediction) of each source, in order and in constant memory.

        `read` turns a source into a grey uint8 image (height, width). If it raises ImageError, the prediction carries
        the error; any other error ends the stream. preparation_of(source) is the function that turns the image into an
        input, as in __call__. read, preparation_of and use run in threads next to the network.
        """

        def load(source: object) -> Prediction:
            try:
                image = read(source)
                return Prediction(source, image, preparation_of(source)(image, self.size))
            except ImageError as error:
                return Prediction(source, error=error)

        def finish(loaded_and_answer: tuple[Prediction, tuple[np.ndarray, float] | None]) -> object:
            loaded, answer = loaded_and_answer
            if loaded.error:
                return use(loaded)
            outline, evidence = answer
            probability = to_native_size(outline, *loaded.image.shape)
            return use(replace(loaded, probability=probability, evidence=evidence))

        ahead = 3 * self.batch_size
        with ThreadPoolExecutor(thread_count()) as threads, ThreadPoolExecutor(BATCHES_IN_NETWORK) as network:
            loaded = in_batches(in_order(threads, load, sources, ahead), self.batch_size)
            predicted = in_order(network, self._predict_batch, loaded, BATCHES_IN_NETWORK)
            yield from in_order(threads, finish, chain.from_iterable(predicted), ahead)

    def _predict_batch(self, batch: list[Prediction]) -> list[tuple[Prediction, tuple[np.ndarray, float] | None]]:
        """Each loaded image with its outline, float32 (size, size), and evidence; None if it could not be read."""
        inputs = [loaded.square for loaded in batch if not loaded.error]
        answers = iter(())
        if inputs:
            result = self.network(tf.constant(to_network_input(np.stack(inputs))))
            answers = zip(result["outline"].numpy()[..., 0], result["evidence"].numpy()[:, 0].tolist(), strict=True)
        return [(loaded, None if loaded.error else next(answers)) for loaded in batch]


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
