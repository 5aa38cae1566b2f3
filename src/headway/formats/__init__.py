"""What the bytes of records mean: formats, which any input takes that is not bound to one of its own.

`format=` of an input is one of these, or the name of one that needs no options, such as `"json"` or `"text"`.
"""

from typing import TYPE_CHECKING, Final

from headway.basics.lazy import lazily as _lazily

if TYPE_CHECKING:
    from headway.formats.avro import Avro as Avro
    from headway.formats.base import Decoder as Decoder
    from headway.formats.base import Format as Format
    from headway.formats.delimited import Csv as Csv
    from headway.formats.json import Json as Json
    from headway.formats.json import JsonSchema as JsonSchema
    from headway.formats.messagepack import MessagePack as MessagePack
    from headway.formats.plain import Raw as Raw
    from headway.formats.plain import Text as Text
    from headway.formats.protobuf import Protobuf as Protobuf
    from headway.formats.registry import Registry as Registry

_HOMES: Final = {
    "formats.avro": "Avro",
    "formats.base": "Decoder Format",
    "formats.delimited": "Csv",
    "formats.json": "Json JsonSchema",
    "formats.messagepack": "MessagePack",
    "formats.plain": "Raw Text",
    "formats.protobuf": "Protobuf",
    "formats.registry": "Registry",
}

_names, __getattr__, __dir__ = _lazily(__name__, _HOMES)
__all__ = [*_names]  # noqa: PLE0604 - all of them are texts.
