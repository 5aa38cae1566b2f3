"""RabbitMQ with its plugin for streams, and Mosquitto: brokers of queues, on ports and in directories of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Final, Optional

from benchmarks.places import free_ports
from benchmarks.small_servers import SmallServer

__all__ = ["MosquittoServer", "RabbitServer", "find_mosquitto", "find_rabbit"]

_RABBIT: Final = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Not the one in PATH, which wants to be root, and then another user."""
_GREETING: Final = bytes.fromhex("0011") + bytes.fromhex("0001") + bytes.fromhex("00000001") + bytes(4)


def find_rabbit() -> Optional[Path]:
    """The server of RabbitMQ, of the system; None where it is not installed."""
    return _RABBIT if _RABBIT.exists() and shutil.which("epmd") else None


def find_mosquitto() -> Optional[Path]:
    """Mosquitto, of the system; None where it is not installed."""
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    return None if found is None else Path(found)


class RabbitServer(SmallServer):
    """RabbitMQ, which takes AMQP on `port` and streams on `stream_port`.

    Erlang's nodes find each other by a process `epmd`, which they would start and leave behind: this one has its own.
    """

    name = "rabbit"
    ready_s = 120.0

    def __init__(self) -> None:
        self.stream_port, self._epmd_port, self._node_port = free_ports(3)
        self._epmd: Optional[subprocess.Popen[bytes]] = None
        super().__init__()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    @property
    def stream_url(self) -> str:
        return f"rabbitmq-stream://guest:guest@127.0.0.1:{self.stream_port}"

    def command(self) -> list[str]:
        program = find_rabbit()
        assert program is not None, "it has to be installed first"
        return [str(program)]

    def environment(self) -> dict[str, str]:
        """What of the environment of this process it gets, and its own."""
        place = self.directory
        own = {
            "HOME": str(place),
            "RABBITMQ_NODENAME": f"hw{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(place / "mnesia"),
            "RABBITMQ_LOG_BASE": str(place / "logs"),
            "RABBITMQ_CONFIG_FILE": str(place / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(place / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(place / "pid"),
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._epmd_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} +S 1:1",
        }
        return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", **own}

    def start(self) -> None:
        place = self.directory
        (place / "enabled_plugins").write_text("[rabbitmq_stream].\n")
        (place / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            f"stream.listeners.tcp.1 = 127.0.0.1:{self.stream_port}\n"
            f"stream.advertised_host = 127.0.0.1\nstream.advertised_port = {self.stream_port}\n"
            "vm_memory_high_watermark.absolute = 1GB\ndisk_free_limit.absolute = 50MB\nlog.file.level = error\n"
        )
        if self._epmd is None:
            command = [shutil.which("epmd") or "epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"]
            self._epmd = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        super().start()

    def is_ready(self) -> bool:
        """Whether both of its listeners answer: the port of streams opens before they can be used."""
        if not super().is_ready():
            return False
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as asked:
            asked.sendall(b"AMQP\x00\x00\x09\x01")
            if not asked.recv(8):
                return False
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.stream_port), timeout=5) as asked:
            asked.sendall(len(_GREETING).to_bytes(4, "big") + _GREETING)
            return bool(asked.recv(8))
        return False

    def kill(self) -> None:
        """End the node at once, with the scripts around it; they are a group of their own."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=self.ready_s)

    def remove(self) -> None:
        super().remove()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()


class MosquittoServer(SmallServer):
    """Mosquitto, which keeps sessions and what waits for them on disk."""

    name = "mosquitto"

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        program = find_mosquitto()
        assert program is not None, "it has to be installed first"
        (self.directory / "mosquitto.conf").write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\npersistence true\n"
            f"persistence_location {self.directory}/\nautosave_on_changes true\nautosave_interval 1\n"
            f"max_queued_messages 0\n{'user root' if os.geteuid() == 0 else ''}\n"
        )
        return [str(program), "-c", str(self.directory / "mosquitto.conf")]
