"""Score a run on patients it was not trained on: tables, plots and a gallery.

Usage:

    python evaluate.py runs/NAME                  the validation patients
    python evaluate.py runs/NAME --data DIR       all of another folder
"""

from unet.command_line import parse, run
from unet.options import EvaluationOptions


def main() -> None:
    options = parse(EvaluationOptions, __doc__)

    def step() -> None:
        from unet.evaluation import evaluate

        evaluate(options)

    run(step)


if __name__ == "__main__":
    main()
