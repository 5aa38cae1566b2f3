"""The benchmark of workflow engines, at a size that tells nothing about speed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks import engines
from benchmarks.case import TINY
from tests.servers import restate_server, temporal_server


@pytest.mark.soak
def test_both_engines_are_measured_beside_their_clients() -> None:
    temporal_server()
    restate_server()
    pytest.importorskip("httpx", reason="httpx is not installed: pip install 'headway[dev]'")
    finding = engines.CASE.find(replace(TINY, repeats=1))
    assert [(row.arm.label, row.reference.label) for row in finding.rows if row.reference] == [
        ("Temporal, by a flow", "Temporal, its own client in a loop"),
        ("Restate, by a flow", "Restate, its own client in a loop"),
    ]
    assert all(row.figure > 0 for row in finding.rows)
