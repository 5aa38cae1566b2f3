"""What the tests need of servers, and whether it can be started here: `python -m tests.services`.

What no package of the system brings is installed into `.services/`. Each is started once, asked something, and ended.
What is missing is told with the way to install it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Optional

from benchmarks.engine_servers import (
    RESTATE_VERSION,
    TEMPORAL_VERSION,
    RestateServer,
    TemporalServer,
    install_restate,
    install_temporal,
    restate_program,
)
from benchmarks.kafka_server import VERSION, KafkaServer, install_kafka
from benchmarks.mariadb_server import MariadbServer, find_mariadb
from benchmarks.places import SERVICES as SERVICES_AT
from benchmarks.places import fetched
from benchmarks.postgres_server import PLACES, PostgresServer
from benchmarks.rabbit_server import MosquittoServer, RabbitServer, find_mosquitto, find_rabbit
from benchmarks.registry_server import REGISTRY_VERSION, RegistryServer, install_registry
from benchmarks.small_servers import NATS_VERSION, NatsServer, RedisServer, SmallServer, find_redis, install_nats

POSTGRES_LEAST: Final = 15
REDIS_LEAST: Final = 7
_LITTLEHORSE_CLIENT: Final = "littlehorse-client==1.3.0"
LITTLEHORSE: Final = SERVICES_AT / "littlehorse-1.3.0"


def check_postgres() -> str:
    """Which PostgreSQL there is. Raises `LookupError`, with what to do, where there is none that works."""
    try:
        import psycopg  # noqa: F401
    except ImportError as error:
        msg = f"the client library is not there ({error}): make setup, or pip install 'headway[postgres]'"
        raise LookupError(msg) from error
    install = (
        f"install PostgreSQL {POSTGRES_LEAST} or newer, as with apt-get install postgresql; it need not be running"
    )
    if not PLACES:
        msg = f"there is none in /usr/lib/postgresql: {install}"
        raise LookupError(msg)
    try:
        server = PostgresServer(PLACES[0])
    except (AssertionError, OSError, subprocess.SubprocessError, LookupError) as error:
        msg = f"that in {PLACES[0]} cannot be started: {error}"
        raise LookupError(msg) from error
    try:
        [(version,)] = server.query("SHOW server_version")
    finally:
        server.remove()
    if int(str(version).split(".", maxsplit=1)[0]) < POSTGRES_LEAST:
        msg = f"that in {PLACES[0]} is {version}: {install}"
        raise LookupError(msg)
    return f"{version}, in {PLACES[0]}"


def check_mariadb() -> str:
    """Which MariaDB there is. Raises `LookupError`, with what to do, where there is none that works."""
    program = _of_system("mariadb-server", find_mariadb)
    told = subprocess.run([program, "--version"], check=False, capture_output=True, text=True).stdout
    version = re.search(r"Ver (\S+?)-", told)
    return _tried(MariadbServer, version[1] if version else "of an unknown version", program)


def check_kafka() -> str:
    """Which Apache Kafka there is; it is installed where it is not. Raises `LookupError`, with what to do."""
    folder = install_kafka()
    try:
        KafkaServer().remove()
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        msg = f"that in {folder} cannot be started: {error}"
        raise LookupError(msg) from error
    return f"{VERSION}, in {folder}"


def check_nats() -> str:
    """Which NATS there is; it is installed where it is not. Raises `LookupError`, with what to do."""
    program = install_nats()
    return _tried(NatsServer, NATS_VERSION, program)


def check_redis() -> str:
    """Which Redis there is. Raises `LookupError`, with what to do, where there is none that works."""
    program = _of_system("redis-server", find_redis)
    told = subprocess.run([program, "--version"], check=False, capture_output=True, text=True).stdout
    version = re.search(r"v=(\d+)\.(\S+)", told)
    if version is None or int(version[1]) < REDIS_LEAST:
        msg = f"that in {program} is {told.strip()}: install Redis {REDIS_LEAST} or newer"
        raise LookupError(msg)
    return _tried(RedisServer, f"{version[1]}.{version[2]}", program)


def check_temporal() -> str:
    """Which Temporal there is; it is installed where it is not. Raises `LookupError`, with what to do."""
    program = install_temporal()
    return _tried(TemporalServer, TEMPORAL_VERSION, program)


def check_restate() -> str:
    """Which Restate there is; npm installs it where it is not. Raises `LookupError`, with what to do."""
    if restate_program() is None and shutil.which("npm") is None:
        return "left out, with the tests that need it: it comes by npm, which is not installed"
    program = install_restate()
    return _tried(RestateServer, RESTATE_VERSION, program)


def check_rabbit() -> str:
    """Which RabbitMQ there is. Raises `LookupError`, with what to do, where there is none that works."""
    program = _of_system("rabbitmq-server", find_rabbit)
    found = sorted(path.name for path in program.parent.parent.glob("lib/rabbitmq_server-*"))
    version = found[-1].rpartition("-")[2] if found else "of an unknown version"
    return _tried(RabbitServer, version, program)


def check_mosquitto() -> str:
    """Which Mosquitto there is. Raises `LookupError`, with what to do, where there is none that works."""
    program = _of_system("mosquitto", find_mosquitto)
    told = subprocess.run([program, "-h"], check=False, capture_output=True, text=True).stdout
    version = re.search(r"version (\S+)", told)
    return _tried(MosquittoServer, version[1] if version else "of an unknown version", program)


def check_stunnel() -> str:
    """Which stunnel there is. Raises `LookupError`, with what to do, where there is none."""
    program = _of_system("stunnel4", lambda: _in_path("stunnel"))
    told = subprocess.run([program, "-version"], check=False, capture_output=True, text=True).stderr
    version = re.search(r"stunnel (\S+)", told)
    return f"{version[1] if version else 'of an unknown version'}, {program}"


def check_ip() -> str:
    """Where the command `ip` is, which makes the networks of tests. Raises `LookupError`, with what to do."""
    return str(_of_system("iproute2", lambda: _in_path("ip")))


def _in_path(name: str) -> Optional[Path]:
    found = shutil.which(name)
    return Path(found) if found else None


def _of_system(package: str, find: Callable[[], Optional[Path]]) -> Path:
    """A program of the system's packages; root has it installed. Raises `LookupError` where it is not there."""
    program = find()
    if program is None and os.geteuid() == 0 and shutil.which("apt-get"):
        install = ["apt-get", "install", "-y", "--no-install-recommends", package]
        if subprocess.run(install, check=False, capture_output=True, timeout=600).returncode:
            fetched(["apt-get", "update"])
            fetched(install)
        program = find()
    if program is None:
        msg = f"there is no {package}: apt-get install {package}, as root; it need not be running"
        raise LookupError(msg)
    return program


def check_registry() -> str:
    """Which schema registry there is; it is installed where it is not. Raises `LookupError`, with what to do."""
    program = install_registry()
    return _tried(RegistryServer, REGISTRY_VERSION, program)


def check_littlehorse() -> str:
    """Which client of LittleHorse there is, apart from what others need; it is installed where it is not.

    There is no server to install. Raises `LookupError`, with what to do.
    """
    if not LITTLEHORSE.is_dir():
        said = fetched(
            [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(LITTLEHORSE), _LITTLEHORSE_CLIENT]
        )
        if said is not None:
            shutil.rmtree(LITTLEHORSE, ignore_errors=True)
            msg = f"its client cannot be installed: {said}"
            raise LookupError(msg)
    return f"its client, in {LITTLEHORSE}"


def _tried(kind: type[SmallServer], version: str, program: Path) -> str:
    try:
        kind().remove()
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        msg = f"that in {program} cannot be started: {error}"
        raise LookupError(msg) from error
    return f"{version}, in {program.parent}"


SERVICES: Final[dict[str, Callable[[], str]]] = {
    "PostgreSQL": check_postgres,
    "MariaDB": check_mariadb,
    "Apache Kafka": check_kafka,
    "NATS": check_nats,
    "Redis": check_redis,
    "RabbitMQ": check_rabbit,
    "Mosquitto": check_mosquitto,
    "Temporal": check_temporal,
    "Restate": check_restate,
    "Apicurio Registry": check_registry,
    "LittleHorse": check_littlehorse,
    "stunnel": check_stunnel,
    "ip": check_ip,
}


def main() -> int:
    """Tell of each service; returns the exit code, 1 where one is missing."""
    code = 0
    for name, check in SERVICES.items():
        try:
            sys.stdout.write(f"{name}: {check()}\n")
        except LookupError as error:
            sys.stderr.write(f"{name}: {error}\n")
            code = 1
    if code:
        sys.stderr.write("Without it the tests that need it are skipped; .ci/run needs all of them.\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
