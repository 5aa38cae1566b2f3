"""Where spans go, and the tracer of a process.

OpenTelemetry's SDK has threads and locks that do not survive a fork. Every process of a run that has spans is started
anew and makes its own tracer, before the first span: nothing is inherited. The global provider is left alone: it is the
flow's, which may have its own.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, Optional
from urllib.parse import urlsplit

from headway.errors import UsageError

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

__all__ = ["check_traces", "tracer_for"]

_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
_TRACES_ENDPOINT: Final = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_HEADERS: Final = "OTEL_EXPORTER_OTLP_HEADERS"
_EVERY_MS: Final = 1_000
_EXPORT_S: Final = 5.0
_CLOSE_S: Final = 3.0


def check_traces(where: str) -> None:
    """Raise `UsageError` for what spans cannot be sent to: see `--traces` of `headway run`. Imports no SDK."""
    if where != "console":
        _endpoint(where)
    try:
        missing = find_spec("opentelemetry.sdk") is None
    except ModuleNotFoundError:
        missing = True
    if missing:
        msg = "--traces needs opentelemetry-sdk, not installed here: pip install 'headway[tracing]'"
        raise UsageError(msg)


def tracer_for(where: str, flow: str) -> tuple[Tracer, Callable[[], None]]:
    """A tracer whose spans go to `console` (stderr) or to an OTLP address; and what sends the rest of them and ends it.

    Spans are sent once a second by a thread; 2,048 wait at most, more are dropped. What a receiver refuses is told on
    stderr and dropped: tracing holds up nothing. To end takes 3 s at most.
    """
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SpanExporter

    from headway.tracing.otlp import OtlpJsonExporter

    exporter: SpanExporter
    if where == "console":
        exporter = ConsoleSpanExporter(out=sys.stderr)
    else:
        exporter = OtlpJsonExporter(_endpoint(where), _headers(), timeout_s=_EXPORT_S)
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": f"headway/{flow}"}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    processor = BatchSpanProcessor(exporter, schedule_delay_millis=_EVERY_MS)
    provider.add_span_processor(processor)

    def end() -> None:
        processor.force_flush(int(1_000 * _CLOSE_S))
        exporter.shutdown()

    return provider.get_tracer("headway"), end


def _endpoint(where: str) -> str:
    """The address to which spans are posted."""
    given: Optional[str] = where
    if where == "otlp":
        given = os.environ.get(_TRACES_ENDPOINT)
        if not given:
            base = os.environ.get(_ENDPOINT)
            given = None if not base else f"{base.rstrip('/')}/v1/traces"
        if given is None:
            msg = f"--traces otlp: neither {_TRACES_ENDPOINT} nor {_ENDPOINT} is set; give the address itself"
            raise UsageError(msg)
    assert given is not None
    parts = urlsplit(given)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        msg = f"--traces {where!r} is none of console, otlp and an address such as http://127.0.0.1:4318/v1/traces"
        raise UsageError(msg)
    return given if parts.path not in ("", "/") else f"{given.rstrip('/')}/v1/traces"


def _headers() -> dict[str, str]:
    """Headers for the receiver, such as a token: `name=value,name=value`."""
    pairs = (pair.partition("=") for pair in os.environ.get(_HEADERS, "").split(",") if "=" in pair)
    return {name.strip(): value.strip() for name, _, value in pairs}
