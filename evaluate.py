"""Score outlines on patients that the network was not trained on, or compare two: tables, plots and a gallery.

Usage:

    python evaluate.py runs/NAME                  the validation patients
    python evaluate.py runs/NAME --data DIR       everything in another folder
    python evaluate.py runs/NAME --no-tumor DIR   images without a tumor: how many are outlined by mistake?
    python evaluate.py runs/A runs/B              is B better than A?
    python evaluate.py --ensemble runs/NAME-fold-* --split test    several runs as one; runs/A before it compares
    python evaluate.py --masks FOLDER --data DIR             masks of any program
    python evaluate.py runs/NAME --masks FOLDER              are these masks better than the run's?
"""

from unet import scripts

if __name__ == "__main__":
    scripts.evaluate(__doc__)
