"""Two devices with half of each batch learn the same as one device with whole batches."""

import re
import subprocess
import sys

from ready import ROOT

# Runs in another process: devices cannot be changed after TensorFlow has started.
CHILD = """
import numpy as np
import tensorflow as tf

two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
from unet.training.learner import Learner
from unet.options import ModelConfig, TrainingOptions

options = TrainingOptions(model=ModelConfig(width=4, depth=3))
# Bright images, so that gradients are large enough to be clipped.
images = 30 * np.random.default_rng(0).random((48, 16, 16, 1)).astype(np.float32)
masks = (images > 0.6).astype(np.float32)


def learn(strategy):
    learner = Learner(options, 8, 6, strategy)
    batches = tf.data.Dataset.from_tensor_slices((images, masks)).batch(8)
    losses = []
    for pair in strategy.experimental_distribute_dataset(batches):
        learner.train_step(*pair)
        losses.append(learner.take_scores()["loss"])
    return losses, learner


one, alone = learn(tf.distribute.get_strategy())
both, together = learn(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
print("losses", np.abs(np.subtract(one, both)).max())
pairs = zip(alone.averaged.trainable_variables, together.averaged.trainable_variables, strict=True)
print("weights", max(np.abs(a.numpy() - b.numpy()).max() for a, b in pairs))
"""


def test_two_replicas_learn_the_same_as_one():
    done = subprocess.run([sys.executable, "-c", CHILD], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    gaps = dict(re.findall(r"^(losses|weights) (\S+)$", done.stdout, re.MULTILINE))
    assert float(gaps["losses"]) < 1e-5, done.stdout
    # Adam divides by gradients close to 0, which magnifies rounding errors.
    assert float(gaps["weights"]) < 1e-4, done.stdout
