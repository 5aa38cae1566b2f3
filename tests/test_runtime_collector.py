"""The garbage collector while the engine runs: `tests/conftest.py` takes that away from all other tests."""

from __future__ import annotations

import gc

from headway.runtime.engine import quiet_collector


def test_it_looks_away_and_back_again() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    try:
        with quiet_collector():
            assert gc.get_threshold()[0] > before[0]
            assert gc.get_freeze_count() > frozen
        assert gc.get_threshold() == before
        assert gc.get_freeze_count() == 0
    finally:
        gc.set_threshold(*before)
        gc.freeze()
