"""The garbage collector while the engine runs."""

from __future__ import annotations

import gc

from headway.runtime.engine import quiet_collector


def test_it_looks_away_and_back_again() -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(700, 10, 10)
        with quiet_collector():
            assert gc.get_threshold()[0] > 700
            assert gc.get_freeze_count() > 0
        assert gc.get_threshold() == (700, 10, 10)
        assert gc.get_freeze_count() == 0
    finally:
        gc.set_threshold(*before)
