"""Three versions of the state of one operator, for the tests of migrations."""

from __future__ import annotations

from typing import Any, ClassVar

import headway as hw


class First(hw.State):
    total: float = 0.0
    note: str = ""


class Second(hw.State):
    cents: int = 0
    note: str = ""

    state_version: ClassVar[int] = 2

    @classmethod
    def migrate(cls, old: dict[str, Any], version: int) -> Second:
        assert version == 1
        return cls(cents=round(old["total"] * 100), note=old["note"])


class Third(hw.State):
    amounts: list[int] = []

    state_version: ClassVar[int] = 3

    @classmethod
    def migrate(cls, old: dict[str, Any], version: int) -> dict[str, Any]:
        cents = old["cents"] if version == 2 else round(old["total"] * 100)
        return {"amounts": [cents]}
