"""What a host does when the coordinator orders it: its state directory, its workers, its part of a backup."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Optional

import msgspec

from headway.cluster.backing import SiteBackups
from headway.cluster.hosts import Host, Hosts
from headway.cluster.messages import Adopt, Answer, Fetch, Join, Link, Listen, Open, Standing, Start, Trust, What
from headway.cluster.place import Place, standing_of
from headway.cluster.ports import free_addresses
from headway.cluster.talk import proof
from headway.declare.loading import FlowSpec
from headway.errors import ClusterError, IncompatibleStateError
from headway.plan.layout import lay_out
from headway.plan.stages import Plan
from headway.runtime.directory import StateDirectory
from headway.runtime.engine_log import EngineLog
from headway.runtime.job_options import monotonic_ms
from headway.runtime.opening import settled_manifest
from headway.runtime.run import RunOptions, TellChange, open_state
from headway.runtime.stats import WorkerStats
from headway.runtime.workers import LocalWorkers
from headway.state.files import check_room, state_files
from headway.state.manifest import Manifest
from headway.state.private import make_private

__all__ = ["Duties"]


class Duties:
    """A host's state directory and workers; used by one thread, but for `send`.

    The lock of the directory is held from `Open` or `Adopt` on, until the host goes back to a backup or ends.
    """

    def __init__(
        self,
        plan: Plan,
        spec: FlowSpec,
        options: RunOptions,
        hosts: Hosts,
        here: Host,
        backups: Optional[SiteBackups],
        tell: TellChange,
    ) -> None:
        self.indices = hosts.indices(here.name)
        """The numbers of the workers of this host."""
        self.attempt = 0
        """The last one whose workers were started."""
        self._plan = plan
        self._spec = spec
        self._options = options
        self._directory = StateDirectory(options.state_dir, is_part=True)
        self._hosts = hosts
        self._here = here
        self._backups = backups
        self._tell = tell
        self._secret = hosts.secret_bytes()
        self._held = ExitStack()
        self._lock_fd: Optional[int] = None
        self._premises = self._directory.premises()
        self._key = b""
        self._log: Optional[EngineLog] = None
        """The engine's, of the first host."""
        self._addresses: list[str] = []
        self._workers: Optional[LocalWorkers] = None
        self._began_ms = 0

    def standing(self) -> Standing:
        """What the host has; see `standing_of`."""
        return standing_of(self._directory, self._here.name, self._hosts.layout)

    def carry_out(self, what: What) -> Answer:
        """Do what is ordered. Raises `WorkerLost` or the `HeadwayError` that keeps it from being done."""
        if isinstance(what, Open):
            return Answer(number=0, manifest=self._open(what))
        if isinstance(what, Adopt):
            self._adopt(what)
        elif isinstance(what, Fetch):
            return Answer(number=0, standing=self._fetch(what))
        elif isinstance(what, Listen):
            return Answer(number=0, addresses=free_addresses(self._here, len(self.indices), what.attempt))
        elif isinstance(what, Start):
            self._start(what)
        elif isinstance(what, Join):
            last = len(self._addresses) - 1
            self._running.join(self._key, self._addresses, is_last=lambda index: index == last)
        elif isinstance(what, Trust):
            self._running.say("trust")
        elif isinstance(what, Link):
            self._check_lock()
            part, versions = self._backing.link(what.name, what.made_ms, what.versions)
            return Answer(number=0, part=part, versions=versions)
        else:
            self._backing.send(what.claim, what.name, what.digests)
        return Answer(number=0)

    # The state directory

    def _open(self, order: Open) -> bytes:
        """As the first host: make the directory ready, and the engine's log, which no other host has."""
        self._lock()
        found = settled_manifest(self._directory)
        if found is not None:
            self._check_unchanged(found)
        self._keep_place(order.lineage)
        manifest = open_state(self._plan, self._options, self._tell, self._directory)
        self._log = self._directory.engine_log(manifest.generation)
        return msgspec.json.encode(manifest)

    def _adopt(self, order: Adopt) -> None:
        """As another host: be ready for what the first one has found."""
        manifest = msgspec.json.decode(order.manifest, type=Manifest)
        if lay_out(self._plan, manifest.key_groups, manifest).layout != manifest.layout:
            msg = (
                f"the flow on host {self._here.name} is not that of host {self._hosts.first.name}: put the same code "
                "and the same --set on all hosts"
            )
            raise IncompatibleStateError(msg)
        self._lock()
        found = settled_manifest(self._directory)
        self._keep_place(order.lineage)
        if found != manifest:
            self._directory.keep_manifest(manifest)
        self._directory.remove_other_generations(manifest.generation)
        for source in self._plan.sources:
            source.node.input.prepare(self._hosts.workers)
        log = self._directory.engine_log(manifest.generation).path
        with state_files(log, "write"):
            make_private(log)  # The engine looks for its log there, and finds it with the first host.

    def _check_unchanged(self, found: Manifest) -> None:
        """Raise `IncompatibleStateError` for a flow whose change would rewrite what each host has."""
        if lay_out(self._plan, found.key_groups, found).generation != found.generation:
            place = "" if self._backups is None else f" {self._backups.where}"
            msg = (
                "the flow has changed so that its state must be written anew, and that is done on one machine: restore "
                f"the last backup there (headway backup restore{place}), run the flow on it once, make a backup of "
                "that (headway backup create), and start the cluster with empty state directories"
            )
            raise IncompatibleStateError(msg)

    def _fetch(self, order: Fetch) -> Standing:
        """Go back to a backup. Until that is done, the directory belongs to no history."""
        self.end()
        self._release()
        make_private(self._directory.path)
        self._keep_place("")
        self._backing.fetch(order.backup, order.generation)
        self._keep_place(order.lineage)
        return self.standing()

    def _keep_place(self, lineage: str) -> None:
        Place(lineage=lineage, host=self._here.name, layout=self._hosts.layout).keep(self._directory.path)

    def _lock(self) -> None:
        if self._lock_fd is None:
            self._lock_fd = self._held.enter_context(self._directory.locked()).fileno()
            self._premises = self._directory.premises()

    def _check_lock(self) -> None:
        if self._lock_fd is None:
            msg = f"{self._directory} is not open: the orders of the coordinator came in a wrong order"
            raise ClusterError(msg)

    def _release(self) -> None:
        self._lock_fd = None
        self._held.close()

    def close(self) -> None:
        """End the workers, and what is being sent, and give the directory back."""
        self.end()
        if self._backups is not None:
            self._backups.close()
        self._release()

    # The workers

    @property
    def _running(self) -> LocalWorkers:
        if self._workers is None:
            msg = "no worker was started: the orders of the coordinator came in a wrong order"
            raise ClusterError(msg)
        return self._workers

    @property
    def _backing(self) -> SiteBackups:
        if self._backups is None:
            msg = f"host {self._here.name} was started without --backup-to: give it on all hosts, the same everywhere"
            raise ClusterError(msg)
        return self._backups

    def _start(self, order: Start) -> None:
        self._check_lock()
        self.end()
        self.check()
        check_room(self._directory.path)
        if self._log is not None:
            self._log.prepare()  # A backup may have been made of it since it was opened.
        assert self._lock_fd is not None
        self.attempt = order.attempt
        self._began_ms = monotonic_ms()
        self._addresses = order.addresses
        self._key = proof(self._secret, b"attempt", order.number)
        self._workers = LocalWorkers(self._spec, self._directory.run_dir, self._lock_fd, self._options.hang_after_ms)
        self._workers.clear()
        options = self._options.job_options(workers=self._hosts.workers)
        self._workers.start(self.indices, order.addresses, options)
        self._workers.await_ready()

    def check(self) -> None:
        """Raise `StateError` when the state directory is not the one that it was."""
        if self._lock_fd is not None:
            self._premises.check()

    @property
    def has_workers(self) -> bool:
        """Whether workers were started and not ended yet."""
        return self._workers is not None

    def are_running(self) -> bool:
        """Whether any of them goes on; raises as `LocalWorkers.check_alive`, for those that have ended badly."""
        running = self._running.are_running()
        self._running.check_alive()  # Behind it: one that dies in between is no one that has ended well.
        return running

    def stop(self) -> None:
        """Let the workers end with their epoch, if there are any."""
        if self._workers is not None:
            self._workers.say("stop")

    def end(self) -> None:
        """End them at once."""
        if self._workers is not None:
            self._workers.end()
            self._workers = None

    def statistics(self) -> list[WorkerStats]:
        """What they have said of themselves."""
        return self._running.statistics(self.indices)

    def still_ms(self, workers: list[WorkerStats]) -> int:
        """How long nothing has moved in any of them."""
        return monotonic_ms() - max([self._began_ms, *(worker.beat_ms for worker in workers)])
