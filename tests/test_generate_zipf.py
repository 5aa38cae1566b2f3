"""The Zipf picker, against the law."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headway.generate.zipf import ZipfPicker


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.999_999_9, 1.0, 1.5, 5.0])
def test_frequencies_follow_the_law(exponent: float) -> None:
    picks = 60_000
    random = Random(1).random
    picker = ZipfPicker(50, exponent)
    counts = Counter(picker.pick(random) for _ in range(picks))
    weights = [(rank + 1) ** -exponent for rank in range(50)]
    expected = [picks * weight / sum(weights) for weight in weights]
    # Chi-squared with at most 49 degrees of freedom exceeds 95 once in ten thousand seeds.
    common = [rank for rank in range(50) if expected[rank] >= 5]
    assert sum((counts[rank] - expected[rank]) ** 2 / expected[rank] for rank in common) < 95


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 10**9), st.floats(0, 5), st.integers(0, 2**32))
def test_ranks_are_in_range(count: int, exponent: float, seed: int) -> None:
    random = Random(seed).random
    picker = ZipfPicker(count, exponent)
    assert all(0 <= picker.pick(random) < count for _ in range(5))


@pytest.mark.parametrize(("count", "exponent"), [(1, 0.0), (1, 2.0), (10, 0.0), (1_000, 1.0), (1_000, 0.3), (20, 3.0)])
def test_top_share(count: int, exponent: float) -> None:
    exact = 1 / sum(rank**-exponent for rank in range(1, count + 1))
    assert ZipfPicker(count, exponent).top_share == pytest.approx(exact, rel=0.3)
