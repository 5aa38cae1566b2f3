"""Where commands of a function go: into its history, or, in a replay, against what is there.

In a replay the commands of a round are compared with the recorded ones as a multiset: each must find one of the same
kind, name and arguments, and none may be left over. Their order within a round is not compared, since versions of
Python differ in the order in which tasks of one round wake up. A call takes the number that is recorded for it.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Optional

from headway.errors import FunctionBlocked, ReplayMismatch
from headway.functions.history import (
    CallCancelled,
    Called,
    CallKind,
    Command,
    Patched,
    TimerCancelled,
    TimerSet,
    UpdateAnswered,
)
from headway.functions.options import CallOptions

__all__ = ["Journal", "describe", "user_line"]

_Key = tuple[Any, ...]


class Journal:
    """The commands of one run. `fault` is what has gone wrong beyond repair; then nothing more is written.

    >>> journal = Journal()
    >>> journal.begin()
    >>> journal.call("step", "charge", b"[]"), journal.timer(60_000)
    (1, 2)
    >>> recorded = journal.end()
    >>> again = Journal()
    >>> again.begin(recorded)
    >>> again.timer(60_000), again.call("step", "charge", b"[]"), set(again.end()) == set(recorded)
    (2, 1, True)
    """

    def __init__(self, on_fault: Callable[[], None] = lambda: None) -> None:
        self.fault: Optional[FunctionBlocked] = None
        self.is_replaying = False
        self._on_fault = on_fault
        self._next = 1
        self._commands: list[Command] = []
        self._recorded: Sequence[Command] = ()
        self._position = 0
        self._index: Optional[dict[_Key, deque[Command]]] = None
        self._patches: set[str] = set()
        self._asked: dict[str, bool] = {}
        self._entries = 0

    def begin(self, recorded: Optional[Sequence[Command]] = None) -> None:
        """A happening has come; `recorded` are the commands that it led to before, where this is a replay."""
        self._commands = []
        self.is_replaying = recorded is not None
        if recorded is not None:
            self._patches.update(command.change_id for command in recorded if type(command) is Patched)
            self._recorded = [c for c in recorded if type(c) is not Patched] if self._patches else recorded
            self._position = 0
            self._index = None

    def end(self) -> list[Command]:
        """The round is over: its commands. In a replay, what is recorded and did not come is a fault."""
        commands = self._commands
        if self.is_replaying and self.fault is None:
            left = self._left()
            if left:
                self._mismatch(describe(left[0]), "")
        self._entries += 1 + len(commands)
        self._commands = []
        return commands

    def end_replay(self) -> None:
        """The history is at its end. Changes that it has taken must still be asked for by the code."""
        missing = sorted(self._patches - self._asked.keys())
        if missing and self.fault is None:
            self._mismatch(f"context.patched({missing[0]!r})", "")
        self.is_replaying = False

    def call(
        self,
        kind: CallKind,
        name: str,
        arguments: bytes,
        to: str = "",
        options: Optional[CallOptions] = None,
    ) -> int:
        """A call leaves: its number, or 0 where nothing is written any more."""
        if self.fault is not None:
            return 0
        if self.is_replaying:
            found = self._take((Called, kind, name, to, arguments))
            return self._numbered(found)
        number = self._next
        self._next += 1
        self._commands.append(Called(number, kind, name, arguments, to, options))
        return number

    def timer(self, at_ms: int) -> int:
        """A timer is armed: its number."""
        if self.fault is not None:
            return 0
        if self.is_replaying:
            return self._numbered(self._take((TimerSet, at_ms)))
        number = self._next
        self._next += 1
        self._commands.append(TimerSet(number, at_ms))
        return number

    def note(self, command: Command) -> Command:
        """Any other command; gives what the history says of it."""
        if self.fault is not None:
            return command
        found = self._take(_key_of(command)) if self.is_replaying else command
        if found is None:
            return command
        self._commands.append(found)
        return found

    def patched(self, change_id: str) -> bool:
        """Whether the code takes the new way: where it is new, and where it has taken it before."""
        known = self._asked.get(change_id)
        if known is None:
            known = self._asked[change_id] = not self.is_replaying or change_id in self._patches
            if known and self.fault is None:
                self._commands.append(Patched(change_id))
        return known

    def deprecate(self, change_id: str) -> None:
        """The code knows only the new way; histories may still say that they took it."""
        if change_id not in self._asked:
            self._asked[change_id] = True
            if self.is_replaying and change_id in self._patches:
                self._commands.append(Patched(change_id))

    def block(self, fault: FunctionBlocked) -> None:
        """Nothing more is written, and the function is left; the first fault counts."""
        if self.fault is None:
            self.fault = fault
            self._on_fault()

    def _numbered(self, found: Optional[Command]) -> int:
        if found is None:
            return 0
        assert isinstance(found, (Called, TimerSet))
        self._commands.append(found)
        self._next = max(self._next, found.number + 1)
        return found.number

    def _take(self, key: _Key) -> Optional[Command]:
        """The recorded command that this is; None, and a fault, if there is none."""
        index = self._index
        if index is None:
            recorded = self._recorded
            position = self._position
            if position < len(recorded) and _key_of(recorded[position]) == key:
                self._position = position + 1
                return recorded[position]
            index = self._index = {}
            for command in recorded[position:]:
                index.setdefault(_key_of(command), deque()).append(command)
        found = index.get(key)
        if found:
            return found.popleft()
        left = self._left()
        self._mismatch(describe(left[0]) if left else "", _describe_key(key))
        return None

    def _left(self) -> list[Command]:
        """What is recorded of this round and has not come, in the recorded order."""
        if self._index is None:
            return list(self._recorded[self._position :])
        left = {id(command) for queue in self._index.values() for command in queue}
        return [command for command in self._recorded if id(command) in left]

    def _mismatch(self, expected: str, found: str) -> None:
        line = user_line(sys._getframe(1)) if found else ""
        did = f"the code now does {found}" if found else "the code does not do it any more"
        was = f"its history says {expected}" if expected else "its history says nothing more at this point"
        message = (
            f"{was}, but {did}{f' at {line}' if line else ''} (after entry {self._entries} of the history): bring the "
            'old way back, or keep both with `if context.patched("...")`, and retry it'
        )
        self.block(ReplayMismatch(message, expected, found, self._entries, line))


def _key_of(command: Command) -> _Key:
    """What makes a command the same in a replay; options, results and texts of errors may change."""
    kind = type(command)
    if kind is Called:
        assert isinstance(command, Called)
        return (Called, command.kind, command.name, command.to, command.arguments)
    if kind is TimerSet:
        assert isinstance(command, TimerSet)
        return (TimerSet, command.at_ms)
    if isinstance(command, (TimerCancelled, CallCancelled)):
        return (kind, command.number)
    if isinstance(command, UpdateAnswered):
        return (kind, command.update_id)
    return (kind,)


_ENDS: Final = {
    "Finished": "to return",
    "FinishedBadly": "to fail",
    "Cancelled": "to end as cancelled",
    "Continued": "context.continue_as_new",
    "Terminated": "to be terminated",
}


def describe(command: Command) -> str:
    """A command in words, for messages.

    >>> describe(Called(1, "step", "charge", b'["o-17"]'))
    'call("charge", ["o-17"])'
    """
    return _describe_key(_key_of(command))


def _describe_key(key: _Key) -> str:
    kind, *rest = key
    if kind is Called:
        how, name, to, arguments = rest
        shown = bytes(arguments[:120]).decode(errors="replace") + ("..." if len(arguments) > 120 else "")
        word = {"step": "call", "function": "child"}.get(how, how)
        return f'{word}("{name}"{f", id={to!r}" if to else ""}, {shown})'
    if kind is TimerSet:
        return f"a timer at {rest[0]}"
    if kind is TimerCancelled:
        return f"to cancel timer {rest[0]}"
    if kind is CallCancelled:
        return f"to cancel call {rest[0]}"
    if kind is UpdateAnswered:
        return f"to answer update {rest[0]!r}"
    return _ENDS.get(kind.__name__, str(kind.__name__))


_OURS: Final = ("headway.functions.", "asyncio.", "contextlib")


def user_line(frame: Any) -> str:
    """The innermost line, from a frame outwards, that is neither ours nor asyncio's; empty where there is none."""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if not f"{module}.".startswith(_OURS):
            path = frame.f_code.co_filename
            relative = os.path.relpath(path) if os.path.isabs(path) else path
            return f"{path if relative.startswith('..') else relative}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
