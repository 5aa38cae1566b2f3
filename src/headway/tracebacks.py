"""The part of a traceback that the author of a flow can do something about."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

__all__ = ["user_frames"]

_ENGINE = str(Path(__file__).parent) + os.sep
_FLOWS = (_ENGINE + "flows" + os.sep, _ENGINE + "testing" + os.sep)


def user_frames(error: BaseException, *, limit: int = 4) -> str:
    """The last `limit` frames of `error` outside the engine and the import machinery, as a traceback shows them.

    Ends with the line of the error itself. Empty frames are left out: an error that never passed through
    anyone else's code gives its last line only.

    >>> try:
    ...     int("many")
    ... except ValueError as error:
    ...     print(user_frames(error).splitlines()[-1])
    ValueError: invalid literal for int() with base 10: 'many'
    """
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    lines = traceback.format_list([_relative(frame) for frame in frames[-limit:]])
    lines += traceback.format_exception_only(type(error), error)
    return "".join(lines).rstrip("\n")


def _is_users(filename: str) -> bool:
    if filename.startswith("<frozen "):
        return False
    return not filename.startswith(_ENGINE) or filename.startswith(_FLOWS)


def _relative(frame: traceback.FrameSummary) -> traceback.FrameSummary:
    path = os.path.relpath(frame.filename) if os.path.isabs(frame.filename) else frame.filename
    if path.startswith(".."):
        return frame
    return traceback.FrameSummary(path, frame.lineno, frame.name, line=frame.line)
