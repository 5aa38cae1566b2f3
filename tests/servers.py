"""Real servers for tests: one of each kind for the session, started when it is first asked for."""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Callable
from importlib import import_module
from typing import TypeVar

import pytest
from benchmarks.engine_servers import RestateServer, TemporalServer, restate_program, temporal_program
from benchmarks.kafka_server import KafkaServer, kafka_libraries
from benchmarks.mariadb_server import MariadbServer, find_mariadb
from benchmarks.postgres_server import PLACES, PostgresServer
from benchmarks.rabbit_server import MosquittoServer, RabbitServer, find_mosquitto, find_rabbit
from benchmarks.registry_server import RegistryServer, registry_program
from benchmarks.small_servers import NatsServer, RedisServer, SmallServer, find_redis, nats_program

__all__ = [
    "KafkaServer",
    "MariadbServer",
    "MosquittoServer",
    "NatsServer",
    "PostgresServer",
    "RabbitServer",
    "RedisServer",
    "RegistryServer",
    "RestateServer",
    "TemporalServer",
    "end_servers",
    "kafka_server",
    "mariadb_server",
    "mosquitto_server",
    "nats_server",
    "postgres_server",
    "rabbit_server",
    "redis_server",
    "registry_server",
    "restate_server",
    "temporal_server",
]

_ending: list[Callable[[], None]] = []
"""How the servers of this process are ended."""


def end_servers() -> None:
    """End all servers of this process. Called when its last test is over: what is left to its exit may be cut short."""
    while _ending:
        _ending.pop()()


atexit.register(end_servers)

IS_REQUIRED = os.environ.get("HEADWAY_REQUIRE_SERVERS") == "1"


def missing(reason: str) -> None:
    """Skip the test, or fail it where servers are required."""
    if IS_REQUIRED:
        pytest.fail(f"HEADWAY_REQUIRE_SERVERS=1, and {reason}")
    pytest.skip(reason)


def _needs(module: str, extra: str) -> None:
    try:
        import_module(module)
    except ModuleNotFoundError:
        missing(f"{module} is not installed: pip install 'headway[{extra}]'")


_started: dict[type[SmallServer], SmallServer] = {}
Server = TypeVar("Server", bound=SmallServer)


def _one(kind: type[Server]) -> Server:
    """The server of this kind, started when it is first asked for."""
    if kind not in _started:
        _started[kind] = server = kind()
        _ending.append(server.remove)
    found = _started[kind]
    assert isinstance(found, kind)
    return found


def postgres_server() -> PostgresServer:
    """PostgreSQL; without it the test is skipped, or fails where servers are required."""
    _needs("psycopg", "postgres")
    if not PLACES:
        missing("there is no PostgreSQL in /usr/lib/postgresql")
    return _one(PostgresServer)


def mariadb_server() -> MariadbServer:
    """MariaDB; without it the test is skipped, or fails where servers are required."""
    _needs("pymysql", "mysql")
    if find_mariadb() is None:
        missing("there is no mariadbd: apt-get install mariadb-server")
    return _one(MariadbServer)


def kafka_server() -> KafkaServer:
    """Apache Kafka; without it the test is skipped, or fails where servers are required."""
    _needs("confluent_kafka", "kafka")
    if kafka_libraries() is None:
        missing("Apache Kafka is not installed: make services")
    return _one(KafkaServer)


def nats_server() -> NatsServer:
    """NATS; without it the test is skipped, or fails where servers are required."""
    _needs("nats", "nats")
    if nats_program() is None:
        missing("the server of NATS is not installed: make services")
    return _one(NatsServer)


def redis_server() -> RedisServer:
    """Redis; without it the test is skipped, or fails where servers are required."""
    _needs("redis", "redis")
    if find_redis() is None:
        missing("there is no redis-server: apt-get install redis-server")
    return _one(RedisServer)


def rabbit_server() -> RabbitServer:
    """RabbitMQ with streams; without it the test is skipped, or fails where servers are required."""
    _needs("rstream", "rabbitmq")
    if find_rabbit() is None:
        missing("there is no RabbitMQ in /usr/lib/rabbitmq: apt-get install rabbitmq-server")
    return _one(RabbitServer)


def mosquitto_server() -> MosquittoServer:
    """Mosquitto; without it the test is skipped, or fails where servers are required."""
    _needs("paho.mqtt", "mqtt")
    if find_mosquitto() is None:
        missing("there is no mosquitto: apt-get install mosquitto")
    return _one(MosquittoServer)


def temporal_server() -> TemporalServer:
    """Temporal; without it the test is skipped, or fails where servers are required."""
    _needs("temporalio", "temporal")
    if temporal_program() is None:
        missing("the server of Temporal is not installed: make services")
    return _one(TemporalServer)


def restate_server() -> RestateServer:
    """Restate; without it the test is skipped, or fails where servers are required and npm is there to bring it."""
    if restate_program() is None:
        if shutil.which("npm") is None:
            pytest.skip("the server of Restate comes by npm, which is not installed")
        missing("the server of Restate is not installed: make services")
    return _one(RestateServer)


def registry_server() -> RegistryServer:
    """Apicurio Registry; without it the test is skipped, or fails where servers are required."""
    if registry_program() is None:
        missing("the schema registry is not installed: make services")
    return _one(RegistryServer)
