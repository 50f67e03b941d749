"""Outline tumors in MRI slices and scans: masks, overlays and a table of measurements.

Usage:

    python predict.py IMAGES... --output FOLDER                    with the network that comes with the project
    python predict.py IMAGES... --output FOLDER --run runs/NAME
    python predict.py IMAGES... --output FOLDER --run runs/fold*       the mean of several runs
"""

from unet.command_line import run
from unet.options import PredictionOptions


def step(options: PredictionOptions) -> int:
    from unet.prediction.predict import predict

    return predict(options)


if __name__ == "__main__":
    run(PredictionOptions, __doc__, step)
