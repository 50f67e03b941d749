"""Outline tumors in MRI slices and scans: masks, overlays and a table of measurements.

Usage:

    python predict.py IMAGES... --output FOLDER                    with the pretrained network
    python predict.py IMAGES... --output FOLDER --run runs/NAME
    python predict.py IMAGES... --output FOLDER --run runs/NAME-fold-*    the mean of several runs
"""

from unet import scripts

if __name__ == "__main__":
    scripts.predict(__doc__)
