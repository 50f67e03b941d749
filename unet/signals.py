"""SIGINT (Ctrl-C) and SIGTERM end a program where it can go on later, with exit codes 130 and 143."""

import os
import signal
import threading
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """The program was told to end."""

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


def stop_at_once(number: int, frame: FrameType | None) -> None:
    """Signal handler: raise Stopped; in a destructor, where Python drops what is raised, a moment later."""
    while frame:
        if frame.f_code.co_name == "__del__":
            threading.Timer(0.1, os.kill, (os.getpid(), number)).start()
            return
        frame = frame.f_back
    raise Stopped(number)


class StopRequest:
    """Within this context a signal is only remembered; `number` tells which. A second one stops at once."""

    number: int | None = None

    def __enter__(self) -> "StopRequest":
        self._before = {}
        if threading.current_thread() is threading.main_thread():  # others may not handle signals
            self._before = {number: signal.signal(number, self._remember) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, frame: object) -> None:
        if self.number:
            raise Stopped(number)
        self.number = number
