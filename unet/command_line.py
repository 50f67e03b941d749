"""What the scripts share: options from the command line, one-line errors, exit codes.

Exit codes: 0 all done; 2 cannot start or go on; 3 finished, but inputs were skipped; 130 and 143 stopped by
Ctrl-C and SIGTERM.
"""

import contextlib
import gc
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict

import tyro


def parse(options: type, description: str, default: object = None):
    """The options of a script, those not given as in `default`.

    --help and mistakes end the process here, before TensorFlow is imported.
    """
    if os.environ.get("NO_COLOR") or not sys.stderr.isatty():
        # Tyro looks at standard output only, and mistakes go to the other.
        tyro._experimental_options["ansi_codes"] = False
    parsed = tyro.cli(options, description=description, default=default)
    check(parsed)
    return parsed


def check(options: object) -> None:
    """End the process with a line where an option is out of its range."""
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(type(options)).validate_python(asdict(options))
    except ValidationError as error:
        first = error.errors()[0]
        # --data's own options stand beside the others.
        name = ".".join(part for part in first["loc"] if part != "data").replace("_", "-")
        print(f"--{name} {first['input']}: {first['msg']}.", file=sys.stderr)
        sys.exit(2)


def check_alone(options: object) -> None:
    """UserError where options but --data stand beside --resume, which takes all others from the run."""
    from unet.errors import UserError

    words = [word.partition("=")[0] for word in sys.argv[1:] if word.startswith("-")]
    beside = [word for word in words if word not in ("--resume", "--data")]
    if options.resume and beside:
        raise UserError(
            f"--resume takes all options but --data from the run: leave out '{beside[0]}', or start a new "
            "run with it."
        )


def run(step: Callable[[], int | None], uses_tensorflow: bool = True) -> None:
    """Do a script's step and end the process with its exit code; faults are told in a line."""
    from unet.errors import UserError
    from unet.signals import SIGNALS, Stopped, stop_at_once

    try:
        for number in SIGNALS:
            signal.signal(number, stop_at_once)
        # Names of files may hold what no terminal can show.
        sys.stdout.reconfigure(errors="backslashreplace")
        if uses_tensorflow:
            import_tensorflow_quietly()
        sys.exit(step() or 0)
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except Stopped as stopped:
        print(f"Stopped by {stopped}.", file=sys.stderr)
        sys.exit(stopped.exit_code)
    finally:
        # Python's end would look for garbage in all there is: with TensorFlow that is nearly a second.
        gc.freeze()


def import_tensorflow_quietly() -> None:
    # What is imported stays: to look for garbage in it again and again would take nearly a second too.
    gc.disable()
    with start_up_messages_hidden():
        import keras  # noqa: F401
        import tensorflow

        # Looking for GPUs where there are none is loud too.
        tensorflow.config.list_physical_devices()
    gc.freeze()
    gc.enable()


@contextlib.contextmanager
def start_up_messages_hidden() -> Iterator[None]:
    """Keep what TensorFlow's libraries say at their start off the terminal, unless the start fails.

    No log level reaches these messages (TensorFlow 2.21): they are written before levels are read.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as messages:
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
