"""The recipes of a training: which defaults --quick and --init change."""

from dataclasses import replace

from unet.options import QUICK, TrainingOptions


def recipe(options: TrainingOptions) -> TrainingOptions:
    """The defaults of all options, given --quick and --init; UserError if --init names no run."""
    base = QUICK if options.quick else TrainingOptions()
    if not options.init:
        return base
    from unet.network.run_config import read_config, run_folder  # not needed for --help

    initial = read_config(run_folder(options.init)).options
    # Features are there already: fewer steps, and smaller ones, which do not destroy them.
    reading = replace(base.data.reading, channel=initial.data.reading.channel)
    return replace(
        base,
        data=replace(base.data, reading=reading),
        init=options.init,
        size=initial.size,
        model=initial.model,
        epochs=round(base.epochs / 3),
        presence_epochs=round(base.presence_epochs / 3),
        learning_rate=base.learning_rate / 4,
    )
