"""The OpenAPI 3.1 document of the views, with the schemas of what they show."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from headway.serving.catalog import Shown
from headway.types.logtypes import log_fields
from headway.types.schema import type_label

__all__ = ["document"]

_VERSION: Final = "0.1.0"
_REF: Final = "#/components/schemas/{name}"
_INTEGER: Final = {"type": "integer"}
_TEXT: Final = {"type": "string"}
_SOMETIMES: Final = {
    "ended_ms": _INTEGER,
    "started_by": {"type": "string", "description": "The idempotency key of the request that has started it."},
    "error": _TEXT,
    "waits": {"type": "array", "items": _TEXT},
}
"""What is told of an instance of a function where there is something to tell."""


def document(views: Mapping[str, Shown], *, has_functions: bool = False) -> dict[str, Any]:
    """The document; made anew for each request, some milliseconds."""
    types = {name: _as_shown(shown.view.value_type) for name, shown in views.items()}
    described, components = msgspec.json.schema_components(types.values(), ref_template=_REF)
    schemas: dict[str, Any] = dict(components)
    schemas["problem"] = _object({"title": _TEXT, "status": _INTEGER, "detail": _TEXT}, optional={"reason": _TEXT})
    paths: dict[str, Any] = {"/v1/views": {"get": _operation("List the views", {"views": _list_of({})})}}
    for (name, shown), schema in zip(views.items(), described):
        value = _only(schema, components, shown.view.fields)
        item = _object({"key": _TEXT, "value": value}, optional={"timers": {"type": "object"}})
        paths |= _view_paths(name, shown, item)
    if has_functions:
        paths |= _function_paths()
    return {
        "openapi": "3.1.0",
        "info": {"title": "Decision state", "version": _VERSION},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"bearer": []}],
    }


@lru_cache
def _as_shown(value_type: Any) -> Any:
    """The type of what is shown of a value: of a log how long it is, and its last entries.

    Made once for each type: schemas take two classes of one name and module for one.
    """
    logs = {field.name: field for field in log_fields(value_type)}
    if not logs:
        return value_type
    fields = []
    for field in msgspec.structs.fields(value_type):
        shown = field.type
        if field.name in logs:
            shown = _log_of(logs[field.name].entry_type)
        fields.append((field.name, shown, msgspec.field(name=field.encode_name)))
    return msgspec.defstruct(type_label(value_type), fields, module=value_type.__module__)


@lru_cache
def _log_of(entries: Any) -> Any:
    """The type of what is shown of a log."""
    fields: Any = [("length", int), ("last", list[entries])]
    return msgspec.defstruct(f"LogOf{type_label(entries)}", fields, module=entries.__module__)


def _view_paths(name: str, shown: Shown, item: dict[str, Any]) -> dict[str, Any]:
    base = f"/v1/views/{name}"
    wait = [
        _parameter("at_least", _TEXT, "A receipt: the state includes its event."),
        _parameter("epoch", {"type": "integer", "minimum": 0}, "The state is of this epoch or a later one."),
        _parameter("wait", _TEXT, "How long the answer may be held back for that, such as 30s; 60s at most."),
    ]
    prefix = _parameter("prefix", _TEXT, "What keys begin with.")
    key = {"name": "key", "in": "path", "required": True, "schema": _TEXT, "description": "Percent-encoded UTF-8."}
    known = {"name": "If-None-Match", "in": "header", "schema": _TEXT}
    one = _operation(f"One key of {name}", None, [key, known, *wait])
    one["responses"] |= {
        "200": _content(item, "What there is of the key.", etag=True),
        "304": {"description": "It is as it was."},
        "404": _content(_problem(), "There is nothing.", kind="application/problem+json"),
        "410": _content(_problem(), "There was something, which was forgotten.", kind="application/problem+json"),
    }
    status = {"type": "string", "enum": ["present", "absent", "forgotten"]}
    several = _object(
        {"status": status, "key": _TEXT}, optional={"value": item["properties"]["value"], "timers": {"type": "object"}}
    )
    batch = _operation(f"Several keys of {name}", {"values": _list_of(several)}, wait)
    asked = _object({"keys": {"type": "array", "items": _TEXT, "maxItems": 1000}})
    batch["requestBody"] = {"required": True, "content": {"application/json": {"schema": asked}}}
    limit = _parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "How many keys at most.")
    cursor = _parameter("cursor", _TEXT, "`next` of the page before: pages are of one epoch.")
    pages = _operation(
        f"The keys of {name}, in order", {"items": _list_of(item)}, [prefix, limit, cursor, *wait], {"next": _TEXT}
    )
    pages["responses"]["410"] = _content(_problem(), "The cursor has expired.", kind="application/problem+json")
    paths = {
        base: {"get": _operation(f"About {name}", {"name": _TEXT}, fresh=False)},
        f"{base}/{{key}}": {"get": one},
        f"{base}:batch": {"post": batch},
        f"{base}:list": {"get": pages},
        f"{base}:count": {"get": _operation(f"How many keys {name} has", {"count": _INTEGER}, [prefix, *wait])},
    }
    if shown.index:
        by = _parameter("by", {"type": "string", "enum": [shown.index]}, "The indexed field.")
        count = _parameter("n", {"type": "integer", "minimum": 1, "maximum": 1000}, "How many keys.")
        top = _operation(
            f"The keys of {name} with the greatest {shown.index}", {"items": _list_of(item)}, [by, count, *wait]
        )
        paths[f"{base}:top"] = {"get": top}
    return paths


def _function_paths() -> dict[str, Any]:
    instance = _object(
        {"instance": _TEXT, "status": _TEXT, "run": _INTEGER, "started_ms": _INTEGER, "search": {"type": "object"}},
        optional=_SOMETIMES,
    )
    whole = _object(
        {
            "instance": _TEXT,
            "status": _TEXT,
            "run": _INTEGER,
            "started_ms": _INTEGER,
            "search": {"type": "object"},
            "arguments": {},
            "result": {},
            "variables": {"type": "object"},
        },
        optional=_SOMETIMES,
    )
    filters = [
        _parameter("status", _TEXT, "Only those of a status, or of several with commas between them."),
        _parameter("where", _TEXT, "Only those with such a search field: customer=ann. May be given several times."),
        _parameter("since", _TEXT, "Only those started since: 1h, or a time."),
        _parameter("limit", {"type": "integer", "minimum": 1, "maximum": 1000}, "How many instances at most."),
        _parameter("cursor", _TEXT, "`next` of the page before, and then nothing else: pages are of one epoch."),
    ]
    listed = _operation("Instances of functions", {"items": _list_of(instance)}, filters, {"next": _TEXT})
    name, id_, asked = (
        {"name": name, "in": "path", "required": True, "schema": _TEXT} for name in ("name", "id", "query")
    )
    one = _operation("One instance", None, [name, id_])
    one["responses"]["200"] = _content(whole, "What is known of it.")
    value = _object({"instance": _TEXT, "run": _INTEGER, "status": _TEXT, "value": {}})
    query = _operation("What an instance answers", None, [name, id_, asked])
    query["responses"]["200"] = _content(value, "What the handler of its own code says.")
    body: dict[str, Any] = {"requestBody": {"content": {"application/json": {"schema": {}}}}}
    return {
        "/v1/functions": {"get": listed},
        "/v1/functions/{name}": {"get": {**listed, "parameters": [name, *filters]}},
        "/v1/functions/{name}/{id}": {"get": one},
        "/v1/functions/{name}/{id}/queries/{query}": {"get": query, "post": {**query, **body}},
    }


def _operation(
    summary: str,
    body: Any,
    parameters: Any = (),
    optional: Any = None,
    *,
    fresh: bool = True,
) -> dict[str, Any]:
    found: dict[str, Any] = {"summary": summary, "parameters": list(parameters), "responses": {}}
    if body is not None:
        more = {"epoch": _INTEGER, "age_ms": _INTEGER, "watermark": {"type": ["integer", "null"]}} if fresh else {}
        schema = _object(body, optional={**(optional or {}), **more})
        found["responses"]["200"] = _content(schema, "The answer.")
    found["responses"]["default"] = _content(_problem(), "Why there is none.", kind="application/problem+json")
    return found


def _content(schema: Any, description: str, *, kind: str = "application/json", etag: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"description": description, "content": {kind: {"schema": schema}}}
    if etag:
        found["headers"] = {"ETag": {"schema": _TEXT}, "Headway-Epoch": {"schema": _INTEGER}}
    return found


def _only(schema: dict[str, Any], components: Mapping[str, Any], fields: Any) -> dict[str, Any]:
    """The schema of a value of which some fields are shown."""
    if not fields:
        return schema
    named = components.get(schema.get("$ref", "").rpartition("/")[2], schema)
    properties = named.get("properties", {})
    return {"type": "object", "properties": {name: properties.get(name, {}) for name in fields}}


def _object(properties: dict[str, Any], optional: Any = None) -> dict[str, Any]:
    required = list(properties)
    return {"type": "object", "properties": {**properties, **(optional or {})}, "required": required}


def _list_of(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item}


def _parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _problem() -> dict[str, Any]:
    return {"$ref": _REF.format(name="problem")}
