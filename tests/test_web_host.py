"""The process of a server beside a run: started, watched, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.cluster_harness import await_true, is_alive
from tests.web_harness import ask

from headway.errors import ClusterError, StateError, UsageError
from headway.web.addresses import Address
from headway.web.host import HostProcess

AT = Address("127.0.0.1", 0)


def host(tmp_path: Path, **options: Any) -> HostProcess:
    return HostProcess("tests.web_child", AT, "--listen", options, tmp_path / "log")


def address_of(process: HostProcess) -> Address:
    return Address("127.0.0.1", int(process.url.rpartition(":")[2]))


def test_it_is_started_again_and_nobody_is_refused(tmp_path: Path) -> None:
    with host(tmp_path) as process:
        at = address_of(process)
        first = int(ask(at, "GET", "/").body)
        assert first == process.pid
        os.kill(first, signal.SIGKILL)
        await_true(lambda: not is_alive(first), "the process is gone")
        second = int(ask(at, "GET", "/").body)  # Waits in the queue of the socket.
        assert second != first
        assert process.restarts == 1
    assert not is_alive(second)


def test_why_it_cannot_start(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="the disk is full"), host(tmp_path, fails="said"):
        pass
    with pytest.raises(ClusterError, match="code 9"), host(tmp_path, fails="silent"):
        pass
    with pytest.raises(ClusterError, match="No such file"), host(tmp_path / "none"):
        pass


def test_a_port_in_use_is_told_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headway.web.addresses._FORMER_S", 0)
    with host(tmp_path) as process:
        taken = HostProcess("tests.web_child", address_of(process), "--listen", {}, tmp_path / "log")
        with pytest.raises(UsageError, match="in use"), taken:
            pass


def test_it_ends_with_a_run_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from headway.web.host import HostProcess; from headway.web.addresses import Address\n"
        "p = HostProcess('tests.web_child', Address('127.0.0.1', 0), '--listen', {}, Path(sys.argv[1]))\n"
        "with p: print(p.pid, flush=True); time.sleep(600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "log")], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    assert is_alive(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await_true(lambda: not is_alive(child), "the process is gone")
