"""The spans of deliveries, and of requests with events.

An event waits in a log, in windows and in outboxes: hours may lie between what caused a trigger and its delivery. So a
delivery is no child of the event's trace. It has a trace of its own, with a *link* to each event that it delivers, by
the `traceparent` that the event carries as data. That text is never changed, and is part of no id and no order: the
receiver gets what the event had.

One span is one attempt: what has failed for a day would else be a span of a day, kept in memory, and lost with the
process. Each attempt carries its number, and links to the same trace.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Optional

from headway.targets.base import Answer, Delivery, Outcome

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext, Tracer

__all__ = ["DeliverySpans", "context_of", "traced"]

_LINKS: Final = 128
"""Links and events of a span at most; a batch may be larger."""
_TRACEPARENT_LENGTH: Final = 55


def context_of(traceparent: Optional[str]) -> Optional[SpanContext]:
    """What a W3C `traceparent` says; None where there is none, or it is none that may be used."""
    from opentelemetry.trace import SpanContext, TraceFlags

    if traceparent is None or len(traceparent) < _TRACEPARENT_LENGTH:
        return None
    version, trace, span, flags = (*traceparent.split("-"), "", "", "", "")[:4]
    if (len(version), len(trace), len(span), len(flags[:2])) != (2, 32, 16, 2) or version == "ff":
        return None
    try:
        found = SpanContext(int(trace, 16), int(span, 16), is_remote=True, trace_flags=TraceFlags(int(flags[:2], 16)))
    except ValueError:
        return None
    return found if found.is_valid else None


class DeliverySpans:
    """Spans of the attempts of one process. `end` sends the rest of them, and takes some seconds at most."""

    def __init__(self, tracer: Tracer, flow: str, end: Callable[[], None]) -> None:
        self._tracer = tracer
        self._flow = flow
        self.end = end

    def begin(self, output: str, target: str, batch: Sequence[Delivery]) -> Span:
        """An attempt begins."""
        from opentelemetry.trace import Link, SpanKind

        contexts = (context_of(delivery.traceparent) for delivery in batch[:_LINKS])
        return self._tracer.start_span(
            f"deliver {output}",
            kind=SpanKind.PRODUCER,
            links=[Link(context) for context in contexts if context is not None],
            attributes={
                "headway.flow": self._flow,
                "headway.output": output,
                "headway.target": target,
                "headway.triggers": len(batch),
                "headway.attempt": max(delivery.attempt for delivery in batch),
            },
        )

    def finish(self, span: Span, batch: Sequence[Delivery], answers: Optional[Sequence[Answer]]) -> None:
        """It has ended; without answers, because something of Headway's or of the target's own has failed."""
        from opentelemetry.trace import Status, StatusCode

        worst = Outcome.DONE.value
        for delivery, answer in zip(batch[:_LINKS], answers or ()):
            about: dict[str, Any] = {"cloudevents.event_id": delivery.id, "cloudevents.event_type": delivery.type}
            about |= {"headway.attempt": delivery.attempt, "headway.outcome": answer.outcome.value}
            span.add_event("answer", about)
        failed = [answer for answer in answers or () if answer.outcome is not Outcome.DONE]
        if failed or answers is None:
            worst = max((answer.outcome.value for answer in failed), key=("retry", "never").index, default="failed")
            span.set_status(Status(StatusCode.ERROR, failed[0].reason if failed else ""))
        span.set_attribute("headway.outcome", worst)
        span.end()


def traced(app: Any, tracer: Tracer, flow: str) -> Any:
    """An ASGI application whose requests have spans: children of the client's, with links to CloudEvents' own traces.

    Questions about the server itself have none.
    """
    from opentelemetry.trace import Link, NonRecordingSpan, SpanKind, Status, StatusCode, set_span_in_context

    async def entrance(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["path"] in ("/healthz", "/readyz"):
            await app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        parent, event = context_of(headers.get(b"traceparent")), context_of(headers.get(b"ce-traceparent"))
        span = tracer.start_span(
            "ingest",
            context=None if parent is None else set_span_in_context(NonRecordingSpan(parent)),
            kind=SpanKind.SERVER,
            links=[] if event is None else [Link(event)],
            attributes={"headway.flow": flow, "http.request.method": scope["method"], "url.path": scope["path"]},
        )

        async def note(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
                if message["status"] >= 500:
                    span.set_status(Status(StatusCode.ERROR))
            await send(message)

        scope["headway.receipt"] = {}
        try:
            await app(scope, receive, note)
        finally:
            span.set_attributes(scope["headway.receipt"])
            span.end()

    return entrance
