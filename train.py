"""Train a U-Net to outline brain tumors. Everything about the run is saved in runs/NAME/.

Usage:

    python train.py --data phantom                 simulated slices: a first look in minutes
    python train.py --data DIR                     DIR contains images/ and masks/
    python train.py --data DIR --quick             the recipe for half an hour
    python train.py --data DIR --init pretrained    start from the network that comes with the project
    python train.py --data DIR --fold all          five networks: each patient is scored by one that never saw it
"""

from unet.command_line import check_resume_is_alone, given_options, run
from unet.options import TrainingOptions
from unet.training.recipes import recipe


def step(options: TrainingOptions) -> None:
    check_resume_is_alone(options)
    if options.data.fold == "all":
        from unet.training.folds import train_folds

        train_folds(options)
    else:
        from unet.training.train import train

        train(options, epochs=options.epochs if "--epochs" in given_options() else None)


if __name__ == "__main__":
    run(TrainingOptions, __doc__, step, recipe)
