"""`headway version`."""

from __future__ import annotations

import click

from headway.cli.process import say

__all__ = ["version"]


@click.command()
def version() -> None:
    """Show the versions of Headway and of what it stands on."""
    import platform
    from importlib.metadata import version as installed

    from headway.basics import compiled

    below = ", ".join(f"{name} {installed(name)}" for name in ("bytewax", "rocksdict", "msgspec"))
    say(f"headway {installed('headway')} (Python {platform.python_version()}, {below}; hot path: {compiled.how()})")
    plain = compiled.notice()
    if plain is not None:
        say(f"note: {plain}")
