"""Which tests `make test` leaves out because of their time; `.ci/run` runs them.

`python -m tests.slow REPORT.xml` finds them anew, from what `make test TESTS='not soak' PYTEST_ADDOPTS=--junitxml=...`
has written on a quiet machine, and writes their names to `tests/slow.txt`. What holds the contract is never among them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

__all__ = ["name_of", "slow_tests"]

_NAMES: Final = Path(__file__).with_name("slow.txt")
_SLOW_S: Final = 2.5
_ALWAYS: Final = ("tests.test_contract", "tests.test_crash", "tests.test_oracle", "tests.test_participant_whole")


def slow_tests() -> frozenset[str]:
    """Their names, as `name_of` gives them."""
    return frozenset(_NAMES.read_text().splitlines())


def name_of(nodeid: str) -> str:
    """The name of a test as pytest writes it into its report: `tests.test_x.Class name[parameter]`.

    >>> name_of("tests/test_x.py::TestX::test_it[a::b]")
    'tests.test_x.TestX test_it[a::b]'
    """
    path, _, rest = nodeid.partition("::")
    named, bracket, parameter = rest.partition("[")
    *classes, function = named.split("::")
    module = path.removesuffix(".py").replace("/", ".")
    return f"{'.'.join([module, *classes])} {function}{bracket}{parameter}"


def _of_report(path: Path) -> Mapping[str, float]:
    """Seconds of each test."""
    cases = ElementTree.parse(path).iter("testcase")
    return {f"{case.get('classname')} {case.get('name')}": float(case.get("time", 0)) for case in cases}


def main(report: str) -> None:
    """Write the names, and say what stays."""
    took = _of_report(Path(report))
    slow = sorted(name for name, took_s in took.items() if took_s > _SLOW_S and not name.startswith(_ALWAYS))
    _NAMES.write_text("".join(f"{name}\n" for name in slow))
    left_s = sum(took.values()) - sum(took[name] for name in slow)
    print(  # noqa: T201 - it is a command.
        f"{len(slow)} of {len(took)} tests take more than {_SLOW_S:g} s; the others take {left_s / 60:.1f} min together"
    )


if __name__ == "__main__":
    [given] = sys.argv[1:]
    main(given)
