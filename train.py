"""Train a U-Net to outline brain tumors. Everything about the run is saved in runs/NAME/.

Usage:

    python train.py --data phantom          simulated slices: a first look in minutes
    python train.py --data DIR              DIR contains images/ and masks/
    python train.py --data DIR --quick      the recipe for half an hour
"""

import sys

from unet.command_line import check_resume_is_alone, run
from unet.options import QUICK, TrainingOptions


def step(options: TrainingOptions) -> None:
    check_resume_is_alone(options)
    from unet.training.train import train

    train(options)


if __name__ == "__main__":
    run(TrainingOptions, __doc__, step, default=QUICK if "--quick" in sys.argv else None)
