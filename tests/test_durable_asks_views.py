"""Views that durable functions ask: answered, busy, away."""

from __future__ import annotations

import http.server
import json
import threading
from pathlib import Path
from typing import Any, ClassVar

import pytest
from tests.durable_harness import Group, start

from headway import durable_workflow


@durable_workflow
async def balance(context: Any, account: str) -> Any:
    return await context.query("accounts", account)


@durable_workflow
async def look(context: Any) -> str:
    try:
        return str(await context.query("scores", "ann"))
    except Exception as error:
        return str(error)


def test_a_query_is_answered_by_a_view(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
    pytest.importorskip("aiohttp", reason="the extra `http` is not installed")
    from tests.views_harness import finished, serving, transfers

    (tmp_path / "views").mkdir()
    with serving(finished(tmp_path / "views", transfers(50))) as address:
        group = Group(tmp_path / "state", balance, views=f"http://{address}")
        group.tell(("balance/1", start("ann")), ("balance/2", start("nobody")))
        group.run_until_ended(2)
    found = {one["id"]: json.loads(one["result"]) for one in group.ended}
    assert found["2"] is None
    assert set(found["1"]) == {"cents", "n"}


class Views(http.server.BaseHTTPRequestHandler):
    """A server of one view, which is busy when it is asked for the first time."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if "/scores/" in self.path:
            self._answer(404, {"detail": "there is no view 'scores'", "reason": "no view"})
        elif self.asked.count(self.path) == 1:
            self._answer(503, {"title": "the server is busy"})
        else:
            self._answer(200, {"key": "ann", "value": {"cents": 7}})

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (("content-length", len(data)), ("headway-epoch", 1), ("headway-age-ms", 0)):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""


def test_a_query_is_asked_again_while_the_server_is_busy_and_fails_where_there_is_no_view(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp", reason="the extra `http` is not installed")
    Views.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Views) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            group = Group(tmp_path, balance, look, views=f"http://127.0.0.1:{server.server_port}")
            group.tell(("balance/1", start("ann")), ("look/1", start()))
            group.run_until_ended(2)
        finally:
            server.shutdown()
            thread.join()
    found = {one["function"]: one["result"] for one in group.ended}
    assert json.loads(found["balance"]) == {"cents": 7}
    assert "view 'scores'" in found["look"] and "there is no view 'scores'" in found["look"]
    assert sorted(Views.asked) == ["/v1/views/accounts/ann"] * 2 + ["/v1/views/scores/ann"], "with a pause between"


def test_a_query_without_a_server_of_views(tmp_path: Path) -> None:
    group = Group(tmp_path, look)
    group.tell(("look/1", start()))
    group.run_until_ended(1)
    assert "was given no views=URL" in group.ended[0]["result"]
