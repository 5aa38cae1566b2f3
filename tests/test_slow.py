"""The names of slow tests are those of tests that there are."""

from __future__ import annotations

from pathlib import Path

from tests.slow import slow_tests

ROOT = Path(__file__).parents[1]


def test_each_name_is_that_of_a_test() -> None:
    missing = []
    for name in slow_tests():
        where, function = name.split("[", 1)[0].split(" ", 1)
        parts = where.split(".")
        module = next(
            (f for n in (0, 1) if (f := ROOT.joinpath(*parts[: len(parts) - n]).with_suffix(".py")).exists()), None
        )
        text = "" if module is None else module.read_text()
        named = [part.rsplit(".", 1)[-1] for part in (function, *parts[-1:])]
        if not any(f"def {one}(" in text or f"class {one}" in text or f"{one} =" in text for one in named):
            missing.append(name)
    assert not missing, "find the slow tests anew: python -m tests.slow"
