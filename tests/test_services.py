"""What is said of the servers that tests need: what is there, and what to install where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests import services
from tests.servers import postgres_server


def test_one_that_works_is_told_with_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    postgres_server()
    assert services.main() == 0
    assert capsys.readouterr().out.startswith("PostgreSQL: ")


def test_one_that_is_missing_is_told_with_the_way_to_install_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'headway[postgres]'")
    monkeypatch.setattr(services, "PLACES", [])
    assert services.main() == 1
    assert "apt-get install postgresql" in capsys.readouterr().err


def test_one_that_does_not_start_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'headway[postgres]'")
    monkeypatch.setattr(services, "PLACES", [tmp_path])
    assert services.main() == 1
    assert "cannot be started" in capsys.readouterr().err
