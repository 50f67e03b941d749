"""Train a U-Net to outline brain tumors. Everything about the run is saved in runs/NAME/.

Usage:

    python train.py                                     the published data, downloaded if missing
    python train.py --no-tumor data/no-tumor            also learn whether there is a tumor
    python train.py --data phantom                      simulated slices: a first look in minutes
    python train.py --data FOLDER                       FOLDER contains images/ and masks/
    python train.py --data FOLDER --quick               the quick recipe: less than half as long
    python train.py --data FOLDER --init pretrained     start from the pretrained network
    python train.py --data FOLDER --fold all            five networks: each patient is scored by one that never saw it
    python train.py --data FOLDER --fold final          then, one network from all these patients
    python train.py --resume runs/NAME                  continue an interrupted training
"""

from unet import scripts

if __name__ == "__main__":
    scripts.train(__doc__)
