"""Objects that remember what they were made with, so that a flow can be described and compared with a former one."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

__all__ = ["Given"]


class Given:
    """Base class of what is declared with options: an object knows what its constructor was given.

    The values are kept, not copied, and looked at only when somebody asks: it costs a tuple for each object.

    >>> class Limit(Given):
    ...     def __init__(self, most: int, *, per: str = "1m") -> None: ...
    >>> Limit(5).arguments()
    {'most': 5, 'per': '1m'}
    """

    if not TYPE_CHECKING:  # To type checkers a class takes what its `__init__` takes, and nothing else.

        def __new__(cls, *arguments: Any, **options: Any) -> Any:
            """Make the object and keep what it is given."""
            if (arguments or options) and cls.__init__ is object.__init__:
                # As Python does for classes without a method of this name.
                msg = f"{cls.__name__}() takes no arguments"
                raise TypeError(msg)
            made = super().__new__(cls)
            object.__setattr__(made, "_given", (arguments, options))  # Classes may be frozen.
            return made

    _given: tuple[tuple[Any, ...], dict[str, Any]]
    _ordered_by: tuple[str, ...] = ()
    """The options by which what it keeps is in order: under others old and new would mix."""

    def arguments(self) -> dict[str, Any]:
        """What the constructor was given, by name and in its order, with the defaults of what was left out.

        Kept in the state directory, as text, to tell what has changed when the flow runs again. Override it where
        something must not be written there, or where other things say better what matters.
        """
        given, options = self._given
        try:
            bound = inspect.signature(type(self).__init__).bind(self, *given, **options)
        except (TypeError, ValueError):  # It is made by something else than a call of its class.
            return dict(options)
        bound.apply_defaults()
        _, *names = bound.arguments
        found: dict[str, Any] = {}
        for name in names:
            kind, value = bound.signature.parameters[name].kind, bound.arguments[name]
            if kind is inspect.Parameter.VAR_KEYWORD:
                found |= value
            elif value or kind is not inspect.Parameter.VAR_POSITIONAL:
                found[name] = value
        return found
