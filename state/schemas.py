"""Whether states that are stored can be read as what an operator keeps now, told from their schemas.

Nothing stored is looked at: what is accepted here must be readable in every row, whatever is in it, and mean what it
meant. So a field may be added with a default, removed, moved, or take more values than before; what is more than that
needs a higher version of the state, and a `migrate`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headway.state.manifest import OperatorEntry
from headway.state.typeschema import LOG_TYPE

__all__ = ["SchemaChange", "following", "schema_changes"]

Schema = dict[str, Any]

_TEXT: Final[Schema] = {"type": "string"}
_PLACE: Final = ("default", "title", "$comment", "$defs")
"""Keywords that say something of the place where a type stands, not of its values."""
_AT_LEAST: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_AT_MOST: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_EQUAL: Final = ("pattern", "multipleOf", "timezone")
_FORMS: Final = ("format", "contentEncoding", "contentMediaType")
_NOT_ITSELF: Final = ("date-time", "date", "time", "duration", "decimal", "uuid")
"""Formats that are read back as text, or may be, where no type is told."""


class SchemaChange(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between the state that an operator kept and the one that it keeps now."""

    text: str
    """What is different, and what becomes of the states that are stored."""
    refused: bool = False
    """Whether they cannot be gone on with."""
    next_step: str = ""
    """What lets the flow go on, for one that is refused."""


def schema_changes(found: OperatorEntry, expected: OperatorEntry, *, migrates: bool) -> list[SchemaChange]:
    """How the states that `found` describes differ from those that the flow keeps now, field by field.

    `migrates` says whether what the flow has can take states of older versions. With a higher version the schemas are
    not compared: what the new one makes of the old is up to `migrate`.
    """
    was, now = found.version, expected.version
    if was > now:
        text = f"states of version {was} are stored, and the flow has version {now}"
        next_step = f"run a version of the flow whose state_version is {was} or more"
        return [SchemaChange(text=text, refused=True, next_step=next_step)]
    if was < now and not migrates:
        text = f"the version of its state is {now}, states of version {was} are stored, and nothing migrates them"
        next_step = f"give the state's class a migrate(cls, old, version) that takes version {was}"
        return [SchemaChange(text=text, refused=True, next_step=next_step)]
    if was < now:
        return [SchemaChange(text=f"each state of version {was} is migrated to version {now} when it is next read")]
    next_step = (
        f"give the state's class state_version = {was + 1} and a migrate(cls, old, version) that takes version {was}, "
        "run the version of the flow that wrote it, or start with an empty state directory"
    )
    changes = _Comparison(found.state, expected.state).changes()
    for former in found.former:
        known = {change.text for change in changes}
        before = [change for change in _Comparison(former, expected.state).changes() if change.refused]
        changes += [
            msgspec.structs.replace(change, text=f"{change.text} (in states not written since an earlier change)")
            for change in before
            if change.text not in known
        ]
    if found.migrates and not migrates:
        text = f"nothing migrates states of versions below {now} any more: a run stops at one that is still stored"
        changes.append(SchemaChange(text=text))
    return [msgspec.structs.replace(change, next_step=next_step) if change.refused else change for change in changes]


def following(known: OperatorEntry | None, entry: OperatorEntry) -> OperatorEntry:
    """The entry of an operator, with all schemas under which states of its version may be stored by now.

    A field that was removed may come back with another type: a state that was not written meanwhile has the old one.
    """
    if known is None or not known.state or known.version != entry.version:  # Without a schema nothing is stored.
        return entry
    before = [schema for schema in (*known.former, known.state) if schema != entry.state]
    return msgspec.structs.replace(entry, former=before)


class _Comparison:
    """Compares two schemas, class by class; classes may refer to themselves."""

    def __init__(self, found: Schema, expected: Schema) -> None:
        self._found = found
        self._expected = expected
        self._seen: set[tuple[str, str]] = set()

    def changes(self) -> list[SchemaChange]:
        """All differences, of which none is refused when everything stored under the one can be read as the other."""
        return self._value(self._found, self._expected, "its state", is_root=True)

    def _value(self, found: Schema, expected: Schema, path: str, *, is_root: bool = False) -> list[SchemaChange]:
        if found.get("$comment") != expected.get("$comment"):
            return [_refused(f"{path} was kept for {found.get('$comment')}, now it is for {expected.get('$comment')}")]
        changes: list[SchemaChange] = []
        for option in _options(found):
            changes += self._option(option, expected, path, is_root=is_root)
        is_union = len(_options(found)) + len(_options(expected)) > 2
        if is_union and _label(found) != _label(expected) and any(change.refused for change in changes):
            return [_misfit(path, found, expected)]  # Rather than of each of its options.
        return changes

    def _option(self, found: Schema, expected: Schema, path: str, *, is_root: bool) -> list[SchemaChange]:
        """What keeps the values of one option of a union from being read as one of another."""
        kind = self._kind(found, self._found)
        choices = [choice for choice in _options(expected) if kind in self._kinds(choice, self._expected)]
        if not choices and kind == "integer":
            choices = [choice for choice in _options(expected) if "number" in self._kinds(choice, self._expected)]
        if len(choices) == 1:
            return self._class(found, choices[0], path, is_root=is_root)
        for choice in choices:  # Classes that are told apart by their tags.
            seen = set(self._seen)
            changes = self._class(found, choice, path, is_root=is_root)
            if not any(change.refused for change in changes):
                return changes
            self._seen = seen
        return [_misfit(path, found, expected)]

    def _class(self, found: Schema, expected: Schema, path: str, *, is_root: bool) -> list[SchemaChange]:
        names = found.get("$ref", ""), expected.get("$ref", "")
        if names in self._seen:
            return []
        if all(names):
            self._seen.add(names)
        inner, outer = _resolved(found, self._found), _resolved(expected, self._expected)
        if _is_any(outer):
            return [] if self._keeps_itself(found, set()) else [_misfit(path, found, expected)]
        if not _is_listed(inner, outer) or not _is_as_free(inner, outer):
            return [_misfit(path, found, expected)]
        if "properties" in inner and "properties" in outer:
            return self._fields(inner, outer, outer.get("title", path), is_root=is_root)
        if "prefixItems" in inner and ("prefixItems" in outer or "title" not in inner):
            return self._places(inner, outer, outer.get("title", path))
        if "prefixItems" in inner or "prefixItems" in outer or ("properties" in inner) != ("properties" in outer):
            return [_misfit(path, found, expected)]
        if "items" in outer:
            return self._value(inner["items"], outer["items"], f"{path}[]")
        if "additionalProperties" in outer:
            return self._entries(inner, outer, path)
        return []

    def _fields(self, found: Schema, expected: Schema, name: str, *, is_root: bool) -> list[SchemaChange]:
        was, now = found["properties"], expected["properties"]
        omits = found.get("omitsDefaults", False)
        if was and now and not was.keys() & now.keys():
            before = found.get("title", "it")
            return [_refused(f"{name} has no field of what it was, {before} ({', '.join(was)}): nothing would be kept")]
        changes = []
        for field, schema in now.items():
            path = f"{name}.{field}"
            if field in was:
                changes += self._value(was[field], schema, path)
            elif field in expected["required"]:
                changes.append(_refused(f"{path} is new and has no default"))
            elif schema.get("contentMediaType") == LOG_TYPE:
                changes.append(SchemaChange(text=f"{path} is new: it is empty in states of before"))
            else:
                text = f"{path} is new: states of before have its default"
                changes.append(
                    SchemaChange(text=f"{text}, {schema['default']!r:.100}" if "default" in schema else text)
                )
            if field in was and field not in found["required"]:
                is_stored = "default" in was[field] and not omits
                if field in expected["required"] and not is_stored:
                    changes.append(_refused(f"{path} has no default, and is not in every state that is stored"))
                elif (is_root or omits) and _is_other_default(was[field], schema):
                    text = f"the default of {path} was {was[field]['default']!r:.100}, now {schema['default']!r:.100}"
                    changes.append(
                        SchemaChange(text=f"{text}: what is as a new state is not stored, and has the new one")
                    )
        for field in was:
            if field not in now and expected.get("additionalProperties") is False:
                changes.append(_refused(f"{name}.{field} is gone, and {name} forbids unknown fields"))
            elif field not in now and "$comment" in was[field]:
                changes.append(_refused(f"{name}.{field} was kept for {was[field]['$comment']}, and is gone"))
            elif field not in now and is_root and was[field].get("contentMediaType") == LOG_TYPE:
                changes.append(SchemaChange(text=f"{name}.{field} is gone: the entries of all keys are deleted"))
            elif field not in now:
                text = f"{name}.{field} is gone: it is dropped from a state that is next written"
                changes.append(SchemaChange(text=text))
        return changes

    def _places(self, found: Schema, expected: Schema, name: str) -> list[SchemaChange]:
        """Values that are stored as rows: of tuples, and of classes that are stored without the names of their fields.

        There must be as many: what else is stored of them, as in windows that pack theirs, is not described.
        """
        was = found["prefixItems"]
        if "prefixItems" not in expected:
            if not expected.get("minItems", 0) <= len(was) <= expected.get("maxItems", len(was)):
                return [_misfit(name, found, expected)]
            return [change for item in was for change in self._value(item, expected["items"], f"{name}[]")]
        now = expected["prefixItems"]
        if len(was) != len(now):
            names = [", ".join(str(item.get("title", _label(item))) for item in items) for items in (was, now)]
            return [_refused(f"{name} was stored as ({names[0]}), without names; now it is ({names[1]})")]
        changes = []
        for number, (before, after) in enumerate(zip(was, now)):
            place = f"{name}.{after['title']}" if "title" in after else f"{name}[{number}]"
            if before.get("title") != after.get("title"):
                text = f"{place} stands where {before.get('title')} stood, and they are stored without names"
                changes.append(_refused(text))
            else:
                changes += self._value(before, after, place)
        return changes

    def _entries(self, found: Schema, expected: Schema, path: str) -> list[SchemaChange]:
        was, now = found.get("propertyNames", _TEXT), expected.get("propertyNames", _TEXT)
        if was == now or self._all_kinds(was, self._found) <= self._all_kinds(now, self._expected):
            changes = self._value(was, now, f"{path} (its keys)")
        else:
            changes = [_misfit(f"{path} (its keys)", was, now)]
        return changes + self._value(found["additionalProperties"], expected["additionalProperties"], f"{path}[]")

    def _keeps_itself(self, schema: Schema, met: set[str], *, is_key: bool = False) -> bool:
        """Whether values are read back as they were where no type is told."""
        name = schema.get("$ref", "")
        if name in met:
            return True
        met.add(name or " ")
        inner = _resolved(schema, self._found)
        if _is_any(inner) or "enum" in inner:
            return True
        if "anyOf" in inner:
            return all(self._keeps_itself(option, met, is_key=is_key) for option in inner["anyOf"])
        if inner.get("format") in _NOT_ITSELF or "contentMediaType" in inner:
            return False
        if any("title" in item for item in inner.get("prefixItems", ())):
            return False
        parts = [*inner.get("prefixItems", ()), *inner.get("properties", {}).values()]
        parts += [inner[name] for name in ("items", "additionalProperties") if isinstance(inner.get(name), dict)]
        if "propertyNames" in inner and not self._keeps_itself(inner["propertyNames"], met, is_key=True):
            return False
        return not (is_key and inner["type"] in ("array", "object")) and all(
            self._keeps_itself(part, met) for part in parts
        )

    def _all_kinds(self, schema: Schema, root: Schema) -> set[str]:
        return {kind for option in _options(schema) for kind in self._kinds(option, root)}

    def _kind(self, option: Schema, root: Schema) -> str:
        kinds = self._kinds(option, root)
        return _ANYTHING if _ANYTHING in kinds else min(kinds)

    def _kinds(self, option: Schema, root: Schema) -> set[str]:
        """What the values of an option are as MessagePack has them; but for classes, a union has one option of each."""
        schema = _resolved(option, root)
        if _is_any(schema):
            return _KINDS | {_ANYTHING}
        if "enum" in schema:
            return {_kind_of(value) for value in schema["enum"]}
        return {schema.get("type", "raw")}


_ANYTHING: Final = "anything"
_KINDS: Final = {"null", "boolean", "integer", "number", "string", "array", "object"}


def _refused(text: str) -> SchemaChange:
    return SchemaChange(text=text, refused=True)


def _misfit(path: str, found: Schema, expected: Schema) -> SchemaChange:
    return _refused(f"{path} was {_label(found)}, now it is {_label(expected)}")


def _options(schema: Schema) -> list[Schema]:
    """What a union is made of; of values of several kinds that are listed, those of each kind."""
    found: list[Schema] = []
    for option in schema.get("anyOf", (schema,)):
        kinds: dict[str, list[Any]] = {}
        for value in option.get("enum", ()):
            kinds.setdefault(_kind_of(value), []).append(value)
        found += [{"enum": values} for values in kinds.values()] if kinds else [option]
    return found


def _kind_of(value: Any) -> str:
    return "null" if value is None else "string" if isinstance(value, str) else "integer"


def _resolved(schema: Schema, root: Schema) -> Schema:
    name = schema.get("$ref")
    if name is None:
        return schema
    definition: Schema = root["$defs"][name.rpartition("/")[2]]
    return definition


def _is_any(schema: Schema) -> bool:
    return not (schema.keys() - set(_PLACE))


def _is_listed(found: Schema, expected: Schema) -> bool:
    """Whether all values are among those that are listed now, if they are."""
    if "enum" not in expected:
        return True
    values = [None] if found.get("type") == "null" else found.get("enum")
    return values is not None and set(values) <= set(expected["enum"])


def _is_as_free(found: Schema, expected: Schema) -> bool:
    """Whether what `msgspec.Meta` and the form of a text allow is allowed now, too."""
    if any(found.get(word) != expected.get(word) for word in _FORMS):
        return False
    if "prefixItems" in expected or "prefixItems" in found:
        return True
    for word in (*_AT_LEAST, *_AT_MOST, *_EQUAL):
        was, now = found.get(word), expected.get(word)
        if now is None or was == now:
            continue
        if was is None or word in _EQUAL or (was < now if word in _AT_LEAST else was > now):
            return False
    return True


def _is_other_default(found: Schema, expected: Schema) -> bool:
    """Whether a default is another one. Those of classes are told field by field."""
    was, now = found.get("default"), expected.get("default")
    is_told = "default" in found and "default" in expected and not isinstance(was, dict) and not isinstance(now, dict)
    return is_told and was != now


_NAMES: Final = {
    "null": "None",
    "boolean": "bool",
    "integer": "int",
    "number": "float",
    "string": "str",
    "date-time": "datetime",
    "duration": "timedelta",
    "decimal": "Decimal",
    "uuid": "UUID",
    "base64": "bytes",
    "application/msgpack": "encoded by its operator",
}


def _label(schema: Schema) -> str:
    """A type as people write it."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(map(_label, schema["anyOf"]))
    if "enum" in schema:
        return f"one of {', '.join(map(repr, schema['enum']))}"
    if "prefixItems" in schema:
        return f"tuple[{', '.join(map(_label, schema['prefixItems']))}]"
    bounds = [f"{word} {schema[word]}" for word in (*_AT_LEAST, *_AT_MOST, *_EQUAL) if word in schema]
    return f"{_plain_label(schema)} ({', '.join(bounds)})" if bounds else _plain_label(schema)


def _plain_label(schema: Schema) -> str:
    if schema.get("contentMediaType") == LOG_TYPE:
        return f"Log[{_label(schema['items'])}]"
    form = next((schema[word] for word in _FORMS if word in schema), schema.get("type"))
    if form == "array":
        return f"list[{_label(schema['items'])}]"
    if form == "object":
        return f"dict[{_label(schema.get('propertyNames', _TEXT))}, {_label(schema['additionalProperties'])}]"
    return "Any" if form is None else _NAMES.get(form, str(form))
