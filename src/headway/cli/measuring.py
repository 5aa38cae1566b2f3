"""The exporter of metrics beside a run or a server: its option, and its process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, TypeVar

import click

if TYPE_CHECKING:
    from headway.metrics.snapshots import RunObserver

__all__ = ["Measuring", "metrics_option", "traces_option"]

C = TypeVar("C", bound=Callable[..., Any])


def metrics_option(command: C) -> C:
    """Where to export metrics."""
    text = (
        "Export metrics for Prometheus at http://HOST:PORT/metrics, by a process of its own. Other addresses than "
        "those of this machine need a --token."
    )
    return click.option("--metrics", "metrics_at", metavar="HOST:PORT", help=text)(command)


def traces_option(command: C) -> C:
    """Where to send traces."""
    text = (
        "Send OpenTelemetry spans of deliveries, and of posts to --listen: to console (stderr), to an OTLP address "
        "such as http://127.0.0.1:4318, or to otlp, where the variables OTEL_EXPORTER_OTLP_... say."
    )
    return click.option("--traces", metavar="WHERE", help=text)(command)


@dataclass(frozen=True)
class Measuring:
    """An exporter that is asked for, and may be: its options are checked, and nothing is started.

    Snapshots are left in `directory`, and the process writes its log to `log_path`. The sizes of `state_dir` are told,
    unless it is None.
    """

    flow: str
    address: Any
    directory: Path
    log_path: Path
    state_dir: Optional[Path]
    tokens: tuple[str, ...]
    host_names: tuple[str, ...]

    @classmethod
    def checked(
        cls,
        flow: str,
        given: str,
        directory: Path,
        log_path: Path,
        *,
        state_dir: Optional[Path] = None,
        tokens: Sequence[str] = (),
        host_names: Sequence[str] = (),
    ) -> Measuring:
        """Raises `UsageError` for what cannot be, so that it is told before the state directory is touched."""
        from headway.web.addresses import parse_address, refuse_open
        from headway.web.extras import require_exporter
        from headway.web.tokens import Tokens

        require_exporter("--metrics")
        address = parse_address(given, "--metrics")
        refuse_open(address, "--metrics", has_token=bool(Tokens.load(tokens, "--token")), option="--token")
        return cls(flow, address, directory, log_path, state_dir, tuple(tokens), tuple(host_names))

    @contextmanager
    def beside(self, tell: Callable[[str], None], observer: Optional[RunObserver] = None) -> Iterator[None]:
        """Export as long as the block lasts; `tell` hears where. What `observer` hears of a run is exported."""
        from headway.metrics.snapshots import SNAPSHOTS, Leaver
        from headway.state.private import make_private
        from headway.web.host import HostProcess

        make_private(self.log_path.parent)
        make_private(self.directory)
        for kind in SNAPSHOTS:  # What a run before has left says nothing of this one.
            with suppress(FileNotFoundError):
                (self.directory / kind.file_name).unlink()
        options = {
            "flow": self.flow,
            "directory": str(self.directory.absolute()),
            "state_dir": None if self.state_dir is None else str(self.state_dir.absolute()),
            "host": self.address.host,
            "tokens": list(self.tokens),
            "host_names": list(self.host_names),
        }
        with HostProcess("headway.metrics.server", self.address, "--metrics", options, self.log_path) as host:
            tell(f"metrics: {host.url}/metrics")
            if observer is None:
                yield
                return
            with Leaver(self.directory, observer.take):
                yield
