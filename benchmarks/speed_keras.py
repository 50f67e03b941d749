"""Worker of speed.py in the project's environment: our network, that of the data set's author, and the ceiling."""

import statistics
from collections.abc import Callable

import keras
import tensorflow as tf
from keras import layers
from timing import Job, print_figures

from unet.machine import installed_versions, machine_description, use_precision
from unet.network.model import build_unet, flops, with_logits
from unet.options import ModelConfig, TrainingOptions
from unet.training.learner import Learner

# Keras names of the number formats in speed.py.
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


def plain_unet(activation: str | None = "sigmoid") -> keras.Model:
    """The U-Net that the author of the Kaggle data set trains: 64 to 512 channels, 1024 in the bottleneck."""

    def convolutions(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same")(x)
            x = layers.BatchNormalization()(x)
            x = layers.Activation("relu")(x)
        return x

    image = x = keras.Input((None, None, 1))
    skip_connections = []
    for filters in (64, 128, 256, 512):
        x = convolutions(x, filters)
        skip_connections.append(x)
        x = layers.MaxPooling2D()(x)
    x = convolutions(x, 1024)
    for filters in (512, 256, 128, 64):
        x = layers.Conv2DTranspose(filters, 2, strides=2)(x)
        x = convolutions(layers.Concatenate()([x, skip_connections.pop()]), filters)
    return keras.Model(image, layers.Conv2D(1, 1, activation=activation, dtype="float32")(x))


def our_training(job: Job, images: tf.Tensor, masks: tf.Tensor) -> tuple[keras.Model, Callable]:
    """Our network and its training step."""
    learner = Learner(TrainingOptions(), job.batch, 1000, tf.distribute.get_strategy())

    def step() -> float:
        learner.train_step(images, masks)
        return float(learner.loss.result())  # waits for the end of the step

    return learner.model, step


def author_training(job: Job, images: tf.Tensor, masks: tf.Tensor) -> tuple[keras.Model, Callable]:
    """The author's network and its training step."""
    model = plain_unet()
    model.compile("adam", keras.losses.Dice(), jit_compile=job.mode == "xla")
    return model, lambda: model.train_on_batch(images, masks)


TRAININGS = {"ours": our_training, "author": author_training}


def measure(job: Job) -> None:
    """Print the speeds of a network on random slices. Inference comes first, to get its own peak memory."""
    use_precision(POLICIES[job.precision])
    images = tf.random.uniform((job.batch, job.size, job.size, 1))
    masks = tf.cast(tf.random.uniform(images.shape) < 0.02, tf.float32)
    model, train = TRAININGS[job.network](job, images, masks)
    # Without normalization, as in predict.py.
    ready = build_unet(ModelConfig(), normalization=None) if job.network == "ours" else model
    infer = tf.function(lambda x: ready(x, training=False), jit_compile=job.mode == "xla")
    # The U-Net alone: the presence head is trained later, on its own.
    trained = with_logits(model) if job.network == "ours" else model
    figures = {"parameters": model.count_params(), "flops": flops(trained, job.size)}
    # Reading the answers waits for them.
    figures["inference"] = job.speed(lambda: tf.nest.map_structure(lambda answer: answer.numpy(), infer(images)))
    print_figures(figures)
    figures["training"] = job.speed(train)
    print_figures(figures)


def measure_ceiling(job: Job) -> None:
    """Print the FLOP/s of one large 3 x 3 convolution and of one large matrix product."""
    images = tf.cast(tf.random.uniform((8, 128, 128, 64)), job.precision)
    kernel = tf.cast(tf.random.uniform((3, 3, 64, 64)), job.precision)
    matrix = tf.cast(tf.random.uniform((2048, 2048)), job.precision)
    # Reading one number waits for the result without copying all of it.
    convolve = tf.function(lambda x, y: tf.nn.conv2d(x, y, 1, "SAME")[0, 0, 0, 0])
    multiply = tf.function(lambda x, y: tf.matmul(x, y)[0, 0])
    convolution = statistics.median(job.time(lambda: convolve(images, kernel).numpy()))
    product = statistics.median(job.time(lambda: multiply(matrix, matrix).numpy()))
    print_figures(
        {
            "convolution": 2 * 9 * 64 * 64 * 8 * 128 * 128 / convolution,
            "product": 2 * 2048**3 / product,
            "versions": installed_versions(),
            "machine": machine_description(),
        }
    )


if __name__ == "__main__":
    job = Job.from_command_line()
    measure_ceiling(job) if job.network == "ceiling" else measure(job)
