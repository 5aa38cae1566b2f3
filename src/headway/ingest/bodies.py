"""From the body of a request to the lines of a log: JSON, JSON lines, and CloudEvents in their three modes.

A line of a log is the event's own bytes, as they were sent: nothing is encoded anew, so that numbers and the order of
members stay. Only line ends are replaced, which in JSON can stand between tokens alone.
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Optional
from urllib.parse import parse_qsl, quote, unquote

import msgspec

from headway.basics.idempotency import KEY, KEY_MOST
from headway.basics.traceparent import is_traceparent
from headway.errors import UsageError
from headway.inbox.commits import Item, item_of
from headway.inbox.source import Asked, Translator
from headway.web.middleware import header
from headway.web.problems import ProblemError, Scope

__all__ = ["BATCHED", "JSON", "LINES", "STRUCTURED", "Parsed", "inflate", "parse", "parts_behind", "translated"]

JSON: Final = "application/json"
LINES: Final = ("application/x-ndjson", "application/jsonl", "application/json-lines", "application/x-jsonlines")
STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"

_JSON_TYPE: Final = re.compile(r"(?:application|text)/(?:[\w.!#$&^+-]+\+)?json\s*(?:;.*)?", re.ASCII)
_ATTRIBUTES: Final = ("id", "source", "type")
_BLANKS: Final = b" \t\r\n"
_NO_ENDS: Final = bytes.maketrans(b"\r\n", b"  ")
_BAD: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_raw_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class Parsed:
    """The events of a request."""

    items: list[Item]
    partition_key: Optional[str]
    has_own_keys: bool = False
    """Whether each event has a key of its own, and so gets a receipt of its own."""

    @property
    def lines(self) -> bytes:
        """All events."""
        return self.items[0].lines if len(self.items) == 1 else b"".join(item.lines for item in self.items)

    @property
    def records(self) -> int:
        """How many events there are."""
        return sum(item.records for item in self.items)


def inflate(encoding: bytes, body: bytes, most: int) -> bytes:
    """The body without its content encoding. Unpacks no more than `most` bytes, however much there is."""
    kind = encoding.strip().lower()
    if kind in (b"", b"identity"):
        return body
    if kind not in (b"gzip", b"x-gzip"):
        detail = f"content-encoding {kind.decode('latin-1')!r} is not known: send it as it is, or as gzip"
        raise ProblemError(415, detail, headers={"accept-encoding": "gzip"})
    parts: list[bytes] = []
    left, size = body, 0
    try:
        while left:
            unpacker = zlib.decompressobj(31)
            part = unpacker.decompress(left, most - size + 1)
            size += len(part)
            if size > most:
                raise ProblemError(413, f"the body has more than {most:,} bytes unpacked: send it in parts", limit=most)
            if not unpacker.eof:
                raise ProblemError(400, "the gzip body is not whole")
            parts.append(part)
            left = unpacker.unused_data
    except zlib.error as error:
        raise ProblemError(400, f"the body is not gzip: {error}") from None
    return b"".join(parts)


def parse(scope: Scope, body: bytes, form: str) -> Parsed:
    """The events of a body that is not encoded any more, for a source of a format. Raises `ProblemError`."""
    media = _media_type(scope)
    key = _key(scope, b"idempotency-key")
    partition_key = _key(scope, b"partition-key")
    is_binary = bool(header(scope, b"ce-specversion"))
    if media == BATCHED:
        found = _batched(body, form)
    elif media == STRUCTURED:
        found = _structured([body], form)
    elif is_binary:
        found = _binary(scope, body, form)
    elif form == "cloudevents":
        raise ProblemError(415, f"content type {media!r} without ce- headers: this source takes CloudEvents alone")
    elif media in LINES:
        found = Parsed([_lines(body)], None)
    elif media == JSON:
        found = Parsed([_json(body)], None)
    else:
        known = ", ".join((JSON, LINES[0], STRUCTURED, BATCHED))
        raise ProblemError(415, f"content type {media!r} is not known: send {known}", headers={"accept": known})
    if not found.records:
        raise ProblemError(422, "there are no events in the body")
    if key is not None:
        found = Parsed([Item(found.lines, found.records, f"k{key}")], found.partition_key)
    return found if partition_key is None else Parsed(found.items, partition_key, found.has_own_keys)


def parts_behind(scope: Scope, path: str) -> list[str]:
    """The parts of a request's path behind that of a source, each unquoted by itself, so that one may hold a slash."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    return [unquote(part) for part in raw.decode("latin-1")[len(path) :].split("/")[1:]]


def translated(scope: Scope, body: bytes, translator: Translator, parts: Sequence[str]) -> Parsed:
    """The event that a request means by its path; `parts` are those behind the path of the source.

    Raises `ProblemError`.
    """
    media = _media_type(scope)
    if media != JSON:
        raise ProblemError(415, f"content type {media!r} is not known: send {JSON}", headers={"accept": JSON})
    key = _key(scope, b"idempotency-key")
    try:
        line, untraced = translator.line(parts, body, _asked(scope, key or ""))
    except LookupError as error:
        raise ProblemError(404, str(error.args[0])) from None
    except UsageError as error:
        raise ProblemError(422, str(error)) from None
    return Parsed([item_of(line, None if key is None else f"k{key}", untraced + b"\n")], None)


def _asked(scope: Scope, key: str) -> Asked:
    """What a request says beside its path and its body. Raises `UsageError` for a query that is none."""
    raw: bytes = scope.get("query_string") or b""
    try:
        query = dict(parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=20))
    except ValueError:
        msg = "the query is not percent-encoded UTF-8 of at most 20 parameters"
        raise UsageError(msg) from None
    found = header(scope, b"traceparent").decode("latin-1").strip()
    return Asked(query, found if is_traceparent(found) else "", key)


def _media_type(scope: Scope) -> str:
    text = header(scope, b"content-type").decode("latin-1")
    media, *parameters = [part.strip().lower() for part in text.split(";")]
    if not media:
        # Without this a page in a browser could post here without asking first whether it may.
        raise ProblemError(415, "there is no content type: send content-type: application/json")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and value.strip().strip('"') not in ("utf-8", "utf8", "us-ascii"):
            raise ProblemError(415, f"charset {value!r} is not known: events are UTF-8")
    return media


def _key(scope: Scope, name: bytes) -> Optional[str]:
    """A key in a header, with or without the quotes of a structured field; None where there is none."""
    values = [value for key, value in scope["headers"] if key == name]
    if not values:
        return None
    text: str = values[0].decode("latin-1").strip()
    if len(text) >= 2 and text[0] == text[-1] == '"':
        text = text[1:-1]
    if len(values) > 1 or len(text) > KEY_MOST or not KEY.fullmatch(text):
        detail = f"the header {name.decode()} must be one text of 1 to {KEY_MOST} visible ASCII characters"
        raise ProblemError(400, detail)
    return text


def _line(raw: bytes) -> bytes:
    """One JSON text as a line."""
    text = raw.strip(_BLANKS)
    return (text.translate(_NO_ENDS) if b"\n" in text or b"\r" in text else text) + b"\n"


def _json(body: bytes) -> Item:
    """One event, or an array of them."""
    if not body.lstrip(_BLANKS).startswith(b"["):
        return Item(_line(body), 1, None)
    try:
        parts = _decode_raw_list(body)
    except _BAD as error:
        raise ProblemError(422, f"the body is not JSON: {error}") from None
    return Item(b"".join(_line(bytes(part)) for part in parts), len(parts), None)


def _lines(body: bytes) -> Item:
    lines = [line for line in (line.strip(b" \t\r") for line in body.split(b"\n")) if line]
    if any(b"\r" in line for line in lines):
        lines = [line.translate(_NO_ENDS) for line in lines]
    return Item(b"\n".join(lines) + b"\n", len(lines), None) if lines else Item(b"", 0, None)


def _batched(body: bytes, form: str) -> Parsed:
    try:
        parts = [bytes(part) for part in _decode_raw_list(body)]
    except _BAD as error:
        raise ProblemError(422, f"the body is no batch of CloudEvents: {error}") from None
    return _structured(parts, form)


def _structured(bodies: Sequence[bytes], form: str) -> Parsed:
    items = []
    partition_keys = set()
    for index, body in enumerate(bodies):
        try:
            members = _decode_members(body)
        except _BAD as error:
            raise _unfit(index, f"not a CloudEvent: {error}") from None
        attributes = {name: _decoded(raw) for name, raw in members.items() if name not in ("data", "data_base64")}
        key = _identity(attributes, index)
        partition_keys.add(attributes.get("partitionkey"))
        line = _line(body if form == "cloudevents" else _data(members, attributes, index))
        items.append(Item(line, 1, key))
    if len(partition_keys) > 1:
        raise ProblemError(422, "the events of a batch have several partitionkeys: send a batch for each")
    partition_key = next(iter(partition_keys), None)
    if partition_key is not None and not isinstance(partition_key, str):
        raise _unfit(0, "partitionkey must be a text", "$.partitionkey")
    return Parsed(items, partition_key, has_own_keys=True)


def _decoded(raw: msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except _BAD:
        return None


def _identity(attributes: dict[str, Any], index: int) -> str:
    """The idempotency key of a CloudEvent, whose required attributes are checked."""
    if attributes.get("specversion") != "1.0":
        raise _unfit(index, f"specversion is {attributes.get('specversion')!r}, it must be '1.0'", "$.specversion")
    for name in _ATTRIBUTES:
        value = attributes.get(name)
        if not isinstance(value, str) or not value:
            raise _unfit(index, f"a CloudEvent needs the attribute {name}, a text that is not empty", f"$.{name}")
    source = attributes["source"]
    return f"c{len(source)}:{source}{attributes['id']}"


def _data(members: dict[str, msgspec.Raw], attributes: dict[str, Any], index: int) -> bytes:
    kind = attributes.get("datacontenttype", JSON)
    if not isinstance(kind, str) or not _JSON_TYPE.fullmatch(kind.lower()):
        raise _unfit(index, f"datacontenttype is {kind!r}, it must be application/json", "$.datacontenttype")
    if "data" in members:
        return bytes(members["data"])
    if "data_base64" not in members:
        raise _unfit(index, "the CloudEvent has no data", "$.data")
    try:
        return base64.b64decode(str(_decoded(members["data_base64"])).encode(), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise _unfit(index, f"data_base64 is not base64: {error}", "$.data_base64") from None


def _binary(scope: Scope, body: bytes, form: str) -> Parsed:
    """A CloudEvent whose attributes are headers, percent-encoded where they must be."""
    content_type = header(scope, b"content-type").decode("latin-1")
    if not _JSON_TYPE.fullmatch(content_type.lower()):
        raise ProblemError(415, f"content type {content_type!r}: the data of a CloudEvent must be application/json")
    attributes: dict[str, Any] = {}
    for name, value in scope["headers"]:
        if name.startswith(b"ce-"):
            try:
                attributes[name[3:].decode("ascii")] = unquote(value.decode("utf-8"), errors="strict")
            except UnicodeDecodeError:
                raise ProblemError(400, f"the header {name.decode('latin-1')} is not UTF-8") from None
    key = _identity(attributes, 0)
    line = _line(body)
    if form == "cloudevents":
        # Whether the data are JSON is for the door to find, with all else.
        attributes = {**attributes, "datacontenttype": content_type}
        line = _encode(attributes)[:-1] + b',"data":' + line[:-1] + b"}\n"
    return Parsed([Item(line, 1, key)], attributes.get("partitionkey"))


def _unfit(index: int, reason: str, field: Optional[str] = None) -> ProblemError:
    refusal: dict[str, Any] = {"index": index, "reason": reason}
    if field is not None:
        refusal["field"] = field
    return ProblemError(422, reason, errors=[refusal])
