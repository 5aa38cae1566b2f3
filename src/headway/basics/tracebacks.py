"""The part of a traceback that the author of a flow can do something about."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

__all__ = ["user_frames"]

_ENGINE = __name__.partition(".")[0] + "."
_FLOWS = (_ENGINE + "flows.", _ENGINE + "testing.")


def user_frames(error: BaseException, *, limit: int = 4) -> str:
    """The last `limit` frames of `error` outside the engine and the import machinery, as a traceback shows them.

    Files below the current directory are named relative to it. The last line is the error itself; an error that
    never passed through anyone else's code gives that line only.

    >>> try:
    ...     int("many")
    ... except ValueError as error:
    ...     print(user_frames(error).splitlines()[-1])
    ValueError: invalid literal for int() with base 10: 'many'
    """
    # By module: a compiled one names its file as it was when it was compiled.
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    summaries = traceback.extract_tb(error.__traceback__)
    frames = [summary for summary, module in zip(summaries, modules) if _is_users(summary.filename, module)]
    lines = traceback.format_list(frames[-limit:]) + traceback.format_exception_only(type(error), error)
    text = "".join(lines).rstrip("\n")
    try:
        return text.replace(f'File "{Path.cwd()}{os.sep}', 'File "')
    except OSError:  # It is gone: the error is told all the same.
        return text


def _is_users(filename: str, module: str) -> bool:
    if filename.startswith("<frozen "):
        return False
    return not f"{module}.".startswith(_ENGINE) or f"{module}.".startswith(_FLOWS)
