"""`headway demo`: see it work."""

from __future__ import annotations

import click

__all__ = ["demo"]


@click.command(short_help="See it work: a little shop that explains itself, in half a minute.")
def demo() -> None:
    """Run a little shop on this machine, and explain what happens.

    Events come in by HTTP, a decision is asked for, a service receives signed webhooks about abandoned carts, and each
    cart starts a durable function, which has services do one thing after the other. Meanwhile the flow is killed twice
    and started again. Everything is real, listens on loopback only, and is gone afterwards. Needs the extras http and
    serve.
    """
    from headway.web.extras import require_server

    require_server("headway demo")
    from headway.demo.story import tell_story

    tell_story(click.echo)
