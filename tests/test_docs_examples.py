"""The examples of the documentation, as whole programs: real services beside a real run."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Optional

import pytest

from headway.web.addresses import Address, listen

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
PATIENCE_S = 60.0


def free_port() -> int:
    with listen(Address("127.0.0.1", 0), "the test") as sock:
        port: int = sock.getsockname()[1]
        return port


def ask(url: str, body: Optional[dict[str, Any]] = None, key: str = "") -> tuple[int, Any]:
    request = urllib.request.Request(url, None if body is None else json.dumps(body).encode())
    request.add_header("idempotency-key", key)
    request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def await_answer(url: str) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            if ask(url)[0] == 200:
                return
        except OSError:
            pass
        assert time.monotonic() < until_s, f"{url} is not there"
        time.sleep(0.05)


@pytest.fixture
def service(tmp_path: Path) -> Any:
    for needed in ("aiohttp", "uvicorn", "starlette"):
        pytest.importorskip(needed)
    posts, views, own = free_port(), free_port(), free_port()
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    environment = {
        **os.environ,
        "SHOP_SECRET": secret,
        "SHOP_FLOW": f"http://127.0.0.1:{posts}",
        "SHOP_VIEWS": f"http://127.0.0.1:{views}",
    }
    run = [sys.executable, "-m", "headway", "run", "headway.flows.demo_shop", "--quiet", "--epoch", "50ms"]
    run += ["--listen", f"127.0.0.1:{posts}", "--serve", f"127.0.0.1:{views}", "--set", "after=3s"]
    run += ["--set", f"webhook=http://127.0.0.1:{own}/hooks", "--set", "secret=env:SHOP_SECRET"]
    web = [sys.executable, "-m", "uvicorn", "order_service:app", "--port", str(own), "--log-level", "warning"]
    flow_process = subprocess.Popen(run, cwd=tmp_path, env=environment)
    web_process = subprocess.Popen(web, cwd=EXAMPLES, env=environment)
    try:
        await_answer(f"http://127.0.0.1:{posts}/readyz")
        await_answer(f"http://127.0.0.1:{views}/readyz")
        await_answer(f"http://127.0.0.1:{own}/mails")
        yield f"http://127.0.0.1:{own}"
    finally:
        for process in (web_process, flow_process):
            process.terminate()
            process.wait(PATIENCE_S)


def test_a_service_that_asks_before_it_takes_an_order(service: str) -> None:
    assert ask(f"{service}/orders/ann", {}, "o1") == (409, {"accepted": False, "reason": "the cart is empty"})
    lamp = {"sku": "lamp", "cents": 4_900}
    for _ in range(2):  # The second one is a repeat.
        assert ask(f"{service}/carts/ann", lamp, "a1") == (200, {"items": ["lamp"], "cents": 4_900})
    assert ask(f"{service}/carts/ben", {"sku": "ship", "cents": 10_000_000}, "a2")[0] == 200
    assert ask(f"{service}/carts/cleo", {"sku": "mug", "cents": 900}, "a3")[0] == 200
    assert ask(f"{service}/orders/ben", {}, "o2")[0] == 403
    accepted = {"accepted": True, "items": ["mug"], "cents": 900}
    assert ask(f"{service}/orders/cleo", {}, "o3") == (200, accepted)
    until_s = time.monotonic() + PATIENCE_S
    while len(ask(f"{service}/mails")[1]) < 2:
        assert time.monotonic() < until_s, "no mail was sent"
        time.sleep(0.1)
    assert sorted(ask(f"{service}/mails")[1]) == ["Dear ann, you forgot: lamp", "Dear ben, you forgot: ship"]


def test_a_program_that_orders_by_a_durable_function(tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    posts, views = (f"127.0.0.1:{free_port()}" for _ in range(2))
    run = [sys.executable, "-m", "headway", "run", "headway.flows.order_fulfilment", "--follow", "--quiet"]
    run += ["--listen", posts, "--serve", views, "--epoch", "50ms", "--set", f"output={tmp_path / 'told.jsonl'}"]
    flow_process = subprocess.Popen(run, cwd=tmp_path)
    try:
        environment = {**os.environ, "ORDERS_LISTEN": f"http://{posts}", "ORDERS_SERVE": f"http://{views}"}
        program = [sys.executable, str(EXAMPLES / "order_desk.py")]
        runs = [
            subprocess.run(program, env=environment, timeout=PATIENCE_S, capture_output=True, text=True, check=False)
            for _ in range(2)
        ]
    finally:
        flow_process.terminate()
        flow_process.wait(PATIENCE_S)
    for told in runs:
        assert told.returncode == 0, told.stderr
        cancelled, refused, failed = told.stdout.splitlines()
        assert cancelled == "fulfil_order/desk-1 has failed: ValueError: cancelled by the customer: too bright"
        assert "function 'fulfil_order': argument 'order'" in refused
        assert failed == "failed: desk-1"
