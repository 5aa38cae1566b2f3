"""The libraries that a server needs, which come with an extra of the package."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from headway.errors import UsageError

__all__ = ["require_exporter", "require_server"]

_LIBRARIES: Final = ("uvicorn", "httptools", "starlette")


def require_server(what: str) -> None:
    """Raise `UsageError` when a library is missing that `what`, such as `--listen`, needs. Imports none of them."""
    _require(what, "serve", _LIBRARIES)


def require_exporter(what: str) -> None:
    """Raise `UsageError` when a library is missing that `what`, which exports metrics, needs. Imports none of them."""
    _require(what, "metrics", (*_LIBRARIES, "prometheus_client"))


def _require(what: str, extra: str, libraries: Sequence[str]) -> None:
    missing = [name for name in libraries if find_spec(name) is None]
    if missing:
        msg = f"{what} needs {' and '.join(missing)}, not installed here: pip install 'headway[{extra}]'"
        raise UsageError(msg)
