"""Apache Kafka: one node, on ports and in a directory of its own."""

from __future__ import annotations

import base64
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Optional

from benchmarks.places import SERVICES, fetched, free_ports

__all__ = ["KafkaServer", "install_kafka", "kafka_libraries"]

VERSION: Final = "4.3.1"
_READY_S: Final = 60.0
_POM: Final = """<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>headway</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies><dependency>
    <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{version}</version>
  </dependency></dependencies>
</project>
"""
_LOGGING: Final = """Configuration:
  Appenders:
    Console: {name: C, target: SYSTEM_ERR, PatternLayout: {pattern: "%d %p %m (%c)%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: [{ref: C}]}
"""


def kafka_libraries() -> Optional[Path]:
    """The folder with Kafka's jars; None where it is not installed."""
    found = SERVICES / f"kafka-{VERSION}"
    return found if (found / "complete").exists() else None


def install_kafka() -> Path:
    """Fetch Kafka's jars from Maven, some 45 MB, unless they are there. Raises `LookupError` where that fails."""
    folder = SERVICES / f"kafka-{VERSION}"
    if kafka_libraries() is not None:
        return folder
    for program, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(program) is None:
            msg = f"there is no {program}: apt-get install {package}"
            raise LookupError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pom.xml").write_text(_POM.format(version=VERSION))
    command = ["mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=libs", "-DincludeScope=runtime"]
    if (said := fetched(command, folder)) is not None:
        msg = f"maven cannot fetch it: {said}"
        raise LookupError(msg)
    (folder / "log4j2.yaml").write_text(_LOGGING)
    (folder / "complete").touch()
    return folder


class KafkaServer:
    """A broker that can be killed, and started again on the same data and ports."""

    def __init__(self, settings: Optional[Mapping[str, str]] = None) -> None:
        libraries = kafka_libraries()
        assert libraries is not None, "install_kafka() comes first"
        self._libraries = libraries
        self._directory = Path(tempfile.mkdtemp(prefix="headway-kafka-"))
        self.port, controller = free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        lines = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
            "log.dirs": str(self._directory / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.retention.ms": "-1",
            **(settings or {}),
        }
        text = "".join(f"{name}={value}\n" for name, value in lines.items())
        (self._directory / "server.properties").write_text(text)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        try:
            format_it = self._java(
                "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", "server.properties"
            )
            ran = subprocess.run(format_it, cwd=self._directory, check=False, capture_output=True, timeout=60)
            assert ran.returncode == 0, ran.stderr.decode()
            self.start()
        except BaseException:
            self.remove()
            raise

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def _java(self, *arguments: str) -> list[str]:
        options = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        logging = f"-Dlog4j2.configurationFile={self._libraries / 'log4j2.yaml'}"
        return ["java", *options, logging, "-cp", f"{self._libraries}/libs/*", *arguments]

    def start(self) -> None:
        with open(self._directory / "log", "ab") as log:
            command = self._java("kafka.Kafka", "server.properties")
            self._process = subprocess.Popen(command, cwd=self._directory, stdout=log, stderr=log)
        until_s = time.monotonic() + _READY_S
        while not self.is_ready():
            assert self._process.poll() is None, (self._directory / "log").read_text()[-2_000:]
            assert time.monotonic() < until_s, (self._directory / "log").read_text()[-2_000:]
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Whether it answers now."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        with socket.socket() as asked:
            if asked.connect_ex(("127.0.0.1", self.port)):
                return False
        try:
            admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
            return bool(admin.list_topics(timeout=5).brokers)
        except KafkaException:
            return False

    def kill(self) -> None:
        """End it at once."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(timeout=_READY_S)

    def make_topic(self, name: str, partitions: int = 1, **settings: str) -> None:
        """Make a topic; `settings` has `_` for the dots."""
        from confluent_kafka.admin import AdminClient
        from confluent_kafka.cimpl import NewTopic

        config = {key.replace("_", "."): value for key, value in settings.items()}
        topic = NewTopic(name, partitions, 1, config=config)
        admin = AdminClient({"bootstrap.servers": self.address})
        [made] = admin.create_topics([topic]).values()
        made.result()

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)
