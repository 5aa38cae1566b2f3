"""The reference page is what the docstrings say."""

from __future__ import annotations

import runpy
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_reference_is_current() -> None:
    built = runpy.run_path(str(DOCS / "build_reference.py"))["build"]()
    assert built == (DOCS / "reference.md").read_text(), "build it anew: make docs"
