"""What tests of PostgreSQL and MariaDB as targets share: what is to hold when things break, on a table `audited`.

A trigger of the database writes down each insertion in another table, without any key. Tests read that one afterwards:
it has what was delivered here, each number once and in order.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from tests.targets_harness import delivery_of, outcomes, run, with_target

from headway.targets.base import Outcome, Target

DONE, RETRY = Outcome.DONE, Outcome.RETRY


class Proxy:
    """Stands between a client and the server, and swallows the answer to the COMMITs that it is told."""

    def __init__(self, port: int, swallowed: set[int]) -> None:
        self._to, self._swallowed, self.commits = port, swallowed, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._to)) as server:
            cut = threading.Event()
            answering = threading.Thread(target=self._answers, args=(client, server, cut), daemon=True)
            answering.start()
            with suppress(OSError):
                while sent := client.recv(65_536):
                    if b"COMMIT" in sent:
                        self.commits += 1
                        if self.commits in self._swallowed:
                            cut.set()
                    server.sendall(sent)
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            answering.join()

    def _answers(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError):
            while answer := server.recv(65_536):
                if cut.is_set():
                    break  # It is committed, and nobody hears of it.
                client.sendall(answer)
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def deliver_losing_answers(target: Target) -> int:
    """Deliver 0 to 39, through a `Proxy`. How often an answer was lost."""
    lost = []

    async def all_of(opened: Target) -> None:
        at = 0
        while at < 40:
            answers = await opened.deliver([delivery_of(number) for number in range(at, at + 5)])
            if outcomes(answers) == [DONE] * 5:
                at += 5
            else:
                assert outcomes(answers) == [RETRY] * 5
                lost.append(at)

    with_target(target, all_of)
    return len(lost)


def deliver_with_crashes(
    target: Target, total: int, crashes: dict[int, int], crash: Callable[[], None], start: Callable[[], None]
) -> None:
    """Deliver all below `total`; the server crashes at numbers, so many steps of the loop after their batch is sent.

    A batch that is not in comes again.
    """
    left = dict(crashes)

    async def all_of(opened: Target) -> None:
        at = 0
        while at < total:
            task = asyncio.ensure_future(opened.deliver([delivery_of(number) for number in range(at, at + 50)]))
            steps = left.pop(at, None)
            if steps is not None:
                for _ in range(steps):
                    await asyncio.sleep(0)
                crash()
                assert set(outcomes(await task)) <= {DONE, RETRY}
                start()
            at += 50 if outcomes(await task) == [DONE] * 50 else 0

    with_target(target, all_of)
    assert not left


def deliver_cancelled_at_any_step(target: Target, most: int) -> None:
    """Deliver three for each number of steps below `most`, cancelled after so many steps, and then again."""

    async def all_of(opened: Target) -> None:
        for steps in range(most):
            batch = [delivery_of(number) for number in range(steps * 3, steps * 3 + 3)]
            task = asyncio.ensure_future(opened.deliver(batch))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            assert outcomes(await opened.deliver(batch)) == [DONE] * 3

    with_target(target, all_of)


def deliver_by_two(make: Callable[[], Target]) -> None:
    """Deliver 0 to 99 by two targets at one time, as another process of the run before may still be at it."""

    async def both() -> None:
        targets = [make() for _ in range(2)]
        for target in targets:
            await target.open()
        for at in range(0, 100, 5):
            batch = [delivery_of(number) for number in range(at, at + 5)]
            for answers in await asyncio.gather(*(target.deliver(batch) for target in targets)):
                assert outcomes(answers) == [DONE] * 5
        for target in targets:
            await target.close()

    run(both())


def cancel_before_a_silent_server(make: Callable[[int], Target]) -> None:
    """A server accepts at a port, and says nothing: who is cancelled does not wait for it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:

        async def cancelled(opened: Target) -> None:
            task = asyncio.ensure_future(opened.deliver([delivery_of(0)]))
            accepted, _ = await asyncio.get_running_loop().run_in_executor(None, silent.accept)
            task.cancel()
            with pytest.raises(asyncio.CancelledError), accepted:
                await task

        with_target(make(silent.getsockname()[1]), cancelled)
