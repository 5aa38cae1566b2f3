"""What `headway run` has of backups: its options, the start from the last one, and those that it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional, TypeVar

import click

from headway.cli.escapes import printable_line
from headway.cli.options import DURATION, is_given

if TYPE_CHECKING:
    from headway.backups.automatic import AutomaticBackups
    from headway.backups.catalog import Listed
    from headway.cluster.backing import BackupPlan
    from headway.metrics.snapshots import Leaver
    from headway.runtime.directory import StateDirectory
    from headway.runtime.run import Beside

__all__ = ["BackupRequest", "backup_options", "backup_text", "backups_beside"]

C = TypeVar("C", bound=Callable[..., Any])


def backup_options(command: C) -> C:
    """What `headway run` has of backups."""
    for option in reversed(
        (
            click.option(
                "--backup-to",
                metavar="URL",
                help="Make backups of the state there: file:PATH, s3://, gs:// or az://. A run without a state "
                "directory goes on from the last one; see headway backup.",
            ),
            click.option(
                "--backup-every",
                "backup_every_ms",
                type=DURATION,
                default="10m",
                show_default=True,
                callback=_at_least_a_second,
                metavar="DURATION",
                help="How often, with --backup-to. A last one is made when the run ends well.",
            ),
            click.option(
                "--backup-keep",
                type=click.IntRange(1),
                default=24,
                show_default=True,
                metavar="N",
                help="How many backups are kept there; older ones are removed.",
            ),
            click.option(
                "--backup-anew",
                is_flag=True,
                help="Begin with nothing where there is no state directory, although there are backups.",
            ),
            click.option(
                "--backup-take-over",
                is_flag=True,
                help="Add to backups that are not the past of this state directory, or that another run makes.",
            ),
        )
    ):
        command = option(command)
    return command


def _at_least_a_second(ctx: click.Context, param: click.Parameter, value: int) -> int:
    if value < 1_000:
        msg = f"{value}ms is too short: it must be 1s or longer"
        raise click.BadParameter(msg, ctx, param)
    return value


@dataclass(frozen=True)
class BackupRequest:
    """What the command line says of backups."""

    url: Optional[str]
    every_ms: int
    keep: int
    anew: bool
    take_over: bool

    @classmethod
    def taken_from(cls, options: dict[str, Any]) -> BackupRequest:
        """Take it out of all options. Raises `click.UsageError` for options that say nothing without a place."""
        found = cls(
            options.pop("backup_to"),
            options.pop("backup_every_ms"),
            options.pop("backup_keep"),
            options.pop("backup_anew"),
            options.pop("backup_take_over"),
        )
        if found.url is None and is_given("backup_every_ms", "backup_keep"):
            msg = "--backup-every and --backup-keep are about the backups of --backup-to URL: give that too"
            raise click.UsageError(msg)
        if found.url is None and (found.anew or found.take_over):
            msg = "--backup-anew and --backup-take-over are about the place of --backup-to URL: give that too"
            raise click.UsageError(msg)
        return found

    def plan(self) -> Optional[BackupPlan]:
        """What a host of a cluster knows of backups; None where there are to be none."""
        if self.url is None:
            return None
        from headway.backups.store import open_store
        from headway.cluster.backing import BackupPlan

        return BackupPlan(open_store(self.url), self.every_ms, self.keep, self.take_over)

    def prepared(self, flow: str, directory: StateDirectory, tell: Callable[[str], None]) -> AutomaticBackups:
        """Let a directory without state go on from the last backup, and what is to make the next ones.

        Raises `StoreError` where nothing is known of backups that a directory without state may need, and
        `LockedStateError` when another run makes backups there.
        """
        from headway.backups.automatic import AutomaticBackups
        from headway.backups.catalog import Catalog
        from headway.backups.lease import await_end
        from headway.backups.restore import restore_backup
        from headway.backups.store import open_store
        from headway.savepoints.restore import forget_cut_off

        assert self.url is not None
        store = open_store(self.url)
        gone = 0
        forget_cut_off(directory)
        if directory.manifest() is None and not self.anew:
            catalog = Catalog(store).head()
            if catalog is None or catalog.last is None:
                tell(f"{flow}: {store.where} has no backups yet; the flow begins with nothing")
            else:
                if not self.take_over:
                    await_end(store, catalog, tell=tell)
                    gone = catalog.claim
                listed = restore_backup(store, catalog, catalog.last, directory, outputs="back", flow=flow)
                tell(f"{flow}: goes on from {backup_text(listed)} in {store.where}")
        return AutomaticBackups(
            store,
            directory,
            every_ms=self.every_ms,
            keep=self.keep,
            take_over=self.take_over,
            anew=self.anew,
            gone=gone,
        )


def backup_text(listed: Listed) -> str:
    """A backup in one line."""
    from headway.basics.times import format_time
    from headway.cli.texts import bytes_text, count_text

    size = f"{bytes_text(listed.size_bytes)}, {bytes_text(listed.sent_bytes)} of it sent"
    return printable_line(
        f"the backup {listed.name} of {format_time(listed.made_ms)} ({count_text(listed.events, 'event')}, {size})"
    )


def backups_beside(beside: Beside, backups: AutomaticBackups, metrics_dir: Optional[Path]) -> Beside:
    """What goes on beside a run, and backups every so often, about which figures are left for an exporter."""

    @contextmanager
    def both() -> Iterator[None]:
        with beside(), backups.beside(), nullcontext() if metrics_dir is None else _leaver(backups, metrics_dir):
            yield

    return both


def _leaver(backups: AutomaticBackups, directory: Path) -> Leaver:
    from headway.metrics.snapshots import BackupSnapshot, Leaver, now_ms, process_name

    process = process_name(now_ms())

    def take() -> BackupSnapshot:
        return BackupSnapshot(process=process, at_ms=now_ms(), **backups.figures._asdict())

    return Leaver(directory, take)
