"""Score a run on patients it was not trained on: tables, plots and a gallery.

Usage:

    python evaluate.py runs/NAME                  the validation patients
    python evaluate.py runs/NAME --data DIR       all of another folder
    python evaluate.py runs/A runs/B              is B better than A?
"""

from unet.command_line import parse, run
from unet.options import EvaluationOptions


def main() -> None:
    options = parse(EvaluationOptions, __doc__)

    def step() -> None:
        from unet.errors import UserError

        if len(options.runs) > 2:
            raise UserError("Name one run to score, or two to compare.")
        if len(options.runs) == 2:
            from unet.evaluation.compare import compare

            compare(options)
        else:
            from unet.evaluation.evaluate import evaluate

            evaluate(options)

    run(step)


if __name__ == "__main__":
    main()
