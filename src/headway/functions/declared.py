"""Declaring durable functions, and what may be called from one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Generic, Literal, Optional, Protocol, TypeVar, Union, overload, runtime_checkable

from headway.basics.declaring import declaring, fail
from headway.basics.times import Duration, duration_ms
from headway.functions.history import CallKind
from headway.functions.options import CHILD_OPTIONS, CallOptions
from headway.functions.search import checked_fields
from headway.functions.signature import Signature

__all__ = ["ID_REUSES", "Callee", "DurableFunction", "IdReuse", "durable_workflow", "names_of_functions"]

R = TypeVar("R")

IdReuse = Literal["return", "reject", "new", "new_after_failure"]
"""What a start does when there is a function of that id: give that one, running or finished; refuse; start anew unless
it still runs; start anew only if it has failed, was cancelled or terminated."""

ID_REUSES: Final = ("return", "reject", "new", "new_after_failure")


@runtime_checkable
class Callee(Protocol):
    """What `context.call` takes besides a name: a step, or a durable function."""

    @property
    def name(self) -> str:
        """Under which its calls are recorded."""

    @property
    def kind(self) -> CallKind:
        """How it is called."""

    @property
    def options(self) -> Optional[CallOptions]:
        """What its declaration says of its calls."""

    @property
    def takes(self) -> Sequence[str]:
        """The names of the options that its calls may give."""

    def encode_arguments(self, *arguments: Any, **keywords: Any) -> bytes:
        """The arguments as JSON; raises `UsageError` for those that it does not take."""

    def decode_result(self, data: bytes) -> Any:
        """The result of a call from JSON."""


class DurableFunction(Generic[R]):
    """An `async def` whose progress survives crashes; made by `durable_workflow`.

    Calling it gives the bare coroutine, for tests that bring a context of their own. Frozen once it is made.
    """

    kind: Literal["function"] = "function"
    takes: Sequence[str] = CHILD_OPTIONS

    def __init__(
        self,
        code: Callable[..., Coroutine[Any, Any, R]],
        *,
        name: Optional[str] = None,
        id_reuse: IdReuse = "return",
        retention: Duration = "7d",
        deadline: Optional[Duration] = None,
        options: Optional[CallOptions] = None,
        search: Mapping[str, type[Any]] = MappingProxyType({}),
    ) -> None:
        _check_code(code)
        self.code = code
        self.name = code.__name__ if name is None else name
        if not isinstance(self.name, str) or not self.name or not self.name.isprintable() or "/" in self.name:
            fail(f'durable function {self.name!r}: its name must be text without "/", such as "refund_order"')
        if id_reuse not in ID_REUSES:
            fail(
                f"durable function {self.name!r}: id_reuse={id_reuse!r} is unknown: give one of {', '.join(ID_REUSES)}"
            )
        self.id_reuse: IdReuse = id_reuse
        with declaring():
            self.retention_ms = duration_ms(retention, what="retention")
            self.deadline_ms = None if deadline is None else duration_ms(deadline, what="deadline")
            if options is not None:
                options.check_taken(self.takes, f"durable function {self.name!r}")
        self.options = options
        self.search = checked_fields(search, f"durable function {self.name!r}")
        """The types of the fields by which its instances are found."""
        self.signature = Signature(code, f"function {self.name!r}", skip=1)
        self.__doc__ = code.__doc__
        self.__name__ = self.name
        self.__wrapped__ = code

    def __call__(self, *arguments: Any, **keywords: Any) -> Coroutine[Any, Any, R]:
        """The coroutine itself; the first argument is the context."""
        return self.code(*arguments, **keywords)

    def __repr__(self) -> str:
        return f"<durable function {self.name!r}>"

    def encode_arguments(self, *arguments: Any, **keywords: Any) -> bytes:
        """The arguments of one start as JSON. Raises `UsageError` for those that the function does not take."""
        return self.signature.encode(arguments, keywords)

    def decode_arguments(self, data: bytes) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Arguments from JSON, an array by position or an object by name. Raises `UsageError` as above."""
        return self.signature.decode(data)

    def encode_result(self, value: R) -> bytes:
        """A result as JSON. Raises `UsageError` for one that is not of the declared type."""
        return self.signature.encode_result(value)

    def decode_result(self, data: bytes) -> R:
        """A result from JSON, of the declared type."""
        result: R = self.signature.decode_result(data)
        return result


@overload
def durable_workflow(code: Callable[..., Coroutine[Any, Any, R]], /) -> DurableFunction[R]: ...


@overload
def durable_workflow(
    *,
    name: Optional[str] = None,
    id_reuse: IdReuse = "return",
    retention: Duration = "7d",
    deadline: Optional[Duration] = None,
    options: Optional[CallOptions] = None,
    search: Mapping[str, type[Any]] = MappingProxyType({}),
) -> Callable[[Callable[..., Coroutine[Any, Any, R]]], DurableFunction[R]]: ...


def durable_workflow(
    code: Optional[Callable[..., Coroutine[Any, Any, R]]] = None,
    /,
    *,
    name: Optional[str] = None,
    id_reuse: IdReuse = "return",
    retention: Duration = "7d",
    deadline: Optional[Duration] = None,
    options: Optional[CallOptions] = None,
    search: Mapping[str, type[Any]] = MappingProxyType({}),
) -> Union[DurableFunction[R], Callable[[Callable[..., Coroutine[Any, Any, R]]], DurableFunction[R]]]:
    """Declare an `async def` as a durable function: it goes on where it was, whatever crashes.

    Its first parameter is the context; the others and the result are checked by their annotations. `name` is under
    which it is stored and called, the code's own by default. `id_reuse` says what a start does when there is one of
    that id already, and `retention` for how long one that has ended is known. After `deadline`, counted from its start,
    it is cancelled and has failed with `DeadlineExceeded`. `options` hold for calls of it as a child, and may say
    `parent_close`. `search` names the fields of `context.search`, by which instances are found, with their types: str,
    int, float or bool.

    >>> @durable_workflow
    ... async def refund_order(context, order_id: str):
    ...     await context.call("cancel_shipping", order_id)
    >>> refund_order
    <durable function 'refund_order'>
    >>> refund_order.encode_arguments("o-17")
    b'["o-17"]'
    >>> @durable_workflow(name="loan-review", deadline="30d", id_reuse="reject")
    ... async def review(context, loan: int) -> str: ...
    >>> review.encode_arguments("o-17")
    Traceback (most recent call last):
    headway.errors.UsageError: function 'loan-review': argument 'loan': Expected `int`, got `str`: 'o-17'
    """

    def declare(found: Callable[..., Coroutine[Any, Any, R]]) -> DurableFunction[R]:
        return DurableFunction(
            found, name=name, id_reuse=id_reuse, retention=retention, deadline=deadline, options=options, search=search
        )

    return declare if code is None else declare(code)


def names_of_functions(callees: Mapping[str, Callee]) -> str:
    """The names of the functions among what may be called, for messages."""
    return ", ".join(sorted(name for name, one in callees.items() if isinstance(one, DurableFunction))) or "none"


def _check_code(code: Any) -> None:
    shown = getattr(code, "__qualname__", repr(code))
    if inspect.isasyncgenfunction(code):
        fail(f"{shown} yields: a durable function is an `async def` that returns its result")
    if not inspect.iscoroutinefunction(code):
        fail(f"{shown} is no `async def`: write `async def {getattr(code, '__name__', 'name')}(context, ...)`")
    parameters = list(inspect.signature(code).parameters.values())
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    ):
        fail(f"{shown} takes no context: write `async def {code.__name__}(context, ...)`, the context first")
    if parameters[0].default is not inspect.Parameter.empty:
        fail(f"{shown}: its first parameter is the context and has no default")
