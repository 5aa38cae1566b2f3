"""A broker of Kafka that takes clients by TLS and SASL alone, with a certificate that the test has made."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from benchmarks.kafka_server import KafkaServer
from benchmarks.places import free_ports
from tests.certificates import Authority

__all__ = ["PASSWORD", "USER", "SecureKafka"]

USER: Final = "ann"
PASSWORD: Final = "sword-fish-7"


class SecureKafka(KafkaServer):
    """Beside the open listener, by which the test looks, it has one of SASL_SSL: `secure_address`."""

    name = "kafka-secure"

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory, "ca")
        certificate, key = self.authority.signed("broker")
        self._pem = directory / "broker-store.pem"
        self._pem.write_text(key.read_text() + certificate.read_text())
        [self._secure_port] = free_ports(1)
        super().__init__()

    @property
    def secure_address(self) -> str:
        return f"127.0.0.1:{self._secure_port}"

    def options(self, mechanism: str, **other: str) -> dict[str, str]:
        """What a client is let in by."""
        given = {
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": mechanism,
            "sasl.username": USER,
            "sasl.password": PASSWORD,
            "ssl.ca.location": str(self.authority.ca),
        }
        return {**given, **{name.replace("_", "."): value for name, value in other.items()}}

    def settings(self) -> dict[str, str]:
        module = "org.apache.kafka.common.security"
        own = "listener.name.sasl_ssl"
        plain = super().settings()
        return {
            **plain,
            "listeners": f"{plain['listeners']},SASL_SSL://{self.secure_address}",
            "advertised.listeners": f"{plain['advertised.listeners']},SASL_SSL://{self.secure_address}",
            "listener.security.protocol.map": f"{plain['listener.security.protocol.map']},SASL_SSL:SASL_SSL",
            f"{own}.sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            f"{own}.scram-sha-512.sasl.jaas.config": f"{module}.scram.ScramLoginModule required;",
            f"{own}.plain.sasl.jaas.config": f'{module}.plain.PlainLoginModule required user_{USER}="{PASSWORD}";',
            f"{own}.ssl.keystore.type": "PEM",
            f"{own}.ssl.keystore.location": str(self._pem),
        }

    def format_options(self) -> list[str]:
        return ["--add-scram", f"SCRAM-SHA-512=[name={USER},password={PASSWORD}]"]
