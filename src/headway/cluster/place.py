"""`cluster.json` in a state directory: which history of a cluster the state of this machine belongs to.

The state directories of a cluster's machines are parts of one state. A *lineage* names the history that they share: a
random text, made when a cluster begins and again when it goes back to a backup. A machine that was replaced has none;
one that was away while the others went back to a backup has an older one. Either cannot go on with the others.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from headway.cluster.messages import Standing
from headway.errors import CorruptStateError, IncompatibleStateError
from headway.runtime.directory import StateDirectory
from headway.state.files import CLUSTER_NAME, state_files
from headway.state.private import read_private, write_private

__all__ = ["Place", "standing_of"]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What `cluster.json` holds."""

    lineage: str
    """Empty while the directory is being made what it will be."""
    host: str
    layout: list[tuple[str, int]]
    """The machines and their workers: another layout puts the key groups elsewhere."""

    def keep(self, directory: Path) -> None:
        """Write it, durably."""
        with state_files(directory, "write"):
            write_private(directory / CLUSTER_NAME, msgspec.json.encode(self) + b"\n", sync=True)

    @classmethod
    def of(cls, directory: Path) -> Place | None:
        """That of a state directory; None where there is none. Raises `CorruptStateError` for a damaged one."""
        path = directory / CLUSTER_NAME
        with state_files(path, "read"):
            try:
                return msgspec.json.decode(read_private(path), type=cls)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                msg = f"{path} cannot be read ({error}): move {directory} away, and the host goes on from a backup"
                raise CorruptStateError(msg) from error


def standing_of(directory: StateDirectory, host: str, layout: list[tuple[str, int]]) -> Standing:
    """What a host has. Needs no lock, and changes nothing.

    Raises `IncompatibleStateError` for a directory that was used without a cluster, or by another host of it.
    """
    manifest = directory.manifest()
    place = Place.of(directory.path)
    latest = directory.latest_generation()
    if place is None and manifest is not None:
        msg = (
            f"{directory} holds the state of a flow that ran on one machine: make a backup of it "
            "(headway backup create), then start the cluster with empty state directories; it goes on from the backup"
        )
        raise IncompatibleStateError(msg)
    if place is not None and place.host != host:
        msg = f"{directory} holds the state of host {place.host!r}, and --here says {host!r}: give each host its own"
        raise IncompatibleStateError(msg)
    has_groups = any((directory.path / "groups").glob("*/CURRENT"))
    if place is None or manifest is None or place.layout != layout:
        return Standing(latest=latest, has_groups=has_groups)
    return Standing(lineage=place.lineage, generation=manifest.generation, latest=latest, has_groups=has_groups)
