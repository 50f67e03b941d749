"""The recipes of a training: which defaults --quick and --init change."""

from dataclasses import fields, is_dataclass, replace

from unet.options import QUICK, TrainingOptions


def recipe(options: TrainingOptions) -> TrainingOptions:
    """The options, with the defaults that --quick and --init have in place of the usual ones.

    Args:
        options: Those that differ from the usual defaults stay as they are. One that has its usual default is replaced,
            also if it was given: set it afterwards, with dataclasses.replace.

    Returns:
        New options.

    Raises:
        UserError: If init names no run.

    Example:
        >>> recipe(TrainingOptions(quick=True, epochs=10)).model.width
        16
    """
    defaults = QUICK if options.quick else TrainingOptions()
    if options.init:
        from unet.network.run_config import read_config, run_folder  # not needed for --help

        initial = read_config(run_folder(options.init)).options
        # Features are there already: fewer steps, and smaller ones, which do not destroy them.
        reading = replace(defaults.data.reading, channel=initial.data.reading.channel)
        defaults = replace(
            defaults,
            data=replace(defaults.data, reading=reading),
            size=initial.size,
            model=initial.model,
            epochs=round(defaults.epochs / 3),
            presence_epochs=round(defaults.presence_epochs / 3),
            learning_rate=defaults.learning_rate / 4,
        )
    return with_defaults(options, TrainingOptions(), defaults)


def with_defaults(options, usual, defaults):
    """Options of any kind with other defaults wherever they have the usual one."""
    changes = {}
    for option in fields(options):
        given, before, after = (getattr(one, option.name) for one in (options, usual, defaults))
        if is_dataclass(given):
            changes[option.name] = with_defaults(given, before, after)
        elif given == before:
            changes[option.name] = after
    return replace(options, **changes)
