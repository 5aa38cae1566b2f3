"""The libraries that a server needs, which come with an extra of the package."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from headway.errors import UsageError

__all__ = ["require_server"]

_LIBRARIES: Final = ("uvicorn", "httptools", "starlette")


def require_server(what: str) -> None:
    """Raise `UsageError` when a library is missing that `what`, such as `--listen`, needs. Imports none of them."""
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        msg = f"{what} needs {' and '.join(missing)}, not installed here: pip install 'headway[serve]'"
        raise UsageError(msg)
