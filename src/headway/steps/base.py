"""What the families of keyed steps build on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from headway.declare import Was
    from headway.operators.base import Operator
    from headway.streams import Processed

__all__ = ["KeyedSteps"]

T = TypeVar("T")
U = TypeVar("U")


class KeyedSteps(Generic[T]):
    """A family of steps on a stream with keys; `KeyedStream` brings what they need."""

    if TYPE_CHECKING:

        @property
        def type(self) -> Any:
            """The type of the stream's values."""

        def process(self, name: str, operator: Operator[Any, Any, U], *, was: Was = (), **inputs: Any) -> Processed[U]:
            """Run a keyed operator; see `KeyedStream.process`."""
