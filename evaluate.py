"""Score a run on patients it was not trained on: tables, plots and a gallery.

Usage:

    python evaluate.py runs/NAME                  the validation patients
    python evaluate.py runs/NAME --data DIR       everything in another folder
    python evaluate.py runs/NAME --no-tumor DIR   images without a tumor: how many are outlined by mistake?
    python evaluate.py runs/A runs/B              is B better than A?
"""

from unet import scripts

if __name__ == "__main__":
    scripts.evaluate(__doc__)
