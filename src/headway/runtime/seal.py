"""What the engine sends and stores: sealed bytes in the place of pickles.

**The threat.** Processes of one run talk over TCP. The engine listens on a port that is open to whoever reaches it:
every user of the machine with `--workers`, the whole network with `--cluster`. It knows no TLS and no password: who
connects first and sends 16 known bytes is a peer. What peers send it hands to `pickle.loads`, and a pickle is a
program: so whoever reached the port could run code as the user of the run. The same holds for its recovery log, an
SQLite file of pickles: whoever could change that file could run code at the next start.

**The mechanism.** The engine looks `dumps` and `loads` up in the module `pickle` at each call, in our process. While
it runs, functions of this module stand there. They pickle nothing. The engine carries two kinds of values, and each
has its own form, told by its first bytes:

* A *batch* crosses between processes only. It is MessagePack behind the number of its sender and a keyed hash (HMAC
  with SHA-256, cut to 128 bits, which is twice as fast as BLAKE2b where processors know SHA). The hash is checked
  before anything else is read. The key is new for each attempt to run: the supervisor makes it, or in a cluster
  computes it from the secret of the hosts, and says it to its workers through a pipe.
* A *token* says where a slot or a stage stands. It goes into the recovery log, and at a start from there to its
  worker. It is MessagePack with a checksum, against damage. It has no keyed hash: a token must outlive the key of its
  run, and the engine sends what surrounds it without one. It is also where an epoch waits for the disk: there are no
  bytes of a token before all that it stands for is durable (`headway.state.syncs`).

Whatever begins otherwise, has another hash, or comes back to its own sender is refused and ends this process: nothing
that it says is executed, or even built. There is no unpickler that would have to be kept from finding something.

**Replay.** A batch of another run, or of an attempt before, was sealed with another key. Within an attempt the engine
takes one connection from each peer, at the start, when no batch exists yet that could be repeated. To repeat one
later means to write into a connection that stands, and who can do that can forge what the engine sends for itself as
well. So there are no sequence numbers. Reflection to the sender is refused by the number in the seal.

**What it does not do.** Nothing is encrypted. The engine's own words (how far an epoch is, recovery rows, the names
of groups) are sealed by nobody: who is taken for a peer can stop a run or bring its results into disorder. With
`--workers` a run therefore makes sure that its connections lead to its own processes before the first batch is made
(`headway.runtime.peers`). And everybody who reaches the port can keep a run from starting.

**Other users of pickle in the process** (handlers, `multiprocessing`, libraries) get the functions of the standard
library. They are told apart by who calls: the engine is machine code and its threads have no Python frame, or, in a
run of one process, that of the one function that starts it. Everybody else calls from Python code. So a forged
message cannot choose how it is read, as it could if its first bytes decided.

**Rejected.** A tunnel (TLS, SSH, a proxy) in front of the port: the engine binds and dials plain TCP by itself, so
the port stays open beside the tunnel. An unpickler with an allow list, without a hash: it stops code, but lets forged
batches in. A module of our own in `sys.modules["pickle"]`: everybody who imports it later would get it. Unix sockets,
and descriptors that are handed over: the engine takes neither.
"""

from __future__ import annotations

import hmac
import pickle
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any, Final, Optional

import msgspec

from headway.errors import CorruptStateError, ForeignPeerError, HeadwayError
from headway.runtime.batch import Batch, batch_of

__all__ = ["KEY_BYTES", "Seal", "sealing"]

KEY_BYTES: Final = 32
"""Length of a run's key."""

_BATCH: Final = b"\xf5hw\x01B"
_TOKEN: Final = b"\xf5hw\x01T"
"""How values begin: no pickle does. The fourth byte is the version of the format."""

_SENDER: Final = slice(5, 7)
_HASH: Final = slice(7, 23)
_BODY_AT: Final = 23
_CHECKSUM: Final = slice(5, 9)
_TOKEN_AT: Final = 9
_SHOWN_BYTES: Final = 16

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_parts: Final = msgspec.msgpack.Decoder(tuple[int, str, int, int, str, bytes]).decode
_decode_token: Final = msgspec.msgpack.Decoder().decode


class Seal:
    """Turns the engine's values into bytes and back, for process `index` of `addresses`.

    Without a `key` there are no other processes, and no batch is expected. A batch costs one pass of the hash over its
    bytes on either side, about 0.6 ns a byte. What it refuses it also gives to `failed`, since the engine tells nobody
    why it stopped. Before it gives out a token it calls `wait_synced`, which returns once all that this process has
    prepared is durable.
    """

    def __init__(
        self,
        key: Optional[bytes],
        index: int,
        addresses: list[str],
        log: object,
        failed: Callable[[BaseException], None],
        wait_synced: Callable[[], None] = lambda: None,
    ) -> None:
        self._index = index
        self._addresses = addresses
        self._log = log
        self._failed = failed
        self._wait_synced = wait_synced
        # A key for each sender: nobody's batch can be taken for another's.
        self._keys = [_key_of(key, sender) for sender in range(len(addresses))] if key is not None else []

    def dumps(self, value: Any) -> bytes:
        """The bytes of a batch or a token; raises what `msgspec` raises for a value that has none.

        Raises `StateError` for a token when what it may stand for could not be made durable.
        """
        try:
            if type(value) is not Batch:
                self._wait_synced()
                body = _encode(value)
                return b"".join((_TOKEN, zlib.crc32(body).to_bytes(4, "big"), body))
            body = _encode(value.parts())
            digest = hmac.digest(self._keys[self._index], body, "sha256")
            return b"".join((_BATCH, self._index.to_bytes(2, "big"), digest[:16], body))
        except Exception as error:
            self._failed(error)
            raise

    def loads(self, data: bytes) -> Any:
        """The value of bytes that `dumps` made.

        Raises `ForeignPeerError` for bytes that no process of this run has made, `CorruptStateError` when only the
        recovery log can have brought them.
        """
        try:
            if data.startswith(_BATCH):
                return batch_of(*_decode_parts(self._opened(data)))
            if data.startswith(_TOKEN):
                body = data[_TOKEN_AT:]
                if zlib.crc32(body).to_bytes(4, "big") == data[_CHECKSUM]:
                    return self._token(body, data)
            raise self._refused(data)
        except Exception as error:
            self._failed(error)
            raise

    def _token(self, body: bytes, data: bytes) -> Any:
        try:
            return _decode_token(body)
        except (msgspec.DecodeError, RecursionError):
            raise self._refused(data) from None

    def _opened(self, data: bytes) -> memoryview:
        """What a sealed batch holds, once it is known who made it."""
        sender = int.from_bytes(data[_SENDER], "big")
        if sender >= len(self._keys) or sender == self._index:
            raise self._refused(data)
        body = memoryview(data)[_BODY_AT:]
        digest = hmac.digest(self._keys[sender], body, "sha256")
        if not hmac.compare_digest(digest[:16], data[_HASH]):
            raise self._refused(data)
        return body

    def _refused(self, data: bytes) -> HeadwayError:
        found = f"{len(data)} bytes that begin with {data[:_SHOWN_BYTES]!r}"
        if not self._keys:
            msg = (
                f"the recovery log in {self._log} holds {found}: expected what Headway writes there. It was changed, "
                "is damaged, or is of another version; nothing of it was executed. Restore the whole state directory "
                "from one backup, or start with a new one"
            )
            return CorruptStateError(msg)
        address = self._addresses[self._index]
        msg = (
            f"process {self._index} of {len(self._addresses)} got {found}, which no process of this run has made: "
            f"another program speaks to its port {address}, or the recovery log in {self._log} was changed. "
            "Nothing of it was executed. See who can reach the port (docs/security.md), then start again"
        )
        return ForeignPeerError(msg)


def _key_of(key: bytes, sender: int) -> bytes:
    return hmac.digest(key, b"headway batch from %d" % sender, "sha256")


@contextmanager
def sealing(seal: Seal, engine: CodeType) -> Iterator[None]:
    """Inside this block the engine's values go through `seal`, and everybody else's through `pickle` as before.

    `engine` is the code of the function that calls the engine.
    """
    true_dumps, true_loads = pickle.dumps, pickle.loads

    def dumps(value: Any, *args: Any, **options: Any) -> bytes:
        return seal.dumps(value) if _is_engine(engine) else true_dumps(value, *args, **options)

    def loads(data: bytes, *args: Any, **options: Any) -> Any:
        return seal.loads(data) if _is_engine(engine) else true_loads(data, *args, **options)

    vars(pickle).update(dumps=dumps, loads=loads)
    try:
        yield
    finally:
        vars(pickle).update(dumps=true_dumps, loads=true_loads)


def _is_engine(engine: CodeType) -> bool:
    """Whether the caller of our caller is the engine and no Python code."""
    try:
        return sys._getframe(2).f_code is engine
    except ValueError:  # There is no frame below.
        return True
