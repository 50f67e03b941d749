"""Signals are never lost."""

import os
import signal
import time

import pytest

from unet.signals import Stopped, stop_at_once


@pytest.fixture
def handled():
    before = signal.signal(signal.SIGTERM, stop_at_once)
    yield
    signal.signal(signal.SIGTERM, before)


class StopsAsItGoes:
    """Gets a signal while it is destroyed, where Python drops what is raised."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        sum(range(10))


def test_a_signal_in_a_destructor_stops_after_it(handled):
    with pytest.raises(Stopped) as stopped:
        StopsAsItGoes()
        time.sleep(10)
    assert stopped.value.exit_code == 143


def test_elsewhere_it_stops_at_once(handled):
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")
