"""What `headway run` has of a flow on several machines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Optional, TypeVar

import click

if TYPE_CHECKING:
    from headway.cluster.backing import BackupPlan
    from headway.cluster.hosts import Host, Hosts

__all__ = ["HostRequest", "Hosted", "host_options"]

C = TypeVar("C", bound=Callable[..., Any])


_REASONS = {
    "--backup-anew": "begins with nothing: give another place for backups and empty state directories instead",
}


class Hosted(NamedTuple):
    """The machine that this is, as one of a cluster."""

    hosts: Hosts
    here: Host
    backups: Optional[BackupPlan]


class HostRequest(NamedTuple):
    """What the command line says of a cluster."""

    path: Path
    here: str

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> Optional[HostRequest]:
        """Take it out of all options; None where there is none. Raises `click.UsageError` for one without the other."""
        path, here = options.pop("cluster"), options.pop("here")
        if path is None and here is None:
            return None
        if path is None or here is None:
            msg = "--cluster and --here belong together: which machines there are, and which of them this one is"
            raise click.UsageError(msg)
        return cls(path, here)

    @staticmethod
    def check_alone(options: dict[str, Any], others: dict[str, Any]) -> None:
        """Raise `click.UsageError` for options that a host of a cluster does not have; `others` are given or not."""
        if options["workers"] > 1:
            msg = "--workers is about one machine: with --cluster the hosts file says how many workers each host has"
            raise click.UsageError(msg)
        if options["drain"]:
            msg = (
                "--drain closes the books of one state directory, and each host has its own: restore the last backup "
                "on one machine, and drain it there"
            )
            raise click.UsageError(msg)
        for name, value in others.items():
            if value is not None:
                why = _REASONS.get(name, "needs all of the state on one machine, and each host has a part of it")
                msg = f"{name} cannot be given with --cluster: it {why}"
                raise click.UsageError(msg)

    def hosted(self, backups: Optional[BackupPlan]) -> Hosted:
        """Read the hosts file. Raises `UsageError` that names what is wrong in it."""
        from headway.cluster.hosts import load_hosts

        hosts = load_hosts(self.path)
        here = hosts[self.here]
        hosts.secret_bytes()  # What is wrong with it is told before anything is opened.
        return Hosted(hosts, here, backups)


def host_options(command: C) -> C:
    """What `headway run` has of several machines."""
    for option in reversed(
        (
            click.option(
                "--cluster",
                type=click.Path(dir_okay=False, path_type=Path),
                metavar="FILE",
                help="Run on several machines, each with its own state directory: FILE, the same on all of them, says "
                "which. A machine that is lost is replaced by one that goes on from the last backup; see --backup-to.",
            ),
            click.option("--here", metavar="NAME", help="Which host of --cluster this machine is."),
        )
    ):
        command = option(command)
    return command
