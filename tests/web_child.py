"""The process of a server that says who it is: `python -m tests.web_child`, started by tests of `HostProcess`."""

from __future__ import annotations

import os

from headway.errors import StateError
from headway.web.child import Child, run_child
from headway.web.host import serve
from headway.web.middleware import Gate, guarded
from headway.web.problems import Receive, Scope, Send, answer


async def who(scope: Scope, receive: Receive, send: Send) -> None:
    await answer(send, 200, b"%d" % os.getpid(), b"text/plain")


def work(child: Child) -> None:
    if child.options.get("fails") == "said":
        msg = "the disk is full"
        raise StateError(msg)
    if child.options.get("fails") == "silent":
        os._exit(9)
    gate = Gate()
    child.ready()
    serve(guarded(who, gate=gate), child.sockets, gate=gate, stopping=child.stopping, drain_s=1.0)


if __name__ == "__main__":
    run_child(work)
