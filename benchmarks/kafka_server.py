"""Apache Kafka: one node, on ports and in a directory of its own."""

from __future__ import annotations

import base64
import shutil
import subprocess
import time
import uuid
from pathlib import Path
from typing import Final, Optional

from benchmarks.places import SERVICES, fetched, free_ports
from benchmarks.small_servers import SmallServer

__all__ = ["KafkaServer", "install_kafka", "kafka_libraries"]

VERSION: Final = "4.3.1"
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


class KafkaServer(SmallServer):
    """A broker of one node.

    Clients go to the address that a broker names, whichever one they began with. So it has a second listener, on
    `behind_port`, for whoever comes through a proxy: it sends them to `proxy_port`, where a proxy may be.
    """

    name = "kafka"
    ready_s = 60.0

    def __init__(self) -> None:
        self._controller, self.behind_port, self.proxy_port = free_ports(3)
        super().__init__()

    def prepare(self) -> None:
        """Write its settings, and format the place of its log."""
        text = "".join(f"{name}={value}\n" for name, value in self.settings().items())
        (self.directory / "server.properties").write_text(text)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        arguments = ["format", f"--cluster-id={cluster}", "-c", "server.properties", *self.format_options()]
        format_it = _java("kafka.tools.StorageTool", *arguments)
        ran = subprocess.run(format_it, cwd=self.directory, check=False, capture_output=True, timeout=60)
        assert ran.returncode == 0, ran.stderr.decode()

    def format_options(self) -> list[str]:
        """What else the place of its log is formatted with."""
        return []

    def settings(self) -> dict[str, str]:
        """Its settings, by their own names."""
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self._controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},PROXY://127.0.0.1:{self.behind_port},"
            f"CONTROLLER://127.0.0.1:{self._controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port},PROXY://127.0.0.1:{self.proxy_port}",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXY:PLAINTEXT",
            "log.dirs": str(self.directory / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            "log.retention.ms": "-1",
        }

    def command(self) -> list[str]:
        return _java("kafka.Kafka", "server.properties")

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def is_ready(self) -> bool:
        """Whether it answers now."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        if not super().is_ready():
            return False
        try:
            admin = AdminClient({"bootstrap.servers": self.address, "log_level": 0})
            return bool(admin.list_topics(timeout=5).brokers)
        except KafkaException:
            return False

    def make_topic(self, name: str, partitions: int = 1, **settings: str) -> None:
        """Make a topic, and return when the broker knows it; `settings` has `_` for the dots."""
        from confluent_kafka.admin import AdminClient
        from confluent_kafka.cimpl import NewTopic

        config = {key.replace("_", "."): value for key, value in settings.items()}
        topic = NewTopic(name, partitions, 1, config=config)
        admin = AdminClient({"bootstrap.servers": self.address})
        [made] = admin.create_topics([topic]).values()
        made.result()
        until_s = time.monotonic() + self.ready_s
        while len(admin.list_topics(name, timeout=10).topics[name].partitions) < partitions:
            assert time.monotonic() < until_s, f"the broker does not come to know the topic {name}"
            time.sleep(0.01)


def _java(*arguments: str) -> list[str]:
    libraries = kafka_libraries()
    assert libraries is not None, "install_kafka() comes first"
    options = ["-Xms128m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    logging = f"-Dlog4j2.configurationFile={libraries / 'log4j2.yaml'}"
    return ["java", *options, logging, "-cp", f"{libraries}/libs/*", *arguments]
