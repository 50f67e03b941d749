"""Stop on SIGINT (Ctrl-C) and SIGTERM, at once or when the program is ready, with exit codes 130 and 143."""

import os
import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """The program was asked to stop by a signal."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def stop_at_once(number: int, frame: FrameType | None) -> None:
    """Signal handler that raises Stopped; in a destructor, where Python ignores exceptions, 0.1 s later."""
    while frame:
        if frame.f_code.co_name == "__del__":
            threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
            return
        frame = frame.f_back
    raise Stopped(number)


class StopRequest:
    """A context that only remembers the first signal, in `number`. A second signal raises Stopped at once."""

    number: int | None = None

    def __enter__(self) -> "StopRequest":
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # other threads cannot handle signals
            self._before = {number: signal.signal(number, self._remember) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: object) -> None:
        if self.number:
            raise Stopped(number)
        self.number = number
