"""Where the workers of a host listen: at ports that are free, and not those of the attempt before."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import Optional

from headway.cluster.hosts import Host
from headway.errors import ClusterError

__all__ = ["free_addresses"]


def free_addresses(here: Host, count: int, attempt: int) -> list[str]:
    """So many addresses of a host, of the ports that it allows, or any.

    An attempt begins behind the ports of the one before: nobody dials those any more. Raises `ClusterError`.
    """
    low, high = here.ports
    span = high - low + 1
    ports = [low + (attempt * count + step) % span for step in range(span)] if low else [0] * count
    found: list[str] = []
    refusal: Optional[OSError] = None
    with ExitStack() as held:
        for port in ports:
            probe = held.enter_context(socket.socket(socket.AF_INET6 if ":" in here.ip else socket.AF_INET))
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((here.ip, port))
            except OSError as error:
                refusal = error
                continue
            found.append(f"{here.address.rpartition(':')[0]}:{probe.getsockname()[1]}")
            if len(found) == count:
                return found
    why = f" ({refusal.strerror})" if refusal is not None else ""
    where = f"its ports {low}-{high}" if low else "any port"
    msg = (
        f"the workers of host {here.name} cannot listen at {here.ip} on {where}{why}: the address must be one of this "
        f"machine, and {count} ports must be free"
    )
    raise ClusterError(msg) from refusal
