"""Where a generated stream cannot be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from headway.errors import OutputError
from headway.generate import ShopOptions, generate_shop
from headway.generate.files import LineFile


def test_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*file/shop: .*choose another directory"):
        generate_shop(ShopOptions(events=100), tmp_path / "file" / "shop")


def test_full_disk_is_an_output_error() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    file = LineFile(Path("/dev"), "full")
    with pytest.raises(OutputError, match="cannot write /dev/full: No space left on device"):
        file.write("x" * 100_000)
    file.close()
