"""What train.py, evaluate.py and predict.py run, and the commands unet-train, unet-evaluate and unet-predict."""

import unet
from unet.command_line import check_resume_is_alone, given_options, run
from unet.options import EvaluationOptions, PredictionOptions, TrainingOptions


def train(description: str = TrainingOptions.__doc__) -> None:
    def step(options: TrainingOptions) -> None:
        check_resume_is_alone(options)
        if options.data.fold == "all":
            unet.train_folds(options)
        else:
            longer = options.resume and "--epochs" in given_options()
            unet.train(options, epochs=options.epochs if longer else None)

    run(TrainingOptions, description, step, lambda options: unet.recipe(options))


def evaluate(description: str = EvaluationOptions.__doc__) -> None:
    def step(options: EvaluationOptions) -> None:
        count = len(options.runs) + bool(options.ensemble) + len(options.masks)
        score = unet.compare if count > 1 else unet.evaluate
        score(options)

    run(EvaluationOptions, description, step)


def predict(description: str = PredictionOptions.__doc__) -> None:
    run(PredictionOptions, description, lambda options: unet.predict(options))
