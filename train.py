"""Train a U-Net to outline brain tumors. Everything about the run is saved in runs/NAME/.

Usage:

    python train.py --data phantom                 simulated slices: a first look in minutes
    python train.py --data DIR                     DIR contains images/ and masks/
    python train.py --data DIR --quick             the recipe for half an hour
    python train.py --data DIR --init pretrained    start from the network that comes with the project
    python train.py --data DIR --fold all          five networks: each patient is scored by one that never saw it
    python train.py --data DIR --fold final        then, one network from all these patients
"""

from unet import scripts

if __name__ == "__main__":
    scripts.train(__doc__)
