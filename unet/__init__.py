"""A U-Net, written from scratch, that outlines brain tumors in MRI slices and scans. See docs/python.md."""

import importlib
import os

# The user may have another one for other projects.
os.environ["KERAS_BACKEND"] = "tensorflow"

__version__ = "0.1.0"

# What users need of each module. A module is imported when it is first used, since TensorFlow takes seconds.
PUBLIC = {
    "unet.errors": "ImageError UserError",
    "unet.options": "QUICK AugmentationConfig DataOptions EvaluationOptions ExportOptions MachineOptions ModelConfig "
    "PairingOptions PredictionOptions ReadingOptions TrainingOptions",
    "unet.evaluation.compare": "compare",
    "unet.evaluation.evaluate": "evaluate",
    "unet.prediction.api": "load",
    "unet.prediction.export": "export",
    "unet.prediction.predict": "predict",
    "unet.training.folds": "train_folds",
    "unet.training.recipes": "recipe",
    "unet.training.train": "train",
}
HOMES = {name: module for module, names in PUBLIC.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in HOMES:
        raise AttributeError(f"module 'unet' has no attribute '{name}'")
    if name.islower() and name != "recipe":  # a function that uses TensorFlow
        importlib.import_module("unet.command_line").import_tensorflow_quietly()
    return getattr(importlib.import_module(HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *HOMES]
