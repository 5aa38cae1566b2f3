"""Steps of all streams: enrichment from lookup tables, which keeps no state."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Literal, Optional, TypeVar, overload

from headway.basics.declaring import declaring
from headway.operators.joins.lookups import Lookup, Missing, enricher
from headway.operators.joins.results import Pair
from headway.operators.options import Value

if TYPE_CHECKING:
    from headway.declare.streams import KeyedStream, Stream

__all__ = ["EnrichKeyedSteps", "EnrichSteps"]

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


class EnrichKeyedSteps(Generic[T]):
    """Enrichment of streams with a key, which it keeps."""

    @overload
    def enrich(
        self,
        name: str,
        table: Lookup[V],
        *,
        on: Value,
        missing: Literal["drop"],
    ) -> KeyedStream[Pair[T, V]]: ...

    @overload
    def enrich(
        self,
        name: str,
        table: Lookup[V],
        *,
        on: Value,
        missing: Literal["keep"] = "keep",
    ) -> KeyedStream[Pair[T, Optional[V]]]: ...

    @overload
    def enrich(
        self,
        name: str,
        table: Lookup[V],
        *,
        on: Value,
        select: Callable[[T, V], U],
        into: Any = None,
        missing: Literal["drop"],
    ) -> KeyedStream[U]: ...

    @overload
    def enrich(
        self,
        name: str,
        table: Lookup[V],
        *,
        on: Value,
        select: Callable[[T, Optional[V]], U],
        into: Any = None,
        missing: Literal["keep"] = "keep",
    ) -> KeyedStream[U]: ...

    def enrich(
        self,
        name: str,
        table: Lookup[Any],
        *,
        on: Value,
        select: Optional[Callable[[T, Any], Any]] = None,
        into: Any = None,
        missing: Missing = "keep",
    ) -> KeyedStream[Any]:
        """Each event with a row of a lookup table: `enrich("named", hw.lookup("products.csv", key="sku"), on="sku")`.

        `on` is the field or function that names the row. Gives a `Pair(left=event, right=row)`, or
        `select(event, row)` of type `into`. Where the table has no row, it is None, or the event is dropped with
        `missing="drop"`. Keeps no state; what comes out depends on the file, see `lookup`.
        """
        enriched: KeyedStream[Any] = _enrich(self, name, table, on, select, into, missing)
        return enriched


class EnrichSteps(Generic[T]):
    """Enrichment of streams without a key."""

    @overload
    def enrich(
        self,
        name: str,
        table: Lookup[V],
        *,
        on: Value,
        missing: Literal["drop"],
    ) -> Stream[Pair[T, V]]: ...

    @overload
    def enrich(
        self,
        name: str,
        table: Lookup[V],
        *,
        on: Value,
        missing: Literal["keep"] = "keep",
    ) -> Stream[Pair[T, Optional[V]]]: ...

    @overload
    def enrich(
        self,
        name: str,
        table: Lookup[V],
        *,
        on: Value,
        select: Callable[[T, V], U],
        into: Any = None,
        missing: Literal["drop"],
    ) -> Stream[U]: ...

    @overload
    def enrich(
        self,
        name: str,
        table: Lookup[V],
        *,
        on: Value,
        select: Callable[[T, Optional[V]], U],
        into: Any = None,
        missing: Literal["keep"] = "keep",
    ) -> Stream[U]: ...

    def enrich(
        self,
        name: str,
        table: Lookup[Any],
        *,
        on: Value,
        select: Optional[Callable[[T, Any], Any]] = None,
        into: Any = None,
        missing: Missing = "keep",
    ) -> Stream[Any]:
        """Each event with a row of a lookup table; see `KeyedStream.enrich`."""
        enriched: Stream[Any] = _enrich(self, name, table, on, select, into, missing)
        return enriched


def _enrich(stream: Any, name: str, table: Lookup[Any], on: Value, select: Any, into: Any, missing: Missing) -> Any:
    with declaring():
        function, output_type = enricher(table, stream.type, on=on, select=select, into=into, missing=missing)
    return stream.flat_map(function, into=output_type, name=name)
