"""Score a run on patients it was not trained on: tables, plots and a gallery.

Usage:

    python evaluate.py runs/NAME                  the validation patients
    python evaluate.py runs/NAME --data DIR       everything in another folder
    python evaluate.py runs/NAME --no-tumor DIR   images without a tumor: how many are outlined by mistake?
    python evaluate.py runs/A runs/B              is B better than A?
"""

from unet.command_line import run
from unet.options import EvaluationOptions


def step(options: EvaluationOptions) -> None:
    if len(options.runs) > 1:
        from unet.evaluation.compare import compare

        compare(options)
    else:
        from unet.evaluation.evaluate import evaluate

        evaluate(options)


if __name__ == "__main__":
    run(EvaluationOptions, __doc__, step)
