"""Which events a handler does nothing with, as far as its own first questions tell.

**What it is.** Most handlers ask what kind of event they have, and do nothing with some:

    if event.kind == "add": ...
    elif event.kind == "checkout": ...

An event of another kind costs as much as one that counts until the handler has said so: it is sent to its group, it
waits, its key's row is looked for and marked, and looked at again when the epoch ends. It need not be sent at all. An
operator can say so (`Operator.concerns`); where it does not, the code of `on_event` is read, and what it says is taken
as if the operator had said it. It is what databases do with the predicates of a query, pushed down to the scan.

**What is read.** From the top, as long as these are all there is: a chain of `if`, whose conditions are equalities of
fields with constants (`==`, `in`), of which others may follow behind `and`; an `if` that returns unless a field is one
of some constants (`!=`, `not in`); `return` and `pass`. What is in the branches is of no interest. The result is a list
of equalities: an event that meets none of them runs through the handler without touching anything.

**Why that is safe.** The handler is never guessed at: where it holds anything else on the way, nothing is left out. The
fields are declared ones of type `str`, `int` or `Literal`, so to read and to compare them runs no code of the flow, and
cannot fail. The text is compiled once more and must give the very code that runs: so a decorated handler, one that was
replaced, or a file that was edited since, is not read. That an event is left out can then only be seen by its speed.

**Rejected.** *To watch what a handler does* with some events, and leave out what is like them: it may depend on what
was not seen. *To compare the state before and after each call*: dearer than the calls themselves.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Sequence
from functools import lru_cache
from types import CodeType, FunctionType, MethodType
from typing import Any, Final, NamedTuple, Optional

from headway.types.schema import decoded_type

__all__ = ["Equality", "asked_by"]

_PLACE: Final = 2
"""Where a handler has its event: behind itself and the state."""
_PARTS: Final = ("co_code", "co_names", "co_varnames", "co_freevars", "co_cellvars", "co_argcount")
_FUTURES: Final = 0x1FE0000
"""The flags of code that say what its module has imported from `__future__`."""


class Equality(NamedTuple):
    """That a field of an event has one of these values."""

    field: str
    values: tuple[Any, ...]


def asked_by(handler: Any, event_type: Any) -> Optional[list[Equality]]:
    """The equalities of which an event must meet one for a handler to do anything with it; None where all may count.

    Some milliseconds for the first time that a handler is read; remembered from then on.
    """
    if not isinstance(handler, MethodType) or not isinstance(handler.__func__, FunctionType):
        return None
    return _asked_by(handler.__func__, event_type)


@lru_cache(maxsize=1_000)
def _asked_by(function: FunctionType, event_type: Any) -> Optional[list[Equality]]:
    found = _definition(function)
    if found is None or len(found.args.args) <= _PLACE:
        return None
    reading = _Reading(found.args.args[_PLACE].arg, event_type)
    return reading.equalities if reading.is_read(found.body) is not None and reading.equalities else None


def _definition(function: FunctionType) -> Optional[ast.FunctionDef]:
    """The text of a function, if it is the one that runs."""
    try:
        text = inspect.getsource(function)
        # Not unindented: the indentation is part of its text between triple quotes.
        module = ast.parse(f"if 1:\n{text}" if text[:1].isspace() else text)
    except (OSError, TypeError, SyntaxError, ValueError):
        return None
    found: Any = module.body[0].body[0] if isinstance(module.body[0], ast.If) else module.body[0]
    if not isinstance(found, ast.FunctionDef) or found.decorator_list:
        return None
    made = compile(module, "<handler>", "exec", dont_inherit=True)
    codes = [code for code in made.co_consts if isinstance(code, CodeType) and code.co_name == found.name]
    return found if len(codes) == 1 and _is_same(codes[0], function.__code__) else None


def _is_same(made: CodeType, running: CodeType) -> bool:
    """Whether two pieces of code do the same, wherever their text stands."""
    return (
        all(getattr(made, part) == getattr(running, part) for part in _PARTS)
        and (made.co_flags | _FUTURES) == (running.co_flags | _FUTURES)
        and len(made.co_consts) == len(running.co_consts)
        and all(map(_is_same_constant, made.co_consts, running.co_consts))
    )


def _is_same_constant(made: Any, running: Any) -> bool:
    if isinstance(made, CodeType) and isinstance(running, CodeType):
        return _is_same(made, running)
    if isinstance(made, str) and "<locals>" in made:
        # The full name of an inner function, which Python 3.10 keeps among the constants.
        return isinstance(running, str) and running.endswith(made)
    return repr(made) == repr(running)  # Which tells 1 from 1.0 and True, also within tuples.


class _Reading:
    """Reads statements as an event takes them that meets none of the equalities found on the way."""

    def __init__(self, event: str, event_type: Any) -> None:
        self.equalities: list[Equality] = []
        self._event = event
        self._event_type = event_type

    def is_read(self, body: Sequence[ast.stmt]) -> Optional[bool]:
        """Whether the handler has returned by the end of these; None where more happens than can be read."""
        for statement in body:
            if isinstance(statement, ast.Return):
                is_none = isinstance(statement.value, ast.Constant) and statement.value.value is None
                return True if statement.value is None or is_none else None
            if isinstance(statement, ast.If):
                has_returned = self._if(statement)
                if has_returned is not False:
                    return has_returned
            elif not isinstance(statement, ast.Pass) and not _is_text(statement):
                return None
        return False

    def _if(self, statement: ast.If) -> Optional[bool]:
        refused = self._equality(statement.test, ast.NotEq, ast.NotIn)
        if refused is not None:
            self.equalities.append(refused)
            return self.is_read(statement.body)
        needed = self._needed(statement.test)
        if needed is None:
            return None
        self.equalities += needed
        return self.is_read(statement.orelse)

    def _needed(self, test: ast.expr) -> Optional[list[Equality]]:
        """Of what one must be met for a condition to hold, or to run anything; None where that cannot be read."""
        if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
            return self._needed(test.values[0])
        if isinstance(test, ast.BoolOp):
            parts = [self._needed(value) for value in test.values]
            known = [part for part in parts if part is not None]
            return [one for part in known for one in part] if len(known) == len(parts) else None
        found = self._equality(test, ast.Eq, ast.In)
        return None if found is None else [found]

    def _equality(self, test: ast.expr, one: type[ast.cmpop], many: type[ast.cmpop]) -> Optional[Equality]:
        """The field and the constants that a comparison of one of two kinds is about."""
        if not isinstance(test, ast.Compare) or len(test.ops) != 1 or not isinstance(test.left, ast.Attribute):
            return None
        owner, field = test.left.value, test.left.attr
        field_type = decoded_type(self._event_type, field)
        if not isinstance(owner, ast.Name) or owner.id != self._event or field_type not in (str, int):
            return None
        given = test.comparators[0]
        if isinstance(test.ops[0], one):
            constants = [given]
        elif isinstance(test.ops[0], many) and isinstance(given, (ast.Tuple, ast.List, ast.Set)):
            constants = given.elts
        else:
            return None
        values = tuple(constant.value for constant in constants if isinstance(constant, ast.Constant))
        if len(values) != len(constants) or any(type(value) is not field_type for value in values):
            return None
        return Equality(field, values)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
