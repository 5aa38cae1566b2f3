"""The examples of workflow engines, as whole programs: a flow starts workflows, which ask it back."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from benchmarks.places import free_ports
from tests.engines_harness import once_there
from tests.servers import restate_server, temporal_server
from tests.test_docs_examples import EXAMPLES, PATIENCE_S, ask, await_answer

_PAUSE_S = 0.02
KNOWN = "win-back-nobody-1"
"""Of a workflow that is started for a visitor without a cart."""


@contextmanager
def process(*command: str, cwd: Path = EXAMPLES, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, *command], cwd=cwd, env={**os.environ, **environment}) as found:
        try:
            yield found
        finally:
            found.terminate()
            try:
                found.wait(10)
            except subprocess.TimeoutExpired:
                found.kill()


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Callable[[str, str], tuple[str, str]]]:
    """Runs the flow for an engine; gives the addresses of its posts and of its views."""
    for needed in ("aiohttp", "uvicorn", "starlette"):
        pytest.importorskip(needed)
    with ExitStack() as running:

        def run(engine: str, to: str) -> tuple[str, str]:
            posts, views = (f"127.0.0.1:{port}" for port in free_ports(2))
            given = ["--set", f"engine={engine}", "--set", f"to={to}", "--set", "after=100ms"]
            options = ["--listen", posts, "--serve", views, "--quiet", "--epoch", "50ms"]
            flow = ["-m", "headway", "run", str(EXAMPLES / "win_back.py")]
            running.enter_context(process(*flow, *given, *options, cwd=tmp_path))
            for address in (posts, views):
                await_answer(f"http://{address}/readyz")
            return f"http://{posts}", f"http://{views}"

        yield run


def abandon(posts: str) -> None:
    for number, cents in enumerate((4_900, 900)):
        step = {"user": "ann", "kind": "add", "cents": cents}
        assert ask(f"{posts}/steps", step, f"a{number}")[0] in (200, 202)


NOBODY = "nobody has bought meanwhile"
DECIDED = {"ann gets 490 cents off 1 items", "ann gets 580 cents off 2 items"}
"""The two steps may be further apart than the time after which a cart counts as abandoned."""


def test_temporal(shop: Callable[[str, str], tuple[str, str]], tmp_path: Path) -> None:
    server = temporal_server()
    posts, views = shop("temporal", server.address)
    with process(str(EXAMPLES / "temporal_worker.py"), TEMPORAL=server.address, SHOP_VIEWS=views):
        abandon(posts)
        found, nobody = asyncio.run(asyncio.wait_for(asked_of_temporal(server.address), PATIENCE_S))
    assert found in DECIDED and nobody == NOBODY


async def asked_of_temporal(address: str) -> tuple[Any, Any]:
    from temporalio.client import Client

    client = await Client.connect(address)
    nobody = await client.start_workflow("WinBack", {"user": "nobody"}, id=KNOWN, task_queue="shop")
    while True:
        async for one in client.list_workflows("WorkflowType = 'WinBack'"):
            if one.id.startswith("win-back-ann-"):
                return await client.get_workflow_handle(one.id).result(), await nobody.result()
        await asyncio.sleep(0.05)


def test_restate(shop: Callable[[str, str], tuple[str, str]], tmp_path: Path) -> None:
    pytest.importorskip("restate", reason="restate-sdk is not installed: pip install 'headway[dev]'")
    server = restate_server()
    posts, views = shop("restate", server.url)
    [port] = free_ports(1)
    bind = ["--bind", f"127.0.0.1:{port}", "--log-level", "warning"]
    with process("-m", "hypercorn", "restate_service:app", *bind, SHOP_VIEWS=views):
        once_there(lambda: is_open(port), "the service")
        server.register(port)
        abandon(posts)
        assert posted(server.port, f"/WinBack/{KNOWN}/run", {"user": "nobody"}) == NOBODY
        keys = once_there(lambda: workflows_of_restate(server.admin_port), "the workflow of ann's cart")
        assert ask(f"{server.url}/restate/workflow/WinBack/{keys[0]}/attach")[1] in DECIDED


def is_open(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.connect()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def posted(port: int, path: str, body: dict[str, Any]) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request(
        "POST", path, json.dumps(body), {"content-type": "application/json", "accept": "application/json"}
    )
    answer = connection.getresponse()
    found = json.loads(answer.read())
    connection.close()
    assert answer.status == 200, found
    return found


def workflows_of_restate(admin_port: int) -> list[str]:
    """The keys of workflows that ann's cart has started."""
    query = "SELECT target_service_key FROM sys_invocation WHERE target_service_key LIKE 'win-back-ann-%'"
    return [row["target_service_key"] for row in posted(admin_port, "/query", {"query": query})["rows"]]


def test_dbos(shop: Callable[[str, str], tuple[str, str]], tmp_path: Path) -> None:
    pytest.importorskip("dbos", reason="dbos is not installed: pip install 'headway[dbos]'")
    from dbos import DBOSClient

    url = f"sqlite:///{tmp_path / 'shop.sqlite'}"
    posts, views = shop("dbos", url)
    (tmp_path / "shop.sqlite").touch()  # The target waits until there are tables in it.
    with process(str(EXAMPLES / "dbos_worker.py"), DBOS_SYSTEM_DATABASE_URL=url, SHOP_VIEWS=views):
        abandon(posts)
        client = DBOSClient(system_database_url=url, lazy=True)
        try:
            options: Any = {"workflow_name": "WinBack", "queue_name": "shop", "workflow_id": KNOWN}
            assert once_it_is_there(lambda: client.enqueue(options, {"user": "nobody"})).get_result() == NOBODY
            found = once_there(lambda: client.list_workflows(workflow_id_prefix="win-back-ann-"), "ann's workflow")
            assert client.retrieve_workflow(found[0].workflow_id).get_result() in DECIDED
        finally:
            client.destroy()


def once_it_is_there(ask_it: Callable[[], Any]) -> Any:
    """What is answered, once the application has made its tables."""
    from sqlalchemy.exc import OperationalError

    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            return ask_it()
        except OperationalError:
            assert time.monotonic() < until_s, "the application has made no tables"
            time.sleep(_PAUSE_S)
