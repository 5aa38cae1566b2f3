"""Random programs of functions: a grammar, and an interpreter that runs them on whatever they are given."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple, Optional, Protocol

from hypothesis import strategies as st

from headway.functions.context import Context


class Node(NamedTuple):
    """One statement: what it is, its number in the program, a number of its own, and the blocks inside."""

    kind: str
    label: int
    size: int
    blocks: tuple[tuple[Node, ...], ...]


LEAVES = ("call", "child", "sleep", "wait", "wait_limited", "flag", "until", "raise", "compensate", "yield")
BRANCHES = ("gather", "first", "try_all", "try_some", "try_finally", "loop", "timeout")

_leaf = st.builds(lambda kind, size: Node(kind, 0, size, ()), st.sampled_from(LEAVES), st.integers(1, 3))


def _branch(inner: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    block = st.lists(inner, min_size=1, max_size=3).map(tuple)
    blocks = st.lists(block, min_size=2, max_size=3).map(tuple)
    return st.builds(Node, st.sampled_from(BRANCHES), st.just(0), st.integers(1, 3), blocks)


def _numbered(block: tuple[Node, ...], counter: list[int]) -> tuple[Node, ...]:
    found = []
    for node in block:
        counter[0] += 1
        label = counter[0]
        found.append(node._replace(label=label, blocks=tuple(_numbered(inner, counter) for inner in node.blocks)))
    return tuple(found)


programs = st.lists(st.recursive(_leaf, _branch, max_leaves=10), min_size=1, max_size=4).map(
    lambda block: _numbered(tuple(block), [0])
)


class Api(Protocol):
    """What a program needs."""

    def call(self, label: str) -> Awaitable[Any]: ...
    def child(self, label: str) -> Awaitable[Any]: ...
    def sleep(self, ms: int) -> Awaitable[Any]: ...
    def wait(self, label: str, limit_ms: Optional[int]) -> Awaitable[Any]: ...
    def until(self, holds: Callable[[], bool]) -> Awaitable[Any]: ...
    def gather(self, parts: list[Coroutine[Any, Any, Any]]) -> Awaitable[Any]: ...
    def first(self, parts: list[Coroutine[Any, Any, Any]]) -> Awaitable[Any]: ...
    def limited(self, ms: int, part: Coroutine[Any, Any, Any]) -> Awaitable[Any]: ...
    def compensate(self, label: str) -> None: ...


class Interpreter:
    """Runs a program on whatever gives it what it needs."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.flags = 0

    async def block(self, block: tuple[Node, ...]) -> list[Any]:
        return [await self.statement(node) for node in block]

    async def statement(self, node: Node) -> Any:
        simple = self._simple(node)
        if simple is not None:
            return await simple
        blocks = node.blocks
        if node.kind == "gather":
            return await self.api.gather([self._part(node, n) for n in range(len(blocks))])
        if node.kind == "first":
            return await self.api.first([self._part(node, n) for n in range(len(blocks))])
        if node.kind == "loop":
            return [await self.block(blocks[0]) for _ in range(node.size)]
        if node.kind == "timeout":
            return await self.api.limited(_ms(node), self.block(blocks[0]))
        return await self._caught(node)

    async def _part(self, node: Node, number: int) -> Any:
        """A block beside others, after a call of its own: so no two of them race within one round."""
        await self.api.call(f"n{node.label}.{number}")
        return await self.block(node.blocks[number])

    async def _caught(self, node: Node) -> Any:
        if node.kind == "try_finally":
            try:
                return await self.block(node.blocks[0])
            finally:
                await self.block(node.blocks[1])
        kind: type[BaseException] = BaseException if node.kind == "try_all" else Exception
        try:
            return await self.block(node.blocks[0])
        except GeneratorExit:
            raise
        except kind:
            return ["caught", await self.block(node.blocks[1])]

    def _simple(self, node: Node) -> Optional[Awaitable[Any]]:
        api, label = self.api, f"n{node.label}"
        if node.kind == "call":
            return api.call(label)
        if node.kind == "child":
            return api.child(label)
        if node.kind == "sleep":
            return api.sleep(_ms(node))
        if node.kind == "wait":
            return api.wait(label, None)
        if node.kind == "wait_limited":
            return api.wait(label, _ms(node))
        if node.kind == "until":
            return api.until(lambda: self.flags >= node.size)
        if node.kind in ("flag", "raise", "compensate", "yield"):
            return self._at_once(node)
        return None

    async def _at_once(self, node: Node) -> Any:
        if node.kind == "flag":
            self.flags += 1
        elif node.kind == "raise":
            raise ValueError("raised")
        elif node.kind == "compensate":
            self.api.compensate(f"n{node.label}")
        else:
            await asyncio.sleep(0)
        return node.kind


def _ms(node: Node) -> int:
    # No two timers that are armed in one round are due at the same time.
    return node.size * 1_000 + node.label


class OnContext:
    """A program on the context of a durable function."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def call(self, label: str) -> Any:
        return self._context.call(label)

    def child(self, label: str) -> Any:
        return self._context.child(label, id=label)

    def sleep(self, ms: int) -> Any:
        return self._context.sleep(ms)

    def wait(self, label: str, limit_ms: Optional[int]) -> Any:
        return self._context.wait(label, timeout=limit_ms)

    def until(self, holds: Callable[[], bool]) -> Any:
        return self._context.wait_for(holds)

    def gather(self, parts: list[Coroutine[Any, Any, Any]]) -> Any:
        return self._context.gather(*parts)

    def first(self, parts: list[Coroutine[Any, Any, Any]]) -> Any:
        return self._context.first(parts)

    async def limited(self, ms: int, part: Coroutine[Any, Any, Any]) -> Any:
        async with self._context.timeout(ms):
            return await part

    def compensate(self, label: str) -> None:
        self._context.compensate(label)
