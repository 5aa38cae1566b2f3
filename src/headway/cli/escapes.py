"""Texts that others have chosen, as a terminal may show them.

Keys, values, names of files and of partitions come from events and from whoever writes files. Everything that the
command tells goes through here at the edge: where it is printed.
"""

from __future__ import annotations

import json
from typing import Any, Final

__all__ = ["json_text", "printable", "printable_line", "printable_lines"]

_STRUCTURE: Final = "\n\t"


def printable(text: str) -> str:
    r"""A text of others, such as a key or a file's name, in quotes where it would not show as it is.

    Whoever writes events chooses it. A terminal obeys control characters, a line end can make up a line of ours, and
    marks of direction can turn around what stands beside them.

    >>> printable("user 7"), printable("\x1b[2J\n")
    ('user 7', "'\\x1b[2J\\n'")
    """
    return text if text.isprintable() else repr(text)


def printable_lines(text: str) -> str:
    r"""Lines of ours with texts of others in them: line ends stay, everything else that does not show is escaped.

    >>> printable_lines("stopped:\n  \x9b2J")
    'stopped:\n  \\x9b2J'
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _STRUCTURE else repr(char)[1:-1] for char in text)


def printable_line(text: str) -> str:
    r"""As `printable_lines`, in one line whatever it holds.

    >>> printable_line("a name with\na line end")
    'a name with\\na line end'
    """
    return printable_lines(text.replace("\n", "\\n"))


def json_text(value: Any) -> str:
    r"""A value as JSON that a terminal shows as it is: strings that would not show are escaped, as JSON has it.

    >>> json_text({"name": "é\x9b\u202e"})
    '{"name":"é\\u009b\\u202e"}'
    """
    import msgspec

    text = msgspec.json.encode(value).decode()
    if text.isprintable():
        return text
    # Outside of strings JSON is ASCII, and msgspec writes it without line ends.
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)
