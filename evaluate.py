"""Score outlines on patients that the network was not trained on, or compare two sets of them.

Usage:

    python evaluate.py runs/NAME                        the validation patients
    python evaluate.py runs/NAME --data FOLDER          everything in another folder
    python evaluate.py runs/NAME --no-tumor FOLDER      images without a tumor: how many are outlined by mistake?
    python evaluate.py runs/A runs/B                    is B better than A?
    python evaluate.py --ensemble runs/NAME-fold-* --split test           several runs as one ensemble
    python evaluate.py runs/A --ensemble runs/NAME-fold-* --split test    is the ensemble better than A?
    python evaluate.py --masks MASKS --data FOLDER      masks of any program
    python evaluate.py runs/NAME --masks MASKS          are these masks better than the run's?
"""

from unet import scripts

if __name__ == "__main__":
    scripts.evaluate(__doc__)
