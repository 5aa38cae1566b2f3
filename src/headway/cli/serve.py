"""`headway serve`, and the server of views beside a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Optional

import click

from headway.cli.measuring import Measuring, metrics_option
from headway.cli.options import examples, flow_argument, host_name_option, set_option, token_option

if TYPE_CHECKING:
    from headway.declare.loading import FlowSpec
    from headway.runtime.run import Beside

__all__ = ["serve", "views_beside"]

DEFAULT_ADDRESS = "127.0.0.1:8090"


@click.command(
    short_help="Answer other services' questions about a flow's views.",
    epilog=examples(
        "headway serve headway.flows.fraud_score",
        "headway serve my_flow.py --listen 127.0.0.1:9000 --state /var/lib/scores",
        "headway serve my_flow.py --listen 0.0.0.0:8090 --token file:/etc/headway/tokens",
    ),
)
@flow_argument
@set_option
@click.option(
    "--listen",
    default=DEFAULT_ADDRESS,
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen. Other addresses than those of this machine need a --token.",
)
@click.option(
    "--state",
    "state_dir",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="The state directory of the flow. Default: .headway/NAME-OF-THE-FLOW.",
)
@token_option
@host_name_option
@metrics_option
def serve(
    flow: str,
    settings: dict[str, str],
    listen: str,
    state_dir: Optional[Path],
    tokens: Sequence[str],
    host_names: Sequence[str],
    metrics_at: Optional[str],
) -> None:
    """Answer questions about the views of a flow over HTTP, whether it runs or not, until Ctrl-C or SIGTERM.

    FLOW is a Python file, or the name of a module. Views are what it declares with flow.serve(...). Answers are of
    one committed epoch, and a running flow is not slowed down. `headway run FLOW --serve HOST:PORT` starts this beside
    a run.
    """
    from headway.web.addresses import listen as listening
    from headway.web.addresses import parse_address, refuse_open
    from headway.web.extras import require_server

    require_server("headway serve")
    from headway.cli.places import default_state_dir
    from headway.declare.loading import FlowSpec, load_flow
    from headway.runtime.stopping import StopFlag
    from headway.serving.server import check_views, serve_views
    from headway.web.middleware import host_names as names_of
    from headway.web.tokens import Tokens

    address = parse_address(listen, "--listen")
    refuse_open(address, "--listen", has_token=bool(tokens), option="--token")
    loaded = load_flow(FlowSpec(flow, settings))
    check_views(loaded)
    admitted = Tokens.load(tokens, "--token")
    with ExitStack() as held:
        folder = Path(held.enter_context(TemporaryDirectory(prefix="headway-metrics-")))
        metrics = None
        if metrics_at is not None:
            metrics = Measuring.checked(
                loaded.name, metrics_at, folder / "metrics", folder / "log", tokens=tokens, host_names=host_names
            )
        sock = listening(address, "--listen")
        host, port = sock.getsockname()[:2]
        stop = held.enter_context(StopFlag().on_signals())
        if metrics is not None:
            held.enter_context(metrics.beside(lambda text: click.echo(text, err=True)))
        click.echo(f"views of {loaded.name}: http://{type(address)(host, port)}/v1/views", err=True)
        serve_views(
            loaded,
            state_dir or default_state_dir(loaded),
            [sock],
            tokens=admitted,
            hosts=names_of(address, host_names),
            stopping=stop,
            metrics=None if metrics is None else metrics.directory,
        )


def views_beside(
    spec: FlowSpec,
    state_dir: Path,
    given: str,
    tokens: Sequence[str],
    host_names: Sequence[str],
    *,
    show: bool,
    metrics_dir: Path,
) -> Beside:
    """What serves the views of a flow beside its run, and leaves in `metrics_dir` what it has answered.

    Raises `UsageError` for what cannot be served.
    """
    from headway.web.addresses import parse_address, refuse_open
    from headway.web.extras import require_server

    require_server("--serve")
    from headway.declare.loading import load_flow
    from headway.serving.server import check_views
    from headway.state.private import make_private
    from headway.web.host import HostProcess
    from headway.web.tokens import Tokens

    address = parse_address(given, "--serve")
    refuse_open(address, "--serve", has_token=bool(tokens), option="--token")
    Tokens.load(tokens, "--token")
    check_views(load_flow(spec))

    @contextmanager
    def beside() -> Iterator[None]:
        run_dir = state_dir / "run"
        make_private(run_dir)
        options = {
            "flow": spec.ref,
            "parameters": dict(spec.parameters),
            "state_dir": str(state_dir.absolute()),
            "host": address.host,
            "port": address.port,
            "tokens": list(tokens),
            "host_names": list(host_names),
            "metrics_dir": str(metrics_dir.absolute()),
        }
        with HostProcess("headway.serving.server", address, "--serve", options, run_dir / "serve.log") as server:
            if show:
                click.echo(f"views: {server.url}/v1/views", err=True)
            yield

    return beside
