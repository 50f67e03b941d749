"""What the scripts share."""

import gc

import pytest

from unet import signals
from unet.command_line import run


def test_garbage_is_collected_in_a_step_if_not_in_what_was_imported(monkeypatch):
    monkeypatch.setattr(signals, "SIGNALS", ())  # pytest keeps its own handlers
    seen = []
    with pytest.raises(SystemExit) as ended:
        run(lambda: seen.extend([gc.isenabled(), gc.get_freeze_count()]))
    enabled, left_out = seen
    assert enabled and left_out > 100_000 and ended.value.code == 0
