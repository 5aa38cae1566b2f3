"""The contract of targets as a test: for the targets of Headway, and for yours."""

from __future__ import annotations

import asyncio
import math
import pickle
from collections.abc import Callable, Collection, Coroutine, Iterable, Sequence
from contextlib import suppress
from hashlib import blake2b
from typing import Any, Final, Optional

import msgspec
from msgspec.structs import replace

from headway.errors import HeadwayError
from headway.targets.base import Answer, Delivery, Outcome, Target

__all__ = ["check_target"]

_TYPE: Final = "contract.checked"
_HARD_KEYS: Final = ("", "a\r\nx-injected: 1", 'quote " and % and ü', "🛒", "'; DROP TABLE x; --", "k" * 500)
_TRACE: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
_LIMIT_S: Final = 60.0
_ENDING_S: Final = 5.0
"""How long tasks that were cancelled may take to end, seconds."""

Values = Callable[[int], Any]
Received = Callable[[], Collection[str]]


def check_target(
    make_target: Callable[[], Target],
    *,
    value: Optional[Values] = None,
    value_type: Any = Any,
    received: Optional[Received] = None,
    make_unreachable: Optional[Callable[[], Target]] = None,
    secrets: Iterable[str] = (),
    cancelled_at: Iterable[int] = range(0, 30, 3),
) -> None:
    """Check that a target keeps its contract. Raises `AssertionError` with what it does not keep.

    `make_target` makes the same target each time, with a receiver behind it that takes everything. `value` makes the
    value of the number-th trigger (default: `{"n": number}`), and `value_type` is the type of the stream. `received`
    tells the ids of what had an effect so far, as often as it had one: then it is also checked that nothing is missing,
    and where the target is exact that nothing is there twice. `make_unreachable` makes a target whose receiver is not
    there; `deliver` must not raise a `HeadwayError` then, because that ends the run. `secrets` are texts that must not
    be seen in the target. `cancelled_at` are the numbers of steps of the event loop after which a delivery is
    cancelled.

    What is checked: the name and the limits; answers for each trigger of a batch, in order; hard keys; repeats with
    the same id; several batches at once; a delivery that is cancelled and comes again; a target that is opened anew
    and gets again what the one before has taken; that closing leaves no task behind; that secrets do not show. Takes
    its own event loop, so it must not be called from within one.

    >>> import headway as hw
    >>> taken = []
    >>> def take(trigger):
    ...     taken.append(trigger.id)
    >>> check_target(lambda: hw.call(take), received=lambda: taken)
    """
    check = _Check(make_target, value or _numbered, value_type, received)
    check.declared(list(secrets))
    for step in (check.answers, check.repeats, check.several_at_once):
        _run(step())
    for steps in cancelled_at:
        _run(check.cancelled(steps))
    _run(check.opened_anew())
    check.everything_is_there()
    if make_unreachable is not None:
        _run(check.unreachable(make_unreachable()))


def _numbered(number: int) -> Any:
    return {"n": number}


def _run(step: Coroutine[Any, Any, None]) -> None:
    async def limited() -> None:
        await asyncio.wait_for(step, _LIMIT_S)
        # What was cancelled gets the time to end.
        ending = asyncio.all_tasks() - {asyncio.current_task()}
        if ending:
            _, left = await asyncio.wait(ending, timeout=_ENDING_S)
            assert not left, f"close() leaves tasks behind: {', '.join(map(str, left))}"

    asyncio.run(limited())


class _Check:
    """One check: which deliveries there have been."""

    def __init__(
        self, make_target: Callable[[], Target], value: Values, value_type: Any, received: Optional[Received]
    ) -> None:
        self._make = make_target
        self._value = value
        self._value_type = value_type
        self._received = received
        self._number = 0
        self._done: list[Delivery] = []

    def declared(self, secrets: Sequence[str]) -> None:
        """What can be seen of a target that is not open."""
        target, other = self._made(), self._made()
        assert target.name == other.name, f"name changes: {target.name!r} and {other.name!r} are of the same target"
        for what, text in (("name", target.name), ("describe()", target.describe())):
            assert isinstance(text, str) and text.isprintable() and text.strip(), f"{what} is no line: {text!r}"
        limits = target.limits
        assert limits.concurrency >= 1 and limits.batch >= 1 and limits.timeout_s > 0, f"limits cannot be: {limits}"
        for rate in (limits.per_second, limits.batches_per_second):
            assert rate is None or 0 < rate < math.inf, f"limits cannot be: {limits}"
        shown = f"{target.name}\n{target.describe()}\n{target!r}\n{target}\n{vars(target)!r}"
        try:
            pickled = pickle.dumps(target)
        except Exception:  # Whether it can be pickled is its own affair.
            pickled = b""
        for secret in secrets:
            assert secret not in shown, "a secret shows in name, describe(), repr() or what the attributes show"
            assert secret.encode() not in pickled, "a secret can be read in the pickled target"

    async def answers(self) -> None:
        """Each trigger of each batch has an answer, hard keys are taken too."""
        target = await self._opened()
        for key in _HARD_KEYS:
            await self._deliver(target, [replace(self._next(), subject=key)])
        await self._deliver(target, [replace(self._next(), subject=None)])
        await self._deliver(target, self._batch(target))
        await target.close()

    async def repeats(self) -> None:
        """The same ids again, alone and with new ones."""
        target = await self._opened()
        first = self._batch(target)
        await self._deliver(target, first)
        await self._deliver(target, _again(first))
        rest = _again(first)[len(first) // 2 :]
        await self._deliver(target, [*rest, *self._batch(target)][: target.limits.batch])
        await target.close()

    async def several_at_once(self) -> None:
        """As many batches as the limits allow: where order matters, each of another place."""
        target = await self._opened()
        count = min(target.limits.concurrency, 8)
        batches = [self._batch(target, place=f"place-{number}") for number in range(count)]
        await asyncio.gather(*(self._deliver(target, batch) for batch in batches))
        await target.close()

    async def cancelled(self, steps: int) -> None:
        """Cancelled in the middle; then all of it comes again, and the target still works."""
        target = await self._opened()
        batch = self._batch(target)
        task = asyncio.ensure_future(target.deliver(batch))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await self._deliver(target, _again(batch))
        await target.close()

    async def opened_anew(self) -> None:
        """After a crash the last batches come again, to a target that knows nothing of them."""
        target = await self._opened()
        batch = self._batch(target)
        await self._deliver(target, batch)
        await target.close()
        target = await self._opened()
        await self._deliver(target, _again(batch))
        await target.close()

    async def unreachable(self, target: Target) -> None:
        """Nobody is there: it opens, and what it is given is to come again."""
        target.takes(_TYPE, self._value_type)
        await target.open()
        try:
            answers = await target.deliver([self._next()])
        except HeadwayError as error:
            msg = f"deliver raises {type(error).__name__}, which ends the run, where nobody is there: {error}"
            raise AssertionError(msg) from error
        except Exception:  # What else deliver raises is taken for a RETRY.
            answers = [Answer(Outcome.RETRY, "raised")]
        await target.close()
        [answer] = answers
        assert answer.outcome is Outcome.RETRY, f"nobody has taken the trigger, and the answer is {answer}"
        assert answer.reason, "an answer that is not DONE has no reason"

    def everything_is_there(self) -> None:
        """What was answered with DONE has had its effect: once, where the target is exact."""
        if self._received is None:
            return
        found = list(self._received())
        expected = {delivery.id for delivery in self._done}
        assert expected <= set(found), f"{len(expected - set(found))} triggers were answered with DONE and are missing"
        if self._made().guarantee.value == "exact":
            twice = len(found) - len(set(found))
            assert not twice, f"{twice} triggers are there twice, and the target says that it is exact"

    def _made(self) -> Target:
        target = self._make()
        target.takes(_TYPE, self._value_type)
        return target

    async def _opened(self) -> Target:
        target = self._made()
        target.check()
        await target.open()
        return target

    async def _deliver(self, target: Target, batch: Sequence[Delivery]) -> None:
        answers = await target.deliver(batch)
        assert len(answers) == len(batch), f"{len(batch)} triggers got {len(answers)} answers"
        for answer in answers:
            assert isinstance(answer, Answer), f"an answer is {answer!r}, expected an Answer"
            assert answer.outcome is Outcome.DONE, f"a receiver that takes everything, and the answer is {answer}"
        self._done += batch

    def _batch(self, target: Target, place: str = "place-0") -> list[Delivery]:
        return [self._next(place=place) for _ in range(min(target.limits.batch, 10))]

    def _next(self, *, place: str = "place-0") -> Delivery:
        number = self._number
        self._number += 1
        return Delivery(
            id=blake2b(str(number).encode(), digest_size=16).hexdigest(),
            type=_TYPE,
            source="/headway/contract",
            subject=f"key-{number}",
            time_ms=1_700_000_000_000 + number,
            data=msgspec.json.encode(self._value(number)),
            sequence=f"{number:020}",
            place=place,
            number=number,
            traceparent=_TRACE if number % 2 else None,
        )


def _again(batch: Sequence[Delivery]) -> list[Delivery]:
    return [replace(delivery, attempt=delivery.attempt + 1) for delivery in batch]
