"""What the scripts share: options from the command line, one-line error messages and exit codes.

Exit codes: 0 all done; 2 cannot start or continue; 3 finished, but some inputs were skipped; 130 and 143 stopped by
Ctrl-C and SIGTERM; 141 the reader of the output has gone.
"""

import contextlib
import gc
import math
import os
import select
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path

import tyro

from unet.errors import UserError
from unet.signals import SIGNALS, Stopped, stop_at_once

Step = Callable[..., int | None]  # what a script does; may return an exit code
Recipe = Callable[..., object] | None  # the defaults, given the options of the command line
UNGROUPED = ("data", "reading", "machine")  # groups whose options appear without the group's name


def run(options_type: type, description: str, step: Step, recipe: Recipe = None, uses_tensorflow: bool = True) -> None:
    """Run a script: parse its options, import TensorFlow if it is used, do the step, and end the process with an exit
    code. `description` is the text for --help."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
    try:
        try:
            options = parse(options_type, description, recipe)
            sys.exit(run_step(lambda: step(options), uses_tensorflow))
        finally:
            # Here, and not when Python exits: then it would print the error.
            sys.stdout.flush()
    except BrokenPipeError:
        if not silence_closed_outputs():
            raise
        sys.exit(128 + 13)  # as if ended by SIGPIPE
    except KeyboardInterrupt:  # while the options were read
        print("Stopped by SIGINT.", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    finally:
        # Otherwise Python would look for garbage in all of TensorFlow at the end, which takes nearly a second.
        gc.freeze()


def silence_closed_outputs() -> bool:
    """Redirect standard output and standard error to nowhere if their reader has gone; whether any has."""
    closed = [stream for stream in (sys.stdout, sys.stderr) if is_reader_gone(stream.fileno())]
    for stream in closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return bool(closed)


def is_reader_gone(descriptor: int) -> bool:
    """Whether the other end of a pipe is closed; on systems that cannot say, the error itself is believed."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))


def parse(options_type: type, description: str, recipe: Recipe):
    """The options on the command line. --help and invalid options end the process, without importing TensorFlow."""
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        # Tyro checks standard output only, but prints errors to standard error.
        tyro._experimental_options["ansi_codes"] = False
    script = Path(sys.argv[0]).name
    if {"-h", "--help"} & set(sys.argv):
        from unet.help_texts import tidy_help

        tidy_help(options_type)
    options = tyro.cli(options_type, prog=script, description=description)
    try:
        if recipe:
            options = tyro.cli(options_type, prog=script, description=description, default=recipe(options))
        check_values_are_given(options)
        return validated(options)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


def validated(options):
    """The options with values of the types of their fields, such as paths for text; UserError if one is invalid."""
    from pydantic import TypeAdapter, ValidationError  # not needed for --help

    if not is_dataclass(options) or isinstance(options, type):
        raise UserError(
            f"{options!r} is not an options object: pass those of unet.options, such as TrainingOptions(...)."
        )
    check_finite(asdict(options), "")
    try:
        return TypeAdapter(type(options)).validate_python(asdict(options))
    except ValidationError as error:
        first = error.errors()[0]
        parts = [part for part in first["loc"] if part not in UNGROUPED] or first["loc"]
        name = ".".join(map(str, parts)).replace("_", "-")
        raise UserError(f"--{name} {first['input']}: {first['msg']}.") from error


def check_finite(options: dict, group: str) -> None:
    """UserError if a number is NaN or infinite."""
    for name, value in options.items():
        if isinstance(value, dict):
            check_finite(value, "" if name in UNGROUPED else f"{group}{name}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"--{group}{name} {value}: give a finite number.".replace("_", "-"))


def command(script: str) -> str:
    """How to start another script: like this one, from a clone, or as a command that pip has installed."""
    return f"unet-{script}" if Path(sys.argv[0]).name.startswith("unet-") else f"python {script}.py"


def check_resume_is_alone(options: object) -> None:
    """UserError if --resume is given with options that would have no effect: all but those that say where data are,
    how long to train, or what of the machine to use."""
    allowed = ("--resume", "--data", "--no-tumor", "--epochs", "--threads", "--device")
    others = [name for name in given_options() if name not in allowed]
    if options.resume and others:
        raise UserError(
            f"--resume takes all options from the run but {', '.join(allowed[1:])}: remove '{others[0]}' or start a "
            "new run."
        )


def check_values_are_given(options: object) -> None:
    """UserError if a value is empty, or an option that takes several has none, as if a shell variable were empty.
    (For --ray, whose default is not (), having none means something.)"""
    words = sys.argv[1:]
    for number, (before, word) in enumerate(zip(["", *words], words, strict=False), 1):
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        if not value and (equals or not option):
            name = option or (before if before.startswith("--") else f"Argument {number}")
            raise UserError(f"{name} is empty: give a value or leave it out.")
    groups = [options, *(getattr(options, name) for name in UNGROUPED if is_dataclass(getattr(options, name, None)))]
    empty = {
        field.name for group in groups for field in fields(group) if getattr(group, field.name) == field.default == ()
    }
    for option in given_options():
        if option.removeprefix("--").replace("-", "_") in empty:
            raise UserError(f"{option} has no value: give one or more after it.")


def given_options() -> list[str]:
    """Names of the options on the command line, which may also be written with underscores."""
    return [word.partition("=")[0].replace("_", "-") for word in sys.argv[1:] if word.startswith("-")]


def run_step(step: Step, uses_tensorflow: bool) -> int:
    """Do a script's step; returns its exit code. Errors that the user can fix are printed in one line."""
    try:
        for number in SIGNALS:
            signal.signal(number, stop_at_once)
        # File names may contain what the terminal cannot show.
        sys.stdout.reconfigure(errors="backslashreplace")
        if uses_tensorflow:
            import_tensorflow_quietly()
        return step() or 0
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"Stopped by {stopped}.", file=sys.stderr)
        return stopped.exit_code


def import_tensorflow_quietly() -> None:
    """Import TensorFlow and Keras without their start-up messages, and keep them out of garbage collection."""
    # By default, TensorFlow takes all memory of the GPUs. So it takes more only when it needs more.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    # Looking for garbage among the imported objects again and again would take nearly a second.
    gc.disable()
    with start_up_messages_hidden():
        import keras  # noqa: F401
        import tensorflow

        # Its warnings name functions that users do not know, such as about several trainings in one process.
        tensorflow.get_logger().setLevel("ERROR")
        # Prints messages too, if there are no GPUs.
        tensorflow.config.list_physical_devices()
    gc.freeze()
    gc.enable()


@contextlib.contextmanager
def start_up_messages_hidden() -> Iterator[None]:
    """Keep what libraries write to standard error off the terminal, unless there is an exception.
    No log level suppresses these messages (TensorFlow 2.21): they are written before levels are read."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    terminal = os.dup(2)
    try:
        file = tempfile.TemporaryFile()
    except OSError:  # no folder for temporary files: the messages are lost
        file = open(os.devnull, "w+b")
    with file as messages:
        os.dup2(messages.fileno(), 2)
        try:
            yield
        except BaseException:
            messages.seek(0)
            os.write(terminal, messages.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)
