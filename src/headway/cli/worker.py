"""`headway worker`."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Optional

import click

from headway.cli.options import examples, set_option
from headway.errors import FlowError, UsageError

if TYPE_CHECKING:
    from headway.steps.worker import Worker

__all__ = ["worker"]

_CONCURRENCY = 10


@click.command(
    short_help="Run steps of a flow's functions, on this or another machine.",
    epilog=examples(
        "headway worker steps.py --connect http://127.0.0.1:8080",
        "headway worker steps.py --connect https://flow.example --queues payments,mails --token env:HEADWAY_TOKEN",
    ),
)
@click.argument("file", metavar="FILE")
@click.option("--connect", "url", metavar="URL", required=True, help="The address at which headway run --listen is.")
@click.option("--queues", metavar="NAME,...", help="The queues to work for. Default: those of the steps in FILE.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 10_000),
    default=_CONCURRENCY,
    show_default=True,
    metavar="N",
    help="How many steps run at once.",
)
@click.option("--token", metavar="WHERE", help="The bearer token that the flow asks for: env:NAME or file:PATH.")
@click.option("--name", metavar="NAME", help="What this worker is called. Default: the machine's name and a number.")
@set_option
def worker(
    file: str,
    url: str,
    queues: Optional[str],
    concurrency: int,
    token: Optional[str],
    name: Optional[str],
    settings: dict[str, str],
) -> None:
    """Run steps that are declared in FILE, for the flow at URL, until Ctrl-C or SIGTERM.

    FILE declares steps with hw.Steps(), or is the file of the flow. The flow's queues that workers may ask are those
    with runs_on="workers". When it is told to stop, it finishes what runs and takes nothing new; told again, it ends
    at once, and the flow has what it did not finish done by others.
    """
    from headway.client.protocol import check_url
    from headway.steps.worker import Worker
    from headway.steps.worker_client import WorkerClient

    check_url(url)
    steps = _steps_in(file, settings)
    wanted = [one.strip() for one in queues.split(",") if one.strip()] if queues else _queues_of(steps)
    shown = name or f"{socket.gethostname()}-{os.getpid()}"

    def tell(text: str) -> None:
        click.echo(f"{shown}: {text}", err=True)

    try:
        import aiohttp  # noqa: F401
    except ImportError:
        msg = "headway worker needs aiohttp, which is not installed: pip install 'headway[http]'"
        raise UsageError(msg) from None
    made = Worker(
        steps, wanted, WorkerClient(url, _header(token), tell), concurrency=concurrency, name=shown, tell=tell
    )
    tell(f"works for {url}: queues {', '.join(wanted)}; steps {', '.join(sorted(steps))}")
    asyncio.run(_run(made))
    tell(f"stopped, with {made.done:,} steps done")


async def _run(made: Worker) -> None:
    stopping, aborting = asyncio.Event(), asyncio.Event()

    def stop() -> None:
        (aborting if stopping.is_set() else stopping).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await made.run(stopping, aborting)


def _steps_in(ref: str, settings: Mapping[str, str]) -> dict[str, Any]:
    """The steps that a file declares. Raises `FlowError` where there is none."""
    from headway.declare.loading import FlowSpec, load_module
    from headway.durable.flow import Functions
    from headway.steps.declared import Steps
    from headway.steps.local import is_run

    spec = FlowSpec(ref, dict(settings))
    found = vars(load_module(spec))
    values = list(found.values()) if spec.attribute is None else [found.get(spec.attribute)]
    steps: dict[str, Any] = {}
    for one in values:
        if isinstance(one, Steps):
            steps |= one.registered
        elif isinstance(one, Functions):
            steps |= {name: callee for name, callee in one.callees.items() if is_run(callee)}
    if not steps:
        msg = f"{ref} declares no steps to run: write  steps = hw.Steps()  there, and @steps.step before each function"
        raise FlowError(msg)
    return steps


def _queues_of(steps: Mapping[str, Any]) -> list[str]:
    return sorted({step.queue for step in steps.values()})


def _header(token: Optional[str]) -> dict[str, str]:
    if token is None:
        return {}
    from headway.basics.secret import Secret

    secret = Secret(token, "--token")
    if secret.reference is None:
        msg = "--token takes where the token is, not the token: write env:NAME or file:PATH"
        raise UsageError(msg)
    return {"authorization": f"Bearer {secret.one()}"}
