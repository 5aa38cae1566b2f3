"""Whether a text, such as a path, can be written anywhere."""

from __future__ import annotations

__all__ = ["is_utf8"]


def is_utf8(text: str) -> bool:
    r"""Whether text can be stored and sent: the names of some files hold lone surrogates, which cannot.

    >>> is_utf8("café"), is_utf8("caf\udce9")
    (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
