"""Outline tumors in MRI slices: masks, overlays and a table of measurements.

Usage:

    python predict.py IMAGES... --run runs/NAME --output FOLDER
"""

from unet.command_line import parse, run
from unet.options import PredictionOptions


def main() -> None:
    options = parse(PredictionOptions, __doc__)

    def step() -> int:
        from unet.prediction.predict import predict

        return predict(options)

    run(step)


if __name__ == "__main__":
    main()
