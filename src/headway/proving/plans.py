"""What is done to a run: lives, each of which ends in its own way, drawn from a seed and written as a line of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from random import Random
from types import MappingProxyType
from typing import Final, NamedTuple

from headway.basics.crashpoints import POINTS
from headway.errors import UsageError
from headway.proving.crashes import Kill
from headway.proving.losing import KEEPS
from headway.proving.replay import Pace

__all__ = [
    "DIVIDED",
    "HASHED",
    "HASH_SEEDS",
    "REPEATED",
    "Ending",
    "Life",
    "Reference",
    "Trial",
    "drawn_trial",
    "pace_of",
    "quick_trials",
    "reference_trial",
    "resuming_trials",
    "simpler",
    "without_drain",
]

REPEATED: Final = "the same run once more"
HASHED: Final = "another hash seed"
DIVIDED: Final = "other batches, epochs and key groups"

HASH_SEEDS: Final = 3
"""How many different hash seeds processes have; strings hash otherwise under each."""
_CLUSTERS: Final = 0.06
"""The share of lives with several workers: each starts interpreters, and takes some ten times as long."""
_DRAINS: Final = 0.7
"""The share of trials that close the books in the end."""
_CLOSINGS: Final = 0.5
"""Of these, the share in which that is disturbed."""
_RESCALES: Final = 0.2
"""The share of lives before which the key groups are divided otherwise."""
_GROUPS: Final = (1, 2, 2, 3, 5)
_KEEPS: Final = 0.7
"""The share of lives, of those behind a first one, before which a savepoint or a backup is made."""
_LOSES: Final = 0.7
"""The share of the lives behind one with something kept that find their directory lost."""
_POWER: Final = 0.3
"""The share of kills that lose what was not synced."""
_EPOCHS_MS: Final = (5, 10, 10, 20, 50)
_BATCHES: Final = (1, 3, 17, 100, 1000)
_PER_EPOCH: Final = (10, 20, 50, 50, 200)
_LOG: Final = 1_000
"""Up to so many records of a partition, epochs are as short as they are drawn."""
_LEADING: Final = (
    Kill("delta.after", 3, whole_run=True),
    Kill("lines-sync.after", 2, whole_run=True),
    Kill("promotion.after", 3, whole_run=True),
)
"""Kills behind which a start has something to do: a delta is pending, a file is longer than it should be."""


@dataclass(frozen=True)
class Ending:
    """How a life ends: by itself (`end`), by a kill at a point or at a moment, or by a stop that it is told of."""

    how: str = "end"
    kill: Kill = field(default_factory=lambda: Kill("delta.after"))
    after_ms: int = 0
    """Of `moment` and `stop`: how long after its start, in milliseconds."""
    loses_power: bool = False
    """Whether what was not synced is lost with it."""

    def __str__(self) -> str:
        power = "+power" if self.loses_power else ""
        if self.how == "kill":
            return f"kill:{self.kill.point}:{self.kill.nth}{'+all' if self.kill.whole_run else ''}{power}"
        if self.how == "end":
            return "end"
        return f"{self.how}:{self.after_ms}ms{power}"

    @classmethod
    def parse(cls, text: str) -> Ending:
        """What `str` has written. Raises `ValueError`."""
        parts, *flags = text.split("+")
        how, *rest = parts.split(":")
        power = "power" in flags
        if how == "kill":
            point, nth = rest
            return cls("kill", Kill(point, int(nth), "all" in flags), loses_power=power)
        if how in ("moment", "stop"):
            [after] = rest
            return cls(how, after_ms=int(after.removesuffix("ms")), loses_power=power)
        if how != "end" or rest or flags:
            raise ValueError(text)
        return cls()


@dataclass(frozen=True)
class Life:
    """One process, or one cluster of them, from its start to its end."""

    workers: int = 1
    key_groups: int = 2
    """Where the state is divided otherwise when it starts, it is divided anew first."""
    hash_seed: int = 0
    """Which of the `HASH_SEEDS` its interpreter has."""
    epoch_ms: int = 10
    batch: int = 1000
    per_epoch: int = 1 << 30
    """Records of each partition in one epoch."""
    share: float = 1.0
    """How much of the logs is there when it starts; more of some partitions and less of others, by `mix`."""
    mix: int = 0
    drain: bool = False
    """Whether it closes the books at the end; all lives after it do so, too, and have read everything."""
    keeps: str = ""
    """Whether a `savepoint` or a `backup` is made of the state before it starts; empty for neither."""
    loses: bool = False
    """Whether the state directory is gone when it starts: it goes on from what was kept last, if anything was."""
    ending: Ending = field(default_factory=Ending)

    def __str__(self) -> str:
        kept = (f"keep={self.keeps}," if self.keeps else "") + ("lost=1," if self.loses else "")
        return (
            f"workers={self.workers},groups={self.key_groups},hash={self.hash_seed},epoch={self.epoch_ms},batch={self.batch},"
            f"records={self.per_epoch},share={self.share:g},mix={self.mix},drain={int(self.drain)},{kept}{self.ending}"
        )

    @classmethod
    def parse(cls, text: str) -> Life:
        """What `str` has written. Raises `ValueError`."""
        *words, ending = text.strip().split(",")
        found = dict(word.split("=") for word in words)
        return cls(
            workers=int(found["workers"]),
            key_groups=int(found["groups"]),
            hash_seed=int(found["hash"]),
            epoch_ms=int(found["epoch"]),
            batch=int(found["batch"]),
            per_epoch=int(found["records"]),
            share=float(found["share"]),
            mix=int(found["mix"]),
            drain=found["drain"] == "1",
            keeps=found.get("keep", ""),
            loses=found.get("lost") == "1",
            ending=Ending.parse(ending),
        )


@dataclass(frozen=True)
class Trial:
    """A state directory, and the lives that go on with it one after the other. The last one reads to the end."""

    lives: tuple[Life, ...]

    @property
    def drain(self) -> bool:
        """Whether the books are closed in the end."""
        return self.lives[-1].drain

    @property
    def disturbances(self) -> int:
        """How many lives do not end by themselves."""
        return sum(life.ending.how != "end" for life in self.lives)

    def __str__(self) -> str:
        return " / ".join(map(str, self.lives))

    @property
    def problem(self) -> str:
        """Why no flow could live so, in words; empty for a plan that can be carried out."""
        *before, last = self.lives
        closing = [life for life in self.lives if life.drain]
        if last.ending.how != "end":
            return "the last life must read to the end"
        if [life.drain for life in self.lives] != sorted(life.drain for life in self.lives):
            return "a life after one that closes the books must close them too"
        if any(life.drain and life.ending.how == "end" for life in before):
            return "a life comes after one that has closed the books"
        if len({life.key_groups for life in closing}) > 1:
            return "key groups are divided anew while the books are being closed"
        if any(life.share < 1 for life in closing):
            return "a life closes the books before it has read everything"
        if any(life.keeps and life.keeps not in KEEPS for life in self.lives):
            return f"what is kept is a {' or a '.join(KEEPS)}"
        if any(life.loses or life.keeps for life in closing[1:]):
            return "a directory is kept or lost while its books are being closed"
        if any(life.workers < 1 or life.key_groups < 1 or life.batch < 1 or life.per_epoch < 1 for life in self.lives):
            return "workers, groups, batch and records are 1 or more"
        return ""

    @classmethod
    def parse(cls, text: str) -> Trial:
        """What `str` has written. Raises `UsageError` for anything else, and for what has a `problem`."""
        try:
            found = cls(tuple(map(Life.parse, text.split(" / "))))
            problem = found.problem
        except KeyError as error:
            problem = f"a life says nothing of {error}"
        except ValueError as error:
            problem = str(error)
        if problem:
            msg = f"{text!r} is no plan of a run: give one that `headway prove` has printed ({problem})"
            raise UsageError(msg)
        return found


class Reference(NamedTuple):
    """What is known of a run that nobody disturbed."""

    counts: Mapping[str, int]
    """How often points were reached."""
    took_ms: float
    resumed: Mapping[str, tuple[Kill, int]] = MappingProxyType({})
    """Points that only a start comes to which goes on behind a kill: that kill, and how often the start came to it."""
    longest: int = 0
    """How many records the largest partition has."""

    @property
    def pace(self) -> int:
        """By how much the records in an epoch are multiplied, so that a long log does not mean as many more epochs."""
        return max(1, self.longest // _LOG)


def reference_trial(*, drain: bool, pace: int = 1) -> Trial:
    """A run that nobody disturbs."""
    return Trial((Life(per_epoch=40 * pace, drain=drain),))


def resuming_trials(pace: int = 1) -> list[Trial]:
    """Runs that are killed, divided otherwise, and go on: they tell which points a start comes to."""
    first = Life(per_epoch=40 * pace, share=0.6)
    return [
        Trial((replace(first, ending=Ending("kill", kill)), Life(per_epoch=40 * pace, key_groups=3)))
        for kill in _LEADING
    ]


def quick_trials(pace: int = 1) -> dict[str, Trial]:
    """Runs that nobody disturbs, each with one thing otherwise that must not matter, by what it means if it does.

    They find most faults in a second, and say of what kind these are.
    """
    [life] = reference_trial(drain=True, pace=pace).lives
    divided = replace(life, batch=1, per_epoch=13 * pace, epoch_ms=5, key_groups=1)
    both = replace(life, hash_seed=2, batch=3, per_epoch=7 * pace, key_groups=3, drain=False)
    return {
        REPEATED: Trial((life,)),
        HASHED: Trial((replace(life, hash_seed=1),)),
        DIVIDED: Trial((divided,)),
        f"{HASHED}, {DIVIDED}": Trial((both,)),
    }


def drawn_trial(rng: Random, number: int, staying: Reference, draining: Reference) -> Trial:
    """One of many trials; the references are of runs that nobody disturbed, without and with the books closed.

    The points take turns, by the number of the trial, so that all that are reached are soon tried. Those that only a
    start comes to are tried behind the kill that leads to them.
    """
    count = rng.choice((1, 1, 1, 2, 2, 3))
    drains = rng.random() < _DRAINS
    closing = drains and rng.random() < _CLOSINGS
    lives: list[Life] = []
    groups = rng.choice(_GROUPS)
    for index, share in enumerate(sorted(round(rng.uniform(0.1, 1.0), 2) for _ in range(count))):
        closes = closing and index == count - 1
        known = draining if closes else staying
        points = [*sorted(known.counts), *(() if closes else sorted(staying.resumed))] or [POINTS[0]]
        point = points[(number + 13 * index) % len(points)]
        clusters = 0.0 if closes else _CLUSTERS
        groups = rng.choice(_GROUPS) if rng.random() < _RESCALES else groups
        life = replace(_life(rng, clusters, staying.pace), key_groups=groups, drain=closes, share=share)
        if point in staying.resumed and point not in known.counts:
            kill, times = staying.resumed[point]
            lives.append(replace(life, workers=1, ending=Ending("kill", kill, loses_power=rng.random() < _POWER)))
            groups = rng.choice([other for other in _GROUPS if other != groups])
            life = replace(_life(rng, 0.0, staying.pace), key_groups=groups, share=share)
            ending = Ending("kill", Kill(point, 1 + rng.randrange(times), whole_run=True))
        else:
            ending = _ending(rng, point, known, life)
        lives.append(replace(life, share=1.0 if closes else share, ending=ending))
    # A directory whose books are being closed is not divided anew.
    groups = rng.choice(_GROUPS) if rng.random() < _RESCALES and not closing else groups
    last = replace(_life(rng, 0.0 if drains else _CLUSTERS, staying.pace), key_groups=groups, drain=drains)
    return Trial(tuple(_with_losses(rng, [*lives, last], staying)))


def _with_losses(rng: Random, lives: list[Life], staying: Reference) -> Iterator[Life]:
    """The lives, some of them with something kept before them, and others with a directory that is lost.

    A life that is to come to a point behind a kill goes on with what that has left.
    """
    is_kept = closes = False
    for number, life in enumerate(lives):
        loses = is_kept and rng.random() < _LOSES
        keeps = rng.choice(KEEPS) if number and not loses and rng.random() < _KEEPS else ""
        if closes or (life.ending.how == "kill" and life.ending.kill.point in staying.resumed):
            yield life
        else:
            yield replace(life, keeps=keeps, loses=loses)
            is_kept = is_kept or bool(keeps)
        closes = closes or life.drain


def _life(rng: Random, clusters: float, pace: int) -> Life:
    return Life(
        workers=rng.choice((2, 2, 3)) if rng.random() < clusters else 1,
        hash_seed=rng.randrange(HASH_SEEDS),
        epoch_ms=rng.choice(_EPOCHS_MS),
        batch=rng.choice(_BATCHES),
        per_epoch=pace * rng.choice(_PER_EPOCH),
        mix=rng.randrange(1 << 20),
    )


def _ending(rng: Random, point: str, known: Reference, life: Life) -> Ending:
    how = rng.choices(("kill", "moment", "stop"), (7, 2, 1))[0]
    power = how != "stop" and rng.random() < _POWER
    if how != "kill":
        # A cluster takes its time to come up.
        after_ms = rng.uniform(0.02, 0.8) * known.took_ms + (0 if life.workers == 1 else 700)
        return Ending(how, after_ms=round(after_ms), loses_power=power)
    nth = 1 + int(known.counts.get(point, 1) * rng.random() ** 2 * 0.6)
    return Ending("kill", Kill(point, nth, rng.random() < 0.5 or power), loses_power=power)


def without_drain(trial: Trial) -> Trial:
    """The same trial, in which the books stay open."""
    return replace(trial, lives=tuple(replace(life, drain=False) for life in trial.lives))


def pace_of(trial: Trial, number: int, sizes: Mapping[str, Mapping[str, int]]) -> Pace:
    """What the life of that number gets to read: of no partition less than the one before it got."""
    visible: dict[str, dict[str, int]] = {name: dict.fromkeys(parts, 0) for name, parts in sizes.items()}
    for life in trial.lives[: number + 1]:
        rng = Random(life.mix)
        for name, parts in sizes.items():
            for part, size in parts.items():
                some = size if life.share >= 1 else int(size * min(1.0, life.share * rng.uniform(0.5, 1.5)))
                visible[name][part] = max(visible[name][part], some)
    # The last life reads everything, so that all trials have read the same in the end.
    if number == len(trial.lives) - 1:
        visible = {name: dict(parts) for name, parts in sizes.items()}
    life = trial.lives[number]
    return Pace(life.batch, life.per_epoch, visible)


def simpler(trial: Trial) -> Iterator[Trial]:
    """Trials with something less, for finding the least that shows a difference; those that leave out most first."""
    for other in _with_less(trial):
        if other != trial and not other.problem:
            yield other


def _with_less(trial: Trial) -> Iterator[Trial]:
    *disturbed, last = trial.lives
    for number in range(len(disturbed)):
        yield replace(trial, lives=(*disturbed[:number], *disturbed[number + 1 :], last))
    # Where books are closed, all lives that close them have the same groups.
    yield replace(trial, lives=tuple(replace(life, key_groups=trial.lives[0].key_groups) for life in trial.lives))
    for number, life in enumerate(trial.lives):
        before = trial.lives[number - 1].key_groups if number else life.key_groups
        others = [
            replace(life, workers=1),
            replace(life, key_groups=before),
            replace(life, ending=replace(life.ending, loses_power=False)),
            replace(life, loses=False),
            replace(life, keeps="savepoint" if life.keeps else ""),
            replace(life, keeps=""),
        ]
        if number < len(disturbed):
            others.append(replace(life, ending=Ending()))
        for other in others:
            yield replace(trial, lives=(*trial.lives[:number], other, *trial.lives[number + 1 :]))
