"""A receiver of webhooks that does its worst, in a process of its own: `python -m tests.hostile_receiver`.

It keeps a journal, one line for each request that it has read to the end, written before it answers: what came, whether
it has taken it, and what it did then. So the journal knows more than the sender can: also what was taken and never
acknowledged. A line that SIGKILL has cut is no line; who sent that request has had no answer.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import hmac
import json
import os
import random
import socket
import struct
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from typing import Any

from tests.hostile_server import Behaviour, HostileServer, Request, hang, raw, respond

KEY = b"only for tests, 24 and up"
SECRET = "whsec_" + base64.b64encode(KEY).decode()
TEN_YEARS = "429, come again in ten years"
"""Ends only when somebody says so: `headway triggers retry`."""
_RESET = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def answered(status: int, *headers: str, body: bytes = b"whatever") -> Callable[[], Behaviour]:
    return lambda: respond(status, "".join(f"{header}\r\n" for header in headers), body)


def busy_until(seconds: float) -> Behaviour:
    moment = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=seconds), usegmt=True)
    return respond(429, f"Retry-After: {moment}\r\n")


def drip(head: bytes, piece: bytes) -> Behaviour:
    """Send a head, and then a little again and again until the other side goes."""

    async def answer(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        gone = asyncio.ensure_future(reader.read())
        while not gone.done():
            writer.write(piece)
            await asyncio.wait([gone], timeout=0.1)
        gone.exception()
        writer.close()

    return answer


def close(*, with_reset: bool) -> Behaviour:
    async def answer(request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if with_reset:
            writer.get_extra_info("socket").setsockopt(*_RESET)
            writer.transport.abort()
        writer.close()

    return answer


OK = b"HTTP/1.1 200 OK\r\n"
BOMB = gzip.compress(bytes(10_000_000))
TAKES: dict[str, Callable[[], Behaviour]] = {
    "200 and ten megabytes": answered(200, body=bytes(10_000_000)),
    "200 and a bomb": answered(200, "Content-Encoding: gzip", body=BOMB),
    "200 and a body that drips": lambda: drip(OK + b"Content-Length: 100000\r\n\r\n", b"x"),
    "200 and chunks without end": lambda: drip(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    "200 and less than is said": lambda: respond(200, body=b"short", length=5_000),
    "200 and more than is said": lambda: raw(OK + b"Content-Length: 2\r\n\r\nand much more", close=False),
    "201 and goodbye": lambda: raw(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
    "202 in the old way": lambda: raw(b"HTTP/1.0 202 Accepted\r\n\r\nuntil it closes"),
}
"""It has taken the trigger, and says so in the end."""
FAILS: dict[str, Callable[[], Behaviour]] = {
    "500": answered(500),
    "503": answered(503, "Retry-After: 0"),
    "500 and ten megabytes": answered(500, body=bytes(10_000_000)),
    "422": answered(422),
    "401": answered(401),
    "a redirect": answered(302, "Location: /elsewhere"),
    "a redirect that keeps the method": answered(308, "Location: /elsewhere"),
    "silence": hang,
    "a head that drips": lambda: drip(OK, b"X-More: more\r\n"),
    "no HTTP": lambda: raw(b"220 mail.example ESMTP\r\n"),
    "half a head": lambda: raw(b"HTTP/1.1 20"),
    "a head without end": lambda: raw(OK + b"X-More: " + b"x" * 100_000),
    "two lengths": lambda: raw(b"HTTP/1.1 500 No\r\nContent-Length: 1\r\nContent-Length: 5\r\n\r\nxxxxx"),
    "closed": lambda: close(with_reset=False),
    "reset": lambda: close(with_reset=True),
    "429, come again in a second": answered(429, "Retry-After: 1"),
    "429, come again at a time": lambda: busy_until(1),
    "429, come again at a time that has passed": lambda: busy_until(-86_400),
    "429, come again before": answered(429, "Retry-After: -7"),
    "429, come again at once": answered(429, "Retry-After: 0"),
    "429, come again sometime": answered(429, "Retry-After: soon"),
    "429, come again never": answered(429, "Retry-After: NaN"),
    "429, come again nowhere": answered(429, "Retry-After:"),
}
"""What the sender must try again, also where the trigger was taken."""


class Receiver(HostileServer):
    """Takes most triggers, and does something evil to one in `evil_of`."""

    def __init__(self, port: int, journal: Path, chance: random.Random, evil_of: int, patience: set[str]) -> None:
        super().__init__(self._receive, unread=lambda: chance.randrange(2 * evil_of) == 0, port=port)
        self._journal = os.open(journal, os.O_RDWR | os.O_APPEND | os.O_CREAT)
        self._chance = chance
        self._evil_of = evil_of
        self._left = patience
        known = journal.read_bytes()
        os.ftruncate(self._journal, known.rfind(b"\n") + 1)

    def _choose(self) -> tuple[str, bool, Callable[[], Behaviour]]:
        """What is done, whether the trigger is taken, and how that is answered."""
        chance = self._chance
        if chance.randrange(self._evil_of):
            return "204", True, respond
        if chance.randrange(10) == 0 and self._left:
            return self._left.pop(), False, answered(429, "Retry-After: 315360000")
        if chance.randrange(3) == 0:
            what = chance.choice(sorted(TAKES))
            return what, True, TAKES[what]
        what = chance.choice(sorted(FAILS))
        return what, chance.randrange(2) == 0, FAILS[what]

    async def _receive(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        what, is_taken, behaviour = self._choose()
        self.requests.clear()
        self._note(request, what, is_taken)
        await behaviour()(request, reader, writer)

    def _note(self, request: Request, what: str, is_taken: bool) -> None:
        line: dict[str, Any] = {"what": what, "taken": is_taken, "line": request.line, "body": request.body.decode()}
        line |= {name: request.header(f"ce-{name}") for name in ("id", "subject", "sequence", "type")}
        signed = f"{request.header('webhook-id')}.{request.header('webhook-timestamp')}.".encode() + request.body
        signature = "v1," + base64.b64encode(hmac.digest(KEY, signed, hashlib.sha256)).decode()
        line["is_signed"] = request.header("webhook-signature") == signature
        os.write(self._journal, json.dumps(line).encode() + b"\n")


async def _serve(port: int, journal: Path, seed: int, evil_of: int, patience: set[str]) -> None:
    async with Receiver(port, journal, random.Random(seed), evil_of, patience) as server:
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def main(port: str, journal: str, seed: str, evil_of: str, *patience: str) -> None:
    asyncio.run(_serve(int(port), Path(journal), int(seed), int(evil_of), set(patience)))


if __name__ == "__main__":
    main(*sys.argv[1:])
