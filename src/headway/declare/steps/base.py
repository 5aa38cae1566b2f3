"""What the families of keyed steps build on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from headway.basics.declaring import declaring

if TYPE_CHECKING:
    from headway.basics.declaring import Was
    from headway.declare.streams import Processed
    from headway.operators.base import Operator

__all__ = ["KeyedSteps"]

T = TypeVar("T")
U = TypeVar("U")


class KeyedSteps(Generic[T]):
    """A family of steps on a stream with keys; `KeyedStream` brings what they need."""

    if TYPE_CHECKING:

        def process(self, name: str, operator: Operator[Any, Any, U], *, was: Was = (), **inputs: Any) -> Processed[U]:
            """Run a keyed operator; see `KeyedStream.process`."""

    def _process(self, name: str, was: Was, make: Callable[[], Operator[T, Any, U]], /, **inputs: Any) -> Processed[U]:
        """Run the operator that `make` makes: what is wrong with its options is told with the line of the flow."""
        with declaring():
            operator = make()
        return self.process(name, operator, was=was, **inputs)
