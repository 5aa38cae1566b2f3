"""One client for all partitions of a topic that a process reads.

**Threads.** A thread of the session owns the client: it assigns partitions, takes messages, looks for new partitions
and commits. Readers live on the engine's thread and find in their queues what has come; the engine never waits for the
network. Requests go to the thread through one queue, answers come back in the readers.

**Positions** are offsets of the next record, as brokers count: what was compacted away, aborted, or marks the end of a
transaction has an offset and is never read. So numbers of records rise, and have gaps.

**Identity.** A topic that is deleted and made anew begins at 0 again under its old name. Brokers give each topic an
id, which the position keeps; another id is refused. Where a broker tells none, an offset beyond the end is.

**Backpressure.** When as much of a partition waits as may, it is paused in the client, and resumed when half of it was
read. A partition that is furthest ahead in event time must not keep the others from being fetched.

Rejected: a consumer group. It moves partitions between members when it likes, and what it commits is a second truth
beside the state.
"""

from __future__ import annotations

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final, Optional

from headway.connectors.base import PartitionReader, Position, Session, Tell, unheard
from headway.connectors.kafka.reader import CommittingReader, KafkaReader
from headway.connectors.kafka.words import SILENT_MS, is_final, told
from headway.connectors.queued import BATCH, QueuedReader
from headway.connectors.remote import FIRST_WAIT_S, LOOK_EVERY_S
from headway.connectors.troubles import Troubles
from headway.errors import InputError

if TYPE_CHECKING:
    from headway.connectors.kafka.source import KafkaInput

__all__ = ["KafkaSession"]

_REQUEST_S: Final = 10.0
_POLL_S: Final = 0.05


class KafkaSession(Session):
    """Reads partitions of one topic."""

    def __init__(self, given: KafkaInput) -> None:
        self._given = given
        self._names: Optional[list[str]] = None
        self._topic_id: Optional[str] = None
        self._readers: dict[int, KafkaReader] = {}
        """By partition; the thread's."""
        self._unassigned: list[KafkaReader] = []
        """Whose partitions could not be assigned yet."""
        self._requests: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._failure: Optional[InputError] = None
        self._troubles = Troubles(given.describe())
        self._looked_at = 0.0
        self._first_look = Event()
        self._is_closing = False
        self._consumer: Any = None
        self._admin: Any = None
        self._thread = Thread(target=self._run, name=f"headway-kafka-{given.topic}", daemon=True)
        self._thread.start()

    # What the engine's thread calls.

    def partitions(self, tell: Tell = unheard) -> list[str]:
        """Those that the topic has, as the thread has seen them last. The first call waits for the brokers."""
        if not self._first_look.wait(FIRST_WAIT_S):
            why = self._troubles.last or "check the address, and whether the broker runs"
            msg = f"{self._given.describe()} does not answer within {FIRST_WAIT_S:.0f} s: {why}"
            raise InputError(msg)
        self.check()
        self._troubles.take(tell)
        return list(self._names or [])

    def notices(self, tell: Tell) -> None:
        """What the thread has noticed."""
        self._troubles.take(tell)

    def open(self, partition: str, position: Optional[Position], *, follow: bool) -> PartitionReader:
        """A reader; the thread fetches for it from now on."""
        number = int(partition.rpartition("/")[2])
        kind = KafkaReader if self._given.group is None else CommittingReader
        reader = kind(self, partition, number, position, follow=follow)
        self._requests.put(lambda: self._begin(reader))
        return reader

    def release(self, reader: QueuedReader) -> None:
        """Fetch no more for a reader."""
        assert isinstance(reader, KafkaReader)
        self._requests.put(lambda: self._unassign(reader))

    def commit(self, number: int, offset: int) -> None:
        """Commit an offset to the group, when the thread comes to it."""
        self._requests.put(lambda: self._commit(number, offset))

    def check(self) -> None:
        """Raise what has ended the thread, if something has."""
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End the client. What is to be committed is committed first."""
        self._is_closing = True
        self._thread.join()

    # What the session's thread does.

    def _run(self) -> None:
        import confluent_kafka

        given = self._given
        try:
            config = given.settings.config(
                {
                    "group.id": given.group or f"headway-{uuid.uuid4()}",
                    "enable.auto.commit": False,
                    "enable.auto.offset.store": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "error",
                    "isolation.level": given.isolation,
                    "error_cb": self._note_error,
                }
            )
            config.setdefault("queued.max.messages.kbytes", 16_384)
            config.setdefault("fetch.wait.max.ms", 50)
            # By default the client fetches nothing for a second once it has enough, and has read that long before.
            config.setdefault("fetch.queue.backoff.ms", 5)
            config.setdefault("socket.timeout.ms", SILENT_MS)
            self._consumer = confluent_kafka.Consumer(config)
        except Exception as error:
            self._fail(f"{given.describe()} cannot be read: {given.settings.without_secrets(str(error))}")
            return
        try:
            while not self._is_closing and self._failure is None:
                self._turn()
            self._work_off()
        except Exception as error:
            self._fail(f"{given.describe()} cannot be read on: {given.settings.without_secrets(str(error))}")
        finally:
            with suppress(Exception):  # It is the end of it, whatever it says.
                self._consumer.close()
            self._first_look.set()

    def _turn(self) -> None:
        if time.monotonic() - self._looked_at >= (LOOK_EVERY_S if self._names is not None else 0.2):
            self._look()
        if self._names is not None:  # Before, it is not known whether the topic is the one that was read.
            self._work_off()
        if not self._readers:
            self._consumer.poll(_POLL_S)
            return
        message = self._consumer.poll(_POLL_S)
        if message is not None:
            self._hand_over([message, *self._consumer.consume(BATCH * 4, 0)])
        for reader in self._readers.values():
            if reader.is_paused and reader.is_low:
                reader.is_paused = False
                self._consumer.resume([self._place(reader.number)])

    def _work_off(self) -> None:
        unassigned, self._unassigned = self._unassigned, []
        for reader in unassigned:
            self._begin(reader)
        with suppress(Empty):
            while True:
                self._requests.get_nowait()()

    def _hand_over(self, messages: Sequence[Any]) -> None:
        """Give messages to their readers, in their order."""
        by_number: defaultdict[int, list[Any]] = defaultdict(list)
        for message in messages:
            if message.error() is None:
                by_number[message.partition()].append(message)
                continue
            self._take(by_number)
            self._take_error(message)
        self._take(by_number)

    def _take(self, by_number: defaultdict[int, list[Any]]) -> None:
        for number, messages in by_number.items():
            reader = self._readers.get(number)
            if reader is None:
                continue
            for start in range(0, len(messages), BATCH):
                reader.take_messages(messages[start : start + BATCH])
            # As the last answer to a fetch has said: it costs no request.
            _, high = self._consumer.get_watermark_offsets(self._place(number), cached=True)
            reader.note_end(high, messages[-1].offset() + 1)
            if reader.is_full and not reader.is_paused:
                reader.is_paused = True
                self._consumer.pause([self._place(number)])
        by_number.clear()
        self._troubles.up()

    def _take_error(self, message: Any) -> None:
        """What comes instead of a message."""
        error = message.error()
        reader = self._readers.get(message.partition())
        if reader is None:
            return
        name = error.name()
        if name == "_PARTITION_EOF":
            reader.all_came(message.offset())
        elif name in ("_AUTO_OFFSET_RESET", "OFFSET_OUT_OF_RANGE"):
            self._expired(reader)
        elif name in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_PARTITION", "_UNKNOWN_TOPIC"):
            msg = f"{self._given.describe()}: partition {reader.number} is gone; its topic was deleted or made anew"
            reader.fail(InputError(msg))
        elif is_final(error):
            self._fail(f"{self._given.describe()}: {self._words(error)}")
        else:
            self._note_error(error)

    def _begin(self, reader: KafkaReader) -> None:
        """Assign a reader's partition, again and again while the brokers are away."""
        import confluent_kafka

        try:
            self._assign(reader)
        except confluent_kafka.KafkaException as error:
            self._note_error(error.args[0])
            self._unassigned.append(reader)

    def _assign(self, reader: KafkaReader) -> None:
        """Begin to fetch for a reader, at its offset or where the input starts."""
        low, high = self._consumer.get_watermark_offsets(self._place(reader.number), timeout=_REQUEST_S)
        if reader.topic_id is not None and self._topic_id is not None and reader.topic_id != self._topic_id:
            msg = (
                f"{self._given.describe()} was made anew: it has the id {self._topic_id}, and what was read before had "
                f"{reader.topic_id}; start with a new state directory, or give the flow another source"
            )
            reader.fail(InputError(msg))
            return
        offset = self._first_offset(reader, low, high)
        if offset > high:
            reader.fail(self._too_early(reader.number, offset, high))
            return
        if offset < low and reader.wanted is not None:
            if not self._given.skips_expired:
                reader.fail(self._too_late(reader.number, offset, low))
                return
            self._tell_gap(reader.number, offset, low)
            offset = low
        reader.topic_id = self._topic_id
        if not reader.follow:
            reader.end = high
        reader.reached(reader.at(offset))
        reader.note_end(high, offset)
        reader.check_end(offset)
        self._readers[reader.number] = reader
        self._consumer.incremental_assign([self._place(reader.number, offset)])

    def _first_offset(self, reader: KafkaReader, low: int, high: int) -> int:
        if reader.wanted is not None:
            return int(reader.wanted["offset"])
        start = self._given.start
        if start == "earliest":
            return low
        if start == "latest":
            return high
        [found] = self._consumer.offsets_for_times([self._place(reader.number, int(start))], timeout=_REQUEST_S)
        return high if found.offset < 0 else int(found.offset)

    def _expired(self, reader: KafkaReader) -> None:
        """What is to be read next is not there any more."""
        low, high = self._consumer.get_watermark_offsets(self._place(reader.number), timeout=_REQUEST_S)
        [stands] = self._consumer.position([self._place(reader.number)])
        offset = stands.offset if stands.offset >= 0 else self._first_offset(reader, low, high)
        if self._given.skips_expired and offset < low:
            self._tell_gap(reader.number, offset, low)
            self._consumer.seek(self._place(reader.number, low))
        elif offset < low:
            reader.fail(self._too_late(reader.number, offset, low))
        else:
            reader.fail(self._too_early(reader.number, offset, high))

    def _too_early(self, number: int, offset: int, high: int) -> InputError:
        msg = (
            f"{self._given.describe()}: partition {number} ends at offset {high}, and {offset} is to be read next: it "
            "has lost records, or was made anew; start with a new state directory"
        )
        return InputError(msg)

    def _too_late(self, number: int, offset: int, low: int) -> InputError:
        msg = (
            f"{self._given.describe()}: partition {number} begins at offset {low}, and {offset} is to be read next: "
            f"the broker has deleted {low - offset} records before they were read; raise the topic's retention, and go "
            'on without them with expired="earliest", or start with a new state directory'
        )
        return InputError(msg)

    def _tell_gap(self, number: int, offset: int, low: int) -> None:
        self._troubles.tell(
            f"{low - offset} records of partition {number}, from offset {offset} on, were deleted before they were read"
        )

    def _unassign(self, reader: KafkaReader) -> None:
        if reader in self._unassigned:
            self._unassigned.remove(reader)
        if self._readers.get(reader.number) is reader:
            del self._readers[reader.number]
            self._consumer.incremental_unassign([self._place(reader.number)])

    def _commit(self, number: int, offset: int) -> None:
        self._consumer.commit(offsets=[self._place(number, offset)], asynchronous=True)

    def _look(self) -> None:
        """Find the partitions, and whether the topic is still the same one."""
        import confluent_kafka

        given = self._given
        self._looked_at = time.monotonic()
        try:
            topic = self._consumer.list_topics(given.topic, timeout=_REQUEST_S).topics[given.topic]
            if topic.error is None:
                self._identify()
        except confluent_kafka.KafkaException as error:
            self._note_error(error.args[0])
            return
        if topic.error is not None and topic.error.name() not in ("UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC"):
            self._note_error(topic.error)
            return
        self._troubles.up()
        if topic.error is None:
            self._troubles.found()
        else:
            self._troubles.missing()
        self._names = [f"{given.topic}/{number}" for number in sorted(topic.partitions)]
        self._first_look.set()

    def _identify(self) -> None:
        """Note the topic's id, and end the readers of one that is gone."""
        found = self._topic_id_now()
        if found is None or found == self._topic_id:
            return
        before, self._topic_id = self._topic_id, found
        if before is not None:
            for reader in self._readers.values():
                msg = f"{self._given.describe()} was deleted and made anew while it was read"
                reader.fail(InputError(msg))

    def _topic_id_now(self) -> Optional[str]:
        from confluent_kafka import KafkaException, TopicCollection
        from confluent_kafka.admin import AdminClient

        given = self._given
        if self._admin is None:
            self._admin = AdminClient(given.settings.config({"error_cb": self._note_error}))
        try:
            [future] = self._admin.describe_topics(TopicCollection([given.topic]), request_timeout=_REQUEST_S).values()
            return str(future.result().topic_id)
        except KafkaException:
            return None  # Brokers older than 3.1 tell none; an offset beyond the end is noticed all the same.

    def _note_error(self, error: Any) -> None:
        """The client says that something is wrong; it goes on trying."""
        if is_final(error):
            self._fail(f"{self._given.describe()}: {self._words(error)}")
        else:
            self._troubles.down(self._words(error))

    def _words(self, error: Any) -> str:
        return self._given.settings.without_secrets(told(error))

    def _fail(self, text: str) -> None:
        if self._failure is None:
            self._failure = InputError(text)
        self._first_look.set()

    def _place(self, number: int, offset: Optional[int] = None) -> Any:
        import confluent_kafka

        if offset is None:
            return confluent_kafka.TopicPartition(self._given.topic, number)
        return confluent_kafka.TopicPartition(self._given.topic, number, offset)
