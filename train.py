"""Train a U-Net to outline brain tumors; everything about the run is kept in runs/NAME/.

Usage:

    python train.py --data phantom          simulated slices: a first look in minutes
    python train.py --data DIR              DIR holds images/ and masks/
    python train.py --data DIR --quick      the recipe for half an hour
"""

import sys

from unet.command_line import check_alone, parse, run
from unet.options import QUICK, TrainingOptions


def main() -> None:
    options = parse(TrainingOptions, __doc__, QUICK if "--quick" in sys.argv else None)

    def step() -> None:
        check_alone(options)
        from unet.training.train import train

        train(options)

    run(step)


if __name__ == "__main__":
    main()
