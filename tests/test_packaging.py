"""The package holds what the folders show."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def load_config() -> dict[str, object]:
    if sys.version_info < (3, 11):
        pytest.skip("tomllib comes with Python 3.11")
    import tomllib  # type: ignore[import-not-found,unused-ignore]

    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_every_package_is_listed() -> None:
    config: dict[str, object] = load_config()
    source = ROOT / "src" / "headway"
    found = {"headway"}
    for folder in source.iterdir():
        if folder.is_symlink():
            top = ROOT / folder.name
            found |= {".".join(("headway", *init.parent.relative_to(ROOT).parts)) for init in top.rglob("__init__.py")}
        elif folder.is_dir():
            found |= {
                ".".join(("headway", *init.parent.relative_to(source).parts)) for init in folder.rglob("__init__.py")
            }
    listed = config["tool"]["setuptools"]["packages"]  # type: ignore[index]
    assert found == set(listed)


def test_every_link_leads_to_a_folder_of_the_same_name() -> None:
    links = [path for path in (ROOT / "src" / "headway").iterdir() if path.is_symlink()]
    assert {link.name for link in links} == {"flows", "operators", "state"}
    for link in links:
        assert link.resolve() == ROOT / link.name
