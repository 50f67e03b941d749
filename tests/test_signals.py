"""Signals are never lost."""

import os
import signal
import time

import pytest

from unet.signals import Stopped, stop_at_once


@pytest.fixture
def handler():
    before = signal.signal(signal.SIGTERM, stop_at_once)
    yield
    signal.signal(signal.SIGTERM, before)


class SignalsInDestructor:
    """Sends a signal while it is destroyed, where Python ignores exceptions."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(10))


def test_a_signal_in_a_destructor_stops_the_program_after_it(handler):
    with pytest.raises(Stopped) as stopped:
        SignalsInDestructor()
        time.sleep(10)
    assert stopped.value.exit_code == 143


def test_any_other_signal_stops_the_program_at_once(handler):
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("the program continued")
