"""The server that takes posts beside a run: its options, and what is shown of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.options import SIZE

if TYPE_CHECKING:
    from headway.declare.flow import Flow
    from headway.declare.loading import FlowSpec
    from headway.runtime.run import Beside

__all__ = ["Listening", "listen_options"]


def listen_options(command: Any) -> Any:
    """What `headway run` is told about the server that takes posts."""
    listen = click.option(
        "--listen",
        metavar="HOST:PORT",
        help="Take events by HTTP there, for the sources of the flow that are an http_source, until stopped by Ctrl-C. "
        "Other than on 127.0.0.1 with --token only.",
    )
    most = click.option(
        "--max-body",
        type=SIZE,
        metavar="SIZE",
        default="8MiB",
        show_default=True,
        help="The largest request that --listen takes, also when it is unpacked.",
    )
    return listen(most(command))


@dataclass(frozen=True)
class Listening:
    """A server that is asked for, and may be: its options are checked, and nothing is started."""

    spec: FlowSpec
    state_dir: Path
    address: Any
    tokens: tuple[str, ...]
    host_names: tuple[str, ...]
    max_body: int
    metrics_dir: Optional[Path]
    traces: Optional[str]
    paths: tuple[str, ...]

    @classmethod
    def checked(
        cls,
        flow: Flow,
        spec: FlowSpec,
        state_dir: Path,
        listen: str,
        *,
        tokens: tuple[str, ...] = (),
        host_names: tuple[str, ...] = (),
        max_body: int = 8 << 20,
        metrics_dir: Optional[Path] = None,
        traces: Optional[str] = None,
    ) -> Listening:
        """Raises `UsageError` for what cannot be, so that it is told before the state directory is touched."""
        from headway.web.addresses import parse_address, refuse_open
        from headway.web.extras import require_server
        from headway.web.tokens import Tokens

        require_server("--listen")
        from headway.ingest.server import doors_of

        address = parse_address(listen, "--listen")
        refuse_open(address, "--listen", has_token=bool(Tokens.load(tokens, "--token")), option="--token")
        paths = tuple(sorted(doors_of(flow, state_dir)))
        return cls(spec, state_dir, address, tokens, host_names, max_body, metrics_dir, traces, paths)

    def beside(self, tell: Callable[[str], None]) -> Beside:
        """What goes on beside the run; `tell` hears where it listens."""

        @contextmanager
        def listening() -> Iterator[None]:
            from headway.state.private import make_private
            from headway.web.host import HostProcess

            run_dir = self.state_dir / "run"
            make_private(run_dir)
            options = {
                "flow_ref": self.spec.ref,
                "parameters": dict(self.spec.parameters),
                "state_dir": str(self.state_dir),
                "tokens": list(self.tokens),
                "host": self.address.host,
                "host_names": list(self.host_names),
                "max_body": self.max_body,
                "max_concurrency": 1_024,
                "traces": self.traces,
                "metrics_dir": None if self.metrics_dir is None else str(self.metrics_dir.absolute()),
            }
            host = HostProcess("headway.ingest.server", self.address, "--listen", options, run_dir / "ingest.log")
            with host:
                tell(f"takes events at {', '.join(host.url + path for path in self.paths)}")
                yield

        return listening
