"""What becomes of an operator's states in the oracle: each goes through MessagePack after each handler."""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from headway.errors import UserCodeError
from headway.operators.base import Operator
from headway.types.isolation import UNENCODABLE
from headway.types.logs import InMemory, bound, entries_in
from headway.types.logtypes import EntryCodec, LogField, decode_log, encode_log, log_fields
from headway.types.misfits import misfit_of, shown
from headway.types.typekinds import can_repeat, floats_of
from headway.types.values import shape_of

__all__ = ["OracleStates"]


class OracleStates:
    """What becomes of an operator's states when they are stored and read."""

    def __init__(self, name: str, state_type: Any, operator: Operator[Any, Any, Any]) -> None:
        self._name = name
        self._type = state_type
        if state_type is None:
            return
        floats = floats_of(state_type)
        self._floats = floats
        self._shape = shape_of(state_type, f"the state of the operator {name!r}", has_logs=True)
        self._sees_repeats = not operator.shares_values and can_repeat(state_type)
        self._logs = {field.name: _in_memory(field) for field in log_fields(state_type)}

    def fresh(self) -> Any:
        """The state that a key begins with."""
        state = self._type()
        for name, place in self._logs.items():
            setattr(state, name, bound(place, 0))
        return state

    def is_fresh(self, state: Any) -> bool:
        """Whether a state is as a new one, and so need not be kept."""
        encode = partial(msgspec.msgpack.encode, enc_hook=encode_log)
        return encode(state) == encode(self.fresh())

    def stored(self, whose: str, time: int, state: Any) -> Any:
        """The state as it comes back. Raises `UserCodeError` for one that would not be what it was."""
        if self._floats is not None:
            self._floats.settle(state)
        try:
            encoded = msgspec.msgpack.encode(state, enc_hook=encode_log)
            if self._shape.fits(state, set() if self._sees_repeats else None):
                made = msgspec.msgpack.decode(encoded, type=self._type, dec_hook=decode_log)
                for name, place in self._logs.items():
                    setattr(made, name, bound(place, 0, tail=entries_in(getattr(state, name))))
                return made
            reason = misfit_of(self._shape, state, "state")
        except UNENCODABLE as error:
            reason = str(error)
        msg = (
            f"the state of the operator {self._name!r} for {whose} cannot be stored ({reason}), as its handlers "
            f"left it at time {time}: {shown(state):.300}"
        )
        raise UserCodeError(msg)


def _in_memory(field: LogField) -> InMemory:
    codec = EntryCodec(field.entry_type, shape_of(field.entry_type, f"an entry of {field.name}"))
    return InMemory(codec.encode, codec.decode)
