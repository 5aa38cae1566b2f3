"""Sending spans by OTLP over HTTP, as JSON: what every collector takes, and nothing of protobuf or gRPC to install."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

import msgspec
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, StatusCode

__all__ = ["OtlpJsonExporter"]

log = logging.getLogger("headway")

_STATUS: Final = {StatusCode.UNSET: 0, StatusCode.OK: 1, StatusCode.ERROR: 2}


class OtlpJsonExporter(SpanExporter):
    """Posts spans to an address. What it refuses is dropped, and told once until it takes some again."""

    def __init__(self, endpoint: str, headers: Mapping[str, str], *, timeout_s: float) -> None:
        self._endpoint = endpoint
        self._headers = {"content-type": "application/json", **headers}
        self._timeout_s = timeout_s
        self._is_refused = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send some; called by a thread of the SDK's."""
        request = Request(self._endpoint, msgspec.json.encode(document(spans)), self._headers)
        try:
            with urlopen(request, timeout=self._timeout_s) as answer:
                answer.read(20_000)
        except (URLError, OSError, ValueError) as error:
            if not self._is_refused:
                self._is_refused = True
                log.warning("traces are not taken by %s: %s", self._endpoint.partition("?")[0], error)
            return SpanExportResult.FAILURE
        self._is_refused = False
        return SpanExportResult.SUCCESS


def document(spans: Sequence[ReadableSpan]) -> dict[str, Any]:
    """Spans of one process as OTLP has them."""
    resource = spans[0].resource.attributes if spans else {}
    scoped = {"scope": {"name": "headway"}, "spans": [_span(span) for span in spans]}
    return {"resourceSpans": [{"resource": {"attributes": _attributes(resource)}, "scopeSpans": [scoped]}]}


def _span(span: ReadableSpan) -> dict[str, Any]:
    found = {
        **_ids(span.context),
        "name": span.name,
        "kind": span.kind.value + 1,
        "startTimeUnixNano": str(span.start_time),
        "endTimeUnixNano": str(span.end_time),
        "attributes": _attributes(span.attributes or {}),
        "events": [
            {"timeUnixNano": str(one.timestamp), "name": one.name, "attributes": _attributes(one.attributes or {})}
            for one in span.events
        ],
        "links": [{**_ids(link.context), "attributes": _attributes(link.attributes or {})} for link in span.links],
        "status": {"code": _STATUS[span.status.status_code], "message": span.status.description or ""},
    }
    if span.parent is not None:
        found["parentSpanId"] = f"{span.parent.span_id:016x}"
    return found


def _ids(context: SpanContext) -> dict[str, str]:
    return {"traceId": f"{context.trace_id:032x}", "spanId": f"{context.span_id:016x}"}


def _attributes(given: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in given.items()]


def _value(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    return {"stringValue": str(value)}
