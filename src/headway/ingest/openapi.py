"""The OpenAPI 3.1 document of what a flow takes: its paths, and the schemas of the declared events."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from headway.basics.idempotency import KEY, KEY_MOST
from headway.basics.times import EARLIEST_MS, LATEST_MS
from headway.ingest.bodies import BATCHED, JSON, LINES, STRUCTURED
from headway.ingest.door import Door
from headway.types.schema import Json, type_label

__all__ = ["document"]

_PROBLEMS: Final = {
    "400": "A header or the encoding of the body is wrong.",
    "401": "A bearer token is needed.",
    "408": "The body did not come in time.",
    "413": "The body is too large.",
    "415": "The content type or encoding is not known.",
    "421": "This server does not answer to that host.",
    "422": "An event is refused, with its field and the reason, and nothing of the request is taken; or the "
    "idempotency key was used for other content.",
    "429": "Too much at once: come again after Retry-After seconds.",
    "503": "The server is about to stop, or could not make the event durable.",
    "507": "The disk is full.",
}
_RECEIPT: Final = {
    "type": "object",
    "description": "The events are durable, and the flow will read them.",
    "required": ["log", "position", "duplicate", "events"],
    "properties": {
        "log": {"type": "string", "description": "The partition that they are in."},
        "position": {"type": "integer", "minimum": 0, "description": "The number of the last one of them there."},
        "duplicate": {"type": "boolean", "description": "Whether all of them were there before."},
        "events": {"type": "integer", "minimum": 1},
        "receipts": {
            "type": "array",
            "description": "For each CloudEvent of a batch.",
            "items": {
                "type": "object",
                "required": ["position", "duplicate"],
                "properties": {"position": {"type": "integer", "minimum": 0}, "duplicate": {"type": "boolean"}},
            },
        },
    },
}
_PROBLEM: Final = {
    "type": "object",
    "required": ["title", "status", "detail"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "reason"],
                "properties": {
                    "index": {"type": "integer"},
                    "reason": {"type": "string"},
                    "field": {"type": "string"},
                },
            },
        },
    },
}
_TIME: Final = {
    "description": "Epoch milliseconds in the years 1000 to 8999, or RFC 3339 text with a zone.",
    "anyOf": [
        {"type": "integer", "minimum": EARLIEST_MS, "maximum": LATEST_MS},
        {"type": "string", "format": "date-time"},
    ],
}
_KEY: Final = {"type": "string", "minLength": 1, "maxLength": KEY_MOST, "pattern": f"^{KEY.pattern}$"}


def document(flow: str, doors: Mapping[str, Door], *, max_body: int, has_tokens: bool) -> dict[str, Any]:
    """The document, as plain values."""
    types = {path: door.node.event_type for path, door in doors.items()}
    known = [kind for kind in types.values() if not _is_untyped(kind)]
    found, schemas = msgspec.json.schema_components(known, ref_template="#/components/schemas/{name}")
    named = dict(zip(map(id, known), found))
    events = {path: _timed(door, named.get(id(types[path]), {"type": "object"})) for path, door in doors.items()}
    components: dict[str, Any] = {"schemas": {**schemas, "Receipt": _RECEIPT, "Problem": _PROBLEM}}
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": f"Events of {flow}", "version": "1", "description": f"At most {max_body:,} bytes a request."},
        "paths": {
            **{
                path: {"post": _operation(door, events[path], has_tokens)}
                for path, door in doors.items()
                if door.input.translator is None
            },
            **{path + behind: way for path, door in doors.items() for behind, way in _ways(door, has_tokens).items()},
        },
        "components": components,
    }
    if has_tokens:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        made["security"] = [{"token": []}]
    return made


def _timed(door: Door, event: dict[str, Any]) -> dict[str, Any]:
    """The schema of an event together with what its time may be, which its type does not say."""
    time = door.node.time
    return event if not isinstance(time, str) else {"allOf": [event, {"required": [time], "properties": {time: _TIME}}]}


def _is_untyped(kind: Any) -> bool:
    return kind is dict or kind == Json


def _operation(door: Door, event: dict[str, Any], has_tokens: bool) -> dict[str, Any]:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    problems = {status: text for status, text in _PROBLEMS.items() if has_tokens or status != "401"}
    return {
        "operationId": f"post {door.input.log}",
        "summary": f"Events of {door.node.name}: {type_label(door.node.event_type)}",
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "schema": _KEY,
                "description": "A repeat with the same content gets the receipt of the first one."
                + (" Required but for CloudEvents." if door.input.require_key else ""),
            },
            {"name": "Partition-Key", "in": "header", "required": False, "schema": _KEY},
        ],
        "requestBody": {"required": True, "content": _content(door, event)},
        "responses": {
            "200": {
                "description": "Durable.",
                "content": {JSON: {"schema": {"$ref": "#/components/schemas/Receipt"}}},
            },
            **{status: {"description": text, "content": problem} for status, text in problems.items()},
        },
    }


def _ways(door: Door, has_tokens: bool) -> dict[str, Any]:
    """What can be done behind the path of a source whose paths say what is asked for."""
    found = {}
    ways = {} if door.input.translator is None else door.input.translator.ways()
    for behind, (summary, schema, parameters) in ways.items():
        operation = _operation(door, schema, has_tokens)
        query = [
            {"name": name, "in": "query", "required": False, "schema": given} for name, given in parameters.items()
        ]
        names = re.findall(r"\{(\w+)\}", behind)
        text = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[^\\u0000/]+$"}
        path = [{"name": name, "in": "path", "required": True, "schema": text} for name in names]
        operation["operationId"] = f"post {door.input.log}{behind}"
        operation["summary"] = summary
        operation["parameters"] = [*path, *query, *operation["parameters"][:1]]
        operation["requestBody"]["content"] = {JSON: {"schema": schema}}
        missing = {"description": "There is no such function or path."}
        operation["responses"]["404"] = {**missing, "content": operation["responses"]["422"]["content"]}
        found[behind] = {"post": operation}
    return found


def _content(door: Door, event: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "string", "minLength": 1}
    whole: dict[str, Any] = event
    if door.input.envelope == "json":
        whole = {
            "type": "object",
            "required": ["specversion", "id", "source", "type", "data"],
            "properties": {
                "specversion": {"const": "1.0"},
                "id": text,
                "source": text,
                "type": text,
                "datacontenttype": {"const": JSON},
                "data": event,
            },
        }
    content = {
        STRUCTURED: {"schema": whole},
        BATCHED: {"schema": {"type": "array", "minItems": 1, "items": whole}},
    }
    if door.input.envelope == "cloudevents":
        return content
    lines = {"type": "string", "description": "An event in each line."}
    return {JSON: {"schema": event}, LINES[0]: {"schema": lines}, **content}
